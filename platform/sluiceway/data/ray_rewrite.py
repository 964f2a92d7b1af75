"""Rows taken out of files by key, by Ray tasks, and counted in any file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import ray

from sluiceway.core.doors import Progress, SilentProgress
from sluiceway.data.ingest.file_writer import delete_files_of
from sluiceway.data.key_set import KeySet
from sluiceway.data.ray_work import in_turn
from sluiceway.data.rewrite import (
    Replaced,
    RewriteShare,
    Rewriting,
    Rewritten,
    count_rows,
    replace_rows,
    rewrite_share,
)

DELETE, MERGE = "DELETE", "MERGE"
# Of files whose size nobody says; a task reads the columns of the key only.
FILES_PER_TASK = 32


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
            lambda share: rewrite_files.remote(share, keys),
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
def rewrite_files(share: RewriteShare, keys: pa.Table) -> Rewritten:
    """:func:`sluiceway.data.rewrite.rewrite_share` as a task."""
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
