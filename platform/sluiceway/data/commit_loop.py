"""What every commit has in common: compare-and-swap, the name of a delivery, what goes into the log."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake import exceptions as delta

from sluiceway.core.errors import ConflictError
from sluiceway.data import history
from sluiceway.data.create_only import refuse_unsafe_store, unwritable

ATTEMPTS = 20
LONGEST_PAUSE_SECONDS = 0.25
BATCH_APP = "sluiceway.batch:"
ENGINE_INDEXED_COLUMNS = 32
# Statistics for every column; old versions stay readable for years; opening never replays more than 20 JSON files.
CONFIGURATION = {
    "delta.dataSkippingNumIndexedCols": "-1",
    "delta.logRetentionDuration": "interval 1825 days",
    "delta.checkpointInterval": "20",
}


@dataclass(frozen=True)
class CommitResult:
    """What a commit did.

    Attributes:
        version: the version that holds the rows.
        rows: how many were written, by this call or by the earlier one that a skipped call repeats.
        skipped: the delivery was there already and nothing was written.
    """

    version: int
    rows: int
    skipped: bool = False


def repeat(attempt: Callable[[], CommitResult], *, uri: str, attempts: int = ATTEMPTS) -> CommitResult:
    """Attempt a commit until no other writer is faster.

    Args:
        attempt: reads the table anew and commits once.
        uri: the table, for the error.
        attempts: 1 where the rows can be read once only.

    Raises:
        ConflictError: others won every race.
        DataError: the store cannot be written, or cannot keep two writers apart.
    """
    refuse_unsafe_store(uri)
    try:
        return _repeat(attempt, uri=uri, attempts=attempts)
    except OSError as error:
        raise unwritable(uri, error) from error


def _repeat(attempt: Callable[[], CommitResult], *, uri: str, attempts: int) -> CommitResult:
    for lost in range(attempts - 1):
        try:
            return attempt()
        except delta.CommitFailedError:
            give_way(lost)
    try:
        return attempt()
    except delta.CommitFailedError as error:
        raise ConflictError(
            f"another writer changed {uri} at the same time ({attempts} attempts): {error}",
            hint="run it again; nothing was written",
            table=uri,
        ) from error


def give_way(lost: int) -> None:
    """Wait for a moment after a lost race, by chance and longer each time: whoever is slow would lose every one."""
    time.sleep(random.uniform(0, min(0.002 * 2**lost, LONGEST_PAUSE_SECONDS)))


def properties(metadata: Mapping[str, Any], *, batch_id: str | None, version: int) -> CommitProperties:
    """What the engine is told of a commit that is to be ``version``; it may not try again by itself."""
    transactions = [Transaction(BATCH_APP + batch_id, version)] if batch_id else None
    return CommitProperties(custom_metadata=dict(metadata), max_commit_retries=0, app_transactions=transactions)


def metadata(*, message: str, source: str, batch_id: str | None, author: str | None) -> dict[str, Any]:
    """Our keys of a commit's log entry."""
    given = {history.MESSAGE: message, history.SOURCE: source, history.BATCH: batch_id, history.AUTHOR: author}
    return {key: value for key, value in given.items() if value is not None}


def already(table: DeltaTable, batch_id: str | None) -> CommitResult | None:
    """The commit that brought this delivery, or None; the table may have been brought back to before it since."""
    # The transaction's number is the version that it was committed as: retries are off, so it cannot differ.
    version = table.transaction_version(BATCH_APP + batch_id) if batch_id else None
    if version is None:
        return None
    entries = history.log_of(table, limit=table.version() - version + 1)
    rows = next((info.rows for info in entries if info.version == version), None)
    return CommitResult(version, rows or 0, skipped=True)


def configuration(columns: list[str]) -> dict[str, str | None]:
    """The properties of a new table with these columns."""
    # The first commit of a table does not obey the number of indexed columns, but it does obey names.
    if len(columns) <= ENGINE_INDEXED_COLUMNS:
        return {**CONFIGURATION}
    quoted = ("`" + name.replace("`", "``") + "`" for name in columns)
    return {**CONFIGURATION, "delta.dataSkippingStatsColumns": ",".join(quoted)}
