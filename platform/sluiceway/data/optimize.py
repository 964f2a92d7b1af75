"""Rewrites small files of a table into larger ones, or in the order of some columns; the rows stay what they are.

The work is the engine's. Around it: one at a time on a table, and the rows of the files that went compared to those of
the files that came, because releases of the engine (1.6.4 to 1.6.6) doubled rows where two of these raced.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties
from deltalake import exceptions as delta

from sluiceway.catalog.claim import claim
from sluiceway.catalog.leases import LeaseStore
from sluiceway.core.clock import Clock
from sluiceway.core.errors import BackendError, ConflictError, DataError
from sluiceway.data import commit_loop, delta_log, history, tables
from sluiceway.data.create_only import refuse_unsafe_store, unwritable
from sluiceway.data.places import is_clone
from sluiceway.data.write_target import refuse_unwritable

ATTEMPTS = 5
TARGET_MB = 128
# Each task of the engine holds the files that it puts together.
TASKS = 2
# Held while files of a table are rewritten or deleted: name of the lease, before the table's URI.
CARE = "care:"
# The log's key for one run of this.
RUN = "sluiceway.run"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Optimized:
    """What was done.

    Attributes:
        version: the newest version now.
        added: files that were written.
        removed: files that they stand for.
        bytes_added: size of the new files.
        bytes_removed: size of the old ones.
    """

    version: int
    added: int
    removed: int
    bytes_added: int
    bytes_removed: int

    @property
    def nothing(self) -> bool:
        """True where every file was as it should be; there is no new version then."""
        return self.added == self.removed == 0


def optimize(
    uri: str,
    *,
    leases: LeaseStore,
    clock: Clock,
    partitions: Sequence[tuple[str, str, Any]] = (),
    order_by: Sequence[str] = (),
    target_mb: int = TARGET_MB,
    author: str | None = None,
) -> Optimized:
    """Rewrite files; readers of the version before see nothing of it.

    Args:
        uri: the table.
        leases: the catalog's: one rewrites a table at a time.
        clock: for the lease.
        partitions: only these: partition column, ``=`` and value, all of which have to hold; all where left out.
        order_by: sort the rows of the files on a z-order curve through these columns; all files are rewritten then.
        target_mb: about how large a file becomes, MiB.
        author: who.

    Raises:
        DataError: it is a branch's copy; a column is not there or cannot be sorted; or the rows came out others, and
            the table was brought back.
        ConflictError: somebody else rewrites the table, or other writers won every race.
    """
    uri = tables.absolute(uri)
    if is_clone(uri):
        raise DataError(
            f"{uri} is a branch's copy of a table, whose files are mostly the table's",
            hint="optimize the table; a branch that merges brings its files in",
            table=uri,
        )
    _refuse_columns(tables.open_table(uri), uri, [name for name, _, _ in partitions], order_by)
    words = ", ".join(order_by)
    message = f"z-order by {words}" if order_by else "small files put together"
    told = commit_loop.metadata(message=message, source="optimize", batch_id=None, author=author)

    def attempt() -> Optimized:
        return _attempt(uri, list(partitions), order_by, target_mb * 2**20, told)

    with claim(leases, CARE + uri, clock=clock):
        return _repeat(attempt, uri)


def _repeat(attempt: Any, uri: str) -> Optimized:
    refuse_unsafe_store(uri)
    for left in reversed(range(ATTEMPTS)):
        try:
            done: Optimized = attempt()
            return done
        except delta.CommitFailedError as error:
            if not left:
                raise ConflictError(
                    f"other writers changed {uri} whenever its files were rewritten ({ATTEMPTS} attempts): {error}",
                    hint="run it when less is written, or for --where PARTITION=VALUE that nobody writes to",
                    table=uri,
                ) from error
        except delta.DeltaError as error:
            raise DataError(f"{uri} cannot be optimized: {error}", table=uri) from error
        except OSError as error:
            raise unwritable(uri, error) from error
    raise AssertionError("unreachable")


def _attempt(
    uri: str, partitions: list[tuple[str, str, Any]], order_by: Sequence[str], target: int, told: dict[str, Any]
) -> Optimized:
    table = tables.open_table(uri)
    refuse_unwritable(table, uri=uri)
    run = uuid.uuid4().hex
    options: dict[str, Any] = {
        "partition_filters": partitions or None,
        "target_size": target,
        "max_concurrent_tasks": TASKS,
        # The engine goes on where others have only appended meanwhile: a busy table would never be done otherwise.
        "commit_properties": CommitProperties(custom_metadata=told | {RUN: run}),
        "post_commithook_properties": PostCommitHookProperties(cleanup_expired_logs=False),
    }
    live = tables.files(table)
    planned_on = table.version()
    work = table.optimize
    numbers = work.z_order(list(order_by), **options) if order_by else work.compact(**options)
    added, removed = int(numbers["numFilesAdded"]), int(numbers["numFilesRemoved"])
    version = planned_on
    if added or removed:
        version = _version_of(uri, run, planned_on)
        rows = dict(zip(map(_name, live["path"].to_pylist()), live["num_records"].to_pylist(), strict=True))
        _compare_rows(uri, version, rows)
    return Optimized(version, added, removed, _bytes(numbers["filesAdded"]), _bytes(numbers["filesRemoved"]))


def _version_of(uri: str, run: str, planned_on: int) -> int:
    table = tables.open_table(uri)
    entries = history.log_of(table, limit=table.version() - planned_on)
    return next(info.version for info in entries if info.metadata.get(RUN) == run)


def _compare_rows(uri: str, version: int, rows: Mapping[str, int | None]) -> None:
    """See that the new files of a version have as many rows as those that they stand for.

    Args:
        uri: the table.
        version: what the engine has made.
        rows: in each file of the version that it was planned on, by name; a name is never used twice.
    """
    entry = delta_log.read_entry(uri, version)
    new = sum(delta_log.rows_of(action["add"]) or 0 for action in entry if "add" in action)
    old = sum(rows[_name(action["remove"]["path"])] or 0 for action in entry if "remove" in action)
    if old == new:
        return
    try:
        newest = tables.open_table(uri)
        if newest.version() == version:
            newest.restore(version - 1, commit_properties=CommitProperties(max_commit_retries=0))
            raise DataError(
                f"{old:,} rows of {uri} became {new:,} when their files were rewritten",
                hint="the table was brought back; do not use this release of deltalake to optimize",
                table=uri,
            )
    except delta.DeltaError as error:
        _log.warning("%s could not be brought back: %s", uri, error)
    raise BackendError(
        f"{old:,} rows of {uri} became {new:,} when version {version} rewrote their files",
        hint=f"stop what writes to it and look at `sluiceway data diff {uri}@{version - 1} {uri}@{version} --rows`",
    )


def _refuse_columns(table: DeltaTable, uri: str, partitions: Sequence[str], order_by: Sequence[str]) -> None:
    names = tables.arrow_schema(table).names
    of_folders = table.metadata().partition_columns
    for asked, known, what in ((partitions, of_folders, "partition column"), (order_by, names, "column")):
        missing = [name for name in asked if name not in known]
        if missing:
            raise DataError(
                f"{uri} has no {what} {', '.join(missing)}", hint=f"it has: {', '.join(known) or 'none'}", table=uri
            )
    wrong = [name for name in order_by if name in of_folders]
    if wrong:
        raise DataError(f"{', '.join(wrong)} is a partition column: all rows of a file have the same value", table=uri)


def _name(path: str) -> str:
    # Folders of partitions are spelled in two ways, here and in the log.
    return path.rpartition("/")[2]


def _bytes(told: str) -> int:
    """Size of all files, from the engine's JSON about them."""
    return int(json.loads(told)["totalSize"])
