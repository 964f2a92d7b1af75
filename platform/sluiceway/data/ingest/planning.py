"""From what sources hold and what the table asks for to the target that files are written for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol, TypeVar

import pyarrow as pa

from sluiceway.core.errors import DataError, TableNotFoundError
from sluiceway.data import commit_files, tables
from sluiceway.data.ingest.fit import delta_schema, refuse_misfit
from sluiceway.data.ingest.partition_values import refuse_unpartitionable
from sluiceway.data.ingest.request import IngestRequest
from sluiceway.data.places import main_of
from sluiceway.data.write_target import WriteTarget, refuse_removal, target_of

# A task reads no more, so that a failure costs little, and no less, so that it does not begin in vain.
TASK_BYTES = 512 * 2**20
SMALL_TASK_BYTES = 16 * 2**20
# Beside a table, for the rows that break its contract, and the columns that it has beyond the table's own.
QUARANTINE = "_quarantine"
REASON, BATCH, SOURCE = "_reason", "_batch", "_source"


class Sized(Protocol):
    """What a task reads."""

    @property
    def size(self) -> int:
        """Bytes."""


S = TypeVar("S", bound=Sized)


def existing_target(uri: str) -> WriteTarget | None:
    """What a table asks for, or None where there is none.

    Raises:
        UnsupportedTableError: it has rules for writers that are not followed here.
        DataError: a file is in its place.
    """
    uri = tables.absolute(uri)
    if "://" not in uri and Path(uri).is_file():
        raise DataError(f"{uri} is a file, not a table", hint="the table is the last argument", table=uri)
    return target_of(tables.open_table(uri), uri=uri) if tables.is_table(uri) else None


def planned_target(
    uri: str, table: WriteTarget | None, schemas: Sequence[tuple[str, pa.Schema]], request: IngestRequest
) -> WriteTarget:
    """The target of an ingest; everything that can be refused without reading rows is refused here.

    Args:
        uri: the table.
        table: what it asks for, or None for a new one.
        schemas: name and columns of each source.
        request: what is asked for.

    Raises:
        SchemaMismatchError: columns or types do not fit.
        TableNotFoundError: there is nothing to delete from.
        DataError: Delta has no such type, a key or partition column is not there, or the table is append-only.
    """
    if request.mode == commit_files.DELETE and table is None:
        raise TableNotFoundError(f"there is no Delta table at {uri} to delete rows from", table=uri)
    if table is None:
        tables.refuse_inside_another(uri)
        target = _new(uri, schemas, request)
    else:
        target = evolved(table, schemas) if request.evolve else table
    if table is not None and request.partition_by and request.partition_by != table.partition_by:
        has = ", ".join(table.partition_by) or "nothing"
        raise DataError(f"{uri} is partitioned by {has}, not by {', '.join(request.partition_by)}", table=uri)
    refuse_unpartitionable(target.schema, target.partition_by)
    if request.mode == commit_files.PARTITION_OVERWRITE and not target.partition_by:
        raise DataError(f"{uri} has no partitions", hint="use --mode overwrite", table=uri)
    if request.mode != commit_files.APPEND:
        refuse_removal(target)
    missing = [name for name in request.key if name not in target.schema.names]
    if missing:
        raise DataError(f"{uri} has no column {', '.join(missing)}", hint=f"columns: {', '.join(target.schema.names)}")
    wanted = key_schema(target, request.key) if request.mode == commit_files.DELETE else target.schema
    for name, given in schemas:
        given = _only(given, wanted.names) if request.mode == commit_files.DELETE else given
        refuse_misfit(given, wanted, table=uri, where=name, partial=request.evolve)
    return target


def key_schema(target: WriteTarget, key: Sequence[str]) -> pa.Schema:
    """The key columns as the table has them."""
    return pa.schema([target.schema.field(name) for name in key])


def shares(pieces: Sequence[S], *, cpus: int) -> Iterator[list[S]]:
    """Pieces in their order, cut so that all CPUs have work and no task is tiny or huge."""
    total = sum(piece.size for piece in pieces)
    wanted = min(TASK_BYTES, max(SMALL_TASK_BYTES, -(-total // max(cpus, 1))))
    share: list[S] = []
    size = 0
    for piece in pieces:
        share.append(piece)
        size += piece.size
        if size >= wanted:
            yield share
            share, size = [], 0
    if share:
        yield share


def quarantine_uri(uri: str) -> str:
    """Where the misfits of a table go, and those of branches' copies of it: no table may lie inside another."""
    return f"{main_of(uri)}{QUARANTINE}"


def quarantine_target(target: WriteTarget) -> WriteTarget:
    """The table beside another that takes its misfits: its columns, all nullable, and why, when and from where.

    Raises:
        SchemaMismatchError: there is such a table and the rows do not fit it.
    """
    uri = quarantine_uri(target.uri)
    columns = [one.with_nullable(True) for one in target.schema if one.name not in (REASON, BATCH, SOURCE)]
    schema = pa.schema([*columns, *(pa.field(name, pa.string()) for name in (REASON, BATCH, SOURCE))])
    table = existing_target(uri)
    if table is None:
        return WriteTarget(uri, exists=False, schema=schema)
    table = evolved(table, [(uri, schema)])
    refuse_misfit(schema, table.schema, table=uri, where="the quarantine", partial=True)
    return table


def _new(uri: str, schemas: Sequence[tuple[str, pa.Schema]], request: IngestRequest) -> WriteTarget:
    fields: dict[str, pa.Field] = {}
    for name, schema in schemas if request.evolve else schemas[:1]:
        if len(set(schema.names)) != len(schema.names):
            raise DataError(f"{name} has a column twice: {', '.join(schema.names)}")
        for one in delta_schema(schema):
            # What some sources lack is null there.
            loose = one if len(schemas) == 1 or not request.evolve else one.with_nullable(True)
            fields.setdefault(one.name, loose)
    if not fields:
        raise DataError(f"the rows for {uri} have no columns", table=uri)
    return WriteTarget(uri, exists=False, schema=pa.schema(list(fields.values())), partition_by=request.partition_by)


def evolved(table: WriteTarget, schemas: Sequence[tuple[str, pa.Schema]]) -> WriteTarget:
    """A table with the columns that it lacks at its end, nullable."""
    added: dict[str, pa.Field] = {}
    for _, schema in schemas:
        new = [one for one in schema if one.name not in table.schema.names]
        for one in delta_schema(pa.schema(new)):
            added.setdefault(one.name, one.with_nullable(True))
    clashes = {one.casefold() for one in table.schema.names} & {name.casefold() for name in added}
    if clashes:
        raise DataError(f"new columns differ from the table's by case only: {', '.join(sorted(clashes))}")
    if not added:
        return table
    return replace(table, schema=pa.schema([*table.schema, *added.values()]), added=tuple(added))


def _only(schema: pa.Schema, names: Sequence[str]) -> pa.Schema:
    return pa.schema([one for one in schema if one.name in names])
