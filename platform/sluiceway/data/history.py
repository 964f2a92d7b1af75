"""What happened to a table: its commits, newest first."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from deltalake import DeltaTable

from sluiceway.data import delta_log, tables

# Our keys in a commit's metadata.
SOURCE, ROWS, MESSAGE, BATCH, AUTHOR = (
    f"sluiceway.{name}" for name in ("source", "rows", "message", "batch_id", "author")
)
_DELTA_OWN = frozenset(
    {"timestamp", "operation", "operationParameters", "operationMetrics", "version", "readVersion", "isBlindAppend"}
    | {"engineInfo", "clientVersion", "userId", "userName", "isolationLevel", SOURCE, ROWS, MESSAGE, BATCH, AUTHOR}
)
# Entries are read so many at once, and so many before it is asked whether the log reaches further back.
READERS, CHUNK = 16, 256


@dataclass(frozen=True)
class CommitInfo:
    """One commit.

    Attributes:
        version: the version that it made.
        time: when, by the committer's clock, UTC; None where a foreign writer left none.
        operation: Delta's name, e.g. WRITE.
        rows: rows written, or None where nobody said.
        message: why.
        source: where the rows came from.
        batch_id: name of the delivery, or None.
        author: who, or None.
        metadata: every further key of the commit.
        restored: of a restore, the version that it went back to, or the time where it tells that; None of others, and
            where it tells neither.
    """

    version: int
    time: datetime | None
    operation: str
    rows: int | None
    message: str
    source: str
    batch_id: str | None
    author: str | None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    restored: int | datetime | None = None


def log(uri: str, *, limit: int | None = None) -> list[CommitInfo]:
    """The commits of a table, newest first, as far as its log reaches back.

    Raises:
        TableNotFoundError: there is no table.
    """
    return log_of(tables.open_table(uri), limit=limit)


def log_or_empty(uri: str) -> list[CommitInfo]:
    """The same, empty where there is no table yet."""
    return log(uri) if tables.is_table(uri) else []


def log_of(table: DeltaTable, *, limit: int | None = None) -> list[CommitInfo]:
    """The commits of an open table, newest first; those that came after it was opened are not among them."""
    # The engine lists these, too, and numbers all commits from the version that was opened: each would be called by the
    # version of another. So it does where a writer left out what it has to say of a commit.
    place = tables.place_of(table)
    oldest = 0 if limit is None else max(0, table.version() - limit + 1)
    found = []
    with ThreadPoolExecutor(READERS) as readers:
        for start in range(table.version(), oldest - 1, -CHUNK):
            versions = range(start, max(oldest, start - CHUNK + 1) - 1, -1)
            entries = list(readers.map(partial(delta_log.read_commit_info, place), versions))
            found += [_info(n, entry) for n, entry in zip(versions, entries, strict=True) if entry is not None]
            if None in entries:  # the log was cleaned up to there
                break
    return found


def taken_back(table: DeltaTable, version: int) -> CommitInfo | None:
    """The restore by which an open table went back before one of its versions; None where it still comes from that.

    What was written over since, or deleted by key, is not looked at. A restore that does not tell where it went to, as
    some of other tools, is taken for a commit like any other.
    """
    since = {info.version: info for info in log_of(table, limit=table.version() - version + 1)}
    at, restore = table.version(), None
    while at > version:
        to = _went_to(since[at], since) if at in since else None
        if to is None:
            at -= 1
        else:
            at, restore = min(to, at - 1), since[at]
    return restore if at < version else None


def _went_to(info: CommitInfo, since: Mapping[int, CommitInfo]) -> int | None:
    """The version that a restore went back to, -1 for one before all of these; None of any other commit."""
    if not isinstance(info.restored, datetime):
        return info.restored
    then = info.restored
    there = [n for n, other in since.items() if n < info.version and other.time and other.time <= then]
    return max(there, default=-1)


def _info(version: int, entry: Mapping[str, Any]) -> CommitInfo:
    stamp = entry.get("timestamp")
    rows = entry.get(ROWS, (entry.get("operationMetrics") or {}).get("num_added_rows"))
    return CommitInfo(
        version=version,
        time=datetime.fromtimestamp(stamp / 1000, UTC) if isinstance(stamp, int) else None,
        operation=str(entry.get("operation", "")),
        rows=None if rows is None else int(rows),
        message=str(entry.get(MESSAGE, "")),
        source=str(entry.get(SOURCE, "")),
        batch_id=entry.get(BATCH),
        author=entry.get(AUTHOR),
        metadata={key: value for key, value in entry.items() if key not in _DELTA_OWN},
        restored=_restored(entry),
    )


def _restored(entry: Mapping[str, Any]) -> int | datetime | None:
    """The engine here writes a time as milliseconds; Spark, as a text that is not read here."""
    if entry.get("operation") != "RESTORE":
        return None
    given = entry.get("operationParameters") or {}
    version, then = (str(given.get(name)) for name in ("version", "datetime"))
    if version.isdigit():
        return int(version)
    return datetime.fromtimestamp(int(then) / 1000, UTC) if then.isdigit() else None
