"""Commits what is no stream of rows: data files that are written already, and rows merged by key."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable
from deltalake import exceptions as delta
from deltalake.transaction import AddAction, create_table_with_add_actions

from sluiceway.core.errors import ConflictError, DataError, InputError, TableNotFoundError
from sluiceway.data import commit_loop, delta_log, history, tables
from sluiceway.data.commit_loop import CommitResult
from sluiceway.data.partition_filters import partition_filters
from sluiceway.data.write_target import WriteTarget, refuse_removal, refuse_unwritable, same_demands
from sluiceway.data.written_files import Told, WrittenFile, write_files

APPEND, OVERWRITE, PARTITION_OVERWRITE = "append", "overwrite", "partition-overwrite"
CREATE = "create"
UPSERT, DELETE = "upsert", "delete"
# The log's key for the digits that the names of a commit's files have in common.
RUN = "sluiceway.run"


@dataclass(frozen=True)
class Delivery:
    """What the log says of a commit, beside the rows.

    Attributes:
        message: why, for people.
        source: where the rows come from.
        batch_id: name of the delivery; the same name again commits nothing.
        author: who.
        more: further keys of the log entry.
        expected_version: the version that the caller has seen; None takes whatever is there.
    """

    message: str
    source: str
    batch_id: str | None = None
    author: str | None = None
    more: Mapping[str, Any] = field(default_factory=dict)
    expected_version: int | None = None

    def metadata(self, rows: int) -> dict[str, Any]:
        """The log entry's keys for so many rows."""
        own = commit_loop.metadata(message=self.message, source=self.source, batch_id=self.batch_id, author=self.author)
        return {**self.more, **own, history.ROWS: rows}


def delivered(uri: str, batch_id: str | None) -> CommitResult | None:
    """The commit that brought a delivery, or None; reads the log only.

    Raises:
        InputError: it came, and the table was brought back to a version before it: whoever repeats it by himself, as a
            scheduler does, must not bring back what somebody has taken away.
    """
    if batch_id is None or not tables.is_table(uri):
        return None
    table = tables.open_table(uri)
    done = commit_loop.already(table, batch_id)
    restore = history.taken_back(table, done.version) if done else None
    if done and restore:
        to = f"version {restore.restored}" if isinstance(restore.restored, int) else f"{restore.restored:%F %T} UTC"
        raise InputError(
            f"batch {batch_id} of {uri} was written as version {done.version} and is not there any more: "
            f"version {restore.version} went back to {to}",
            hint="give another --batch-id to write it again; nothing was written",
            table=uri,
        )
    return done


def add_files(target: WriteTarget, files: Sequence[WrittenFile], *, mode: str, delivery: Delivery) -> CommitResult:
    """Commit files; creates the table when there is none.

    Columns that the target adds to the table go into the same commit.

    Args:
        target: what the files were written for.
        files: the files.
        mode: ``append``, ``overwrite``, or ``partition-overwrite``, which replaces the partitions of the files;
            ``create`` wants no table to be there.
        delivery: for the log.

    Raises:
        ConflictError: the table's columns, partitions or constraints are no longer those of the target, it is not at
            the expected version, or other writers won every race.
        DataError: the table is append-only, or the partitions cannot be replaced in one commit.
    """
    rows = sum(file.rows for file in files)
    told = delivery.metadata(rows)

    def attempt() -> CommitResult:
        if not tables.is_table(target.uri):
            return _create(target, files, delivery, told)
        table = tables.open_table(target.uri)
        done = commit_loop.already(table, delivery.batch_id)
        if done:
            return done
        refuse_changed(table, target, delivery)
        if mode == CREATE:
            raise ConflictError(
                f"somebody made the table {target.uri} meanwhile", hint="run it again; nothing was committed"
            )
        if mode != APPEND:
            refuse_removal(target)
        elif target.added:  # the engine appends files or adds columns, not both in one commit
            state = delta_log.replay(target.uri, table.version())
            saying = Told("WRITE", told, delivery.batch_id)
            return CommitResult(write_files(target, state, files, told=saying), rows)
        filters = (
            partition_filters(table, target, [file.partition for file in files])
            if mode == PARTITION_OVERWRITE
            else None
        )
        # No rows are of no partition, and filters that name none would be no filters.
        adds_only = mode == APPEND or (mode == PARTITION_OVERWRITE and not files)
        planned = table.version() + 1
        table.create_write_transaction(
            [_action(file, target) for file in files],
            "append" if adds_only else "overwrite",
            target.delta_schema() if target.added else table.schema(),
            list(target.partition_by),
            partition_filters=None if adds_only else filters,
            commit_properties=commit_loop.properties(told, batch_id=delivery.batch_id, version=planned),
        )
        return CommitResult(planned, rows)

    return _mapped(attempt, uri=target.uri)


def merge(
    uri: str,
    rows_of: Callable[[], pa.RecordBatchReader],
    *,
    rows: int,
    key: Sequence[str],
    mode: str,
    delivery: Delivery,
) -> tuple[CommitResult, dict[str, int]]:
    """Merge rows into a table by key, by the engine itself.

    Args:
        uri: the table.
        rows_of: gives the rows, anew for every attempt; each key once and never null.
        rows: how many they are.
        key: columns that name a row.
        mode: ``upsert`` replaces rows of the same key and adds the others; ``delete`` takes rows of the key out.
        delivery: for the log.

    Returns:
        the commit, and the numbers of rows ``inserted``, ``updated`` and ``deleted``.

    Raises:
        TableNotFoundError: there is no table.
        DataError: a row breaks a constraint.
        ConflictError: other writers won every race, or the table is not at the expected version.
    """
    uri = tables.absolute(uri)
    numbers: dict[str, int] = {}
    told = delivery.metadata(rows)
    predicate = " AND ".join(f"target.{_quoted(name)} = source.{_quoted(name)}" for name in key)

    def attempt() -> CommitResult:
        table = tables.open_table(uri)
        done = commit_loop.already(table, delivery.batch_id)
        if done:
            return done
        refuse_unwritable(table, uri=uri)
        _refuse_version(table, uri, delivery)
        planned = table.version() + 1
        merger = table.merge(
            rows_of(),
            predicate,
            source_alias="source",
            target_alias="target",
            commit_properties=commit_loop.properties(told, batch_id=delivery.batch_id, version=planned),
        )
        if mode == DELETE:
            merger = merger.when_matched_delete()
        else:
            merger = merger.when_matched_update_all().when_not_matched_insert_all()
        found = merger.execute()
        numbers.update({name: int(found[f"num_target_rows_{name}"]) for name in ("inserted", "updated", "deleted")})
        if table.version() < planned:
            _commit_nothing(table, delivery, told)
        return CommitResult(planned, rows)

    return _mapped(attempt, uri=uri), numbers


def _commit_nothing(table: DeltaTable, delivery: Delivery, told: dict[str, Any]) -> None:
    """The engine commits nothing where no row changes; but a delivery that comes again must be found done."""
    table.create_write_transaction(
        [],
        "append",
        table.schema(),
        table.metadata().partition_columns,
        commit_properties=commit_loop.properties(told, batch_id=delivery.batch_id, version=table.version() + 1),
    )


def _mapped(attempt: Callable[[], CommitResult], *, uri: str) -> CommitResult:
    try:
        return commit_loop.repeat(attempt, uri=uri)
    except delta.DeltaError as error:
        raise DataError(f"{uri} cannot be written: {error}", table=uri) from error


def _create(
    target: WriteTarget, files: Sequence[WrittenFile], delivery: Delivery, told: dict[str, Any]
) -> CommitResult:
    if target.exists:
        raise TableNotFoundError(f"the table at {target.uri} is gone", table=target.uri)
    if delivery.expected_version is not None:
        raise ConflictError(f"there is no table at {target.uri}, expected version {delivery.expected_version}")
    tables.refuse_inside_another(target.uri)
    try:
        create_table_with_add_actions(
            target.uri,
            target.delta_schema(),
            [_action(file, target) for file in files],
            mode="error",
            partition_by=list(target.partition_by),
            configuration=commit_loop.configuration(target.schema.names),
            commit_properties=commit_loop.properties(told, batch_id=delivery.batch_id, version=0),
        )
    except delta.DeltaError as error:
        if tables.is_table(target.uri):  # somebody made the table since we looked
            raise delta.CommitFailedError(str(error)) from error
        raise
    return CommitResult(0, sum(file.rows for file in files))


def refuse_changed(table: DeltaTable, target: WriteTarget, delivery: Delivery) -> None:
    """Refuse a table that files were not written for.

    Raises:
        ConflictError: its columns, partitions or constraints are no longer those of the target, or it is not at the
            version that the delivery expects.
    """
    if not same_demands(table, target):
        raise ConflictError(
            f"the columns, partitions or constraints of {target.uri} were changed while the files were written",
            hint="run it again; nothing was committed",
            table=target.uri,
        )
    _refuse_version(table, target.uri, delivery)


def _refuse_version(table: DeltaTable, uri: str, delivery: Delivery) -> None:
    if delivery.expected_version is not None and table.version() != delivery.expected_version:
        raise ConflictError(
            f"{uri} is at version {table.version()}, not at {delivery.expected_version} any more",
            hint="read the new version and decide again",
            table=uri,
        )


def _action(file: WrittenFile, target: WriteTarget) -> AddAction:
    values = dict(zip(target.partition_by, file.partition, strict=True))
    # The engine writes the path into the log as a URI has it.
    return AddAction(file.path, file.size, values, file.modified, True, file.statistics)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
