"""Keys looked up against plain Python, and files judged by bounds: never one too few."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluiceway.core.errors import DataError
from sluiceway.data.ingest.statistics import lower_bound, upper_bound
from sluiceway.data.key_bounds import files_with
from sluiceway.data.key_set import KeySet

VALUES = {
    "i": (pa.int64(), st.integers(-3, 3)),
    "s": (pa.string(), st.sampled_from(["", "a", "b", "é" * 40, "a" * 70 + "x", "a" * 70 + "y", "\U0010ffff" * 20])),
    "d": (pa.date32(), st.dates(date(2023, 12, 30), date(2024, 1, 3))),
    "t": (
        pa.timestamp("us", "UTC"),
        st.integers(0, 3_000).map(lambda us: datetime(2024, 1, 1, tzinfo=UTC) + timedelta(microseconds=us * 333)),
    ),
    "n": (
        pa.timestamp("us"),
        st.integers(0, 3).map(lambda s: datetime.fromisoformat("1969-12-31T23:59:58") + timedelta(seconds=s)),
    ),
    "b": (pa.bool_(), st.booleans()),
    "x": (pa.decimal128(9, 2), st.integers(-3, 3).map(lambda n: Decimal(n) / 4)),
    "y": (pa.binary(), st.binary(max_size=2)),
}


def table(columns: list[str], rows: list[tuple[object, ...]]) -> pa.Table:
    arrays = [pa.array([row[i] for row in rows], VALUES[name][0]) for i, name in enumerate(columns)]
    return pa.table(dict(zip(columns, arrays, strict=True)))


@st.composite
def keys_and_rows(draw):
    columns = draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=3, unique=True))
    row = st.tuples(*(st.none() | VALUES[name][1] for name in columns))
    return columns, draw(st.lists(row, max_size=12)), draw(st.lists(row, max_size=30))


@settings(deadline=None)
@given(keys_and_rows())
def test_a_row_has_the_number_of_its_key(drawn):
    columns, keys, rows = drawn
    wanted = KeySet(table(columns, keys))
    found = wanted.find(table(columns, rows).select(columns[::-1]))
    known = {key for key in keys if None not in key}
    assert len(wanted) == len(known)
    assert [number >= 0 for number in found] == [row in known for row in rows]
    numbers = {row: number for row, number in zip(rows, found, strict=True) if number >= 0}
    assert len(set(numbers.values())) == len(numbers)
    assert all(number < len(known) for number in numbers.values())


def test_many_columns_of_many_values_do_not_run_over():
    keys = pa.table({f"c{i}": pa.array(range(n, n + 5000)) for i, n in enumerate(range(8))})
    found = KeySet(keys).find(keys.slice(17, 100))
    assert len(set(found)) == 100
    assert (KeySet(keys).find(keys.set_column(7, "c7", keys["c0"])) == -1).all()


def test_floats_are_compared_as_numbers_and_nested_values_are_no_key():
    keys = pa.table({"f": [0.0, math.nan, 1.5]})
    assert list(KeySet(keys).find(pa.table({"f": [-0.0, math.nan, 2.0, None]})) >= 0) == [True, True, False, False]
    for bad in (pa.table({"l": [[1]]}), pa.table({})):
        with pytest.raises(DataError, match="key"):
            KeySet(bad)


def added(columns: list[str], rows: list[tuple[object, ...]]) -> dict[str, object]:
    """A file's entry with the bounds that are written here."""
    low, high = {}, {}
    for i, name in enumerate(columns):
        values = [row[i] for row in rows if row[i] is not None]
        if values and name not in ("b", "y"):
            ends = lower_bound(min(values)), upper_bound(max(values))
            low[name], high[name] = (json.loads(text or "null") for text in ends)
    return {"stats": json.dumps({"numRecords": len(rows), "minValues": low, "maxValues": high})}


@settings(deadline=None)
@given(keys_and_rows())
def test_a_file_with_a_row_of_a_key_is_always_found(drawn):
    columns, keys, rows = drawn
    asked = table(columns, keys)
    adds = {"a": added(columns, rows), "b": {}}
    found = files_with(adds, asked, schema=asked.schema)
    if set(rows) & {key for key in keys if None not in key}:
        assert found == ["a", "b"]


def test_files_outside_the_bounds_or_the_partitions_are_left_out():
    schema = pa.schema(
        [("id", pa.int64()), ("at", pa.timestamp("us", "UTC")), ("day", pa.date32()), ("name", pa.string())]
    )

    def one(low: int, day: str | None, name: str) -> dict[str, object]:
        # As a writer does that cuts times to the millisecond.
        times = {"at": f"2024-01-01T00:00:0{low}.000Z"}
        bounds = {
            "minValues": {"id": low, "name": name} | times,
            "maxValues": {"id": low + 9, "name": name + "z"} | times,
        }
        return {"stats": json.dumps(bounds), "partitionValues": {"day": day}}

    adds = {
        "a": one(0, "2024-01-01", "a"),
        "b": one(5, "2024-01-02", "b"),
        "c": one(5, None, "c"),
        "d": one(5, "", "d"),
    }

    def files(**columns: list[object]) -> list[str]:
        keys = pa.table({n: pa.array(v, schema.field(n).type) for n, v in columns.items()})
        return files_with(adds, keys, schema=schema, partition_by=["day"])

    assert files(id=[3]) == ["a"]
    assert files(id=[20, None]) == []
    assert files(id=[-1, 30]) == []
    assert files(id=[9, 9]) == ["a", "b", "c", "d"]
    assert files(day=[date(2024, 1, 2)], id=[9]) == ["b"]
    assert files(day=[date(2024, 1, 2), None]) == ["b"]
    assert files(name=["bx"]) == ["b"]
    assert files(at=[datetime(2024, 1, 1, 0, 0, 5, 999, tzinfo=UTC)]) == ["b", "c", "d"]
    assert files(at=[datetime(2024, 1, 1, 0, 0, 6, tzinfo=UTC)]) == []
