"""What the log says of columns, and what it does not."""

from __future__ import annotations

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from sluiceway.data import tables
from sluiceway.data.column_statistics import ColumnStatistics, column_statistics


def statistics(live, **types):
    return {one.column: one for one in column_statistics(pa.table(live), pa.schema(types))}


def test_nulls_add_up_and_bounds_span_all_files():
    live = {"num_records": [3, 2], "null_count.x": [1, 0], "min.x": [5, -1], "max.x": [9, 4]}
    assert statistics(live, x=pa.int64())["x"] == ColumnStatistics("x", "int64", 1, -1, 9)


@pytest.mark.parametrize(
    ("nulls", "low", "expected"),
    [
        ([3, 0], [None, 7], (3, 7)),  # a file of nulls has no bounds to add
        ([0, 0], [None, 7], (0, None)),  # one with values has, and nobody wrote them down
        ([None, 0], [None, 7], (None, None)),
    ],
)
def test_what_one_file_does_not_say_nobody_knows(nulls, low, expected):
    live = {"num_records": [3, 2], "null_count.x": nulls, "min.x": low, "max.x": low}
    found = statistics(live, x=pa.int64())["x"]
    assert (found.nulls, found.low) == expected


def test_partition_columns_are_known_from_the_folders():
    live = {"num_records": [3, 2, 4], "partition.p": ["b", None, "a"]}
    assert statistics(live, p=pa.string())["p"] == ColumnStatistics("p", "string", 2, "a", "b")
    uncounted = {"num_records": pa.array([None, None], pa.int64()), "partition.p": ["b", None]}
    assert statistics(uncounted, p=pa.string())["p"] == ColumnStatistics("p", "string", None, "b", "b")


def test_no_statistics_and_no_files():
    none = ColumnStatistics("x", "int64", None, None, None)
    assert statistics({"num_records": pa.array([None], pa.int64())}, x=pa.int64())["x"] == none
    assert statistics({"num_records": pa.array([], pa.int64())}, x=pa.int64())["x"].low is None


def test_a_real_table_of_many_types_is_described_as_its_rows_are(tmp_path):
    rows = pa.table(
        {
            "int": [3, 1, None],
            "flag": [True, False, None],
            "text": ["b", "a", "ä"],
            "raw": [b"1", b"2", None],
            "at": pa.array([1, 2, None], pa.timestamp("us", "UTC")),
            "day": pa.array([1, 2, None], pa.date32()),
            "price": pa.array(["1.50", None, "0.25"]).cast(pa.decimal128(6, 2)),
            "place": [{"x": 1}, None, {"x": 2}],
        }
    )
    write_deltalake(tmp_path, rows)
    write_deltalake(tmp_path, rows.slice(1), mode="append")
    table = DeltaTable(tmp_path)
    found = {one.column: one for one in column_statistics(tables.files(table), tables.arrow_schema(table))}
    assert list(found) == rows.column_names
    whole = table.to_pyarrow_table()
    for name in ("int", "text", "at", "day", "price"):
        values = [value for value in whole[name].to_pylist() if value is not None]
        assert (found[name].low, found[name].high) == (min(values), max(values))
        assert found[name].nulls == whole[name].null_count
    assert found["place"].low is None
