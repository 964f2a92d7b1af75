"""Files that are written here tell the same of themselves as files that the engine writes."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from sluiceway.core.errors import ConflictError, DataError, SchemaMismatchError, UnsupportedTableError
from sluiceway.data import commit_files, tables
from sluiceway.data.commit_files import Delivery
from sluiceway.data.ingest import file_writer
from sluiceway.data.ingest.constraints import ConstraintCheck
from sluiceway.data.ingest.file_writer import FileWriter, delete_files_of
from sluiceway.data.ingest.fit import delta_schema, fitted, refuse_misfit, refuse_nulls
from sluiceway.data.ingest.keys import refuse_bad_keys
from sluiceway.data.ingest.statistics import lower_bound, upper_bound
from sluiceway.data.write_target import WriteTarget, target_of

DELIVERY = Delivery(message="m", source="test")
LONG = "é" * 50
EVERY_TYPE = pa.table(
    {
        "i8": pa.array([1, -2, None], pa.int8()),
        "i16": pa.array([1, -2, None], pa.int16()),
        "i32": pa.array([1, -2, None], pa.int32()),
        "i64": pa.array([1, -(2**60), None], pa.int64()),
        "f32": pa.array([0.1, -2.5, None], pa.float32()),
        "f64": pa.array([0.1, -1e300, None], pa.float64()),
        "zero": pa.array([0.0, -0.0, None], pa.float64()),
        "infinite": pa.array([0.1, float("inf"), float("-inf")], pa.float64()),
        "flag": [True, False, None],
        "text": ["a", LONG, None],
        "long": ["z" * 100, "a" * 100, None],
        "empty": ["", None, None],
        "bytes": [b"a", b"\xff", None],
        "day": [date(2020, 1, 1), date(1900, 1, 2), None],
        "time": pa.array([1234567890123456, -5, None], pa.timestamp("us", "UTC")),
        "local": pa.array([1234567890123456, -5, None], pa.timestamp("us")),
        "money": pa.array([Decimal("1.23"), Decimal("-99999.99"), None], pa.decimal128(10, 2)),
        "nothing": pa.array([None] * 3, pa.int64()),
        "list": [[1], [2, None], None],
        "struct": [{"x": 1, "y": "a", "z": {"w": 1.5}}, {"x": None, "y": "b", "z": None}, None],
        "map": pa.array([[("a", 1)], None, []], pa.map_(pa.string(), pa.int64())),
    }
)


def write(uri: str, rows: pa.Table, *, partition_by: tuple[str, ...] = (), mode: str = "append") -> list[str]:
    """Write rows as a task does, and commit the files; gives their statistics."""
    table = target_of(tables.open_table(uri), uri=uri) if tables.is_table(uri) else None
    target = table or WriteTarget(uri, exists=False, schema=delta_schema(rows.schema), partition_by=partition_by)
    with FileWriter(target, run="0123456789ab", number=0) as writer:
        for batch in rows.to_batches():
            writer.add(fitted(batch, target.schema, where="rows"), where="rows")
        files = writer.finish()
    commit_files.add_files(target, files, mode=mode, delivery=DELIVERY)
    return [file.statistics for file in files]


def actions(uri: str) -> dict[str, list[object]]:
    found = tables.files(tables.open_table(uri)).to_pydict()
    return {name: values for name, values in found.items() if name not in ("path", "size_bytes", "modification_time")}


def test_statistics_are_those_of_the_engine_for_every_type(tmp_path):
    ours, theirs = str(tmp_path / "ours"), str(tmp_path / "theirs")
    write(ours, EVERY_TYPE)
    write_deltalake(theirs, EVERY_TYPE, configuration={"delta.dataSkippingNumIndexedCols": "-1"})
    mine, engine = actions(ours), actions(theirs)
    assert (mine.pop("null_count.bytes"), engine.pop("null_count.bytes")) == ([1], [None])
    assert {name: values for name, values in mine.items() if values != engine.get(name)} == {}
    assert {name: values for name, values in engine.items() if values != mine.get(name)} == {}
    assert (mine["min.money"], mine["max.long"]) == ([Decimal("-99999.99")], ["z" * 63 + "{"])
    assert mine["max.time"] == [datetime(2009, 2, 13, 23, 31, 30, 123456, UTC)]
    assert DeltaTable(ours).to_pyarrow_table().to_pylist() == DeltaTable(theirs).to_pyarrow_table().to_pylist()


def test_partitions_are_those_of_the_engine(tmp_path):
    rows = pa.table(
        {
            "x": [1, 2, 3],
            "text": ["New York/a b", "é%:?='\"#", None],
            "day": [date(2020, 1, 1), None, date(1900, 1, 1)],
            "time": pa.array([1234567890123456, -5, None], pa.timestamp("us", "UTC")),
            "flag": [True, False, None],
            "number": pa.array([1, None, -3], pa.int16()),
            "money": pa.array([Decimal("1.20"), None, Decimal("-5.00")], pa.decimal128(10, 2)),
        }
    )
    by = ("text", "day", "time", "flag", "number", "money")
    ours, theirs = str(tmp_path / "ours"), str(tmp_path / "theirs")
    write(ours, rows.slice(0, 2), partition_by=by)  # the first commit goes another way than the second
    write(ours, rows.slice(2))
    write_deltalake(theirs, rows, partition_by=list(by))

    def folders(uri: str) -> list[str]:
        return sorted(path.rpartition("/")[0] for path in tables.files(tables.open_table(uri))["path"].to_pylist())

    def read(uri: str) -> list[dict[str, object]]:
        return DeltaTable(uri).to_pyarrow_table().sort_by("x").to_pylist()

    assert folders(ours) == folders(theirs)
    assert read(ours) == read(theirs) == rows.to_pylist()
    as_text = [sorted(str(sorted(one.items())) for one in DeltaTable(uri).partitions()) for uri in (ours, theirs)]
    assert as_text[0] == as_text[1]


def test_a_float_column_with_nan_has_no_bounds(tmp_path):
    rows = pa.table({"x": [1.0, float("nan")], "s": [{"y": float("nan")}, {"y": 2.0}], "z": [1.0, 2.0]})
    (told,) = write(str(tmp_path / "t"), rows)
    found = json.loads(told)
    assert found["minValues"] == {"z": 1.0}
    assert found["nullCount"] == {"x": 0, "s": {"y": 0}, "z": 0}


def test_decimals_keep_all_their_digits(tmp_path):
    value = Decimal("12345678901234567890123456.123456789")
    (told,) = write(str(tmp_path / "t"), pa.table({"x": pa.array([value], pa.decimal128(38, 9))}))
    assert f'"maxValues":{{"x":{value}}}' in told
    assert actions(str(tmp_path / "t"))["max.x"] == [value]


def test_texts_too_long_for_the_footer_have_bounds_all_the_same(tmp_path):
    rows = pa.table({"x": ["m" * 10_000, "k" * 10_000, None]})
    (told,) = write(str(tmp_path / "t"), rows)
    found = json.loads(told)
    assert (found["minValues"], found["maxValues"]) == ({"x": "k" * 64}, {"x": "m" * 63 + "n"})


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("a" * 64, "a" * 64, "a" * 64),
        ("a" * 65, "a" * 64, "a" * 63 + "b"),
        ("é" * 33, "é" * 32, "é" * 31 + "ê"),
        ("a" * 63 + "é", "a" * 63, "a" * 62 + "b"),
        ("a" * 60 + "\U0010ffff" * 2, "a" * 60 + "\U0010ffff", "a" * 59 + "b"),
        ("a" + "\x7f" * 80, "a" + "\x7f" * 63, "b"),
        ("\ud7ff" * 30, "\ud7ff" * 21, "\ud7ff" * 20 + "\ue000"),
    ],
)
def test_bounds_of_a_cut_text_hold_it(text, low, high):
    assert (json.loads(lower_bound(text)), json.loads(upper_bound(text))) == (low, high)
    assert low.encode() <= text.encode() <= high.encode()


def test_a_text_above_everything_has_no_upper_bound():
    assert upper_bound("\U0010ffff" * 30) is None
    assert lower_bound(float("nan")) is None
    assert lower_bound(float("-inf")) is None


def test_files_are_cut_and_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(file_writer, "FILE_BYTES", 20_000)
    monkeypatch.setattr(file_writer, "GROUP_ROWS", 1_000)
    rows = pa.table({"x": range(20_000)})
    target = WriteTarget(str(tmp_path / "t"), exists=False, schema=rows.schema)
    with FileWriter(target, run="0123456789ab", number=3) as writer:
        for batch in rows.to_batches(max_chunksize=500):
            writer.add(batch, where="rows")
        files = writer.finish()
    assert len(files) > 1
    assert max(file.rows for file in files) < 20_000
    assert sum(file.rows for file in files) == 20_000
    assert all(file.path.startswith("part-00003-01234567-89ab-") for file in files)
    commit_files.add_files(target, files, mode="append", delivery=DELIVERY)
    assert tables.row_count(tables.open_table(target.uri)) == 20_000
    stray = Path(target.uri) / "part-00000-01234567-89ab-4000-a000-000000000000-c000.snappy.parquet"
    stray.write_bytes(b"")
    assert delete_files_of(target.uri, "0123456789ab") == 1
    assert not stray.exists()
    assert DeltaTable(target.uri).to_pyarrow_table().num_rows == 20_000


def test_a_writer_that_fails_leaves_no_file(tmp_path):
    schema = pa.schema([("p", pa.string()), ("x", pa.int64())])
    target = WriteTarget(str(tmp_path / "t"), exists=False, schema=schema, partition_by=("p",))
    writer = FileWriter(target, run="0123456789ab", number=0)
    writer.add(pa.record_batch({"p": ["a", "b"], "x": [1, 2]}), where="rows")
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 2
    with pytest.raises(DataError, match="empty texts"), writer:
        writer.add(pa.record_batch({"p": ["a", ""], "x": [1, 2]}), where="rows")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_overwriting_partitions_takes_these_only(tmp_path):
    uri = str(tmp_path / "t")
    start = pa.table({"p": ["a", "a", "b", None], "q": [1, 2, 1, 1], "x": [1, 2, 3, 4]})
    write(uri, start, partition_by=("p", "q"))
    write(uri, pa.table({"p": ["a"], "q": [1], "x": [10]}), mode="partition-overwrite")
    assert sorted(DeltaTable(uri).to_pyarrow_table()["x"].to_pylist()) == [2, 3, 4, 10]
    write(uri, pa.table({"p": pa.array([None], pa.string()), "q": [1], "x": [40]}), mode="partition-overwrite")
    assert sorted(DeltaTable(uri).to_pyarrow_table()["x"].to_pylist()) == [2, 3, 10, 40]
    with pytest.raises(DataError, match=r"'p': 'a', 'q': 1.* would go, too"):
        write(uri, pa.table({"p": ["a", "b"], "q": [2, 1], "x": [20, 30]}), mode="partition-overwrite")
    assert sorted(DeltaTable(uri).to_pyarrow_table()["x"].to_pylist()) == [2, 3, 10, 40]
    write(uri, pa.table({"p": ["z"], "q": [9], "x": [5]}), mode="overwrite")
    assert DeltaTable(uri).to_pyarrow_table()["x"].to_pylist() == [5]


def test_a_table_that_changed_meanwhile_is_refused(tmp_path):
    uri = str(tmp_path / "t")
    write(uri, pa.table({"x": [1]}))
    target = target_of(tables.open_table(uri), uri=uri)
    DeltaTable(uri).alter.add_constraint({"small": "x < 5"})
    with pytest.raises(ConflictError, match="were changed"):
        commit_files.add_files(target, [], mode="append", delivery=DELIVERY)
    now = target_of(tables.open_table(uri), uri=uri)
    assert now.constraints == (("small", "x < 5"),)
    stale = Delivery(message="m", source="test", expected_version=0)
    with pytest.raises(ConflictError, match="version 1, not at 0"):
        commit_files.add_files(now, [], mode="append", delivery=stale)


def test_constraints_are_judged_by_the_engine_as_in_its_own_writer():
    schema = pa.schema([("x", pa.int64()), ("day", pa.date32()), ("other", pa.string())])
    good = pa.record_batch({"x": [1, 2], "day": [date(2020, 1, 1)] * 2, "other": ["a", None]}, schema=schema)

    def judge(batch: pa.RecordBatch, expression: str) -> None:
        with ConstraintCheck([("rule", expression)], schema, table="t") as check:
            check.add(batch)
            check.judge(where="file")

    judge(good, "x > 0 AND day >= '2020-01-01'")
    with pytest.raises(DataError, match=r"file: 1 rows break the constraint rule \(x > 1\) of t, for example .*'x': 1"):
        judge(good, "x > 1")
    with pytest.raises(DataError, match="1 rows break"):
        judge(good, "other = 'a'")  # null is not true
    with pytest.raises(UnsupportedTableError, match="cannot be judged"):
        judge(good, "nonsense(x) > 1")


def test_tables_with_rules_for_writers_are_refused(tmp_path):
    uri = str(tmp_path / "t")
    write_deltalake(uri, pa.table({"x": [1]}))
    first = Path(uri) / "_delta_log" / f"{0:020}.json"
    computed = first.read_text().replace(r"\"metadata\":{}", r"\"metadata\":{\"delta.generationExpression\":\"1\"}")
    first.write_text(computed)
    with pytest.raises(UnsupportedTableError, match="rules that are not followed here: x"):
        target_of(tables.open_table(uri), uri=uri)


def test_rows_are_made_to_fit_or_refused():
    wanted = pa.schema([pa.field("a", pa.int64(), nullable=False), ("t", pa.timestamp("us")), ("s", pa.string())])
    given = pa.record_batch(
        {
            "s": pa.array(["x"]).dictionary_encode(),
            "t": pa.array([-1], pa.timestamp("ns")),
            "a": pa.array([7], pa.uint32()),
        }
    )
    refuse_misfit(given.schema, wanted, table="t", where="f")
    found = fitted(given, wanted, where="f")
    assert found.schema == wanted
    assert found["t"].cast(pa.int64()).to_pylist() == [-1]
    with pytest.raises(SchemaMismatchError, match="f does not fit t: b is not in the table; a is missing; t is string"):
        refuse_misfit(
            pa.schema([("b", pa.int64()), ("t", pa.string()), ("s", pa.string())]), wanted, table="t", where="f"
        )
    hollow = pa.record_batch({"a": pa.array([None], pa.int64())}, schema=pa.schema([wanted.field("a")]))
    with pytest.raises(DataError, match="column a has 1 null"):
        refuse_nulls(hollow, where="f")
    with pytest.raises(DataError, match="cannot keep these columns: a is time64"):
        delta_schema(pa.schema([("a", pa.time64("us"))]))


def test_keys_are_there_once():
    def reader(*values: int | None):
        return lambda: pa.table({"k": pa.array(values, pa.int64()), "x": range(len(values))}).to_batches(
            max_chunksize=2
        )

    assert refuse_bad_keys(reader(1, 2, 3), ["k"]) == 3
    with pytest.raises(DataError, match=r"^1 keys come more than once, for example \{'k': 2\} 3 times"):
        refuse_bad_keys(reader(2, 1, 2, 2), ["k"])
    with pytest.raises(DataError, match="key column k is null in 1 rows"):
        refuse_bad_keys(reader(1, None), ["k"])
