"""What a table asks of files that somebody else than its engine writes: columns, partitions, constraints, features."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable, Schema

from sluiceway.core.errors import DataError, UnsupportedTableError
from sluiceway.data import tables

# Under these a file of plain rows with statistics is a right one. What they ask for is looked up column by column.
WRITER_FEATURES = frozenset(
    {"appendOnly", "invariants", "checkConstraints", "changeDataFeed", "generatedColumns", "identityColumns"}
    | {"timestampNtz", "v2Checkpoint"}
)
_CONSTRAINT = "delta.constraints."
_COMPUTED = ("delta.generationExpression", "delta.identity.", "delta.invariants")


@dataclass(frozen=True)
class WriteTarget:
    """A table as files are written for it.

    Attributes:
        uri: absolute path or URI.
        exists: whether there was a table when this was read.
        schema: Arrow schema of its columns, in their order.
        partition_by: partition columns.
        constraints: name and SQL expression of each CHECK.
        append_only: rows may not be taken out.
        added: columns at the end of ``schema`` that the table does not have yet.
    """

    uri: str
    exists: bool
    schema: pa.Schema
    partition_by: tuple[str, ...] = ()
    constraints: tuple[tuple[str, str], ...] = ()
    append_only: bool = False
    added: tuple[str, ...] = ()

    @property
    def file_schema(self) -> pa.Schema:
        """The columns that are in the files: partition values are in the log."""
        return pa.schema([field for field in self.schema if field.name not in self.partition_by])

    def delta_schema(self, *, added: bool = True) -> Schema:
        """The columns in Delta's words, with or without those that the table does not have yet."""
        kept = [field for field in self.schema if added or field.name not in self.added]
        return Schema.from_arrow(pa.schema(kept))


def target_of(table: DeltaTable, *, uri: str) -> WriteTarget:
    """What an open table asks of files.

    Raises:
        UnsupportedTableError: it computes columns, or uses writer features that are not understood here.
    """
    refuse_unwritable(table, uri=uri)
    told = table.metadata().configuration
    return WriteTarget(
        uri=uri,
        exists=True,
        schema=tables.arrow_schema(table).remove_metadata(),
        partition_by=tuple(table.metadata().partition_columns),
        constraints=constraints_of(told),
        append_only=str(told.get("delta.appendOnly", "")).lower() == "true",
    )


def constraints_of(configuration: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Name and SQL expression of each CHECK among a table's properties."""
    return tuple(
        (name.removeprefix(_CONSTRAINT), str(text))
        for name, text in sorted(configuration.items())
        if name.startswith(_CONSTRAINT)
    )


def refuse_unwritable(table: DeltaTable, *, uri: str) -> None:
    """Refuse tables whose rules for writers are not followed here.

    Raises:
        UnsupportedTableError: it computes columns, or uses writer features that are not understood here.
    """
    unknown = sorted(set(table.protocol().writer_features or ()) - WRITER_FEATURES)
    if unknown:
        raise UnsupportedTableError(
            f"{uri} needs writer features that are not understood here: {', '.join(unknown)}",
            hint="write to it with the engine that made it",
            table=uri,
        )
    computed = [name for name, metadata in _fields(table) if any(key.startswith(_COMPUTED) for key in metadata)]
    if computed:
        raise UnsupportedTableError(
            f"{uri} computes or checks columns by rules that are not followed here: {', '.join(computed)}",
            hint="write to it with the engine that made it",
            table=uri,
        )


def same_demands(table: DeltaTable, target: WriteTarget) -> bool:
    """Whether files that were written for the target are still right for the table as it is now.

    The columns that the target adds may be there by now, or not.

    Raises:
        UnsupportedTableError: the table has got rules that are not followed here.
    """
    now = target_of(table, uri=target.uri)
    demands = (now.partition_by, now.constraints, now.append_only)
    if demands != (target.partition_by, target.constraints, target.append_only):
        return False
    return any(now.schema.equals(pa.schema(target.delta_schema(added=a).to_arrow())) for a in (True, False))


def refuse_removal(target: WriteTarget) -> None:
    """Refuse to take rows out of a table that rows may be added to only.

    Raises:
        DataError: it is append-only.
    """
    if target.append_only:
        raise DataError(
            f"{target.uri} is append-only (delta.appendOnly); rows cannot be replaced", hint="use --mode append"
        )


def _fields(table: DeltaTable) -> list[tuple[str, dict[str, Any]]]:
    return _walk(json.loads(table.schema().to_json())["fields"], "")


def _walk(fields: list[dict[str, Any]], above: str) -> list[tuple[str, dict[str, Any]]]:
    found = []
    for field in fields:
        name = f"{above}{field['name']}"
        found.append((name, field.get("metadata") or {}))
        kind = field["type"]
        if isinstance(kind, dict) and kind.get("type") == "struct":
            found += _walk(kind["fields"], f"{name}.")
    return found
