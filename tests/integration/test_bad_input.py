"""Bad input gets one clear error, exit code 2, and changes nothing."""

import socket

import numpy as np
import pyarrow as pa
import pytest
import yaml

from sluiceway.cli.main import run_command
from sluiceway.data.commit import append

pytestmark = pytest.mark.integration

ROWS = 400


def rows(**replaced):
    rng = np.random.default_rng(1)
    columns = {
        "income": rng.normal(size=ROWS),
        "branch": rng.choice(["n", "s"], ROWS),
        "late": rng.integers(0, 2, ROWS).astype("int8"),
    }
    return pa.table(columns | replaced)


@pytest.fixture
def configured(tmp_path, monkeypatch):
    """Writes a configuration, with whatever a test changes, and runs it with the session's Ray."""
    monkeypatch.chdir(tmp_path)

    def write(**sections):
        document = {
            "experiment": {"name": "bad"},
            "data": {"path": "table", "features": ["income", "branch"], "target": "late"},
            "model": {"params": {"n_estimators": 5}},
            "platform": {"state": "state", "serving": {"port": 0}},
        }
        for name, section in sections.items():
            document[name] = document.get(name, {}) | section
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(document))
        return "config.yaml"

    return write


@pytest.fixture
def refused(capsys, monkeypatch):
    """Runs a command and gives what it said; it has to end with the expected code and without a traceback."""

    def run(*arguments, code=2):
        monkeypatch.setattr(
            "sluiceway.wiring.cluster.ray.shutdown", lambda: pytest.fail("the session's Ray was shut down")
        )
        monkeypatch.setattr("sluiceway.cli.run.disconnect", lambda: None, raising=False)
        assert run_command(list(arguments)) == code
        said = capsys.readouterr()
        assert "Traceback" not in said.err + said.out
        return said.err

    return run


def nothing_was_made(folder):
    return not any((folder / "state").glob("bundles/*")) and not any((folder / "state").glob("reports/*"))


def test_no_table(configured, refused):
    assert "there is no Delta table" in refused("run", configured())


def test_what_is_refused_before_it_begins_leaves_nothing_behind(configured, refused, tmp_path):
    refused("run", configured())
    append("table", rows(late=np.array(["yes", "no"] * ROWS)[:ROWS]), message="rows", source="test")
    regressor = {"model": {"type": "XGBRegressor"}, "training": {"eval_metric": "rmse"}}
    assert "the target 'late' is no number but string" in refused("run", configured(**regressor))
    assert "no number" in refused("run", configured(**regressor), "--dry-run")
    refused("run", configured(data={"version": "v9"}))
    unreachable = {"state": "state", "tracking_uri": "http://127.0.0.1:9"}
    config = configured(data={"target": "income", "features": ["branch"]}, platform=unreachable)
    refused("run", config, code=4)
    refused("run", config, "--dry-run", code=4)
    refused("serve", "up", configured())
    refused("data", "restore", "table@first-half", "-c", configured())
    refused("data", "untag", "table", "first-half", "-c", configured())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.yaml", "table"]


@pytest.mark.parametrize(
    "words", ["data log table", "data show table", "models list", "rollout history", "monitor status", "serve status"]
)
def test_who_only_asks_makes_nothing(words, configured, tmp_path, capsys):
    append("table", rows(), message="rows", source="test")
    for named in ([], ["-c", configured()]):
        assert run_command([*words.split(), *named]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.yaml", "table"]


def test_every_problem_is_told_at_once_and_of_what_set_it(configured, refused, monkeypatch):
    append("table", rows(), message="rows", source="test")
    monkeypatch.setenv("SLUICEWAY_TRAINIGN__SEED", "3")
    config = configured(
        data={"target": "lat"}, training={"folds": "many"}, evaluation={"thresholds": {"acuracy": 1}}, modle={}
    )
    said = refused(
        "run", config, "--set", "model.params.n_estimatos=3", "--set", "foo.bar=1", "--set", "training.gpu=1"
    )
    for problem in (
        f"{config}: modle: unknown key; did you mean 'model'?",
        f"{config}: training.folds: ",
        "SLUICEWAY_TRAINIGN__SEED: trainign: unknown key; did you mean 'training'?",
        "--set foo.bar=1: foo: unknown key",
        "--set training.gpu=1: training.gpu: unknown key",
        f"{config}: data: table has no target 'lat'; 'lat': did you mean late?",
        "did you mean 'accuracy'",
    ):
        assert problem in said, said
    said = refused("run", configured(), "--set", "model.params.n_estimatos=3", "--set", "model.params.max_dept=3")
    assert "--set model.params.n_estimatos=3: model.params.n_estimatos: " in said
    assert "--set model.params.max_dept=3: model.params.max_dept: " in said


def test_an_empty_table(configured, refused, ray_cluster):
    append("table", rows().slice(0, 0), message="nothing", source="test")
    assert "no rows" in refused("run", configured())


def test_a_version_that_is_not_there_names_the_nearest(configured, refused, tmp_path):
    append("table", rows(), message="rows", source="test")
    assert run_command(["data", "tag", "table", "first-half", "-c", configured()]) == 0
    said = refused("run", configured(data={"version": "first-haf"}))
    assert "first-haf" in said
    assert "first-half" in said
    assert "9" in refused("run", configured(data={"version": 9}))


@pytest.mark.parametrize(
    ("replaced", "said"),
    [
        ({"late": np.zeros(ROWS, dtype="int8")}, "one class"),
        ({"late": np.arange(ROWS) % 2 + 1}, "two classes that are not 0 and 1"),
        ({"income": np.where(np.arange(ROWS) == 7, np.inf, 1.0)}, "infinite"),
        ({"late": pa.array([None, *([1, 0] * ROWS)][:ROWS], pa.int8())}, "missing in 1 rows"),
    ],
)
def test_rows_that_nothing_can_be_learnt_from(replaced, said, configured, refused, tmp_path, ray_cluster):
    append("table", rows(**replaced), message="rows", source="test")
    message = refused("run", configured())
    assert said in message
    assert next(iter(replaced)) in message
    assert "hint:" in message
    assert nothing_was_made(tmp_path)


def test_text_that_is_no_category_is_named(configured, refused, tmp_path, ray_cluster):
    many = pa.table(
        {
            "income": np.arange(1500.0),
            "branch": [f"b{i}" for i in range(1500)],
            "late": (np.arange(1500) % 2).astype("int8"),
        }
    )
    append("table", many, message="rows", source="test")
    said = refused("run", configured())
    assert "'branch' has more than 1,000 values" in said
    assert nothing_was_made(tmp_path)


def test_a_column_that_is_not_there_names_the_nearest(configured, refused, ray_cluster):
    append("table", rows(), message="rows", source="test")
    said = refused("run", configured(data={"target": "lat"}))
    assert "target 'lat'" in said
    assert "did you mean late?" in said
    assert "lat" in refused("run", configured(data={"target": "lat"}), "--dry-run")


def test_all_problems_of_parameters_at_once(configured, refused):
    said = refused("run", configured(model={"params": {"max_dept": 1}}, evaluation={"thresholds": {"acuracy": 1}}))
    assert "did you mean 'max_depth'" in said
    assert "did you mean 'accuracy'" in said


def test_a_registry_that_does_not_answer(configured, refused, ray_cluster):
    append("table", rows(), message="rows", source="test")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    said = refused("run", configured(platform={"state": "state", "tracking_uri": f"http://127.0.0.1:{port}"}), code=4)
    assert str(port) in said
    assert "hint:" in said


def test_a_dry_run_touches_nothing(configured, tmp_path, capsys):
    append("table", rows(), message="rows", source="test")
    assert run_command(["run", configured(), "--dry-run", "--json"]) == 0
    assert '"steps"' in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.yaml", "table"]
