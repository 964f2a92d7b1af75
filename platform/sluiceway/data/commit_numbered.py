"""Appends deliveries that their senders number: each is in the table once, however often it is sent.

The number of a sender's last delivery goes into the same atomic commit as the rows (a Delta application transaction).
Whoever takes over after a crash, and whoever commits at the same time, finds there what has arrived. One name a sender
and not one a delivery: the log of a table that gets a commit every few seconds for years stays small.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake import exceptions as delta

from sluiceway.core.errors import DataError, SchemaMismatchError
from sluiceway.data import commit_loop, history, tables
from sluiceway.data.commit_loop import CommitResult

SENDER_APP = "sluiceway.sender:"


@dataclass(frozen=True)
class Numbered:
    """A delivery.

    Attributes:
        sender: who sends it, a name for good.
        number: grows by one with each delivery of the sender.
        rows: what is delivered.
    """

    sender: str
    number: int
    rows: pa.Table


@dataclass(frozen=True)
class NewTable:
    """What a table of deliveries is made like, where there is none yet.

    Attributes:
        partition_by: columns of its folders.
        properties: further Delta properties.
    """

    partition_by: tuple[str, ...] = ()
    properties: Mapping[str, str] | None = None


def append_numbered(
    uri: str, deliveries: Sequence[Numbered], *, message: str, source: str, new: NewTable | None = None
) -> CommitResult:
    """Append deliveries in one commit, without those that have arrived before.

    Columns that the table lacks are added to it, in the same commit; what a delivery lacks is null.

    Args:
        uri: folder or URI of the table; made where there is none.
        deliveries: in the order of their numbers, sender by sender.
        message: why, for people.
        source: where the rows come from.
        new: how the table is made.

    Returns:
        The commit with the rows that it brought; skipped where all had arrived before.

    Raises:
        SchemaMismatchError: a column has another type in the table.
        DataError: the store cannot be written.
        ConflictError: other writers won every race.
    """
    uri = tables.absolute(uri)

    def attempt() -> CommitResult:
        table = tables.open_table(uri) if tables.is_table(uri) else None
        return _attempt(table, uri, deliveries, told=(message, source), new=new or NewTable())

    try:
        return commit_loop.repeat(attempt, uri=uri)
    except delta.SchemaMismatchError as error:
        raise SchemaMismatchError(f"the rows do not fit {uri}: {error}", table=uri) from error
    except delta.DeltaError as error:
        raise DataError(f"{uri} cannot be written: {error}", table=uri) from error


def arrived(uri: str, senders: Iterable[str]) -> dict[str, int]:
    """The numbers of the last deliveries that are in a table, by sender; of who has none there, nothing.

    Args:
        uri: folder or URI of the table; there may be none.
        senders: whose.

    Raises:
        DataError: the table cannot be read.
    """
    table = tables.open_table(uri) if tables.is_table(uri) else None
    numbers = {sender: _arrived(table, sender) for sender in senders}
    return {sender: number for sender, number in numbers.items() if number >= 0}


def _attempt(
    table: DeltaTable | None, uri: str, deliveries: Sequence[Numbered], *, told: tuple[str, str], new: NewTable
) -> CommitResult:
    fresh = [one for one in deliveries if one.number > _arrived(table, one.sender)]
    if not fresh:
        return CommitResult(table.version() if table is not None else 0, 0, skipped=True)
    rows = pa.concat_tables([one.rows for one in fresh], promote_options="default")
    last = {one.sender: one.number for one in fresh}
    message, source = told
    metadata = commit_loop.metadata(message=message, source=source, batch_id=None, author=None)
    properties = CommitProperties(
        custom_metadata=metadata | {history.ROWS: rows.num_rows},
        max_commit_retries=0,
        app_transactions=[Transaction(SENDER_APP + sender, number) for sender, number in sorted(last.items())],
    )
    if table is not None:
        write_deltalake(table, rows, mode="append", schema_mode="merge", commit_properties=properties)
        return CommitResult(table.version(), rows.num_rows)
    _create(uri, rows, properties, new)
    return CommitResult(0, rows.num_rows)


def _create(uri: str, rows: pa.Table, properties: CommitProperties, new: NewTable) -> None:
    tables.refuse_inside_another(uri)
    configuration: dict[str, Any] = commit_loop.configuration(rows.schema.names) | dict(new.properties or {})
    try:
        write_deltalake(
            uri,
            rows,
            mode="error",
            partition_by=list(new.partition_by) or None,
            configuration=configuration,
            commit_properties=properties,
        )
    except delta.DeltaError as error:
        if tables.is_table(uri):  # somebody made the table since we looked
            raise delta.CommitFailedError(str(error)) from error
        raise


def _arrived(table: DeltaTable | None, sender: str) -> int:
    """The number of the sender's last delivery that is in the table; -1: none."""
    number = table.transaction_version(SENDER_APP + sender) if table is not None else None
    return -1 if number is None else int(number)
