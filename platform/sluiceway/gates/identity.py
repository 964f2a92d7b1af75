"""Which rows are the same row, and which columns say which row it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from scipy.stats import kstest

Array = npt.NDArray[Any]
HEAD = 10_000  # values that are looked at first: what repeats among these repeats among all
UNIQUE_SHARE = 0.95
UNMISTAKABLE = 0.9  # values of one column over different rows
FEWEST_DIFFERENT = 100  # rows, before that is asked
FEWEST_NEIGHBOURS = 30  # pairs of numbers next to each other that say how often numbers should repeat
WIDE = 2.0**31  # a range that hashes and random identifiers have


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type holds text, dictionary-encoded or not."""
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(value) or pa.types.is_large_string(value) or pa.types.is_string_view(value))


def text_column(column: pa.ChunkedArray) -> pa.Array:
    """Text, dictionary-encoded or not, as one array of large strings."""
    plain = column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
    text: pa.Array = plain.cast(pa.large_string()).combine_chunks()
    return text


def number_column(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Booleans, dates and times as whole numbers; numbers as they are."""
    kind = column.type
    if pa.types.is_boolean(kind):
        return column.cast(pa.int8())
    if pa.types.is_date(kind):
        return column.cast(pa.date32()).cast(pa.int32())
    if pa.types.is_timestamp(kind):
        return column.cast(pa.timestamp("us", kind.tz), safe=False).cast(pa.int64())
    if pa.types.is_time32(kind):
        return column.cast(pa.int32())
    return column.cast(pa.int64()) if pa.types.is_temporal(kind) else column


def row_codes(tables: Sequence[pa.Table], columns: Sequence[str]) -> list[Array]:
    """Numbers of rows: the same for rows of the same content, in whichever of the tables they are.

    The content is mixed into 64 bits: among a million rows two different ones are taken for the same with a chance of
    about 1 in 40 million.

    Args:
        tables: with the same columns; numbers, booleans, text, dictionary-encoded text, dates or times.
        columns: what counts.

    Returns:
        for each table shape (its rows,), int64, from 0 and without gaps over all of them.
    """
    sizes = [table.num_rows for table in tables]
    mixed = np.zeros(sum(sizes), dtype=np.uint64)
    for column in columns:
        mixed = _mix(mixed + _bits([table[column] for table in tables]))
    codes = np.unique(mixed, return_inverse=True)[1].astype(np.int64)
    return np.split(codes, np.cumsum(sizes)[:-1])


def told_apart(table: pa.Table, columns: Sequence[str], codes: Array) -> bool:
    """Whether rows that are equal in these columns are copies, and not equal by nature.

    They are copies where one column of numbers has about as many values as there are different rows: where its value
    comes again, all the others come again with it. In a table of few categories, or of rounded numbers, a value comes
    again beside other ones.

    Args:
        table: some rows.
        columns: what is looked at.
        codes: of its rows over these columns, see :func:`row_codes`.
    """
    distinct = len(np.unique(codes))
    if distinct < FEWEST_DIFFERENT:
        return False
    numbers = [name for name in columns if not is_text(table[name].type)]
    return any(pc.count_distinct(table[name]).as_py() >= UNMISTAKABLE * distinct for name in numbers)


def distinct_share(column: pa.ChunkedArray) -> tuple[float, int]:
    """(Distinct values over present ones, present ones) of a column; share NaN where it has none."""
    present = column.drop_null()
    n = len(present)
    if pa.types.is_dictionary(present.type):
        present = present.cast(present.type.value_type)
    return (pc.count_distinct(present).as_py() / n, n) if n else (math.nan, 0)


def is_identifier(column: pa.ChunkedArray) -> bool:
    """Whether the values of a column say which row it is, as far as these rows can tell.

    Text does where nearly every value is another. So do whole numbers that are also not just wide: a measured number
    repeats about half as often as it has a neighbour (two values next to each other on the number line), whatever its
    distribution, while identifiers have neighbours and do not repeat; or they have no neighbours at all, over a range
    of 2^31 or more, and are spread evenly over it, like hashes. Other numbers never do.

    Args:
        column: of a feature.
    """
    kind = column.type
    if not (pa.types.is_integer(kind) or is_text(kind)):
        return False
    if distinct_share(column.slice(0, HEAD))[0] <= UNIQUE_SHARE or distinct_share(column)[0] <= UNIQUE_SHARE:
        return False
    return is_text(kind) or _drawn_without_repetition(column.drop_null().to_numpy())


def _drawn_without_repetition(numbers: Array) -> bool:
    if len(numbers) < 3:
        return False
    numbers = np.sort(numbers)
    steps = np.diff(numbers.astype(np.uint64))  # wraps around for negative ones, to the same differences
    if not steps.any():
        return False
    step = np.gcd.reduce(steps)  # prices of 0.99 and numbers that end in 0 have neighbours further away
    repeats, neighbours = int((steps == 0).sum()), int((steps == step).sum())
    if neighbours >= FEWEST_NEIGHBOURS:
        return repeats <= neighbours / 10
    low, high = float(numbers[0]), float(numbers[-1])
    if repeats or high - low < WIDE:
        return False
    even = (numbers.astype(np.float64) - low) / (high - low)
    return bool(kstest(even, "uniform").pvalue > 0.001)


def _bits(columns: Sequence[pa.ChunkedArray]) -> Array:
    """Shape (rows of all,), uint64: the same for equal values, whatever their type says; missing values are equal."""
    if any(is_text(column.type) for column in columns):
        text = pa.concat_arrays([text_column(column) for column in columns])
        encoded = pc.dictionary_encode(text, null_encoding="encode")
        codes: Array = encoded.indices.to_numpy(zero_copy_only=False).astype(np.uint64)
        return codes
    return np.concatenate([_bits_of_numbers(column) for column in columns])


def _bits_of_numbers(column: pa.ChunkedArray) -> Array:
    numbers = number_column(column)
    values: Array = numbers.cast(pa.float64(), safe=False).to_numpy() + 0.0  # -0.0 becomes 0.0
    values = np.where(np.isnan(values), np.nan, values)  # one NaN, of all that there are
    return values.view(np.uint64)


def _mix(values: Array) -> Array:
    """Bits that depend on all bits: the finaliser of SplitMix64 (G. Steele, D. Lea and C. Flood, OOPSLA 2014)."""
    values = (values + np.uint64(0x9E3779B97F4A7C15)).astype(np.uint64)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Array = values ^ (values >> np.uint64(31))
    return mixed
