"""What rollouts decided is in a Delta table once, with what each decision saw; whatever fails, crashes or races."""

from __future__ import annotations

import logging
import threading
import time
from types import SimpleNamespace

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from command_line import sluiceway
from rollout_world import World, make_plan
from sluiceway.catalog.engine import open_catalog
from sluiceway.catalog.rollouts import RolloutStore
from sluiceway.core.errors import DataError
from sluiceway.data import commit_numbered
from sluiceway.lifecycle.rollout_history import keep_history
from sluiceway.rollout.controller import run
from sluiceway.rollout.export import SCHEMA, export, missing
from sluiceway.rollout.journal import Journal
from sluiceway.rollout.state import Phase, RolloutState

pytestmark = pytest.mark.integration


@pytest.fixture
def rollouts(tmp_path):
    (tmp_path / ".sluiceway").mkdir()
    engine = open_catalog(f"sqlite:///{tmp_path / '.sluiceway' / 'catalog.db'}")
    yield RolloutStore(engine)
    engine.dispose()


@pytest.fixture
def uri(tmp_path):
    return str(tmp_path / "history")


def rolled_out(rollouts, name="r1", **qualities):
    """A whole rollout whose journal is in a real catalog."""
    world = World.served(**qualities)
    world.rollouts = rollouts
    run(make_plan(rollout_id=name), world.doors(), poll_seconds=5)


def rows(uri):
    found = DeltaTable(uri).to_pyarrow_table().sort_by([("rollout", "ascending"), ("sequence", "ascending")])
    return found.to_pylist()


def test_each_decision_has_a_row_for_each_metric_that_it_saw(rollouts, uri):
    rolled_out(rollouts, errors=(0.0, 0.33))
    journal = Journal.open(rollouts, "r1")
    done = export(uri, rollouts)
    assert (done.rollouts, done.decisions) == (1, len(journal.entries))
    found = rows(uri)
    assert done.rows == len(found)
    table = DeltaTable(uri).to_pyarrow_table()
    assert table.schema.names == SCHEMA.names
    assert [table.schema.field(name).type for name in ("time", "sequence", "value", "decides")] == [
        pa.timestamp("us", tz="UTC"),
        pa.int64(),
        pa.float64(),
        pa.bool_(),
    ]
    for entry in journal.entries:
        mine = [row for row in found if row["sequence"] == entry.sequence]
        verdicts = entry.evidence.get("verdicts", [])
        assert [row["metric"] for row in mine] == ([v["measurement"]["name"] for v in verdicts] or [None])
        assert {row["action"] for row in mine} == {entry.action}
        assert {row["time"].timestamp() for row in mine} == {entry.time}
        for row, verdict in zip(mine, verdicts, strict=False):
            assert (row["status"], row["n"], row["value"]) == (
                verdict["status"],
                verdict["measurement"]["n"],
                verdict["measurement"]["value"],
            )
            assert (row["threshold"], row["told"]) == (verdict["threshold"]["limit"], verdict["line"])
            assert row["challenger_errors"] == entry.evidence["seen"]["steps"][-1]["challenger"]["errors"]
    (failed,) = [row for row in found if row["status"] == "FAIL"]
    assert (failed["metric"], failed["phase"], failed["weight"]) == ("error_rate", "rolling_back", 0.0)
    assert (failed["rollout"], failed["version"], failed["champion"]) == ("r1", "2", "1")


def test_it_is_there_once_and_what_is_missing_is_known(rollouts, uri):
    rolled_out(rollouts)
    n = rollouts.lengths()["r1"]
    assert missing(uri, rollouts) == {"r1": n}
    export(uri, rollouts)
    before = rows(uri)
    assert missing(uri, rollouts) == {}
    assert export(uri, rollouts).decisions == 0
    assert DeltaTable(uri).version() == 0
    going = Journal.begin(rollouts, make_plan(rollout_id="r2", endpoint="fares"))
    for step in range(2):
        going.append(RolloutState(Phase.STEP, step, 2 + step), action="advance", evidence={}, now=float(step))
        assert missing(uri, rollouts) == {"r2": 1}
        assert export(uri, rollouts).rows == 1
    assert rows(uri)[: len(before)] == before
    assert [(row["sequence"], row["metric"]) for row in rows(uri)[len(before) :]] == [(1, None), (2, None)]


def test_a_crash_after_the_commit_brings_nothing_twice(rollouts, uri, monkeypatch):
    rolled_out(rollouts)
    write = commit_numbered.write_deltalake

    def dies(*args, **kwargs):
        write(*args, **kwargs)
        raise KeyboardInterrupt

    monkeypatch.setattr(commit_numbered, "write_deltalake", dies)
    with pytest.raises(KeyboardInterrupt):
        export(uri, rollouts)
    monkeypatch.undo()
    n = len(rows(uri))
    assert export(uri, rollouts).decisions == 0
    assert len(rows(uri)) == n


def test_many_at_a_time_bring_each_decision_once(rollouts, uri):
    for number in range(4):
        rolled_out(rollouts, f"r{number}", seed=number)
    failed = []

    def exporting():
        try:
            export(uri, rollouts)
        except Exception as error:  # noqa: BLE001 (told below)
            failed.append(error)

    threads = [threading.Thread(target=exporting) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    seen = [(row["rollout"], row["sequence"], row["metric"]) for row in rows(uri)]
    assert len(seen) == len(set(seen))
    assert missing(uri, rollouts) == {}


def test_a_table_of_something_else_is_left_alone(rollouts, uri):
    rolled_out(rollouts)
    write_deltalake(uri, pa.table({"a": [1]}))
    with pytest.raises(DataError, match="is no table of rollouts"):
        export(uri, rollouts)
    assert DeltaTable(uri).to_pyarrow_table().column_names == ["a"]


def context_of(rollouts, uri):
    return SimpleNamespace(folders=SimpleNamespace(history=uri), stores=SimpleNamespace(rollouts=rollouts))


def test_what_cannot_be_written_fails_nothing_and_is_there_after_the_next(rollouts, uri, tmp_path, caplog):
    rolled_out(rollouts)
    (tmp_path / "history").write_text("a file is in the way")
    with caplog.at_level(logging.WARNING):
        keep_history(context_of(rollouts, uri))
    assert "the history of rollouts was not written to" in caplog.text
    (tmp_path / "history").unlink()
    rolled_out(rollouts, "r2")
    keep_history(context_of(rollouts, uri))
    assert {row["rollout"] for row in rows(uri)} == {"r1", "r2"}


def test_a_store_that_hangs_is_not_waited_for(rollouts, uri, monkeypatch, caplog):
    rolled_out(rollouts)
    goes_on = threading.Event()
    monkeypatch.setattr("sluiceway.rollout.export.arrived", lambda *_: goes_on.wait(30) and {})
    began = time.monotonic()
    with caplog.at_level(logging.WARNING):
        keep_history(context_of(rollouts, uri), seconds=0.2)
    assert time.monotonic() - began < 5
    goes_on.set()
    for thread in threading.enumerate():
        if thread.name == "rollout history":
            thread.join()
    assert "not waited for" in caplog.text


def test_the_command_tells_what_is_missing_and_brings_it(rollouts, uri, tmp_path):
    rolled_out(rollouts)
    n = rollouts.lengths()["r1"]
    assert sluiceway(tmp_path, "rollout", "export", "--dry-run") == [{"rollout": "r1", "missing": n}]
    assert sluiceway(tmp_path, "rollout", "export")["decisions"] == n
    assert sluiceway(tmp_path, "rollout", "export", "--dry-run") == []
    assert sluiceway(tmp_path, "rollout", "export", "--to", uri)["table"] == uri
    assert rows(uri) == rows(str(tmp_path / ".sluiceway" / "rollout_history"))
