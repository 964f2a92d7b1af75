"""The identity of rows: 128 bits that do not depend on their order, their files or the writer, and their number.

The rules are fixed for good and written down, with test vectors, in ``docs/data/rowset-v1.md``. Digests of parts add up
to the digest of the whole, so one that is kept for each file gives that of any version, and a commit changes it by
what it added and removed. It tells that rows differ; it is no proof against somebody who means to deceive.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import polars as pl
import polars_hash as plh
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from sluiceway.core.errors import DataError
from sluiceway.core.row_digest import FORMAT, RowDigest
from sluiceway.data.bits import MICROSECONDS, is_bytes, is_text, mix

# Two lanes of 64 bits: text is hashed once for each, with these seeds of XXH3.
SEEDS = (0, 0x736C756963657761)
# A chunk's arrays stay in the processor's cache.
CHUNK_ROWS = 1 << 16

_AGAIN, _S32 = np.uint64(0x94D049BB133111EB), np.uint64(32)

Lanes = tuple[np.ndarray, np.ndarray]


def digest_rows(batches: pa.Table | Iterable[pa.RecordBatch]) -> RowDigest:
    """The digest of rows.

    Args:
        batches: a table, or its batches one after the other; a reader is streamed.

    Raises:
        DataError: a column has a type that the rules do not know.
    """
    found = RowDigest()
    for batch in batches.to_batches() if isinstance(batches, pa.Table) else batches:
        for start in range(0, batch.num_rows, CHUNK_ROWS):
            found += _digest_chunk(batch.slice(start, CHUNK_ROWS))
    return found


def row_lanes(batch: pa.RecordBatch) -> Lanes:
    """The two lanes of each row: rows are equal where both are.

    Args:
        batch: rows; of some columns only, to compare rows by these.

    Returns:
        Two arrays of uint64, one entry a row.

    Raises:
        DataError: a column has a type that the rules do not know.
    """
    return _record(zip(batch.schema.names, batch.columns, strict=True), rows=batch.num_rows, path="")


def _digest_chunk(batch: pa.RecordBatch) -> RowDigest:
    low, high = row_lanes(batch)
    return RowDigest(batch.num_rows, int(low.sum(dtype=np.uint64)), int(high.sum(dtype=np.uint64)))


def _record(columns: Iterable[tuple[str, pa.Array]], *, rows: int, path: str) -> Lanes:
    """Each row from its fields, in whatever order these are; a null field contributes nothing."""
    low, high = np.zeros(rows, np.uint64), np.zeros(rows, np.uint64)
    for name, column in columns:
        own = f"{path}{name}"
        first, second = _field(column, path=own)
        low += first
        high += second
    return mix(low), mix(high)


def _field(column: pa.Array, *, path: str) -> Lanes:
    """What a column adds to the two lanes of each row; 0 where it is null."""
    kind = column.type
    if pa.types.is_null(kind):
        return np.zeros(len(column), np.uint64), np.zeros(len(column), np.uint64)
    if pa.types.is_dictionary(kind):
        return _field(column.dictionary_decode(), path=path)
    if isinstance(column, pa.ExtensionArray):
        return _field(column.storage, path=path)
    salt, values = _values(column, path=path)
    keys = [np.uint64(xxhash.xxh3_64_intdigest(f"{salt}\0{path}".encode(), seed=seed)) for seed in SEEDS]
    if isinstance(values, tuple):
        low, high = mix(values[0] ^ keys[0]), mix(values[1] ^ keys[1])
    else:
        low = mix(values ^ keys[0])
        high = _again(low, keys[1])
    if column.null_count:
        gone = np.asarray(column.is_null().to_numpy(zero_copy_only=False))
        low[gone], high[gone] = 0, 0
    return low, high


def _again(mixed: np.ndarray, key: np.uint64) -> np.ndarray:
    """A second lane for a value of 64 bits: they are all in the first, so one more step keeps the sums apart."""
    z = mixed ^ key
    z ^= z >> _S32
    z *= _AGAIN
    return z


def _values(column: pa.Array, *, path: str) -> tuple[str, np.ndarray | Lanes]:
    """The class of a column's values, and 64 bits of each, or 128 where 64 do not hold them."""
    kind = column.type
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind):
        return "int", _integers(column)
    if pa.types.is_floating(kind):
        return "float", _floats(column)
    if pa.types.is_decimal(kind):
        return "decimal", _decimals(column)
    if pa.types.is_temporal(kind) and not pa.types.is_interval(kind):
        return _time_class(kind), _times(column)
    if is_text(kind):
        return "text", _texts(column, pa.large_string())
    if is_bytes(kind):
        return "bytes", _texts(column, pa.large_binary())
    if pa.types.is_struct(kind):
        fields = zip((kind.field(i).name for i in range(kind.num_fields)), column.flatten(), strict=True)
        return "struct", _record(fields, rows=len(column), path=f"{path}.")
    if pa.types.is_map(kind):
        entry = pa.struct([("key", kind.key_type), ("value", kind.item_type)])
        return "map", _entries(column.cast(pa.list_(entry)), path=path)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return "list", _lists(column, path=path)
    raise DataError(f"column {path!r} of type {kind} has no place in {FORMAT}")


def _filled(column: pa.Array, kind: pa.DataType) -> np.ndarray:
    cast = column if column.type == kind else column.cast(kind)
    return np.asarray((pc.fill_null(cast, 0) if cast.null_count else cast).to_numpy(zero_copy_only=False))


def _integers(column: pa.Array) -> np.ndarray:
    wide = pa.uint64() if pa.types.is_uint64(column.type) else pa.int64()
    return _filled(column, wide).view(np.uint64)


def _floats(column: pa.Array) -> np.ndarray:
    floats = _filled(column, pa.float64()) + 0.0  # -0.0 becomes 0.0
    nan = np.isnan(floats)
    if nan.any():
        floats[nan] = np.nan
    return np.asarray(floats).view(np.uint64)


def _time_class(kind: pa.DataType) -> str:
    if pa.types.is_timestamp(kind):
        return "instant" if kind.tz else "timestamp"
    return "date" if pa.types.is_date(kind) else "time" if pa.types.is_time(kind) else "duration"


def _times(column: pa.Array) -> np.ndarray:
    """Microseconds as Delta keeps them (what is finer is cut off towards the past); days for dates."""
    kind = column.type
    if pa.types.is_date(kind):
        return _filled(column.cast(pa.date32()).cast(pa.int32()), pa.int64()).view(np.uint64)
    ticks = _filled(column.view(pa.int32() if kind.bit_width == 32 else pa.int64()), pa.int64())
    scaled = ticks // 1_000 if kind.unit == "ns" else ticks * MICROSECONDS[kind.unit]
    return np.asarray(scaled).view(np.uint64)


def _texts(column: pa.Array, kind: pa.DataType) -> Lanes:
    frame = pl.DataFrame({"x": pl.from_arrow(column.cast(kind))})
    hashed = frame.select(
        plh.col("x").nchash.xxh3_64(seed=seed).fill_null(0).alias(f"lane{i}") for i, seed in enumerate(SEEDS)
    )
    return hashed["lane0"].to_numpy(), hashed["lane1"].to_numpy()


def _decimals(column: pa.Array) -> Lanes:
    """As the text of the number without the zeros at its end, so that a scale may grow."""

    def text(value: Any) -> str | None:
        if value is None:
            return None
        plain = format(value, "f")
        plain = plain.rstrip("0").rstrip(".") if "." in plain else plain
        return "0" if plain in ("-0", "") else plain

    return _texts(pa.array([text(value) for value in column.to_pylist()], pa.string()), pa.large_string())


def _lists(column: pa.Array, *, path: str) -> Lanes:
    """From elements, each with its place, and length; a null element adds nothing but its place."""
    flat, starts, lengths = _flattened(column)
    low, high = _field(flat, path=f"{path}[]")
    place = np.arange(len(flat), dtype=np.int64) - np.repeat(starts, lengths)
    turn = mix(place.view(np.uint64))
    return _gathered((mix(low ^ turn), mix(high ^ turn)), starts, lengths)


def _entries(column: pa.Array, *, path: str) -> Lanes:
    """From the entries of a map, in whatever order."""
    flat, starts, lengths = _flattened(column)
    fields = zip(("key", "value"), flat.flatten(), strict=True)
    return _gathered(_record(fields, rows=len(flat), path=f"{path}[]."), starts, lengths)


def _flattened(column: pa.Array) -> tuple[pa.Array, np.ndarray, np.ndarray]:
    """The elements of all lists, where each list begins among them, and its length; a null list has none."""
    lengths = np.asarray(pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False), np.int64)
    return column.flatten(), np.cumsum(lengths) - lengths, lengths


def _gathered(lanes: Lanes, starts: np.ndarray, lengths: np.ndarray) -> Lanes:
    size = lengths.view(np.uint64)
    low, high = (mix(_sums(lane, starts, lengths) + size) for lane in lanes)
    return low, high


def _sums(lane: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    total = np.concatenate([np.zeros(1, np.uint64), np.cumsum(lane, dtype=np.uint64)])
    return np.asarray(total[starts + lengths] - total[starts])
