"""The difference of two multisets of rows, by key or by whole rows.

The rules:

- Values are equal as ``docs/data/rowset-v1.md`` has it: NaN is NaN, -0.0 is 0.0, a width or a scale does not matter; a
  column that one side lacks is null there. Rows are equal where all their values are. Compared are 128 bits of each
  row, the lanes of that page.
- Equal rows of both sides cancel, one for one. Rows that only moved from file to file are no difference.
- What is left of a key is paired in a fixed order: each pair is one changed row; what one side has more of is added or
  removed. Where a key is there once a side, that is what everybody means; where it is there more often, the numbers
  are the least that explain the difference, and which rows are a pair is arbitrary but the same each time.
- Null is a value of a key like any other: rows whose key is null have the same key.
- Without a key, rows are added or removed, never changed.

Examples are those whose keys hash lowest: the same each time, whatever the files and the order of rows in them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from sluiceway.core.errors import DataError, SchemaMismatchError
from sluiceway.data.bits import is_bytes, is_text
from sluiceway.data.row_digest import row_lanes
from sluiceway.data.row_prints import PLACE, Differences, compare, table_prints


@dataclass(frozen=True)
class ChangedRow:
    """A pair of rows of one key.

    Attributes:
        key: its columns with their values.
        changes: columns that differ, with the value before and after.
    """

    key: dict[str, Any]
    changes: dict[str, tuple[Any, Any]]


@dataclass(frozen=True)
class RowDiff:
    """What differs between two multisets of rows.

    Attributes:
        key: columns that identify a row; none where whole rows were compared.
        added: number of rows.
        removed: number of rows.
        changed: number of pairs.
        added_rows: examples, as many as were asked for at most.
        removed_rows: examples.
        changed_rows: examples.
    """

    key: tuple[str, ...]
    added: int = 0
    removed: int = 0
    changed: int = 0
    added_rows: tuple[dict[str, Any], ...] = ()
    removed_rows: tuple[dict[str, Any], ...] = ()
    changed_rows: tuple[ChangedRow, ...] = ()


def diff_tables(old: pa.Table, new: pa.Table, *, key: Sequence[str] = (), limit: int = 20) -> RowDiff:
    """Compare the rows of two tables that are in memory.

    Args:
        old: rows before.
        new: rows after.
        key: columns that identify a row; whole rows are compared where there are none.
        limit: so many examples of each kind at most.

    Raises:
        SchemaMismatchError, DataError: what :func:`check_key` raises, or a column's type cannot be compared.
    """
    names = check_key(old.schema, new.schema, key)
    found = compare(table_prints(old, names), table_prints(new, names), limit=limit)
    return described(
        found,
        names,
        added=new.take(found.added_prints[PLACE]),
        removed=old.take(found.removed_prints[PLACE]),
        before=old.take(found.old_prints[PLACE]),
        after=new.take(found.new_prints[PLACE]),
    )


def check_key(old: pa.Schema, new: pa.Schema, key: Sequence[str]) -> tuple[str, ...]:
    """The columns of a key, each once.

    Raises:
        SchemaMismatchError: a column is not on both sides, or its values cannot be equal across its two types.
        DataError: a column has no plain values.
    """
    names = tuple(dict.fromkeys(key))
    for name in names:
        lacking = [side for side, schema in (("old", old), ("new", new)) if name not in schema.names]
        if lacking:
            raise SchemaMismatchError(
                f"the key column {name!r} is not in the {' and the '.join(lacking)} version",
                hint=f"columns of both: {', '.join(n for n in old.names if n in new.names)}",
                column=name,
            )
        kinds = (old.field(name).type, new.field(name).type)
        if any(pa.types.is_nested(kind) for kind in kinds):
            raise DataError(
                f"the key column {name!r} is of type {kinds[1]}", hint="a key has plain values", column=name
            )
        if not _comparable(*kinds):
            raise SchemaMismatchError(
                f"the key column {name!r} is {kinds[0]} in the old version and {kinds[1]} in the new: none would match",
                hint="leave --key out to compare whole rows, or take another column",
                column=name,
            )
    return names


def _comparable(old: pa.DataType, new: pa.DataType) -> bool:
    alike = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, is_text, is_bytes)
    return bool(old == new) or any(check(old) and check(new) for check in alike)


def described(
    found: Differences, key: tuple[str, ...], *, added: pa.Table, removed: pa.Table, before: pa.Table, after: pa.Table
) -> RowDiff:
    """The differences with the rows of their examples.

    Args:
        found: the numbers.
        key: columns of the key.
        added: rows of the examples, in any order.
        removed: the same.
        before: the old rows of the pairs.
        after: the new rows of the pairs, in the same order.
    """
    return RowDiff(
        key=key,
        added=found.added,
        removed=found.removed,
        changed=found.changed,
        added_rows=tuple(_in_order(added, key).to_pylist()),
        removed_rows=tuple(_in_order(removed, key).to_pylist()),
        changed_rows=_changes(before, after, key),
    )


def _changes(before: pa.Table, after: pa.Table, key: tuple[str, ...]) -> tuple[ChangedRow, ...]:
    names = list(dict.fromkeys([*after.column_names, *before.column_names]))
    differs = {name: _differs(_column(before, name), _column(after, name)) for name in names}
    rows = []
    for i in _order(after, key):
        changes = {
            name: (_column(before, name)[i].as_py(), _column(after, name)[i].as_py())
            for name in names
            if differs[name][i]
        }
        rows.append(ChangedRow({name: after[name][i].as_py() for name in key}, changes))
    return tuple(rows)


def _column(table: pa.Table, name: str) -> pa.Array:
    if name not in table.column_names:
        return pa.nulls(table.num_rows)
    column = table[name].combine_chunks()
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _differs(old: pa.Array, new: pa.Array) -> np.ndarray:
    first, second = (row_lanes(pa.record_batch([column], names=["c"])) for column in (old, new))
    return np.asarray((first[0] != second[0]) | (first[1] != second[1]))


def _in_order(table: pa.Table, key: Sequence[str]) -> pa.Table:
    return table.take(pa.array(_order(table, key), pa.int64()))


def _order(table: pa.Table, key: Sequence[str]) -> list[int]:
    """Places in the order of the key, or of all plain columns; nulls at the end."""
    plain = [field.name for field in table.schema if not pa.types.is_nested(field.type)]
    columns = [table[name].to_pylist() for name in key or plain]
    values = [[(value is None, value) for value in column] for column in columns]
    return sorted(range(table.num_rows), key=lambda i: [(gone, value) for gone, value in (c[i] for c in values)])
