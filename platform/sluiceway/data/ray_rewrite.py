"""Rows taken out of tables by key, by Ray tasks: of a main table as of a branch's copy, and counted in any file."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import ray

from sluiceway.core.doors import Progress, SilentProgress
from sluiceway.core.errors import TableNotFoundError
from sluiceway.data import tables
from sluiceway.data.commit_files import RUN, Delivery
from sluiceway.data.ingest import planning
from sluiceway.data.ingest.file_writer import delete_files_of
from sluiceway.data.key_set import KeySet
from sluiceway.data.ray_work import cpus, in_turn
from sluiceway.data.rewrite import (
    Replaced,
    RewriteShare,
    Rewriting,
    Rewritten,
    count_rows,
    fitted_keys,
    replace_rows,
    rewrite_share,
)
from sluiceway.data.write_target import refuse_removal

DELETE, MERGE = "DELETE", "MERGE"
# Of files whose size nobody says; a task reads the columns of the key only.
FILES_PER_TASK = 32


@dataclass(frozen=True)
class Dropped:
    """What :func:`drop_rows` did to one place.

    Attributes:
        place: of the table or the branch's copy.
        version: that lacks the rows; the newest one where there were none.
        rows: that were taken out.
        removed: identities of the files that are out of the place's newest version now, and still hold the rows.
        written: files that hold the other rows of these.
        skipped: the delivery was there already.
    """

    place: str
    version: int
    rows: int
    removed: tuple[str, ...] = ()
    written: int = 0
    skipped: bool = False


def drop_rows(place: str, keys: pa.Table, delivery: Delivery, *, progress: Progress | None = None) -> Dropped:
    """Take the rows of some keys out of the newest version of a table, or of a branch's copy, in one commit.

    Where there are none, and the delivery has no name, there is no commit. Files of earlier versions stay as they are.

    Args:
        place: folder or URI of the table, or of a branch's copy of it.
        keys: columns of the key, one row a key; a null is never found. Values are brought to the table's types.
        delivery: what the log is to say; the same ``batch_id`` again drops nothing.
        progress: told how far it is.

    Raises:
        TableNotFoundError: there is no table.
        DataError: the table has no such column, only grows, or a file is gone or cannot be read.
        UnsupportedTableError: the table has rules for writers that are not followed here.
        ConflictError: the table was changed otherwise meanwhile, or other writers won every race.
        BackendError: Ray failed. As after every failure, nothing is committed and no file is left.
    """
    place = tables.absolute(place)
    target = planning.existing_target(place)
    if target is None:
        raise TableNotFoundError(f"there is no Delta table at {place} to drop rows from", table=place)
    refuse_removal(target)
    run = uuid.uuid4().hex[:12]
    named = replace(delivery, more={**delivery.more, RUN: run})
    job = Rewriting(target, fitted_keys(keys, target), DELETE, named, run, keys.num_rows, cpus=cpus())
    found = replaced(job, progress=progress)
    return Dropped(place, found.version, found.deleted, found.removed, len(found.files), found.skipped)


def find_rows(
    files: Sequence[str],
    keys: pa.Table,
    *,
    partitions: Mapping[str, Mapping[str, str | None]] | None = None,
    progress: Progress | None = None,
) -> dict[str, int | None]:
    """Count the rows of some keys in any data files, whether a version of a table refers to them or not.

    Only the columns of the key are read. A column that a file lacks has the value that its folder is named for
    (``day=2024-01-01/``), and is null without one.

    Args:
        files: identities, absolute URIs encoded as in a log (:func:`sluiceway.data.places.file_uris`).
        keys: columns of the key in the types of the table, one row a key; a null is never found.
        partitions: texts of partition values by identity, for files whose folders do not name them.
        progress: told how far it is.

    Returns:
        rows by identity; None for a file that is gone.

    Raises:
        DataError: a file cannot be read, or the types are not those of the keys.
        BackendError: Ray failed.
    """
    known = partitions or {}
    every = list(dict.fromkeys(files))
    shared = ray.put(keys)
    shares = [
        [(one, known.get(one)) for one in every[start : start + FILES_PER_TASK]]
        for start in range(0, len(every), FILES_PER_TASK)
    ]
    found: dict[str, int | None] = dict.fromkeys(every)
    started = in_turn(
        lambda share: _count.remote(share, shared),
        shares,
        uri=f"{len(every)} files",
        progress=progress or SilentProgress(),
    )
    for counts in started:
        found.update(counts)
    return found


def replaced(job: Rewriting, *, progress: Progress | None = None) -> Replaced:
    """Run a rewriting by tasks; where it is not committed, no file with its digits is left.

    Raises:
        SluicewayError: what :func:`sluiceway.data.rewrite.replace_rows` raises.
        BackendError: Ray failed.
    """
    keys = ray.put(job.keys)

    def look(shares: Sequence[RewriteShare]) -> Iterator[Rewritten]:
        return in_turn(
            lambda share: _rewrite.remote(share, keys),
            shares,
            uri=job.target.uri,
            progress=progress or SilentProgress(),
        )

    committed = False
    try:
        done = replace_rows(job, look)
        committed = not done.skipped
    finally:
        if not committed:
            delete_files_of(job.target.uri, job.run)
    return done


@ray.remote(max_retries=2)
def _rewrite(share: RewriteShare, keys: pa.Table) -> Rewritten:
    return rewrite_share(share, KeySet(keys))


@ray.remote(max_retries=2)
def _count(share: Sequence[tuple[str, Any]], keys: pa.Table) -> dict[str, int | None]:
    wanted = KeySet(keys)
    found: dict[str, int | None] = {}
    for identity, partition in share:
        try:
            found[identity] = count_rows(identity, wanted, schema=keys.schema, partition=partition)[1]
        except FileNotFoundError:
            found[identity] = None
    return found
