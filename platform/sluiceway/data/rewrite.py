"""Takes rows out of a table by key, copy on write: files that hold such rows are written again without them.

The engine does that for a table whose files lie in its folder. It refuses for a branch's copy, which names its files by
absolute URIs; and it reads a table as a whole, in one process. Here tasks look at the files that can hold the keys, and
one log entry of ours takes the old files out and puts the new ones in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from deltalake import DeltaTable

from sluiceway.core.errors import DataError
from sluiceway.data import commit_loop, delta_log, history, tables
from sluiceway.data.commit_files import Delivery, refuse_changed
from sluiceway.data.commit_loop import CommitResult
from sluiceway.data.delta_log import LogState
from sluiceway.data.file_rows import file_batches
from sluiceway.data.ingest.file_writer import FileWriter, delete_written
from sluiceway.data.ingest.planning import shares
from sluiceway.data.key_bounds import files_with
from sluiceway.data.key_set import KeySet
from sluiceway.data.places import file_uris
from sluiceway.data.scan import gone
from sluiceway.data.write_target import WriteTarget
from sluiceway.data.written_files import Told, WrittenFile, write_files

# How many rows a commit took out, in its metadata.
DELETED = "sluiceway.deleted"


@dataclass(frozen=True)
class LiveFile:
    """A file of a version.

    Attributes:
        path: as the log has it.
        identity: its absolute URI.
        size: bytes.
        partition: text of its partition's values.
    """

    path: str
    identity: str
    size: int
    partition: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class RewriteShare:
    """What one task is to do.

    Attributes:
        target: the table.
        files: to look at, and to write again where rows go.
        run: 12 hex digits in the names of all files of this rewriting.
        number: of the task.
    """

    target: WriteTarget
    files: tuple[LiveFile, ...]
    run: str
    number: int


@dataclass(frozen=True)
class Rewritten:
    """What one task did.

    Attributes:
        looked: paths of the files that it looked at.
        hits: rows that go, by path of the file, where there are any.
        files: that hold the other rows of these.
        found: numbers of the keys that it met.
    """

    looked: tuple[str, ...]
    hits: Mapping[str, int]
    files: tuple[WrittenFile, ...]
    found: np.ndarray


@dataclass(frozen=True)
class Rewriting:
    """Rows that go, and those that come in with the same commit.

    Attributes:
        target: the table.
        keys: of the rows that go, in the types of the table.
        operation: for the log, in capital letters.
        delivery: for the log.
        run: 12 hex digits in the names of all files.
        rows: what the log is to say of their number.
        files: that come in.
        cpus: that work at the same time.
    """

    target: WriteTarget
    keys: pa.Table
    operation: str
    delivery: Delivery
    run: str
    rows: int
    files: tuple[WrittenFile, ...] = ()
    cpus: int = 1


@dataclass(frozen=True)
class Replaced:
    """What a rewriting did.

    Attributes:
        version: that holds the change; the newest one where there was nothing to change.
        rows: as the log says.
        deleted: rows that went.
        met: keys that there were rows of.
        removed: identities of the files that are out of the table now.
        files: that were written again.
        skipped: the delivery was there already.
    """

    version: int
    rows: int
    deleted: int
    met: int = 0
    removed: tuple[str, ...] = ()
    files: tuple[WrittenFile, ...] = ()
    skipped: bool = False


Look = Callable[[Sequence[RewriteShare]], Iterable[Rewritten]]


def rewrite_share(share: RewriteShare, keys: KeySet) -> Rewritten:
    """Do the work of one task; where it fails, its files are gone.

    Raises:
        DataError: a file is gone or cannot be read.
    """
    hits: dict[str, int] = {}
    met = np.zeros(len(keys), bool)
    with FileWriter(share.target, run=share.run, number=share.number) as writer:
        for file in share.files:
            try:
                hit = _rewrite_file(file, keys, writer, met=met)
            except FileNotFoundError as error:
                raise gone(share.target.uri, file.identity) from error
            if hit:
                hits[file.path] = hit
        return Rewritten(tuple(file.path for file in share.files), hits, tuple(writer.finish()), np.flatnonzero(met))


def _rewrite_file(file: LiveFile, keys: KeySet, writer: FileWriter, *, met: np.ndarray) -> int:
    """How many rows of a file go; the others, if any, are written again."""
    rows, hit = count_rows(file.identity, keys, schema=writer.schema, partition=file.partition, met=met)
    if hit and hit < rows:
        for batch in file_batches(file.identity, writer.schema, partition=file.partition):
            writer.add(batch.filter(pa.array(keys.find(batch) < 0)), where=file.identity)
    return hit


def count_rows(
    identity: str,
    keys: KeySet,
    *,
    schema: pa.Schema,
    partition: Mapping[str, str | None] | None = None,
    met: np.ndarray | None = None,
) -> tuple[int, int]:
    """Rows of a file, and how many of them have one of the keys; reads the columns of the key only.

    Args:
        identity: of the file.
        keys: which.
        schema: has the columns of the key.
        partition: as :func:`sluiceway.data.file_rows.file_batches` takes it.
        met: shape (number of keys,), bool; becomes true for the keys that are there.

    Raises:
        FileNotFoundError: the file is gone.
        DataError: it cannot be read.
    """
    narrow = pa.schema([schema.field(name) for name in keys.columns])
    rows = hit = 0
    for batch in file_batches(identity, narrow, partition=partition):
        found = keys.find(batch)
        found = found[found >= 0]
        rows, hit = rows + batch.num_rows, hit + len(found)
        if met is not None:
            met[found] = True
    return rows, hit


def replace_rows(job: Rewriting, look: Look) -> Replaced:
    """Commit a rewriting, once; a lost race costs a look at what came since.

    What tasks wrote stays right as long as the files that they wrote again are live: files that were added since are
    looked at, and nothing else is read twice. The entry follows the version that was looked at, or is not written.

    Args:
        job: what.
        look: gives what the tasks did.

    Raises:
        ConflictError: the table's columns, partitions or constraints were changed, or other writers won every race.
        UnsupportedTableError: the table only grows, or asks for more than an entry of ours keeps.
        DataError: a file is gone or cannot be read.
    """
    uri, kept = job.target.uri, list[Rewritten]()

    def attempt() -> CommitResult:
        table = tables.open_table(uri)
        done = commit_loop.already(table, job.delivery.batch_id)
        if done:
            return done
        state = _state_to_follow(table, job)
        kept[:] = _still_right(kept, state, uri=uri)
        kept.extend(look(_shares(job, state, kept)))
        gone = [state.adds[path] for one in kept for path in one.hits]
        if not (gone or job.files or job.delivery.batch_id):
            return CommitResult(state.version, job.rows)
        told = job.delivery.metadata(job.rows) | {DELETED: _deleted(kept)}
        files = [*job.files, *(file for one in kept for file in one.files)]
        saying = Told(job.operation, told, job.delivery.batch_id)
        return CommitResult(write_files(job.target, state, files, told=saying, remove=gone), job.rows)

    result = commit_loop.repeat(attempt, uri=uri)
    if result.skipped:
        return Replaced(result.version, result.rows, deleted_by(uri, result.version), skipped=True)
    return Replaced(
        result.version,
        result.rows,
        _deleted(kept),
        met=len(np.unique(np.concatenate([np.empty(0, np.int64), *(one.found for one in kept)]))),
        removed=tuple(file_uris(uri, [path for one in kept for path in one.hits]).values()),
        files=tuple(file for one in kept for file in one.files),
    )


def deleted_by(uri: str, version: int) -> int:
    """How many rows the commit of a version took out, as it says itself."""
    entries = history.log_of(tables.open_table(uri, version=version), limit=1)
    return int(next((entry.metadata.get(DELETED, 0) for entry in entries), 0))


def _state_to_follow(table: DeltaTable, job: Rewriting) -> LogState:
    refuse_changed(table, job.target, job.delivery)
    state = delta_log.replay(job.target.uri, table.version())
    delta_log.refuse_unwritable(state, uri=job.target.uri, removes=True)
    return state


def _still_right(kept: Sequence[Rewritten], state: LogState, *, uri: str) -> list[Rewritten]:
    """What was done to files that are live still; of the rest, the files are deleted."""
    right = [one for one in kept if all(path in state.adds for path in one.hits)]
    delete_written(uri, [file for one in kept if not any(one is other for other in right) for file in one.files])
    return right


def _shares(job: Rewriting, state: LogState, kept: Sequence[Rewritten]) -> list[RewriteShare]:
    looked = {path for one in kept for path in one.looked}
    to_look = {path: add for path, add in state.adds.items() if path not in looked}
    paths = files_with(to_look, job.keys, schema=job.target.schema, partition_by=job.target.partition_by)
    identities = file_uris(job.target.uri, paths)
    files = [
        LiveFile(path, identities[path], int(to_look[path]["size"]), to_look[path].get("partitionValues") or {})
        for path in paths
    ]
    first = len(looked)
    return [
        RewriteShare(job.target, tuple(share), job.run, first + number)
        for number, share in enumerate(shares(files, cpus=job.cpus))
    ]


def _deleted(kept: Sequence[Rewritten]) -> int:
    return sum(hit for one in kept for hit in one.hits.values())


def fitted_keys(keys: pa.Table, target: WriteTarget) -> pa.Table:
    """Keys in the types of a table.

    Raises:
        DataError: the table has no such column, or a value does not fit its type.
    """
    missing = [name for name in keys.column_names if name not in target.schema.names]
    if missing:
        raise DataError(
            f"{target.uri} has no column {', '.join(missing)}",
            hint=f"its columns: {', '.join(target.schema.names)}",
            table=target.uri,
        )
    wanted = pa.schema([pa.field(name, target.schema.field(name).type) for name in keys.column_names])
    try:
        return keys.cast(wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(f"the keys do not fit {target.uri}: {error}", table=target.uri) from error
