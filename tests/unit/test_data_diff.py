"""The difference of rows against a plain model of multisets, and that of versions by their logs."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from deltalake import write_deltalake
from hypothesis import given, settings
from hypothesis import strategies as st

from sluiceway.catalog.stores import empty_stores
from sluiceway.core.errors import DataError, SchemaMismatchError
from sluiceway.data import commit
from sluiceway.data.diff import diff_versions
from sluiceway.data.references import resolve
from sluiceway.data.row_diff import check_key, diff_tables
from sluiceway.data.row_prints import compare, joined, merged, split, table_prints

SCHEMA = pa.schema({"k": pa.int64(), "m": pa.string(), "x": pa.float64(), "tags": pa.list_(pa.int64())})
# Few values, so that keys and rows are there more than once and on both sides.
ROW = st.fixed_dictionaries(
    {
        "k": st.none() | st.integers(0, 3),
        "m": st.none() | st.sampled_from(["", "a"]),
        "x": st.none() | st.sampled_from([0.0, -0.0, math.nan, 1.5]),
        "tags": st.none() | st.sampled_from([[], [1], [1, None]]),
    }
)
ROWS = st.lists(ROW, max_size=12)
KEYS = st.sampled_from([(), ("k",), ("k", "m"), ("x",), ("m", "x", "k")])


def table_of(rows):
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def plain(value):
    """The same thing for values that are equal."""
    if isinstance(value, list):
        return tuple(map(plain, value))
    if isinstance(value, float):
        return "nan" if math.isnan(value) else value + 0.0
    return value


def hashable(row, names):
    return tuple(plain(row.get(name)) for name in names)


def model(old, new, key):
    """Multisets of added and removed rows, and pairs a key, by the rules."""
    before, after = (Counter(hashable(row, SCHEMA.names) for row in rows) for rows in (old, new))
    removed, added = before - after, after - before
    if not key:
        return added, removed, {}
    sides = defaultdict(lambda: (Counter(), Counter()))
    for side, rows in enumerate((removed, added)):
        for row, number in rows.items():
            sides[tuple(row[SCHEMA.names.index(name)] for name in key)][side][row] += number
    pairs = {k: min(a.total(), b.total()) for k, (a, b) in sides.items()}
    return added, removed, {k: n for k, n in pairs.items() if n}


@settings(max_examples=150, deadline=None)
@given(ROWS, ROWS, KEYS, st.integers(0, 100))
def test_rows_differ_as_the_multisets_do(old, new, key, limit):
    found = diff_tables(table_of(old), table_of(new), key=key, limit=limit)
    added, removed, pairs = model(old, new, key)
    changed = sum(pairs.values())
    assert (found.added, found.removed, found.changed) == (added.total() - changed, removed.total() - changed, changed)
    assert len(found.added_rows) == min(limit, found.added)
    assert len(found.removed_rows) == min(limit, found.removed)
    assert len(found.changed_rows) == min(limit, found.changed)
    assert Counter(hashable(row, SCHEMA.names) for row in found.added_rows) <= added
    assert Counter(hashable(row, SCHEMA.names) for row in found.removed_rows) <= removed
    assert Counter(hashable(row.key, key) for row in found.changed_rows) <= Counter(pairs)
    for row in found.changed_rows:
        assert row.changes
        assert not set(row.changes) & set(key)
        assert all(plain(a) != plain(b) for a, b in row.changes.values())


@settings(max_examples=60, deadline=None)
@given(ROWS, ROWS, KEYS)
def test_a_pair_says_what_leads_from_an_old_row_to_a_new_one(old, new, key):
    found = diff_tables(table_of(old), table_of(new), key=key, limit=1000)
    added, removed, _ = model(old, new, key)
    added -= Counter(hashable(row, SCHEMA.names) for row in found.added_rows)
    removed -= Counter(hashable(row, SCHEMA.names) for row in found.removed_rows)
    # What is left are the pairs: each accounts for one row a side, seen through its key and the columns that changed.
    for side, rows in enumerate((removed, added)):
        left = [dict(zip(SCHEMA.names, row, strict=True)) for row in rows.elements()]
        assert len(left) == len(found.changed_rows)
        for pair in found.changed_rows:
            shown = {n: plain(v) for n, v in pair.key.items()} | {n: plain(v[side]) for n, v in pair.changes.items()}
            assert any(shown.items() <= row.items() for row in left)


@settings(max_examples=60, deadline=None)
@given(ROWS, ROWS, KEYS, st.integers(1, 5), st.integers(0, 4), st.randoms())
def test_parts_and_the_order_of_rows_do_not_matter(old, new, key, parts, limit, random):
    first, second = table_prints(table_of(old), key), table_prints(table_of(new), key)
    whole = compare(first, second, limit=limit)
    cells = zip(split(first, parts), split(second, parts), strict=True)
    other = merged([compare(a, b, limit=limit) for a, b in cells], limit=limit)
    random.shuffle(old)
    random.shuffle(new)
    shuffled = compare(table_prints(table_of(old), key), table_prints(table_of(new), key), limit=limit)
    for again in (other, shuffled):
        assert (again.added, again.removed, again.changed) == (whole.added, whole.removed, whole.changed)
        for name in ("added_prints", "removed_prints", "old_prints", "new_prints"):
            assert np.array_equal(getattr(again, name)[:4], getattr(whole, name)[:4])


@given(st.integers(1, 6), st.integers(0, 50))
def test_a_split_loses_no_row_and_keeps_a_key_together(parts, n):
    found = table_prints(pa.table({"k": [i % 7 for i in range(n)], "x": list(range(n))}), ["k"])
    pieces = split(found, parts)
    assert len(pieces) == parts
    assert sorted(joined(pieces)[5].tolist()) == list(range(n))
    keys = [set(piece[0].tolist()) for piece in pieces]
    assert sum(map(len, keys)) == len(set().union(*keys))


def test_keys_that_are_there_twice_are_paired_after_equal_rows_have_cancelled():
    old = pa.table({"k": [1, 1, 1], "x": [10, 20, 30]})
    new = pa.table({"k": [1, 1], "x": [20, 99]})
    found = diff_tables(old, new, key=("k",))
    assert (found.added, found.removed, found.changed) == (0, 1, 1)
    (row,) = found.changed_rows
    assert row.key == {"k": 1}
    assert row.changes["x"][1] == 99
    assert {row.changes["x"][0], found.removed_rows[0]["x"]} == {10, 30}


def test_a_column_that_one_side_lacks_is_null_there():
    old = pa.table({"k": [1, 2, 3], "gone": ["g", None, None]})
    new = pa.table({"k": [1, 2, 3], "came": [None, "c", None]})
    found = diff_tables(old, new, key=("k",))
    assert [(row.key["k"], row.changes) for row in found.changed_rows] == [
        (1, {"gone": ("g", None)}),
        (2, {"came": (None, "c")}),
    ]
    assert (found.added, found.removed) == (0, 0)


def test_examples_are_in_the_order_of_the_key_and_no_more_than_asked_for():
    new = pa.table({"k": [5, 3, None, 4], "x": [1, 1, 1, 1]})
    found = diff_tables(new.slice(0, 0), new, key=("k",))
    assert [row["k"] for row in found.added_rows] == [3, 4, 5, None]
    assert len(diff_tables(new.slice(0, 0), new, limit=3).added_rows) == 3


@pytest.mark.parametrize(
    ("key", "error", "said"),
    [
        ("nothing", SchemaMismatchError, "not in the old and the new version"),
        ("came", SchemaMismatchError, "not in the old version"),
        ("tags", DataError, "'tags' is of type list"),
        ("was_text", SchemaMismatchError, "string in the old version and int64 in the new"),
    ],
)
def test_a_key_that_cannot_match_is_refused(key, error, said):
    old = pa.schema({"id": pa.int32(), "tags": pa.list_(pa.int64()), "was_text": pa.string()})
    new = pa.schema({"id": pa.int64(), "tags": pa.list_(pa.int64()), "was_text": pa.int64(), "came": pa.int64()})
    assert check_key(old, new, ["id", "id"]) == ("id",)
    with pytest.raises(error, match=said):
        check_key(old, new, [key])


# Versions by their logs.


def version(uri, ref=None):
    return resolve(str(uri), ref, tags=empty_stores().tags)


def append(uri, *values, **columns):
    rows = pa.table({"id": pa.array(values, pa.int64()), **columns})
    commit.append(str(uri), rows, message="rows", source="test")


def test_files_rows_and_bytes_that_came_went_and_stayed(tmp_path: Path):
    uri = tmp_path / "table"
    append(uri, 1, 2)
    append(uri, 3)
    forward, back = diff_versions(version(uri, 0), version(uri)), diff_versions(version(uri), version(uri, 0))
    assert (forward.added.rows, forward.removed.rows, forward.kept.rows) == (1, 0, 2)
    assert forward.removed.paths == back.added.paths == ()
    assert forward.added == back.removed
    assert forward.kept == back.kept
    assert forward.added.bytes == sum((uri / path).stat().st_size for path in forward.added.paths) > 0
    assert not forward.empty
    assert {*forward.added.paths, *forward.kept.paths} == {path.name for path in uri.glob("*.parquet")}


def test_a_version_and_itself_and_one_that_was_restored_are_the_same(tmp_path: Path):
    uri = tmp_path / "table"
    append(uri, 1)
    append(uri, 2)
    assert diff_versions(version(uri, 1), version(uri)).empty
    commit.restore(str(uri), 0, message="back")
    restored = diff_versions(version(uri, 0), version(uri, 2))
    assert restored.empty
    assert restored.kept.rows == 1


def test_columns_that_came_went_or_became_something_else(tmp_path: Path):
    uri = tmp_path / "table"
    strict = pa.schema([pa.field("id", pa.int64(), nullable=False), ("text", pa.string()), ("gone", pa.float64())])
    write_deltalake(uri, pa.table({"id": [1], "text": ["1"], "gone": [0.5]}, schema=strict))
    other = pa.table({"text": [1], "came": [True], "id": [1]})
    write_deltalake(uri, other, mode="overwrite", schema_mode="overwrite", partition_by=["came"])
    found = diff_versions(version(uri, 0), version(uri))
    assert {change.column: (change.change, change.old, change.new) for change in found.columns} == {
        "text": ("changed", "string", "int64"),
        "came": ("added", None, "bool"),
        "id": ("changed", "int64 not null", "int64"),
        "gone": ("removed", "double", None),
    }
    assert found.reordered
    assert (found.old_partitions, found.new_partitions) == ((), ("came",))


def test_an_added_column_alone_is_a_difference(tmp_path: Path):
    uri = tmp_path / "table"
    append(uri, 1)
    append(uri, 2)
    write_deltalake(uri, pa.table({"id": [3], "new": ["n"]}), mode="append", schema_mode="merge")
    (change,) = diff_versions(version(uri, 1), version(uri)).columns
    assert (change.column, change.change, change.new) == ("new", "added", "string")


def test_two_tables_are_refused(tmp_path: Path):
    append(tmp_path / "a", 1)
    append(tmp_path / "b", 1)
    with pytest.raises(DataError, match="are two tables"):
        diff_versions(version(tmp_path / "a"), version(tmp_path / "b"))
