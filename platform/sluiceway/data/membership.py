"""Which rows are for training, which choose the threshold, which only judge: a hash of the row decides.

The rules are fixed for good and written down, with test vectors, in ``docs/data/membership.md``. They depend on nothing
but the values and the names of the columns: not on the order of rows or columns, the chunks, the dictionaries, the
version of any library or the machine. A null contributes nothing, so a column that is added later leaves the rows
that do not have it where they were.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from sluiceway.config.experiment import SplitSection
from sluiceway.core.errors import DataError, SchemaMismatchError
from sluiceway.data.bits import MICROSECONDS, is_bytes, is_text, mix

TRAIN, VALIDATION, TEST = 0, 1, 2
PART_NAMES = ("train", "validation", "test")

_MASK = (1 << 64) - 1
# Salts: the first 8 bytes, big-endian, of the names in ASCII.
_NUMBER, _TIME, _TEXT, _BYTES = (
    int.from_bytes(name, "big") for name in (b"number\0\0", b"time\0\0\0\0", b"text\0\0\0\0", b"bytes\0\0\0")
)
_PART, _FOLD, _SAMPLE = (int.from_bytes(name, "big") for name in (b"part\0\0\0\0", b"fold\0\0\0\0", b"sample\0\0"))
_TO_INT = 2.0**63
_HEAD = 1_000
_MICROSECONDS_OF_A_DAY = 86_400_000_000


def row_hashes(table: pa.Table, columns: Sequence[str]) -> np.ndarray:
    """One number per row, from the named columns.

    Args:
        table: n rows; integers, floats, booleans, text, binary, dates, times, timestamps, durations, decimals and
            dictionaries of these.
        columns: which take part; their order does not matter.

    Returns:
        shape (n,), uint64.

    Raises:
        SchemaMismatchError: a column is not there.
        DataError: no column is named, or one has a type that cannot be hashed (a list, a struct).
    """
    if not columns:
        raise DataError("a row hash needs at least one column")
    missing = [name for name in columns if name not in table.column_names]
    if missing:
        raise SchemaMismatchError(f"no column {', '.join(missing)}", hint=f"columns: {', '.join(table.column_names)}")
    total = np.zeros(table.num_rows, np.uint64)
    for name in sorted(set(columns)):
        salt = np.uint64(xxhash.xxh3_64_intdigest(name.encode()))
        offset = 0
        for chunk in table[name].chunks:
            values, present = _values(chunk, name=name)
            mixed = mix(values ^ salt)
            mixed[~present] = 0
            total[offset : offset + len(chunk)] += mixed
            offset += len(chunk)
    return mix(total)


def parts(hashes: np.ndarray, seed: int, split: SplitSection) -> np.ndarray:
    """The part of each row.

    Args:
        hashes: row hashes, shape (n,), uint64.
        seed: of the experiment; any integer.
        split: shares of the parts.

    Returns:
        shape (n,), uint8: ``TRAIN``, ``VALIDATION`` or ``TEST``.
    """
    place = _place(hashes, seed, _PART)
    edges = [int(split.train * 2**53), int((split.train + split.validation) * 2**53)]
    return np.searchsorted(np.array(edges, np.uint64), place, side="right").astype(np.uint8)


def folds(hashes: np.ndarray, seed: int, n_folds: int) -> np.ndarray:
    """The fold of each row: each class falls evenly into the folds, as evenly as chance allows.

    A plain function of the row's hash, so that a row keeps its fold in every version.

    Args:
        hashes: row hashes, shape (n,), uint64.
        seed: of the experiment; any integer.
        n_folds: how many, 1 to 255.

    Returns:
        shape (n,), uint8, 0 to ``n_folds - 1``; independent of the part.
    """
    return ((_place(hashes, seed, _FOLD) >> np.uint64(21)) * np.uint64(n_folds) >> np.uint64(32)).astype(np.uint8)


def fold_place(hashes: np.ndarray, seed: int) -> np.ndarray:
    """Where each row stands in the random order that folds are cut from: shape (n,), uint64, below 2^53."""
    return _place(hashes, seed, _FOLD)


def sample_order(hashes: np.ndarray, seed: int) -> np.ndarray:
    """Where each row stands in a random order that is the same for a row in every version: shape (n,), uint64."""
    return _place(hashes, seed, _SAMPLE)


def hashable(kind: pa.DataType) -> bool:
    """Whether a column of this type can take part in a row hash."""
    if pa.types.is_dictionary(kind):
        return hashable(kind.value_type)
    return not (bool(pa.types.is_nested(kind)) or bool(pa.types.is_interval(kind)))


def _place(hashes: np.ndarray, seed: int, salt: int) -> np.ndarray:
    """53 random bits per row."""
    start = mix(np.array([(seed & _MASK) ^ salt], np.uint64))[0]
    return mix(hashes ^ start) >> np.uint64(11)


def _values(chunk: pa.Array, *, name: str) -> tuple[np.ndarray, np.ndarray]:
    """64 bits per value and whether it is there; both shape (n,)."""
    kind = chunk.type
    if pa.types.is_null(kind):
        return np.zeros(len(chunk), np.uint64), np.zeros(len(chunk), bool)
    if pa.types.is_dictionary(kind):
        return _of_dictionary(chunk, name=name)
    present = _present(chunk)
    if pa.types.is_floating(kind):
        floats = pc.fill_null(chunk.cast(pa.float64()), 0.0).to_numpy(zero_copy_only=False)
        return _of_floats(floats), present & ~np.isnan(floats)
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return _integers(chunk) ^ np.uint64(_NUMBER), present
    if pa.types.is_temporal(kind) and not pa.types.is_interval(kind):
        return _microseconds(chunk) ^ np.uint64(_TIME), present
    if pa.types.is_decimal(kind):
        return _of_decimals(chunk), present
    if is_text(kind) or is_bytes(kind):
        return _of_bytes(chunk), present
    raise DataError(f"column {name!r} of type {kind} cannot identify a row", hint="name other columns in data.key")


def _present(chunk: pa.Array) -> np.ndarray:
    return np.asarray(chunk.is_valid().to_numpy(zero_copy_only=False), bool)


def _integers(chunk: pa.Array) -> np.ndarray:
    wide = pa.uint64() if pa.types.is_uint64(chunk.type) else pa.int64()
    return np.asarray(pc.fill_null(chunk.cast(wide), 0).to_numpy(zero_copy_only=False)).view(np.uint64)


def _of_floats(floats: np.ndarray) -> np.ndarray:
    """A whole number hashes as the integer that it is, so 3, 3.0 and -0.0 = 0 keep their rows where they are."""
    whole = (np.floor(floats) == floats) & (floats >= -_TO_INT) & (floats < _TO_INT)
    integers = np.where(whole, floats, 0.0).astype(np.int64).view(np.uint64)
    return np.where(whole, integers ^ np.uint64(_NUMBER), mix(floats.view(np.uint64)))


def _microseconds(chunk: pa.Array) -> np.ndarray:
    kind = chunk.type
    if pa.types.is_date(kind):
        days = pc.fill_null(chunk.cast(pa.date32()).cast(pa.int32()).cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
        return np.asarray(days * _MICROSECONDS_OF_A_DAY).view(np.uint64)
    raw = chunk.view(pa.int32() if kind.bit_width == 32 else pa.int64()).cast(pa.int64())
    ticks = pc.fill_null(raw, 0).to_numpy(zero_copy_only=False)
    scaled = ticks // 1_000 if kind.unit == "ns" else ticks * MICROSECONDS[kind.unit]
    return np.asarray(scaled).view(np.uint64)


def _of_bytes(chunk: pa.Array) -> np.ndarray:
    salt = np.uint64(_TEXT if is_text(chunk.type) else _BYTES)
    if _repeats(chunk):
        encoded = chunk.dictionary_encode()
        codes = pc.fill_null(encoded.indices, 0).to_numpy(zero_copy_only=False)
        return np.asarray((_digests(encoded.dictionary) ^ salt)[codes])
    return _digests(chunk) ^ salt


def _repeats(chunk: pa.Array) -> bool:
    """Whether a dictionary would pay: it does not where most values are different."""
    head = chunk.slice(0, _HEAD)
    return len(chunk) > _HEAD and 0 < pc.count_distinct(head).as_py() < _HEAD // 2


def _digests(chunk: pa.Array) -> np.ndarray:
    digest = xxhash.xxh3_64_intdigest
    raw = chunk.cast(pa.large_binary()).to_pylist()
    return np.fromiter((digest(value or b"") for value in raw), np.uint64, len(raw))


def _of_decimals(chunk: pa.Array) -> np.ndarray:
    def bits(value: object) -> int:
        if value is None:
            return 0
        text = format(value, "f")
        text = text.rstrip("0").rstrip(".") if "." in text else text
        if "." not in text and -(2**63) <= int(text) < 2**63:
            return (int(text) & _MASK) ^ _NUMBER
        return int(xxhash.xxh3_64_intdigest(text.encode())) ^ _NUMBER

    return np.fromiter((bits(value) for value in chunk.to_pylist()), np.uint64, len(chunk))


def _of_dictionary(chunk: pa.DictionaryArray, *, name: str) -> tuple[np.ndarray, np.ndarray]:
    values, present = _values(chunk.dictionary, name=name)
    if not len(values):
        return np.zeros(len(chunk), np.uint64), np.zeros(len(chunk), bool)
    codes = pc.fill_null(chunk.indices.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
    return values[codes], present[codes] & _present(chunk.indices)
