"""What is known of rows as a whole: which are copies of others, and how old the newest is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Array = npt.NDArray[Any]
KEY = "__key__"
# A table of training rows as large as this is a sample: a gate gets no more.
SAMPLE = 1_000_000
SECONDS_OF_A_DAY = 86_400
_TICKS = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_ABSENT = np.uint64(0x9E3779B97F4A7C15)  # stands for a missing value
_STEP, _FIRST, _SECOND = (np.uint64(x) for x in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


@dataclass(frozen=True)
class Copies:
    """Rows that are there more than once.

    Attributes:
        train: training rows.
        test: test rows.
        repeated: training rows that repeat another one: all of equal ones but one.
        shared: test rows that equal a training row.
        by: what makes rows equal, for people.
        keyed: they are compared by their key, not by their content.
        sampled: the training rows are a sample.
    """

    train: int
    test: int
    repeated: int
    shared: int
    by: str
    keyed: bool
    sampled: bool


@dataclass(frozen=True)
class Newest:
    """The latest time of rows.

    Attributes:
        epoch: UTC seconds, or None where no row has a time that has passed.
        rows: rows with a time.
        later: of these, rows whose time is more than a day ahead of the clock; they do not count.
    """

    epoch: float | None
    rows: int
    later: int


def copies(train: pa.Table, test: pa.Table, *, key: Sequence[str], content: Sequence[str]) -> Copies:
    """Count rows that are there more than once.

    Args:
        train: training rows.
        test: test rows with the same columns.
        key: columns of the declared key; its hash is the column ``__key__``. Empty: rows are compared by content.
        content: columns that are compared otherwise; those that a table lacks are left out.
    """
    keyed = bool(key) and all(KEY in table.column_names for table in (train, test))
    if keyed:
        first, second = (np.asarray(table[KEY].to_numpy()) for table in (train, test))
        by = f"key {', '.join(key)}"
    else:
        present = [name for name in content if name in train.column_names and name in test.column_names]
        first, second = content_hashes((train, test), present)
        by = "features and target"
    ordered = np.sort(first)
    repeated = int((ordered[1:] == ordered[:-1]).sum())
    shared = 0
    if len(ordered):
        wanted = np.sort(second)
        place = np.minimum(np.searchsorted(ordered, wanted), len(ordered) - 1)
        shared = int((ordered[place] == wanted).sum())
    return Copies(len(first), len(second), repeated, shared, by, keyed, len(first) >= SAMPLE)


def content_hashes(tables: Sequence[pa.Table], columns: Iterable[str]) -> list[Array]:
    """64 bits a row that are equal for rows of equal values in these tables, and differ otherwise but for chance.

    A missing value equals NaN and another missing one; 0.0 equals -0.0. The bits mean nothing outside of the call.

    Args:
        tables: with the same columns.
        columns: names.

    Returns:
        one array a table, shape (rows,), uint64.
    """
    sizes = [table.num_rows for table in tables]
    total = np.zeros(sum(sizes), np.uint64)
    for name in columns:
        kind = tables[0][name].type
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        chunks = [chunk for table in tables for chunk in table[name].cast(kind).chunks]
        total ^= _bits(pa.chunked_array(chunks, type=kind))
        _mix(total)
    return np.split(total, np.cumsum(sizes)[:-1])


def newest(tables: Iterable[pa.Table], time: str, *, now: float) -> Newest | None:
    """The latest time of rows; a date lasts until its end.

    Args:
        tables: rows.
        time: the column.
        now: UTC epoch seconds.

    Returns:
        what there is; None where a table lacks the column, or where it holds no times (whole numbers have no unit).
    """
    rows, later, latest = 0, 0, -np.inf
    for table in tables:
        seconds = _seconds(table[time]) if time in table.column_names else None
        if seconds is None:
            return None
        past = seconds[seconds <= now + SECONDS_OF_A_DAY]
        rows, later = rows + len(seconds), later + len(seconds) - len(past)
        latest = max(latest, float(past.max(initial=-np.inf)))
    return Newest(latest if np.isfinite(latest) else None, rows, later)


def _seconds(column: pa.ChunkedArray) -> Array | None:
    """Epoch seconds of the values that are there."""
    kind = column.type
    there = column.drop_null()
    if pa.types.is_date32(kind):
        return (np.asarray(there.cast(pa.int32()).to_numpy(), dtype=np.float64) + 1) * SECONDS_OF_A_DAY
    if pa.types.is_date64(kind):
        return np.asarray(there.cast(pa.int64()).to_numpy(), dtype=np.float64) / 1_000 + SECONDS_OF_A_DAY
    if pa.types.is_timestamp(kind):
        return np.asarray(there.cast(pa.int64()).to_numpy(), dtype=np.float64) / _TICKS[kind.unit]
    return None


def _bits(column: pa.ChunkedArray) -> Array:
    """64 bits a value, equal for equal ones."""
    kind = column.type
    if pa.types.is_floating(kind):
        floats: Array = column.cast(pa.float64()).to_numpy() + 0.0  # a copy, and no negative zero
        found: Array = floats.view(np.uint64)
        found[np.isnan(floats)] = _ABSENT
        return found
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        wide = column if pa.types.is_uint64(kind) else column.cast(pa.int64())
        found = np.array(wide.fill_null(0).to_numpy()).view(np.uint64)
    else:
        encoded = column.combine_chunks().dictionary_encode()
        found = np.array(encoded.indices.fill_null(0).to_numpy(zero_copy_only=False), dtype=np.uint64)
    if column.null_count:
        found[np.asarray(column.is_null().to_numpy())] = _ABSENT
    return found


def _mix(values: Array) -> None:
    """One step of SplitMix64 (G. Steele, D. Lea and C. Flood, OOPSLA 2014) in place; overflow is meant."""
    values += _STEP
    for shift, factor in ((30, _FIRST), (27, _SECOND)):
        values ^= values >> np.uint64(shift)
        values *= factor
    values ^= values >> np.uint64(31)
