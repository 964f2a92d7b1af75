"""Writes batches into Parquet files of a table's folder, and tells what the log needs to know of each."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq

from sluiceway.data import history, tables
from sluiceway.data.commit_files import RUN
from sluiceway.data.ingest import partition_values
from sluiceway.data.ingest.partition_values import Partition
from sluiceway.data.ingest.pieces import open_filesystem
from sluiceway.data.ingest.statistics import Path, nan_paths, statistics_of
from sluiceway.data.write_target import WriteTarget
from sluiceway.data.written_files import WrittenFile

FILE_BYTES = 128 * 2**20
GROUP_BYTES = 64 * 2**20
GROUP_ROWS = 1 << 20
# A fifth smaller than snappy for the same time to write and to read (docs/data/ingest.md).
COMPRESSION = "zstd"
# Rows that wait for their files, all partitions together; and files that are open at once.
WAITING_BYTES = 256 * 2**20
OPEN_FILES = 64
# An ingest that was committed and is told to have failed is found among so many.
LAST_COMMITS = 100


class FileWriter:
    """The files of one task; a context that deletes them when it fails."""

    def __init__(self, target: WriteTarget, *, run: str, number: int) -> None:
        """Prepare; nothing is opened.

        Args:
            target: the table.
            run: 12 hex digits that all files of one ingest have in their names, so that they can be found again.
            number: of the task, for the names.
        """
        self._target = target
        self.schema: pa.Schema = target.schema
        self._run, self._number = run, number
        self._files, self._root = open_filesystem(target.uri)
        self._open: dict[Partition, _OpenFile] = {}
        self._written: list[WrittenFile] = []
        self._paths: list[str] = []

    def __enter__(self) -> Self:
        """Nothing to open."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Delete what was written, where it failed."""
        if kind is None:
            return
        for opened in self._open.values():
            opened.abandon()
        for path in self._paths:
            if self._files.get_file_info(path).is_file:
                self._files.delete_file(path)

    def add(self, batch: pa.RecordBatch, *, where: str) -> None:
        """Write rows of the table's schema; ``where`` is for errors."""
        columns = self._target.partition_by
        if not batch.num_rows:
            return
        for partition, rows in partition_values.by_partition(batch, columns, where=where):
            opened = self._open.get(partition)
            if opened is None:
                if len(self._open) >= OPEN_FILES:
                    self._close(max(self._open, key=lambda one: self._open[one].size))
                opened = self._open[partition] = self._begin(partition)
            opened.add(rows)
            if opened.size >= FILE_BYTES:
                self._close(partition)
        if columns and sum(one.waiting for one in self._open.values()) > WAITING_BYTES:
            for one in self._open.values():
                one.flush()

    def finish(self) -> list[WrittenFile]:
        """Close all files and tell what they are."""
        for partition in list(self._open):
            self._close(partition)
        return self._written

    def _begin(self, partition: Partition) -> _OpenFile:
        folder = partition_values.folder_of(self._target.partition_by, partition)
        # Unique even where a task is run again beside one that is believed dead.
        fresh = uuid.uuid4().hex
        name = f"{self._run[:8]}-{self._run[8:12]}-4{fresh[:3]}-a{fresh[3:6]}-{fresh[6:18]}"
        path = f"{folder}part-{self._number:05d}-{name}-c000.{COMPRESSION}.parquet"
        if "://" not in self._target.uri:  # an object store has no folders; pyarrow would leave empty objects for them
            self._files.create_dir(f"{self._root}/{folder}".rstrip("/"), recursive=True)
        self._paths.append(f"{self._root}/{path}")
        return _OpenFile(self._files, self._root, path, schema=self._target.file_schema)

    def _close(self, partition: Partition) -> None:
        self._written.append(self._open.pop(partition).close(partition))


class _OpenFile:
    """One Parquet file that is being written."""

    def __init__(self, files: Any, root: str, path: str, *, schema: pa.Schema) -> None:
        self._files, self._root, self._path, self._schema = files, root, path, schema
        self._sink = files.open_output_stream(f"{root}/{path}")
        self._footers: list[Any] = []
        self._writer = pq.ParquetWriter(
            self._sink, schema, compression=COMPRESSION, metadata_collector=self._footers, store_schema=False
        )
        self._batches: list[pa.RecordBatch] = []
        self._nan: set[Path] = set()
        self._rows = 0
        self.waiting = 0
        self.size = 0

    def add(self, batch: pa.RecordBatch) -> None:
        self._nan |= nan_paths(batch)
        self._batches.append(batch)
        self._rows += batch.num_rows
        self.waiting += batch.nbytes
        if self.waiting >= GROUP_BYTES or self._rows >= GROUP_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write what waits as one row group."""
        if self._batches:
            self._writer.write_table(pa.Table.from_batches(self._batches, self._schema), row_group_size=self._rows)
        self._batches, self._rows, self.waiting = [], 0, 0
        self.size = self._sink.tell()

    def close(self, partition: Partition) -> WrittenFile:
        self.flush()
        self._writer.close()
        self._sink.close()
        footer = self._footers[0]
        full = f"{self._root}/{self._path}"
        told = statistics_of(footer, self._schema, with_nan=self._nan, read=lambda g, c: self._read(full, g, c))
        size = self._files.get_file_info(full).size
        return WrittenFile(self._path, size, int(time.time() * 1000), partition, footer.num_rows, told)

    def abandon(self) -> None:
        self._writer.close()
        self._sink.close()

    def _read(self, full: str, group: int, column: str) -> pa.ChunkedArray:
        with pq.ParquetFile(full, filesystem=self._files) as opened:
            return opened.read_row_group(group, columns=[column], use_threads=False)[column]


def delete_written(uri: str, written: Iterable[WrittenFile]) -> None:
    """Delete files that are in no commit and will be in none."""
    files, root = open_filesystem(uri)
    for one in written:
        files.delete_file(f"{root}/{one.path}")


def delete_files_of(uri: str, run: str) -> int:
    """Delete the files of an ingest that were not committed; the number of files.

    A commit may have gone through although it was told to have failed, and somebody may have replaced its rows since: a
    file that the table knows stays, and so do all where one of the last commits names the ingest.

    Args:
        uri: the table.
        run: the digits that its files have in their names.
    """
    files, root = open_filesystem(uri)
    mark = f"-{run[:8]}-{run[8:12]}-"
    found = [path for path in _data_files(files, root) if mark in path.rpartition("/")[2]]
    live = set()
    if found and tables.is_table(uri):
        if any(commit.metadata.get(RUN) == run for commit in history.log(uri, limit=LAST_COMMITS)):
            return 0
        live = {unquote(path) for path in tables.files(tables.open_table(uri))["path"].to_pylist()}
    doomed = [path for path in found if path.removeprefix(f"{root}/") not in live]
    for path in doomed:
        files.delete_file(path)
    # Folders that were made for a table that is not going to be.
    if not live and files.get_file_info(root).type == pa.fs.FileType.Directory and not _holds_files(files, root):
        files.delete_dir(root)
    return len(doomed)


def _holds_files(files: Any, root: str) -> bool:
    return any(info.is_file for info in files.get_file_info(pa.fs.FileSelector(root, recursive=True)))


def _data_files(files: Any, root: str) -> Iterator[str]:
    selector = pa.fs.FileSelector(root, recursive=True, allow_not_found=True)
    for info in files.get_file_info(selector):
        if info.is_file and "/_delta_log/" not in info.path:
            yield str(info.path)
