"""The registry on a real MLflow with SQLite: versions, aliases, crashes, races, and what strangers can load."""

from __future__ import annotations

import pickletools
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
import xgboost as xgb
from mlflow.tracking import MlflowClient

from sluiceway.core.errors import BackendError, ModelError
from sluiceway.registry import mlflow_registry
from sluiceway.registry.bundle import Bundle
from sluiceway.registry.mlflow_registry import CHALLENGER, CHAMPION, PREVIOUS, Registry, RunRecord

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one MLflow for the module; making its database takes seconds."""
    return tmp_path_factory.mktemp("mlflow")


@pytest.fixture(scope="module")
def registry(store: Path) -> Registry:
    return Registry(f"sqlite:///{store / 'mlflow.db'}", store / "artifacts")


@pytest.fixture(scope="module")
def client(registry: Registry) -> MlflowClient:
    """MLflow itself, to look behind the registry's back."""
    registry.check()
    return MlflowClient(registry.tracking_uri, registry.tracking_uri)


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    """shape (300, 2), float32: a number and a category's code, some missing."""
    random = np.random.default_rng(7)
    found = np.column_stack([random.random(300), random.integers(0, 3, 300)]).astype(np.float32)
    found[:20, 0], found[20:40, 1] = np.nan, np.nan
    return found


@pytest.fixture(scope="module")
def bundle(rows: np.ndarray) -> Bundle:
    return train(rows, seed=1)


def matrix(rows: np.ndarray) -> xgb.DMatrix:
    return xgb.DMatrix(rows, feature_names=["delay", "carrier"], feature_types=["q", "c"], enable_categorical=True)


def train(rows: np.ndarray, seed: int) -> Bundle:
    labels = np.nan_to_num(rows[:, 0]) + (rows[:, 1] == 1) > 0.7
    data = matrix(rows)
    data.set_label(labels)
    booster = xgb.train({"objective": "binary:logistic", "seed": seed, "subsample": 0.8}, data, 5)
    features = [
        {"name": "delay", "kind": "numeric"},
        {"name": "carrier", "kind": "category", "categories": ["AA", "B6", "UA"]},
    ]
    return Bundle(
        model=bytes(booster.save_raw(raw_format="ubj")),
        schema={"version": 1, "missing": "NaN", "features": features},
        decision={"kind": "binary", "threshold": 0.4, "target": "late"},
        lineage={"data": {"uri": "/tables/flights", "version": 3, "digest": "abc", "rows": 300}},
    )


def a_run(registry: Registry, **changes) -> str:
    return registry.log_run(RunRecord(**{"experiment": "flights", "name": "a run", **changes}))


def test_a_run_keeps_everything_that_it_was_given(registry: Registry, client: MlflowClient, tmp_path: Path):
    report = tmp_path / "r.html"
    report.write_text("<html></html>")
    run_id = a_run(
        registry,
        params={"max_depth": 6, "long": "x" * 9000, "odd <name>": None, **{f"p{i}": i for i in range(250)}},
        metrics={"auc_roc": 0.91, "not taken": None, "undefined": float("nan")},
        fold_metrics=tuple({"auc": 0.9 + i / 100, "rounds": 50 + i} for i in range(5)),
        tags={"data.digest": "abc", "code.dirty": False},
        artifacts={"config.yaml": b"a: 1\n", "gates/results.json": b"{}", "report.html": report},
    )
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "a run"
    assert len(run.data.params) == 253
    assert run.data.params["max_depth"] == "6"
    assert len(run.data.params["long"]) == 6000
    assert "odd _name_" in run.data.params
    assert run.data.metrics["auc_roc"] == 0.91
    assert "not taken" not in run.data.metrics
    assert np.isnan(run.data.metrics["undefined"])
    folds = client.get_metric_history(run_id, "fold_auc")
    assert [(m.step, m.value) for m in folds] == [(i, 0.9 + i / 100) for i in range(5)]
    assert run.data.tags["data.digest"] == "abc"
    assert run.data.tags["code.dirty"] == "False"
    assert {a.path for a in client.list_artifacts(run_id)} == {"config.yaml", "gates", "report.html"}
    saved = client.download_artifacts(run_id, "gates/results.json", str(tmp_path))
    assert Path(saved).read_bytes() == b"{}"


def test_a_run_that_a_killed_process_left_open_is_closed_by_the_next(
    registry: Registry, client: MlflowClient, store: Path
):
    code = f"""
    import os, sluiceway.registry.mlflow_registry as registry
    registry.write_run = lambda *_: os.kill(os.getpid(), 9)
    store = registry.Registry({registry.tracking_uri!r}, {str(store / "artifacts")!r})
    store.log_run(registry.RunRecord("flights", "a run", key="killed"))
    """
    assert subprocess.run([sys.executable, "-c", textwrap.dedent(code)]).returncode == -9
    experiment = client.get_experiment_by_name("flights").experiment_id
    (left,) = client.search_runs([experiment], "tags.`sluiceway.run_key` = 'killed'")
    assert left.info.status == "RUNNING"
    finished = a_run(registry, key="killed")
    assert client.get_run(left.info.run_id).info.status == "KILLED"
    assert client.get_run(finished).info.status == "FINISHED"


def test_a_run_that_ctrl_c_cut_off_is_left_to_the_next_call(registry, client, monkeypatch):
    """Whoever pressed it waits for no database that MLflow's cut-off transaction may have locked."""

    def cut_off(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(mlflow_registry, "write_run", cut_off)
        patch.setattr(type(registry._connection.client), "set_terminated", lambda *_, **__: pytest.fail("asked"))
        with pytest.raises(KeyboardInterrupt):
            a_run(registry, key="cut off")
    finished = a_run(registry, key="cut off")
    experiment = client.get_experiment_by_name("flights").experiment_id
    found = client.search_runs([experiment], "tags.`sluiceway.run_key` = 'cut off'")
    assert {run.info.run_id: run.info.status for run in found}[finished] == "FINISHED"
    assert sorted(run.info.status for run in found) == ["FINISHED", "KILLED"]


def test_a_run_with_a_key_is_logged_once(registry: Registry, client: MlflowClient):
    first = a_run(registry, key="train 1")
    assert a_run(registry, key="train 1") == first
    assert a_run(registry, key="train 2") != first
    assert a_run(registry) != a_run(registry)
    client.update_run(first, status="FAILED")
    assert a_run(registry, key="train 1") != first, "a failed run was taken for the result"


def test_a_run_that_cannot_be_written_is_marked_failed(registry: Registry, client: MlflowClient, tmp_path: Path):
    with pytest.raises(BackendError, match="did not log the run"):
        a_run(registry, experiment="broken", artifacts={"x": tmp_path / "absent"})
    (experiment,) = client.search_experiments(filter_string="name = 'broken'")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FAILED"


def test_the_identical_bundle_comes_back(registry: Registry, bundle: Bundle):
    version = registry.register("back", bundle, a_run(registry), tags={"gates": "PASS"})
    registry.set_alias("back", CHAMPION, version)
    for name in (version, CHAMPION):
        found, restored = registry.bundle("back", name)
        assert (found, restored, restored.digest) == (version, bundle, bundle.digest)
    (entry,) = registry.versions("back")
    assert (entry.version, entry.digest, entry.aliases) == (version, bundle.digest, (CHAMPION,))
    assert entry.tags["gates"] == "PASS"


def test_the_same_bundle_of_the_same_run_is_the_same_version(registry: Registry, bundle: Bundle, rows: np.ndarray):
    run_id = a_run(registry)
    assert [registry.register("same", bundle, run_id) for _ in range(3)] == ["1", "1", "1"]
    other = train(rows, seed=2)
    assert registry.register("same", other, run_id) == "2"
    assert registry.register("same", bundle, a_run(registry)) == "3"
    assert registry.bundle("same", "1")[1] == bundle
    assert registry.bundle("same", "2")[1] == other


@pytest.mark.parametrize("step", ["create_model_version", "set_model_version_tag", "log_artifacts"])
def test_a_crash_leaves_no_usable_version_and_is_completed(
    registry: Registry, client: MlflowClient, bundle: Bundle, monkeypatch: pytest.MonkeyPatch, step: str
):
    """The step fails after it was done, except for the tag, which is the last step and must not be there."""
    name, run_id = f"crash {step}", a_run(registry)
    real = getattr(MlflowClient, step)

    def crash(self, *args, **kwargs):
        if step != "set_model_version_tag":
            real(self, *args, **kwargs)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, step, crash)
        with pytest.raises(KeyboardInterrupt):
            registry.register(name, bundle, run_id)
    assert registry.versions(name) == ()
    with pytest.raises(ModelError):
        registry.bundle(name, "1")
    with pytest.raises(ModelError):
        registry.set_alias(name, CHAMPION, "1")
    assert registry.register(name, bundle, run_id) == "1"
    assert registry.bundle(name, "1") == ("1", bundle)
    assert len(client.search_model_versions(f"name = '{name}'")) == 1


def test_half_written_files_are_written_again(registry: Registry, store: Path, bundle: Bundle):
    run_id = a_run(registry)
    folder = store / "artifacts" / "flights" / run_id / "artifacts" / "model" / bundle.digest[:16]
    folder.mkdir(parents=True)
    (folder / "model.ubj").write_bytes(bundle.model[:100])
    version = registry.register("half", bundle, run_id)
    assert registry.bundle("half", version)[1] == bundle


def test_damaged_files_are_refused(registry: Registry, store: Path, bundle: Bundle):
    run_id = a_run(registry)
    version = registry.register("damaged", bundle, run_id)
    path = store / "artifacts" / "flights" / run_id / "artifacts" / "model" / bundle.digest[:16] / "decision.json"
    path.write_text(path.read_text().replace("0.4", "0.5"))
    with pytest.raises(ModelError, match="has digest"):
        registry.bundle("damaged", version)


def test_many_at_once_make_one_version(registry: Registry, client: MlflowClient, bundle: Bundle):
    run_id = a_run(registry)
    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(lambda _: registry.register("race", bundle, run_id), range(4)))
    assert len(found) == 1
    assert [v.version for v in registry.versions("race")] == list(found)
    assert len(client.search_model_versions("name = 'race'")) == 1


def test_many_that_write_the_same_tag_and_alias_at_once_all_succeed(registry: Registry, bundle: Bundle):
    version = registry.register("crowded", bundle, a_run(registry))
    run_id = registry.versions("crowded")[0].run_id
    for number in range(6):
        together = Barrier(6)

        def write(mine: int, number: int = number, together: Barrier = together) -> None:
            together.wait(timeout=30)
            registry.register("crowded", bundle, run_id, tags={f"round {number}": f"writer {mine}"})
            registry.set_alias("crowded", f"round{number}", version)

        with ThreadPoolExecutor(6) as pool:
            list(pool.map(write, range(6)))
        assert registry.alias("crowded", f"round{number}") == version


def test_promotion_moves_three_aliases_and_can_be_repeated(registry: Registry, bundle: Bundle):
    one, two = (registry.register("promoted", bundle, a_run(registry)) for _ in range(2))
    registry.promote("promoted", one)
    assert registry.alias("promoted", PREVIOUS) is None
    registry.set_alias("promoted", CHALLENGER, two)
    for _ in range(2):
        registry.promote("promoted", two)
        found = {alias: registry.alias("promoted", alias) for alias in (CHAMPION, CHALLENGER, PREVIOUS)}
        assert found == {CHAMPION: two, CHALLENGER: None, PREVIOUS: one}
    registry.remove_alias("promoted", PREVIOUS)
    registry.remove_alias("promoted", PREVIOUS)
    assert registry.alias("promoted", PREVIOUS) is None


def test_what_is_not_there_is_named(registry: Registry, bundle: Bundle):
    registry.register("flights_late", bundle, a_run(registry))
    with pytest.raises(ModelError, match="flight_late") as caught:
        registry.bundle("flight_late", CHAMPION)
    assert "flights_late" in (caught.value.hint or "")
    with pytest.raises(ModelError, match="no version or alias 'champion'") as caught:
        registry.bundle("flights_late", CHAMPION)
    assert "it has 1" in (caught.value.hint or "")
    assert registry.alias("nobody", CHAMPION) is None
    assert registry.versions("no'body") == ()
    for name in ("a/b", "", "a'b"):
        with pytest.raises(ModelError, match="no name for a model"):
            registry.register(name, bundle, "x")
    with pytest.raises(ModelError, match="not found"):
        registry.register("flights_late", bundle, "0" * 32)


def test_a_store_that_cannot_be_used_fails_before_mlflow_is_asked(tmp_path: Path):
    (tmp_path / "mlflow.db").write_text("no database " * 400)
    broken = Registry(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path)
    for call in (broken.check, broken.names, lambda: broken.alias("m", CHAMPION)):
        with pytest.raises(BackendError, match="not a database"):
            call()


def test_nothing_that_is_kept_is_a_pickle_or_code(registry: Registry, store: Path, bundle: Bundle):
    run_id = a_run(registry)
    registry.register("plain", bundle, run_id)
    files = [p for p in (store / "artifacts" / "flights" / run_id).rglob("*") if p.is_file()]
    assert {p.name for p in files} == {
        *("model.ubj", "schema.json", "decision.json", "lineage.json"),
        *("MLmodel", "README.md", "conda.yaml", "python_env.yaml", "requirements.txt"),
    }
    for path in files:
        with pytest.raises(ValueError):  # whatever it stumbles over: it is no sequence of opcodes
            list(pickletools.genops(path.read_bytes()))


def test_the_card_says_what_a_plain_loader_leaves_out(registry: Registry, client: MlflowClient, bundle: Bundle):
    version = registry.register("card", bundle, a_run(registry))
    description = client.get_model_version("card", version).description
    for words in ("raw score only", "no\ndecision threshold", bundle.digest, "`carrier`", "from a score of 0.4"):
        assert words in description


def test_without_this_package_mlflow_gives_the_raw_score(registry: Registry, bundle: Bundle, rows, tmp_path: Path):
    registry.set_alias("strangers", CHAMPION, registry.register("strangers", bundle, a_run(registry)))
    booster = xgb.Booster()
    booster.load_model(bytearray(bundle.model))
    np.save(tmp_path / "rows.npy", rows)
    np.save(tmp_path / "scores.npy", booster.predict(matrix(rows)))
    stranger = textwrap.dedent(f"""
        import sys
        sys.modules["sluiceway"] = None  # importing it raises ImportError
        import mlflow, numpy as np, pandas as pd, xgboost
        mlflow.set_tracking_uri({registry.tracking_uri!r})
        rows, scores = (np.load({str(tmp_path)!r} + name) for name in ("/rows.npy", "/scores.npy"))
        model = mlflow.pyfunc.load_model("models:/strangers@champion")
        found = model.predict(pd.DataFrame(rows, columns=["delay", "carrier"]))
        assert np.array_equal(found, scores), "pyfunc"
        booster = mlflow.xgboost.load_model("models:/strangers@champion")
        data = xgboost.DMatrix(rows, feature_names=["delay", "carrier"], feature_types=["q", "c"])
        assert np.array_equal(booster.predict(data), scores), "xgboost"
        try:
            import sluiceway
        except ImportError:
            print("loaded without it")
    """)
    done = subprocess.run([sys.executable, "-c", stranger], capture_output=True, text=True, timeout=240, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "loaded without it" in done.stdout
