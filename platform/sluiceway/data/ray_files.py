"""Data files of a table in Ray tasks: which, how many for a task, and what a failed task says to people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
import ray
from deltalake import DeltaTable
from ray.exceptions import RayError

from sluiceway.core.errors import BackendError, DataError, SluicewayError
from sluiceway.data import tables
from sluiceway.data.scan import AHEAD, batch_rows, dataset_of, gone

# One task reads so much: enough that starting it costs little, little enough that all CPUs have work.
BYTES_PER_TASK = 128 * 2**20


@dataclass(frozen=True)
class DataFile:
    """A data file of a version, ready to be sent to a task.

    Attributes:
        path: as the log has it.
        fragment: pyarrow's handle; it knows the filesystem and the values of the partition columns.
    """

    path: str
    fragment: Any

    def batches(self, schema: pa.Schema, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The rows in their order, in the columns of ``schema`` or some of them; those that the file lacks are null."""
        size = batch_rows(len(schema if columns is None else columns))
        yield from self.fragment.to_batches(
            schema=schema, columns=columns, batch_size=size, batch_readahead=AHEAD, use_threads=False
        )


def data_files(table: DeltaTable, paths: Sequence[str]) -> tuple[list[DataFile], pa.Schema]:
    """Files of an open table and the columns to read them with, partition columns among them; reads nothing.

    Args:
        table: opened at the version that holds the files.
        paths: as the log has them.

    Returns:
        The files in the order of ``paths``, and the schema.
    """
    live = tables.files(table)
    dataset = dataset_of(table, live.take(pc.index_in(pa.array(paths, pa.string()), live["path"].combine_chunks())))
    # The log has a path as a URI writes it, the dataset has it plain.
    fragments = {fragment.path: fragment for fragment in dataset.get_fragments()}
    return [DataFile(path, fragments[unquote(path)]) for path in paths], dataset.schema


def shares(files: Sequence[tuple[str, int]]) -> Iterator[list[str]]:
    """Paths in their order, so many for a task that they have about ``BYTES_PER_TASK`` together.

    Args:
        files: path and size in bytes.
    """
    share: list[str] = []
    size = 0
    for path, bytes_of in files:
        share.append(path)
        size += bytes_of
        if size >= BYTES_PER_TASK:
            yield share
            share, size = [], 0
    if share:
        yield share


def finished(tasks: Sequence[Any], *, uri: str) -> Iterator[Any]:
    """What tasks return, as they finish.

    Args:
        tasks: their references.
        uri: the table whose files they read.

    Raises:
        DataError: a file is gone.
        SluicewayError: the same that a task raised.
        BackendError: Ray failed, or a task did for another reason.
    """
    waiting = list(tasks)
    while waiting:
        ready, waiting = ray.wait(waiting)
        try:
            result = ray.get(ready[0])
        except RayError as error:
            raise _not_read(uri, error) from error
        yield result


def refuse_other_count(path: str, rows: int, *, expected: int | None, uri: str) -> None:
    """Refuse a file that does not hold what the log says.

    Args:
        path: of the file.
        rows: that it holds.
        expected: that it holds by the log; None where the log does not say.
        uri: the table.

    Raises:
        DataError: they differ.
    """
    if expected not in (None, rows):
        raise DataError(
            f"{path} of {uri} holds {rows:,} rows, the log says {expected:,}",
            hint="a data file was changed in place; restore it from a copy",
            table=uri,
        )


def _not_read(uri: str, error: RayError) -> SluicewayError:
    cause = getattr(error, "cause", None)
    if isinstance(cause, FileNotFoundError):
        return gone(uri, cause)
    if isinstance(cause, SluicewayError):
        return cause
    return BackendError(f"the rows of {uri} could not be read: {error}", table=uri)
