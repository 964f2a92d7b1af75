"""``sluiceway serve score``: a registered model by its alias, from the command to the table, and every wrong call."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import yaml

from batch_scores import commits, each_once, held, predicted, rows, table_of
from command_line import sluiceway
from serving_models import train_small
from sluiceway.cli.main import run_command
from sluiceway.data import commit
from sluiceway.registry.mlflow_registry import CHAMPION, Registry, RunRecord

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("sessions_ray")]


@pytest.fixture
def sessions_ray(ray_cluster: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command ends the Ray that it runs on; here it is that of all tests."""
    from sluiceway.wiring import cluster  # noqa: PLC0415 (brings Ray)

    monkeypatch.setattr(cluster, "disconnect", lambda: None)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with the state of a project: two versions of a model, the first of them the champion."""
    folder = tmp_path_factory.mktemp("project")
    state = folder / ".sluiceway"
    state.mkdir()
    registry = Registry(f"sqlite:///{state / 'mlflow.db'}", state / "artifacts")
    for seed in (1, 2):
        made = train_small(folder / "models", seed=seed)
        run = registry.log_run(RunRecord(experiment="late", name=f"seed {seed}"))
        version = registry.register("late", made.bundle, run)
        assert version == str(seed)
    registry.promote("late", "1")
    assert registry.alias("late", CHAMPION) == "1"
    return folder


@pytest.fixture
def flights(place, tmp_path):
    return table_of(tmp_path / "flights", rows(300, seed=1), rows(300, seed=2, first=300))


def score(place: Path, *words: str, expect: int = 0):
    return sluiceway(place, "serve", "score", *words, expect=expect)


def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    from sluiceway.wiring import cluster  # noqa: PLC0415 (brings Ray)

    monkeypatch.setattr(cluster, "connect_ray", lambda *_, **__: pytest.fail("Ray was started"))


def test_an_alias_scores_a_version_once(place, flights, tmp_path, monkeypatch, capsys):
    target = tmp_path / "scores"
    call = (flights.uri, "--model", "late@champion", "--to", str(target), "--keep", "id", "-m", "nightly")
    done = score(place, *call)
    assert (done["rows"], done["version"], done["skipped"], done["model"]) == (600, 0, False, "late@1")
    assert done["unseen"]["carrier"] > 0
    told = capsys.readouterr().err
    assert "600 rows in" in told
    given = held(flights.uri)
    model = train_small(tmp_path / "again", seed=1)
    np.testing.assert_allclose(held(target)["score"].to_numpy(), predicted(model.booster, given), atol=1e-6)
    with monkeypatch.context() as patched:
        no_ray(patched)
        again = score(place, *call)
    assert (again["skipped"], again["version"], again["batch_id"]) == (True, 0, done["batch_id"])
    assert (commits(target), each_once(target, flights)) == (1, True)
    # The other version of the model is another batch; the first version of the table, too.
    assert score(place, *call[:2], "late@2", *call[3:])["version"] == 1
    older = score(place, f"{flights.uri}@0", *call[1:], "--batch-id", "monday")
    assert (older["rows"], older["batch_id"], older["version"]) == (300, "monday", 2)


def test_people_are_told_in_lines(place, flights, tmp_path, capsys, monkeypatch):
    command = ["serve", "score", flights.uri, "--model", "late@2", "--to", str(tmp_path / "scores"), "--keep", "id"]
    monkeypatch.chdir(place)
    assert run_command(command) == 0
    first = capsys.readouterr().out
    assert run_command(command) == 0
    again = capsys.readouterr().out
    assert "version:        0" in first
    assert "categories that the model does not know, taken as missing" in first
    assert "skipped" not in first
    assert "this batch is in the table already; nothing was written" in again


def test_the_declared_key_is_kept(place, flights, tmp_path):
    sluiceway(place, "data", "add", flights.uri, "--key", "id")
    score(place, flights.uri, "--model", "late@1", "--to", str(tmp_path / "scores"))
    assert held(tmp_path / "scores").column_names[:2] == ["id", "score"]


def test_the_key_of_the_configuration_is_kept(place, flights, tmp_path):
    config = tmp_path / "late.yaml"
    data = {"path": flights.uri, "features": ["delay"], "target": "late", "key": ["id", "carrier"]}
    more = {"experiment": {"name": "late"}, "model": {"params": {"n_estimators": 5}}, "training": {"folds": 2}}
    config.write_text(yaml.safe_dump({**more, "data": data, "evaluation": {"thresholds": {"auc_roc": 0.5}}}))
    call = ("--model", "late@1", "--to", str(tmp_path / "scores"), "--config", str(config))
    score(place, flights.uri, *call)
    assert held(tmp_path / "scores").column_names[:3] == ["id", "carrier", "score"]
    # It is about its own table only.
    other = table_of(tmp_path / "other", rows(10, seed=1))
    assert "nobody has declared a key" in score(place, other.uri, *call, expect=2)["message"]


def test_wrong_calls_say_what_to_do_and_write_nothing(place, flights, tmp_path, monkeypatch):
    no_ray(monkeypatch)
    scores, other, empty = (str(tmp_path / name) for name in ("scores", "other", "empty"))
    commit.append(other, pa.table({"id": [1], "delay": [1.0]}), message="other", source="test")
    commit.append(empty, rows(1, seed=1).slice(0, 0), message="made", source="test")
    champion, keep, to = ("--model", "late@champion"), ("--keep", "id"), ("--to", scores)

    def refused(*words: str) -> str:
        told = score(place, *words, expect=2)
        return f"{told['error']}: {told['message']} ({told['hint']}) {told.get('problems', '')}"

    assert "no column 'distance'" in refused(other, *champion, *to, *keep)
    assert "has no rows" in refused(empty, *champion, *to, *keep)
    assert "no version 7" in refused(f"{flights.uri}@7", *champion, *to, *keep)
    assert "there is no Delta table" in refused(str(tmp_path / "none"), *champion, *to, *keep)
    assert "no version or alias 'best'" in refused(flights.uri, "--model", "late@best", *to, *keep)
    assert "there is no registered model 'lat'" in refused(flights.uri, "--model", "lat@1", *to, *keep)
    assert "is not MODEL@VERSION" in refused(flights.uri, "--model", "late", *to, *keep)
    assert "has no column 'ids'" in refused(flights.uri, *champion, *to, "--keep", "ids")
    assert "scoring writes a column 'model'" in refused(flights.uri, *champion, *to, "--keep", "id=model")
    assert "is the table that is scored" in refused(flights.uri, *champion, "--to", flights.uri, *keep)
    assert "does not fit" in refused(flights.uri, *champion, "--to", other, *keep)
    assert "--device is 'tpu'" in refused(flights.uri, *champion, *to, *keep, "--device", "tpu")
    assert not Path(scores).exists()
    assert commits(flights.uri) == 2
    assert commits(other) == 1


def test_a_table_that_nobody_declared_a_key_of_needs_columns_to_keep(place, tmp_path, monkeypatch):
    no_ray(monkeypatch)
    source = table_of(tmp_path / "keyless", rows(10, seed=1))
    told = score(place, source.uri, "--model", "late@1", "--to", str(tmp_path / "scores"), expect=2)
    assert "nobody has declared a key" in told["message"]
    assert "--keep" in told["hint"]
