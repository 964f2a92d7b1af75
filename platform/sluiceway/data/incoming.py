"""Rows on their way into a table: counted while they stream, and held against the table's schema before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import pyarrow as pa
from deltalake import DeltaTable

from sluiceway.core.errors import DataError, SchemaMismatchError
from sluiceway.data import history, tables

Rows: TypeAlias = "pa.Table | pa.RecordBatchReader"


class CountedRows:
    """Counts rows while they stream, and knows the number before where it can be known."""

    def __init__(self, data: Rows) -> None:
        self._data = data
        self.schema: pa.Schema = data.schema
        self.rows = data.num_rows if isinstance(data, pa.Table) else 0

    def known(self) -> dict[str, int]:
        """The metadata entry for the number of rows; a reader's number is left to the engine's own metrics."""
        return {history.ROWS: self.rows} if isinstance(self._data, pa.Table) else {}

    def stream(self) -> Rows:
        """What the engine reads."""
        if isinstance(self._data, pa.Table):
            return self._data
        return pa.RecordBatchReader.from_batches(self.schema, self._counted(self._data))

    def _counted(self, reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        for batch in reader:
            self.rows += batch.num_rows
            yield batch


def refuse_untyped(schema: pa.Schema) -> None:
    """Refuse columns of Arrow's null type, which Delta would keep and no reader could use.

    Raises:
        DataError: there are such columns; it names them.
    """
    untyped = [field.name for field in schema if pa.types.is_null(field.type)]
    if untyped:
        raise DataError(
            f"columns without a type: {', '.join(untyped)}",
            hint="cast an all-null column to the type that it should have",
        )


def refuse_other_schema(table: DeltaTable, given: pa.Schema, *, uri: str, more: bool = False) -> None:
    """Refuse rows whose columns or types are not those of the table; the order of the columns is free.

    Args:
        table: where they go.
        given: their columns.
        uri: of the table.
        more: True: they may have columns that the table has not.

    Raises:
        SchemaMismatchError: lists every difference.
    """
    wanted = {field.name: _plain(field.type) for field in tables.arrow_schema(table)}
    found = {field.name: _plain(field.type) for field in given}
    problems = [f"{name} is missing" for name in wanted if name not in found]
    problems += [f"{name} is not in the table" for name in found if name not in wanted and not more]
    problems += [
        f"{name} is {found[name]}, the table has {kind}"
        for name, kind in wanted.items()
        if found.get(name, kind) != kind
    ]
    if problems:
        raise SchemaMismatchError(f"the rows do not fit {uri}: {'; '.join(problems)}", table=uri)


def _plain(kind: pa.DataType) -> pa.DataType:
    """The type as Delta keeps it: no dictionaries, one width of text, microseconds, signed integers."""
    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return pa.binary()
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", "UTC" if kind.tz else None)
    return kind
