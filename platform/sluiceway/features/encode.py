"""From rows to the matrix that a model sees: the same numbers from an Arrow table and from a JSON request."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sluiceway.core.errors import DataError, RequestError, SchemaMismatchError
from sluiceway.features.schema import Feature, FeatureSchema, is_number, is_text, near

MOST_PROBLEMS = 100  # a request of many bad rows must not be answered by a larger body
_LARGEST = float(np.finfo(np.float32).max)
_NAN = math.nan


def encode_table(table: pa.Table | pa.RecordBatch, schema: FeatureSchema) -> tuple[np.ndarray, int]:
    """Encode Arrow rows.

    Args:
        table: has one column a feature; further columns are ignored.
        schema: of the model.

    Returns:
        shape (n_rows, n_features), float32, C order, NaN where a value is missing; and how many values were
        categories that the schema does not know (they are missing in the matrix).

    Raises:
        SchemaMismatchError: a column is not there, or of another kind.
        DataError: a value is infinite, or too large for a 32-bit float.
    """
    matrix = np.empty((table.num_rows, len(schema.features)), dtype=np.float32)
    unseen = 0
    for index, feature in enumerate(schema.features):
        position = table.schema.get_field_index(feature.name)
        if position < 0:
            raise SchemaMismatchError(
                f"there is no column {feature.name!r}, which the model needs{near(feature.name, table.schema.names)}",
                column=feature.name,
            )
        column = table.column(position)
        start = 0
        for chunk in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
            end = start + len(chunk)
            if feature.kind == "category":
                unseen += _encode_text(chunk, feature, matrix[start:end, index])
            else:
                _encode_numbers(chunk, feature, matrix[start:end, index])
            start = end
    return matrix, unseen


def _encode_numbers(chunk: pa.Array, feature: Feature, out: np.ndarray) -> None:
    kind = chunk.type
    if not is_number(kind):
        raise _wrong_kind(feature, kind)
    if pa.types.is_null(kind):
        out[:] = _NAN
        return
    if pa.types.is_boolean(kind):
        chunk = chunk.cast(pa.uint8())
    elif pa.types.is_decimal(kind):
        chunk = chunk.cast(pa.float64())
    with np.errstate(over="ignore"):  # what overflows is found below, by name
        out[:] = chunk.to_numpy(zero_copy_only=False)
    if np.isinf(out).any():
        raise DataError(
            f"column {feature.name!r} holds an infinite value, or one beyond {_LARGEST:.3g}",
            hint="replace it by a number, or by null where the value is not known",
            column=feature.name,
        )


def _encode_text(chunk: pa.Array, feature: Feature, out: np.ndarray) -> int:
    if pa.types.is_null(chunk.type):
        out[:] = _NAN
        return 0
    if not is_text(chunk.type):
        raise _wrong_kind(feature, chunk.type)
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


def _wrong_kind(feature: Feature, kind: pa.DataType) -> SchemaMismatchError:
    return SchemaMismatchError(
        f"column {feature.name!r} has type {kind}; the model was trained on a {feature.kind} column",
        hint="train again on this version, or restore the column's type",
        column=feature.name,
    )


def encode_rows(rows: Sequence[Mapping[str, Any]], schema: FeatureSchema) -> tuple[np.ndarray, int]:
    """Encode the rows of a request.

    A null or NaN is missing; a category that the schema does not know is missing and counted.

    Args:
        rows: parsed JSON objects, one value a feature, no others.
        schema: of the model.

    Returns:
        shape (n_rows, n_features), float32, C order; and the number of unknown categories.

    Raises:
        RequestError: status 422, with the path and cause of every problem (the first 100 are listed).
    """
    plan = tuple(zip(schema.names, schema.codes, strict=True))
    width = len(plan)
    values: list[float] = []
    append = values.append
    unseen = 0
    try:
        for row in rows:
            if len(row) != width:
                return _encode_slowly(rows, schema)
            for name, codes in plan:
                value = row[name]
                if value is None:
                    append(_NAN)
                elif codes is None:
                    kind = type(value)
                    if kind is not float and kind is not int and kind is not bool:
                        return _encode_slowly(rows, schema)
                    append(value)
                else:
                    code = codes.get(value)
                    if code is None:
                        if type(value) is not str:
                            return _encode_slowly(rows, schema)
                        unseen += 1
                        code = _NAN
                    append(code)
        with np.errstate(over="ignore"):
            matrix = np.array(values, dtype=np.float32).reshape(len(rows), width)
    except (KeyError, TypeError, OverflowError):
        return _encode_slowly(rows, schema)
    if np.isinf(matrix).any():
        return _encode_slowly(rows, schema)
    return matrix, unseen


def _encode_slowly(rows: Sequence[Mapping[str, Any]], schema: FeatureSchema) -> tuple[np.ndarray, int]:
    """Look at every value; the way of rows that the quick path could not take as they are."""
    matrix = np.full((len(rows), len(schema.features)), _NAN, dtype=np.float32)
    unseen = 0
    problems: list[dict[str, str]] = []
    known = set(schema.names)
    for i, row in enumerate(rows):
        if not isinstance(row, Mapping):
            problems.append({"path": f"$.rows[{i}]", "problem": f"is {_kind(row)}; an object of features is needed"})
            continue
        for name in row:
            if name not in known:
                told = f"is not a feature of the model{near(str(name), known)}"
                problems.append({"path": _path(i, str(name)), "problem": told})
        for j, feature in enumerate(schema.features):
            if feature.name not in row:
                problems.append(
                    {"path": _path(i, feature.name), "problem": "is missing; null says that it is not known"}
                )
                continue
            number, problem = _value(row[feature.name], feature, schema.codes[j])
            if problem:
                problems.append({"path": _path(i, feature.name), "problem": problem})
            elif number is None:
                unseen += 1
            else:
                matrix[i, j] = number
    if problems:
        left = len(problems) - MOST_PROBLEMS
        shown = problems[:MOST_PROBLEMS] + (
            [{"path": "$.rows", "problem": f"{left} more problems"}] if left > 0 else []
        )
        raise RequestError(f"{len(problems)} problems in the request", status=422, problems=tuple(shown))
    return matrix, unseen


def _value(value: Any, feature: Feature, codes: Mapping[str, float] | None) -> tuple[float | None, str]:
    """The number of a value (None: a category never seen) and what is wrong with it, if anything."""
    if value is None:
        return _NAN, ""
    if codes is not None:
        if not isinstance(value, str):
            return None, f"is {_kind(value)}; a text is needed"
        return codes.get(value), ""
    if not isinstance(value, numbers.Real | np.bool_):
        return None, f"is {_kind(value)}; a number is needed"
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if abs(number) > _LARGEST:
        return None, "is infinite, or too large for a 32-bit float"
    return number, ""


def _kind(value: Any) -> str:
    names = {str: "a text", bool: "a boolean", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return "null" if value is None else names.get(type(value), f"a {type(value).__name__}")


def _path(row: int, name: str) -> str:
    return f"$.rows[{row}].{name}" if name.isidentifier() else f"$.rows[{row}][{name!r}]"
