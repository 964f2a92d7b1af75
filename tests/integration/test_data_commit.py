"""Commits on real Delta tables: metadata, repeats, races seen from one process, restore, names of versions."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from sluiceway.catalog.tags import TagStore
from sluiceway.core.errors import (
    ConflictError,
    DataError,
    InputError,
    ReferenceNotFoundError,
    SchemaMismatchError,
    TableNotFoundError,
    UnsupportedTableError,
)
from sluiceway.data import commit, commit_files, digest, history, references, tables
from sluiceway.data.ingest.request import IngestRequest, report_of_earlier

pytestmark = pytest.mark.integration


def rows(*values: int) -> pa.Table:
    return pa.table({"id": pa.array(values, pa.int64()), "text": [f"t{v}" for v in values]})


def ids(uri: str) -> list[int]:
    return sorted(DeltaTable(uri).to_pyarrow_table()["id"].to_pylist())


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return str(tmp_path / "table")


def test_commit_carries_metadata_and_statistics(uri):
    first = commit.append(uri, rows(1, 2, 3), message="January", source="test", batch_id="m1", author="ann")
    assert (first.version, first.rows, first.skipped) == (0, 3, False)
    info = history.log(uri)[0]
    assert (info.version, info.rows, info.message, info.source) == (0, 3, "January", "test")
    assert (info.batch_id, info.author) == ("m1", "ann")
    assert abs(datetime.now(UTC) - info.time) < timedelta(minutes=5)
    added = [json.loads(line) for line in (Path(uri) / "_delta_log/00000000000000000000.json").read_text().splitlines()]
    statistics = json.loads(next(line["add"]["stats"] for line in added if "add" in line))
    assert statistics["minValues"] == {"id": 1, "text": "t1"}
    assert statistics["maxValues"] == {"id": 3, "text": "t3"}


def test_statistics_cover_columns_beyond_the_default_32(uri):
    commit.append(uri, pa.table({f"c{i}": [i] for i in range(40)}), message="wide", source="test")
    commit.append(uri, pa.table({f"c{i}": [i + 1] for i in range(40)}), message="wide", source="test")
    assert sorted(tables.files(tables.open_table(uri))["max.c39"].to_pylist()) == [39, 40]


def test_repeated_batch_is_a_no_op(uri):
    commit.append(uri, rows(1), message="a", source="test", batch_id="a")
    commit.append(uri, rows(2), message="b", source="test", batch_id="b")
    again = commit.append(uri, rows(1), message="a", source="test", batch_id="a")
    assert (again.version, again.rows, again.skipped) == (0, 1, True)
    assert commit.overwrite(uri, rows(9), message="b", source="test", batch_id="b").skipped
    assert ids(uri) == [1, 2]


def test_reader_is_streamed_and_counted(uri):
    data = rows(*range(100))
    for batch_id in ("x", "y"):
        reader = pa.RecordBatchReader.from_batches(data.schema, data.to_batches(max_chunksize=7))
        assert commit.append(uri, reader, message="stream", source="test", batch_id=batch_id).rows == 100
    assert [info.rows for info in history.log(uri)] == [100, 100]


def test_failing_reader_leaves_nothing_visible(uri):
    commit.append(uri, rows(1), message="a", source="test")

    def breaks():
        yield rows(2).to_batches()[0]
        raise OSError("the source went away")

    reader = pa.RecordBatchReader.from_batches(rows(1).schema, breaks())
    with pytest.raises(DataError, match="went away"):
        commit.append(uri, reader, message="b", source="test", batch_id="b")
    assert ids(uri) == [1]
    assert commit.append(uri, rows(2), message="b", source="test", batch_id="b").version == 1


KILLED = """
import os, signal, sys
import pyarrow as pa
from sluiceway.data import commit

uri, when = sys.argv[1:]
rows = pa.table({"id": pa.array([2], pa.int64()), "text": ["t2"]})

def stream():
    yield rows.to_batches()[0]
    if when == "before":
        os.kill(os.getpid(), signal.SIGKILL)

commit.append(
    uri, pa.RecordBatchReader.from_batches(rows.schema, stream()), message="b", source="test", batch_id="b"
)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(("when", "skipped"), [("before", False), ("after", True)])
def test_a_delivery_arrives_once_whenever_its_process_is_killed(uri, when, skipped):
    commit.append(uri, rows(1), message="a", source="test", batch_id="a")
    killed = subprocess.run([sys.executable, "-c", KILLED, uri, when], check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert ids(uri) == ([1, 2] if skipped else [1])
    repeated = commit.append(uri, rows(2), message="b", source="test", batch_id="b")
    assert (repeated.version, repeated.skipped) == (1, skipped)
    assert ids(uri) == [1, 2]


def test_a_delivery_by_key_that_changes_nothing_is_done_as_well(uri):
    commit.append(uri, rows(1, 2), message="a", source="test")
    keys = rows(7).select(["id"])
    given = {"rows": 1, "key": ("id",), "mode": "delete", "delivery": commit_files.Delivery("d", "test", "d")}
    result, numbers = commit_files.merge(uri, lambda: keys.to_reader(), **given)
    assert (result.version, result.skipped, numbers["deleted"]) == (1, False, 0)
    assert (DeltaTable(uri).version(), history.log(uri)[0].message, history.log(uri)[0].rows) == (1, "d", 1)
    commit.append(uri, rows(7), message="b", source="test")
    again, _ = commit_files.merge(uri, lambda: keys.to_reader(), **given)
    assert (again.version, again.skipped) == (1, True)
    assert ids(uri) == [1, 2, 7]


def test_a_commit_is_called_by_its_own_version_whatever_comes_after(uri, monkeypatch):
    monkeypatch.setattr(history, "CHUNK", 2)
    for number in range(6):
        commit.append(uri, rows(number), message=f"m{number}", source="test")
    early = tables.open_table(uri, version=3)
    named = [(3, "m3"), (2, "m2"), (1, "m1"), (0, "m0")]
    for limit in (None, 9, 4, 2, 1):
        assert [(info.version, info.message) for info in history.log_of(early, limit=limit)] == named[:limit]
    DeltaTable(uri).create_checkpoint()
    log = Path(uri) / "_delta_log"
    (log / f"{6:020d}.json").write_text('{"txn":{"appId":"a writer that tells nothing","version":1}}\n')
    (log / f"{0:020d}.json").unlink()
    found = [(info.version, info.message, info.time is None) for info in history.log(uri)]
    assert found == [(6, "", True), *((number, f"m{number}", False) for number in (5, 4, 3, 2, 1))]


def test_append_survives_a_writer_that_was_faster(uri, monkeypatch):
    commit.append(uri, rows(1), message="a", source="test")
    opened = tables.open_table
    raced = []

    def open_then_be_overtaken(place, **kwargs):
        table = opened(place, **kwargs)
        if not raced:
            raced.append(True)
            write_deltalake(place, rows(50), mode="append")
        return table

    monkeypatch.setattr(tables, "open_table", open_then_be_overtaken)
    assert commit.append(uri, rows(2), message="b", source="test").version == 2
    assert ids(uri) == [1, 2, 50]


def test_stale_overwrite_after_an_append_is_refused(uri):
    seen = commit.append(uri, rows(1), message="a", source="test").version
    commit.append(uri, rows(2), message="b", source="test")
    with pytest.raises(ConflictError, match="version 1, not at 0"):
        commit.overwrite(uri, rows(3), message="c", source="test", expected_version=seen)
    assert ids(uri) == [1, 2]
    assert commit.overwrite(uri, rows(3), message="c", source="test", expected_version=1).version == 2
    assert ids(uri) == [3]


def test_restore_brings_rows_back_as_a_new_version(uri):
    commit.append(uri, rows(1), message="a", source="test")
    commit.append(uri, rows(2), message="b", source="test")
    result = commit.restore(uri, 0, message="undo", batch_id="undo-1")
    assert (result.version, result.rows) == (2, 1)
    assert ids(uri) == [1]
    assert commit.restore(uri, 0, message="undo", batch_id="undo-1").skipped
    assert history.log(uri)[0].message == "undo"
    with pytest.raises(ReferenceNotFoundError, match="no version 7"):
        commit.restore(uri, 7, message="no")


def test_a_delivery_that_was_taken_back_is_not_there(uri):
    for batch_id in ("a", "b", "c"):
        commit.append(uri, rows(1), message=batch_id, source="test", batch_id=batch_id)
    commit.restore(uri, 2, message="nothing to do")
    commit.restore(uri, 1, message="without c")
    assert report_of_earlier(uri, IngestRequest(batch_id="b")).skipped
    with pytest.raises(InputError, match=r"batch c .* version 3 went back to version 1"):
        report_of_earlier(uri, IngestRequest(batch_id="c"))
    # A step of a pipeline that has gone back itself is done when it comes again.
    assert commit.append(uri, rows(1), message="c", source="test", batch_id="c").skipped


def test_a_restore_to_a_time_takes_back_what_came_after_it(uri):
    commit.append(uri, rows(1), message="a", source="test", batch_id="a")
    time.sleep(0.01)
    then = datetime.now(UTC)
    time.sleep(0.01)
    commit.append(uri, rows(2), message="b", source="test", batch_id="b")
    DeltaTable(uri).restore(then)
    assert ids(uri) == [1]
    assert report_of_earlier(uri, IngestRequest(batch_id="a")).skipped
    with pytest.raises(InputError, match=rf"batch b .* version 2 went back to {then:%F %T} UTC"):
        report_of_earlier(uri, IngestRequest(batch_id="b"))


def test_rows_that_do_not_fit_are_refused(uri):
    commit.append(uri, rows(1), message="a", source="test")
    with pytest.raises(SchemaMismatchError, match="text is missing; more is not in the table; id is string"):
        commit.append(uri, pa.table({"id": ["1"], "more": [1]}), message="b", source="test")
    with pytest.raises(DataError, match="without a type: empty"):
        commit.append(uri, pa.table({"empty": pa.nulls(1)}), message="b", source="test")
    shuffled = rows(2).select(["text", "id"])
    assert commit.append(uri, shuffled, message="order is free", source="test").version == 1
    assert ids(uri) == [1, 2]


def test_table_inside_a_table_is_refused(uri):
    commit.append(uri, rows(1), message="a", source="test")
    with pytest.raises(DataError, match="lies inside the Delta table"):
        commit.append(f"{uri}/part/deep", rows(1), message="a", source="test")


def test_missing_and_unreadable_tables(uri, tmp_path):
    with pytest.raises(TableNotFoundError, match="no Delta table"):
        tables.open_table(uri)
    mapped = str(tmp_path / "mapped")
    log = Path(mapped) / "_delta_log"
    log.mkdir(parents=True)
    annotation = {"delta.columnMapping.id": 1, "delta.columnMapping.physicalName": "col-1"}
    schema = {"type": "struct", "fields": [{"name": "x", "type": "long", "nullable": True, "metadata": annotation}]}
    meta = {"id": "1", "format": {"provider": "parquet", "options": {}}, "schemaString": json.dumps(schema)}
    meta |= {"partitionColumns": [], "configuration": {"delta.columnMapping.mode": "name"}, "createdTime": 1}
    lines = [{"protocol": {"minReaderVersion": 2, "minWriterVersion": 5}}, {"metaData": meta}]
    (log / "00000000000000000000.json").write_text("\n".join(json.dumps(line) for line in lines))
    with pytest.raises(UnsupportedTableError, match="column mapping"):
        tables.open_table(mapped)


def test_references(uri, catalog):
    tags = TagStore(catalog)
    commit.append(uri, rows(1), message="a", source="test")
    commit.append(uri, rows(2), message="b", source="test")
    tags.set(uri, "h1", 0, digest.version_digest(uri, 0), "half", 1.0)
    assert references.resolve(uri, None, tags=tags).version == 1
    by_tag = references.resolve(uri, "h1", tags=tags)
    assert (by_tag.version, by_tag.rows, by_tag.ref) == (0, 1, "h1")
    assert references.resolve(uri, 0, tags=tags).digest == by_tag.digest
    assert references.resolve(uri, "v1", tags=tags).version == 1
    first, second = (info.time for info in reversed(history.log(uri)))
    later = second + timedelta(hours=1)
    assert references.resolve(uri, first.isoformat(), tags=tags, now=later).version == 0
    assert references.resolve(uri, second.isoformat(), tags=tags, now=later).version == 1
    with pytest.raises(ReferenceNotFoundError, match="did not exist"):
        references.resolve(uri, (first - timedelta(days=1)).isoformat(), tags=tags)
    with pytest.raises(ReferenceNotFoundError, match="not come yet"):
        references.resolve(uri, "2999-01-01", tags=tags)
    with pytest.raises(ReferenceNotFoundError, match="there are: h1"):
        references.resolve(uri, "h2", tags=tags)
    with pytest.raises(ReferenceNotFoundError, match="versions are 0 to 1"):
        references.resolve(uri, 12, tags=tags)


def test_empty_table_and_table_made_anew(uri, tmp_path, catalog):
    tags = TagStore(catalog)
    commit.append(uri, rows(1).slice(0, 0), message="nothing", source="test")
    with pytest.raises(DataError, match="has no rows"):
        references.resolve(uri, None, tags=tags)
    tags.set(uri, "then", 0, "another digest", "", 1.0)
    with pytest.raises(DataError, match="made anew"):
        references.resolve(uri, "then", tags=tags)


def test_digest_is_of_files_and_schema(uri, tmp_path):
    commit.append(uri, rows(1), message="a", source="test")
    first = digest.version_digest(uri, 0)
    commit.append(uri, rows(2), message="b", source="test")
    DeltaTable(uri).create_checkpoint()
    assert digest.version_digest(uri, 0) == first != digest.version_digest(uri, 1)
    assert digest.version_digest(uri, commit.restore(uri, 0, message="undo").version) == first


def test_tags(catalog):
    tags = TagStore(catalog)
    tags.set("/t", "a", 1, "d1", "one", 1.0)
    assert tags.set("/t", "a", 1, "d1", "again", 2.0).message == "one"
    with pytest.raises(DataError, match="already names version 1"):
        tags.set("/t", "a", 2, "d2", "", 3.0)
    assert tags.set("/t", "a", 2, "d2", "", 3.0, move=True).version == tags.get("/t", "a").version == 2
    tags.set("/t", "b", 5, "d5", "", 4.0)
    assert [tag.name for tag in tags.list("/t")] == ["b", "a"]
    assert tags.list("/other") == []
    for bad in ("12", "v3", "a@b", "a/b", " "):
        with pytest.raises(DataError, match="cannot be a tag"):
            tags.set("/t", bad, 1, "d", "", 1.0)
    tags.delete("/t", "b")
    with pytest.raises(ReferenceNotFoundError):
        tags.delete("/t", "b")
