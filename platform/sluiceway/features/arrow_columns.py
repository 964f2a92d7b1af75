"""One Arrow column as a model sees it."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sluiceway.features.schema import Feature, is_number, is_text


def fits(feature: Feature, kind: pa.DataType) -> bool:
    """Whether a column of a type can be this feature; one of nothing but nulls can be any."""
    if pa.types.is_null(kind):
        return True
    return is_text(kind) if feature.kind == "category" else is_number(kind)


def encode_chunk(chunk: pa.Array, feature: Feature, out: np.ndarray) -> int:
    """Encode a chunk whose type fits.

    Args:
        chunk: n values.
        feature: what they are.
        out: shape (n,), float32; filled: NaN where a value is missing or a category is not known, infinite where a
            number is, or is too large for a 32-bit float.

    Returns:
        How many categories are not known.
    """
    if pa.types.is_null(chunk.type):
        out[:] = math.nan
        return 0
    return _text(chunk, feature, out) if feature.kind == "category" else _numbers(chunk, out)


def _numbers(chunk: pa.Array, out: np.ndarray) -> int:
    if pa.types.is_boolean(chunk.type):
        chunk = chunk.cast(pa.uint8())
    elif pa.types.is_decimal(chunk.type):
        chunk = chunk.cast(pa.float64())
    with np.errstate(over="ignore"):  # what overflows is found afterwards, by name
        out[:] = chunk.to_numpy(zero_copy_only=False)
    return 0


def _text(chunk: pa.Array, feature: Feature, out: np.ndarray) -> int:
    if isinstance(chunk, pa.DictionaryArray):
        codes = _codes(chunk.dictionary, feature).take(chunk.indices)
    else:
        codes = _codes(chunk, feature)
    out[:] = codes.to_numpy(zero_copy_only=False)
    return int(codes.null_count - chunk.null_count)


def _codes(values: pa.Array, feature: Feature) -> pa.Array:
    if pa.types.is_string_view(values.type):
        values = values.cast(pa.large_string())
    return pc.index_in(values, value_set=pa.array(feature.categories, values.type))
