"""The classes of a target: a value of the table, its place in a model's scores, and the number that records keep."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from sluiceway.core.errors import DataError, ModelError

Class = int | str
_CODE_BITS = 52  # whole numbers up to 2^53 are exact in the float64 of records


def class_places(column: pa.ChunkedArray, classes: Sequence[Class], *, target: str) -> np.ndarray:
    """The labels as a model of several classes learns them: each one's place among the classes.

    Args:
        column: n values as the table has them: whole numbers or text.
        classes: in the order of the model's scores.
        target: name of the column, for messages.

    Returns:
        shape (n,), int64.

    Raises:
        DataError: a label is missing, or none of the classes.
    """
    kind = pa.large_string() if isinstance(classes[0], str) else pa.int64()
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    try:
        found = pc.index_in(column.cast(kind), value_set=pa.array(classes, kind))
    except pa.ArrowInvalid as error:
        raise DataError(f"the target {target!r} holds no classes: {error}", column=target) from error
    if found.null_count:
        raise DataError(
            f"the target {target!r} is missing, or none of its {len(classes)} classes, in {found.null_count:,} rows",
            hint="leave rows without an outcome out of the table",
            column=target,
        )
    return np.asarray(found.to_numpy(), dtype=np.int64)


def class_codes(classes: Sequence[Class]) -> dict[Class, float]:
    """The numbers that stand for classes in prediction records and outcomes.

    Each is of its value alone, so that a model that knows more classes, or another order of them, writes the same: a
    whole number is itself, a text is the first 52 bits of its XXH3 hash.

    Args:
        classes: all of a model.

    Returns:
        the number of each, in their order.

    Raises:
        ModelError: two of them have the same one.
    """
    codes = {value: _code(value) for value in classes}
    if len(set(codes.values())) != len(classes):
        raise ModelError("two classes have the same number in prediction records", hint="rename one of them")
    return codes


def _code(value: Class) -> float:
    if isinstance(value, str):
        return float(xxhash.xxh3_64_intdigest(value.encode()) >> (64 - _CODE_BITS))
    return float(value)
