"""Groups of rows by the values of protected columns, alone or taken together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Array = npt.NDArray[Any]
MISSING = "(missing)"
MOST_NUMBERS = 20  # different numbers that may each be a group; more of them are a measurement
AND = " & "
LISTED = 8  # groups named in a verdict; the report has all


@dataclass(frozen=True)
class Groups:
    """Which group each row belongs to.

    Attributes:
        attribute: the column, or several joined by ``&``.
        names: of the groups that occur, each once.
        codes: shape (n,), int64, place of each row's group among the names.
    """

    attribute: str
    names: tuple[str, ...]
    codes: Array

    @cached_property
    def rows(self) -> Array:
        """Rows of each group, shape (k,)."""
        return np.bincount(self.codes, minlength=len(self.names))


def attribute_name(columns: Sequence[str]) -> str:
    """How an attribute, or several taken together, are called."""
    return AND.join(columns)


def encoded_column(column: pa.ChunkedArray) -> pa.DictionaryArray:
    """A column in one piece, each row as the place of its value in a dictionary; NaN is a missing value."""
    if pa.types.is_dictionary(column.type):
        if any(chunk.dictionary.null_count for chunk in column.chunks):
            # Arrow cannot join dictionaries that hold a null.
            return column.cast(column.type.value_type).combine_chunks().dictionary_encode()
        return column.combine_chunks()
    values = column.combine_chunks()
    if pa.types.is_floating(values.type):
        values = pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)
    return values.dictionary_encode()


def listed(names: Sequence[str]) -> str:
    """The first of some names, and how many more there are."""
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"{', '.join(names[:LISTED])}{more}"


def groups_of(rows: pa.Table, columns: Sequence[str]) -> Groups | str:
    """The groups of rows by one column, or by several taken together.

    A missing value is a group of its own.

    Args:
        rows: the table.
        columns: one protected column, or the columns of an intersection.

    Returns:
        the groups, or why there are none, in words: a column is not there, or holds measurements.
    """
    single = []
    for column in columns:
        if column not in rows.column_names:
            return f"the protected attribute {column!r} is not a column of the rows"
        encoded = encoded_column(rows[column])
        kind = encoded.type.value_type
        if len(encoded.dictionary) > MOST_NUMBERS and not _names(kind):
            return (
                f"{column!r} holds {len(encoded.dictionary):,} different values of type {kind}, and a measurement is "
                f"no group: put it into bins, as a column of its own, and declare that one"
            )
        single.append(_compact(column, encoded))
    return single[0] if len(single) == 1 else _crossed(single)


def groups_of_values(attribute: str, values: Sequence[Any] | pa.Array | pa.ChunkedArray) -> Groups:
    """The groups of one column, whatever it holds."""
    column = values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values)
    return _compact(
        attribute, encoded_column(column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column]))
    )


def _names(kind: pa.DataType) -> bool:
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    return bool(text or pa.types.is_boolean(kind))


def _compact(attribute: str, encoded: pa.DictionaryArray) -> Groups:
    """Only names that occur, each once: a dictionary may hold others, the same twice, or a null."""
    listed = [MISSING if name is None else name for name in pc.cast(encoded.dictionary, pa.string()).to_pylist()]
    listed.append(MISSING)
    codes = pc.fill_null(encoded.indices.cast(pa.int64()), len(listed) - 1).to_numpy(zero_copy_only=False)
    there = np.bincount(codes, minlength=len(listed)) > 0
    names = tuple(dict.fromkeys(name for name, occurs in zip(listed, there, strict=True) if occurs))
    place = {name: i for i, name in enumerate(names)}
    return Groups(attribute, names, np.array([place.get(name, 0) for name in listed], dtype=np.int64)[codes])


def _crossed(single: Sequence[Groups]) -> Groups:
    codes = np.zeros(len(single[0].codes), dtype=np.int64)
    for groups in single:
        codes = codes * len(groups.names) + groups.codes
    found = pa.array(codes).dictionary_encode()
    names = []
    for code in found.dictionary.to_pylist():
        parts = []
        for groups in reversed(single):
            code, place = divmod(code, len(groups.names))
            parts.append(f"{groups.attribute}={groups.names[place]}")
        names.append(AND.join(reversed(parts)))
    attribute = attribute_name([groups.attribute for groups in single])
    return Groups(attribute, tuple(names), found.indices.to_numpy().astype(np.int64))
