"""Commits rows to Delta tables; with ``commit_files`` for files that are written already, nobody else does.

Each commit is a compare-and-swap on the version that it was planned on: the engine's own retries are off where a
retry could hide somebody else's commit, and the loop here reads the table again before it repeats.

A delivery is named by its ``batch_id``. The name goes into the same atomic commit as the rows (as a Delta application
transaction), so a process that was killed after the commit and before its answer finds the delivery done.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from deltalake import exceptions as delta
from deltalake import write_deltalake

from sluiceway.core.errors import ConflictError, DataError, SchemaMismatchError
from sluiceway.data import history, tables
from sluiceway.data.commit_loop import ATTEMPTS, CommitResult, already, configuration, metadata, properties, repeat
from sluiceway.data.incoming import CountedRows, Rows, refuse_other_schema, refuse_untyped

__all__ = ["CommitResult", "append", "overwrite", "restore"]


@dataclass(frozen=True)
class _Plan:
    """One commit to be made, the same in every attempt."""

    uri: str
    mode: str
    metadata: dict[str, Any]
    batch_id: str | None
    partition_by: tuple[str, ...] = ()
    expected_version: int | None = None
    more_columns: bool = False


def append(
    uri: str,
    data: Rows,
    *,
    message: str,
    source: str,
    batch_id: str | None = None,
    partition_by: tuple[str, ...] = (),
    author: str | None = None,
    more_columns: bool = False,
) -> CommitResult:
    """Add rows in one commit; creates the table when there is none.

    Args:
        uri: folder or URI of the table.
        data: the rows; a reader is streamed and never held whole.
        message: why, for people.
        source: where the rows come from.
        batch_id: name of the delivery; the same name again writes nothing.
        partition_by: columns of a new table's folders; ignored for a table that exists.
        author: who.
        more_columns: True: the table gets the columns that it has not, null in the rows that it has.

    Raises:
        SchemaMismatchError: the columns or types are not those of the table.
        DataError: the place lies inside another table, or a column has no type.
        ConflictError: other writers won every race, or one did and a reader cannot be read twice.
    """
    told = metadata(message=message, source=source, batch_id=batch_id, author=author)
    plan = _Plan(tables.absolute(uri), "append", told, batch_id, partition_by, more_columns=more_columns)
    return _write(plan, data)


def overwrite(
    uri: str,
    data: Rows,
    *,
    message: str,
    source: str,
    batch_id: str | None = None,
    author: str | None = None,
    expected_version: int | None = None,
) -> CommitResult:
    """Replace all rows in one commit; creates the table when there is none.

    Args:
        uri: folder or URI of the table.
        data: the rows that the table holds afterwards.
        message: why, for people.
        source: where the rows come from.
        batch_id: name of the delivery; the same name again writes nothing.
        author: who.
        expected_version: the version that the caller has seen and means to replace; None replaces whatever is there.

    Raises:
        SchemaMismatchError: the columns or types are not those of the table.
        ConflictError: the table is no longer at ``expected_version``, or other writers won every race.
    """
    told = metadata(message=message, source=source, batch_id=batch_id, author=author)
    plan = _Plan(tables.absolute(uri), "overwrite", told, batch_id, expected_version=expected_version)
    return _write(plan, data)


def restore(
    uri: str,
    version: int,
    *,
    message: str,
    source: str = "restore",
    batch_id: str | None = None,
    author: str | None = None,
) -> CommitResult:
    """Bring the table back to an earlier version, as a new commit; nothing is deleted.

    Args:
        uri: the table.
        version: whose rows and schema it shall have again; restoring the newest version is a no-op.
        message: why, for people.
        source: where the rows come from, for the log.
        batch_id: the same name again restores nothing.
        author: who.

    Raises:
        ReferenceNotFoundError: there is no such version.
        DataError: files of that version are gone.
        ConflictError: other writers won every race.
    """
    uri = tables.absolute(uri)
    rows = tables.row_count(tables.open_table(uri, version=version))
    told = metadata(message=message, source=source, batch_id=batch_id, author=author) | {history.ROWS: rows}

    def attempt() -> CommitResult:
        table = tables.open_table(uri)
        done = already(table, batch_id)
        if done or version == table.version():
            return done or CommitResult(version, rows, skipped=True)
        planned = table.version() + 1
        table.restore(version, commit_properties=properties(told, batch_id=batch_id, version=planned))
        return CommitResult(planned, rows)

    try:
        return repeat(attempt, uri=uri, attempts=ATTEMPTS)
    except delta.DeltaError as error:
        raise DataError(
            f"{uri} cannot be restored to version {version}: {error}", table=uri, version=version
        ) from error


def _write(plan: _Plan, data: Rows) -> CommitResult:
    refuse_untyped(data.schema)
    counter = CountedRows(data)
    # The rows of a reader can be read once only, so it has one attempt.
    attempts = ATTEMPTS if isinstance(data, pa.Table) else 1
    try:
        return repeat(lambda: _attempt(plan, counter), uri=plan.uri, attempts=attempts)
    except delta.SchemaMismatchError as error:
        raise SchemaMismatchError(f"the rows do not fit {plan.uri}: {error}", table=plan.uri) from error
    except delta.DeltaError as error:
        raise DataError(f"{plan.uri} cannot be written: {error}", table=plan.uri) from error


def _attempt(plan: _Plan, counter: CountedRows) -> CommitResult:
    if not tables.is_table(plan.uri):
        return _create(plan, counter)
    table = tables.open_table(plan.uri)
    done = already(table, plan.batch_id)
    if done:
        return done
    refuse_other_schema(table, counter.schema, uri=plan.uri, more=plan.more_columns)
    if plan.expected_version is not None and table.version() != plan.expected_version:
        raise ConflictError(
            f"{plan.uri} is at version {table.version()}, not at {plan.expected_version} any more",
            hint="read the new version and decide again",
            table=plan.uri,
        )
    planned = table.version() + 1
    told = plan.metadata | counter.known()
    write_deltalake(
        table,
        counter.stream(),
        mode=plan.mode,
        schema_mode="merge" if plan.more_columns else None,
        commit_properties=properties(told, batch_id=plan.batch_id, version=planned),
    )
    return CommitResult(planned, counter.rows)


def _create(plan: _Plan, counter: CountedRows) -> CommitResult:
    if plan.expected_version is not None:
        raise ConflictError(
            f"there is no table at {plan.uri}, expected version {plan.expected_version}", table=plan.uri
        )
    tables.refuse_inside_another(plan.uri)
    try:
        write_deltalake(
            plan.uri,
            counter.stream(),
            mode="error",
            partition_by=list(plan.partition_by) or None,
            configuration=configuration(counter.schema.names),
            commit_properties=properties(plan.metadata | counter.known(), batch_id=plan.batch_id, version=0),
        )
    except delta.DeltaError as error:
        if tables.is_table(plan.uri):  # somebody made the table since we looked
            raise delta.CommitFailedError(str(error)) from error
        raise
    return CommitResult(0, counter.rows)
