"""Membership is fixed for good: test vectors, and everything that it must not depend on."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from sluiceway.config.experiment import SplitSection
from sluiceway.core.errors import DataError, SchemaMismatchError
from sluiceway.data import membership

VECTORS = {
    "null": pa.array([None], pa.int64()),
    "0": pa.array([0], pa.int64()),
    "1": pa.array([1], pa.int64()),
    "-1": pa.array([-1], pa.int32()),
    "0.5": pa.array([0.5]),
    "inf": pa.array([float("inf")]),
    "empty text": pa.array([""]),
    "abc": pa.array(["abc"]),
    "bytes abc": pa.array([b"abc"]),
    "2013-01-01": pa.array([date(2013, 1, 1)]),
}


def one(array: pa.Array) -> int:
    return int(membership.row_hashes(pa.table({"c": array}), ["c"])[0])


def some_table(n: int = 1000) -> pa.Table:
    rng = np.random.default_rng(5)
    texts = rng.choice(["a", "bb", "ccc", "dddd"], n)
    return pa.table(
        {
            "i": pa.array(rng.integers(-5, 5, n), mask=rng.random(n) < 0.1),
            "f": pa.array(rng.standard_normal(n), mask=rng.random(n) < 0.1),
            "t": pa.array(texts, mask=rng.random(n) < 0.1),
            "u": [f"row {i}" for i in range(n)],
            "w": pa.array(rng.integers(0, 2**40, n)).cast(pa.timestamp("us", "UTC")),
        }
    )


def test_vectors_in_the_document(repository: Path):
    text = (repository / "docs/data/membership.md").read_text()
    for name, array in VECTORS.items():
        assert f"| `{name}` | `{one(array):016x}` |" in text, name
    table = pa.table({"id": pa.array([7], pa.int64()), "name": ["Ann"]})
    hashes = membership.row_hashes(table, ["id", "name"])
    assert f"`{int(hashes[0]):016x}`" in text
    many = membership.row_hashes(pa.table({"id": pa.array(range(12), pa.int64())}), ["id"])
    split = SplitSection()
    assert f"parts: `{' '.join(map(str, membership.parts(many, 42, split)))}`" in text
    assert f"folds: `{' '.join(map(str, membership.folds(many, 42, 5)))}`" in text


def test_pinned_numbers():
    # Written here a second time, so that nobody changes code and document together without meaning to.
    assert one(pa.array([1], pa.int64())) == 0x4660AEBBD6051E8D
    assert one(pa.array(["abc"])) == 0xCF5AB988561CA14E


def test_equal_values_of_other_types_hash_alike():
    three = [
        pa.array([3], kind) for kind in (pa.int8(), pa.uint8(), pa.int64(), pa.uint64(), pa.float32(), pa.float64())
    ]
    three += [pa.array([Decimal("3.00")]), pa.array([3]).dictionary_encode()]
    assert len({one(array) for array in three}) == 1
    assert one(pa.array([0.0])) == one(pa.array([-0.0])) == one(pa.array([0])) == one(pa.array([False]))
    assert one(pa.array([float("nan")])) == one(pa.array([None], pa.float64())) == one(pa.array([None], pa.string()))
    assert one(pa.array([0.1], pa.float32())) == one(pa.array([float(np.float32(0.1))]))
    texts = (pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string()))
    assert len({one(pa.array(["abc"], kind)) for kind in texts}) == 1
    moment = datetime(2013, 5, 1, tzinfo=UTC)
    times = [pa.array([moment], pa.timestamp(unit, "UTC")) for unit in ("s", "ms", "us", "ns")]
    times += [pa.array([moment.replace(tzinfo=None)], pa.timestamp("us")), pa.array([moment.date()])]
    times += [pa.array([moment.date()], pa.date64())]
    assert len({one(array) for array in times}) == 1


def test_different_values_differ():
    columns = list(VECTORS.values())
    assert len({one(array) for array in columns}) == len(columns)
    table = pa.table({"a": pa.array([1, None], pa.int64()), "b": pa.array([None, 1], pa.int64())})
    assert len(set(membership.row_hashes(table, ["a", "b"]))) == 2


def test_chunks_slices_dictionaries_and_order_do_not_matter():
    table = some_table()
    expected = membership.row_hashes(table, table.column_names)
    chunked = pa.Table.from_batches(table.to_batches(max_chunksize=37))
    encoded = pa.table({name: table[name].combine_chunks().dictionary_encode() for name in table.column_names})
    for other in (chunked, encoded, table.select(table.column_names[::-1])):
        np.testing.assert_array_equal(membership.row_hashes(other, other.column_names), expected)
    np.testing.assert_array_equal(membership.row_hashes(table.slice(100, 50), table.column_names), expected[100:150])
    shuffled = np.random.default_rng(0).permutation(len(expected))
    taken = membership.row_hashes(table.take(pa.array(shuffled)), table.column_names)
    np.testing.assert_array_equal(taken, expected[shuffled])


def test_a_column_added_later_does_not_move_old_rows():
    table = some_table()
    wider = table.append_column("new", pa.nulls(table.num_rows, pa.string()))
    before = membership.row_hashes(table, table.column_names)
    np.testing.assert_array_equal(membership.row_hashes(wider, wider.column_names), before)


def test_bad_columns():
    with pytest.raises(SchemaMismatchError, match="no column b"):
        membership.row_hashes(pa.table({"a": [1]}), ["b"])
    with pytest.raises(DataError, match="'a' of type list"):
        membership.row_hashes(pa.table({"a": [[1]]}), ["a"])
    with pytest.raises(DataError, match="at least one"):
        membership.row_hashes(pa.table({"a": [1]}), [])


def test_shares_and_independence():
    n = 200_000
    hashes = membership.row_hashes(pa.table({"id": pa.array(range(n), pa.int64())}), ["id"])
    assert len(np.unique(hashes)) == n
    split = SplitSection(train=0.7, validation=0.1, test=0.2)
    parts = membership.parts(hashes, 1, split)
    folds = membership.folds(hashes, 1, 5)
    assert parts.dtype == folds.dtype == np.uint8
    np.testing.assert_allclose(np.bincount(parts) / n, [0.7, 0.1, 0.2], atol=4 * np.sqrt(0.25 / n))
    both = np.bincount(parts * 5 + folds, minlength=15).reshape(3, 5) / n
    np.testing.assert_allclose(both, np.outer([0.7, 0.1, 0.2], [0.2] * 5), atol=0.003)
    again = membership.parts(hashes, 2, split)
    assert 0.45 < np.mean(parts == again) < 0.62  # two seeds agree as often as chance: 0.54
    assert membership.parts(hashes[:0], 1, split).shape == (0,)
    assert set(membership.folds(hashes, -7, 3)) == {0, 1, 2}
