"""Rows taken out by key with a log entry of our own: races, kills at every step, odd names, what is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from sluiceway.core.errors import ConflictError, DataError, UnsupportedTableError
from sluiceway.data import commit, delta_log, history, places, rewrite, tables
from sluiceway.data.clone import make_clone
from sluiceway.data.commit_files import Delivery
from sluiceway.data.ingest import planning
from sluiceway.data.key_set import KeySet
from sluiceway.data.rewrite import Replaced, Rewriting, fitted_keys, replace_rows, rewrite_share

pytestmark = pytest.mark.integration

ONE, TWO = "1" * 32, "2" * 32
RUN = "0123456789ab"


def rows(*ids: int | None, part: str = "a b") -> pa.Table:
    return pa.table({"id": pa.array(ids, pa.int64()), "part": pa.array([part] * len(ids)), "x": [1.5] * len(ids)})


def keys(*ids: int | None) -> pa.Table:
    return pa.table({"id": pa.array(ids, pa.int64())})


def drop(place: str, wanted: pa.Table, **named: object) -> Replaced:
    target = planning.existing_target(place)
    delivery = Delivery("gone", "test", **named)
    job = Rewriting(target, fitted_keys(wanted, target), "DELETE", delivery, RUN, wanted.num_rows)
    return replace_rows(job, lambda shares: [rewrite_share(share, KeySet(job.keys)) for share in shares])


def held(place: str, version: int | None = None) -> list[int | None]:
    found = places.dataset(tables.open_table(place, version=version), place).to_table()["id"].to_pylist()
    return sorted(found, key=lambda one: -1 if one is None else one)


def files(place: str) -> set[str]:
    return {str(p.relative_to(place)) for p in Path(place).rglob("*.parquet") if "_delta_log" not in p.parts}


@pytest.fixture(params=["t", "my täble/a=b&c"])
def uri(request, tmp_path: Path) -> str:
    """Three files in two partitions, with names that have to be encoded."""
    place = str(tmp_path / request.param)
    for start, part in ((0, "a b"), (10, "c/d%"), (20, "a b")):
        table = rows(*range(start, start + 10), part=part)
        commit.append(place, table, message="rows", source="test", partition_by=("part",))
    return place


@pytest.fixture
def clone(uri: str) -> str:
    return make_clone(uri, ONE, uri=uri, version=2)


def test_only_files_with_such_rows_are_written_again_with_statistics(uri, clone):
    before = set(DeltaTable(clone).get_add_actions()["path"].to_pylist())
    done = drop(clone, keys(3, 4, 25, 99), author="ann", more={"ticket": "D-1"})
    assert (done.version, done.rows, done.deleted, done.met, len(done.files)) == (1, 4, 3, 3, 1)
    assert held(clone) == sorted({*range(30)} - {3, 4, 25})
    assert held(uri) == list(range(30))
    assert held(clone, 0) == list(range(30))
    kept = before & set(DeltaTable(clone).get_add_actions()["path"].to_pylist())
    assert len(kept) == 1
    live = tables.files(tables.open_table(clone))
    own = live.filter(pa.compute.invert(pa.compute.is_in(live["path"], pa.array(sorted(kept))))).to_pylist()
    assert [(one["min.id"], one["max.id"], one["num_records"]) for one in own] == [(0, 29, 17)]
    assert own[0]["partition.part"] == "a b"
    (info,) = history.log(clone, limit=1)
    assert (info.operation, info.message, info.rows, info.author) == ("DELETE", "gone", 4, "ann")
    assert (info.metadata["ticket"], info.metadata[rewrite.DELETED]) == ("D-1", 3)
    gone = before - kept
    assert {places.path_below(clone, one) for one in done.removed} == gone
    found = places.dataset(tables.open_table(clone), clone).to_table().filter(pa.compute.field("id") == 15)
    assert found.to_pylist() == [{"id": 15, "part": "c/d%", "x": 1.5}]


def test_the_engine_overwrites_all_that_a_branch_has_inherited(uri, clone):
    commit.overwrite(clone, rows(7), message="anew", source="test")
    assert held(clone) == [7]
    assert len(delta_log.replay(clone, 1).adds) == 1


def test_a_file_whose_rows_all_go_is_only_taken_out(clone):
    done = drop(clone, keys(*range(10, 20)))
    assert (done.deleted, len(done.removed), done.files) == (10, 1, ())
    assert drop(clone, keys(*range(40))).deleted == 20
    assert held(clone) == []
    assert drop(clone, keys(1)).version == 2  # nothing to do, nothing said


def test_a_main_table_and_a_branch_of_a_branch(uri, clone):
    drop(clone, keys(1))
    inner = make_clone(uri, TWO, uri=clone, version=1)
    drop(inner, keys(2, 11))
    drop(uri, keys(29))
    assert held(inner) == sorted({*range(30)} - {1, 2, 11})
    assert held(clone) == sorted({*range(30)} - {1})
    assert held(uri) == list(range(29))
    assert sorted(DeltaTable(uri).to_pyarrow_table()["id"].to_pylist()) == list(range(29))
    DeltaTable(inner).create_checkpoint()
    assert held(inner) == sorted({*range(30)} - {1, 2, 11})


def test_rows_that_repeat_go_together_and_a_null_is_no_key(tmp_path):
    uri = str(tmp_path / "t")
    commit.append(uri, rows(1, 1, None, 2), message="rows", source="test")
    commit.append(uri, rows(1, None), message="rows", source="test")
    place = make_clone(uri, ONE, uri=uri, version=1)
    assert drop(place, keys(1, None)).deleted == 3
    assert held(place) == [None, None, 2]
    assert drop(place, pa.table({"id": pa.array([2], pa.int32()), "part": ["a b"]})).deleted == 1
    with pytest.raises(DataError, match="has no column nope"):
        drop(place, pa.table({"nope": [1]}))
    with pytest.raises(DataError, match="do not fit"):
        drop(place, pa.table({"id": ["x"]}))


def test_keys_of_partitions_and_columns_that_a_file_lacks(uri, clone):
    write_deltalake(clone, rows(50).append_column("new", pa.array(["n"])), mode="append", schema_mode="merge")
    assert drop(clone, pa.table({"new": pa.array(["n"]), "id": pa.array([50])})).deleted == 1
    assert drop(clone, pa.table({"part": ["c/d%"], "id": [12]})).deleted == 1
    assert drop(clone, pa.table({"part": ["a b"], "id": [12]})).deleted == 0
    assert drop(clone, pa.table({"part": ["c/d%"]})).deleted == 9
    assert held(clone) == [*range(10), *range(20, 30)]


def test_times_as_partitions_stay_what_they_are(tmp_path):
    uri = str(tmp_path / "t")
    at = pa.array([0, 1_000_001, None, 0], pa.timestamp("us", "UTC"))
    table = pa.table({"id": [1, 2, 3, 4], "at": at, "day": at.cast(pa.date32())})
    write_deltalake(uri, table, partition_by=["at", "day"])
    place = make_clone(uri, ONE, uri=uri, version=0)
    assert drop(place, table.slice(0, 1).select(["id", "at"])).deleted == 1
    assert drop(place, table.slice(1, 2).select(["at"])).deleted == 1
    found = places.dataset(tables.open_table(place), place).to_table().sort_by("id")
    assert found.to_pylist() == table.slice(2).to_pylist()


def test_values_of_all_types_stay_what_they_are(tmp_path):
    uri = str(tmp_path / "t")
    point = pa.struct([("a", pa.int16()), ("b", pa.struct([("c", pa.string())]))])
    columns = {
        "l": pa.array([[1, None], None, []], pa.list_(pa.int32())),
        "m": pa.array([[("a", [1.5])], None, []], pa.map_(pa.string(), pa.list_(pa.float32()))),
        "s": pa.array([{"a": 1, "b": {"c": "x"}}, None, {"a": None, "b": None}], point),
        "ls": pa.array([[{"a": 1}], None, [None]], pa.list_(pa.struct([("a", pa.int8())]))),
        "b": pa.array([b"x", None, b""]),
        "d": pa.array([Decimal("1.10"), None, Decimal("-3.33")], pa.decimal128(9, 2)),
        "day": pa.array([0, None, -40_000], pa.date32()),
        "n": pa.array([1, None, -2], pa.timestamp("us")),
        "t": pa.array([1, None, 2], pa.timestamp("us", "UTC")),
    }
    table = pa.table({"id": [1, 2, 3]} | columns)
    write_deltalake(uri, table)
    place = make_clone(uri, ONE, uri=uri, version=0)
    drop(place, keys(2))
    found = places.dataset(tables.open_table(place), place).to_table().sort_by("id").to_pylist()
    assert found == [table.to_pylist()[0], table.to_pylist()[2]]


def test_a_delivery_that_comes_again_does_nothing(clone):
    first = drop(clone, keys(1, 2), batch_id="b")
    write_deltalake(clone, rows(1), mode="append")
    before = files(clone)
    again = drop(clone, keys(1, 2), batch_id="b")
    assert (again.skipped, again.version, again.rows, again.deleted) == (True, first.version, 2, 2)
    assert files(clone) == before
    named = drop(clone, keys(77), batch_id="nothing")
    assert (named.version, named.deleted) == (3, 0)
    assert drop(clone, keys(3), batch_id="nothing").skipped


def test_a_table_that_only_grows_or_asks_for_more_is_refused(uri, clone):
    DeltaTable(clone).alter.set_table_properties({"delta.appendOnly": "true"})
    before = files(clone)
    with pytest.raises(UnsupportedTableError, match="only grows"):
        drop(clone, keys(1))
    assert (files(clone), DeltaTable(clone).version()) == (before, 1)


def test_the_change_feed_tells_the_rows(tmp_path):
    uri = str(tmp_path / "t")
    write_deltalake(uri, rows(*range(10)))
    DeltaTable(uri).alter.set_table_properties({"delta.enableChangeDataFeed": "true"})
    clone = make_clone(uri, ONE, uri=uri, version=1)
    drop(clone, keys(1))
    drop(uri, keys(1))
    found = pa.table(DeltaTable(uri).load_cdf(starting_version=2).read_all())
    net = Counter()
    for one in found.to_pylist():
        net[one["id"]] += 1 if one["_change_type"] == "insert" else -1
    assert {one: count for one, count in net.items() if count} == {1: -1}


def overtake(monkeypatch, *others: object) -> list[object]:
    """Something happens to the table just before each of the first entries is written."""
    write, waiting = delta_log.write_entry, list(others)

    def write_entry(*given: object, **named: object) -> None:
        if waiting:
            waiting.pop(0)()
        write(*given, **named)

    monkeypatch.setattr(delta_log, "write_entry", write_entry)
    return waiting


def test_a_lost_race_costs_a_look_at_what_came_since(clone, monkeypatch):
    looked = []
    share = rewrite.rewrite_share

    def counted(given: object, wanted: object) -> object:
        looked.append([file.path for file in given.files])
        return share(given, wanted)

    monkeypatch.setattr(sys.modules[__name__], "rewrite_share", counted)
    waiting = overtake(
        monkeypatch,
        lambda: write_deltalake(clone, rows(100, 101), mode="append"),
        lambda: write_deltalake(clone, rows(3, 102), mode="append"),
    )
    done = drop(clone, keys(3, 4))
    assert (waiting, done.version, done.deleted) == ([], 3, 3)
    assert held(clone) == sorted({*range(30), 100, 101, 102} - {3, 4})
    assert [len(paths) for paths in looked] == [1, 1]  # neither files without such keys nor one twice


def test_what_was_written_for_files_that_are_gone_is_deleted(clone, monkeypatch):
    before = files(clone)
    waiting = overtake(monkeypatch, lambda: commit.overwrite(clone, rows(3, 7), message="anew", source="test"))
    done = drop(clone, keys(3, 4))
    assert (waiting, done.version, done.deleted) == ([], 2, 1)
    assert held(clone) == [7]
    assert len(files(clone) - before) == 2  # of the overwriting, and of ours


def test_who_loses_every_race_is_told_so(clone, monkeypatch):
    overtake(monkeypatch, *(lambda: write_deltalake(clone, rows(100), mode="append") for _ in range(20)))
    with pytest.raises(ConflictError, match="at the same time"):
        drop(clone, keys(3))
    assert held(clone) == [*range(30), *[100] * 20]


def test_a_table_that_is_changed_meanwhile_is_a_conflict(clone, monkeypatch):
    overtake(monkeypatch, lambda: DeltaTable(clone).alter.add_constraint({"few": "id < 100"}))
    with pytest.raises(ConflictError, match="were changed"):
        drop(clone, keys(3))
    assert held(clone) == list(range(30))


def test_a_file_that_is_gone_is_told(uri, clone):
    for path in Path(uri).rglob("*.parquet"):
        path.unlink()
    with pytest.raises(DataError, match="is gone"):
        drop(clone, keys(3))
    assert DeltaTable(clone).version() == 0


STEPS = ["a file", "the entry", "the answer"]


@pytest.mark.parametrize("step", STEPS)
def test_a_process_killed_at_any_step_leaves_the_table_whole(clone, step):
    killed = subprocess.run([sys.executable, __file__, "killed", clone, step], check=False)
    assert killed.returncode == -signal.SIGKILL
    done = step == "the answer"
    assert held(clone) == (sorted({*range(30)} - {3, 14}) if done else list(range(30)))
    again = drop(clone, keys(3, 14), batch_id="killed")
    assert (again.skipped, again.deleted, again.version) == (done, 2, 1)
    assert held(clone) == sorted({*range(30)} - {3, 14})


def killed_at(place: str, step: str) -> None:
    def die(*_: object, **named: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    write, close = delta_log.write_entry, rewrite.FileWriter.finish
    if step == "a file":
        rewrite.FileWriter.finish = lambda writer: (close(writer), die())
    elif step == "the entry":
        delta_log.write_entry = die
    else:
        delta_log.write_entry = lambda *given, **named: (write(*given, **named), die())
    drop(place, keys(3, 14), batch_id="killed")


def work(place: str, first: str) -> None:
    """One of two processes: say ready, wait for go, then delete ten keys one by one and add a row each time."""
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    for number in range(int(first), 30, 3):
        drop(place, keys(number))
        commit.append(place, rows(number + 100), message="rows", source="test")


def test_two_processes_that_delete_on_one_branch(clone):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    both = [subprocess.Popen([sys.executable, __file__, "work", clone, first], **pipes) for first in ("0", "1")]
    for process in both:
        assert process.stdout.readline() == "ready\n"
    for process in both:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in both:
        process.communicate(timeout=240)
        assert process.returncode == 0
    mine = [number for number in range(30) if number % 3 < 2]
    assert held(clone) == sorted([*range(2, 30, 3), *(number + 100 for number in mine)])
    operations = Counter(entry["operation"] for entry in DeltaTable(clone).history())
    assert (operations["DELETE"], operations["WRITE"]) == (20, 20)
    named = {json.loads(line).get("add", {}).get("path") for line in entries(clone)} - {None}
    # An append of the engine that loses a race leaves its file; we do not.
    assert {one for one in files(clone) if "zstd" in one} <= {*map(places.plain_path, named)}


def entries(place: str) -> list[str]:
    return [line for path in (Path(place) / "_delta_log").glob("*.json") for line in path.read_text().splitlines()]


if __name__ == "__main__":
    {"killed": killed_at, "work": work}[sys.argv[1]](*sys.argv[2:])
