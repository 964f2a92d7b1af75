"""The row-level difference of two versions, by Ray tasks that read the files which only one of them has.

Rows of the files of both versions are the same rows: they cancel, and are not read. One stage of tasks reads the others
and makes prints of their rows (:mod:`sluiceway.data.row_prints`), split by the hash of the key; a second compares the
two sides of each part; a third reads the rows of the examples again. The driver sees numbers and examples only.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
import pyarrow as pa
import ray

from sluiceway.core.references import TableVersion
from sluiceway.data import tables
from sluiceway.data.diff import FileSet, VersionDiff
from sluiceway.data.ray_files import BYTES_PER_TASK, DataFile, data_files, finished, refuse_other_count
from sluiceway.data.row_diff import RowDiff, check_key, described
from sluiceway.data.row_prints import FILE, PLACE, Differences, compare, joined, merged, prints, split

# A task keeps the prints of the rows that it reads until it ends: 48 bytes a row and as much again to split them.
ROWS_PER_TASK = 1 << 22
# One comparison sorts so many rows of both sides: about half a gigabyte while it lasts.
ROWS_PER_PART = 1 << 21
# Where the log does not count a file's rows.
BYTES_PER_ROW = 16


@dataclass(frozen=True)
class _Piece:
    """What one task reads of one file: its row groups by share ``index`` of ``count`` equal ones."""

    file: DataFile
    number: int
    rows: int | None
    index: int
    count: int


@dataclass(frozen=True)
class _Side:
    """The files that only one of the versions has."""

    uri: str
    files: list[DataFile]
    schema: pa.Schema
    log: FileSet

    def sizes(self) -> Iterator[tuple[int, int]]:
        """Rows, estimated where nobody counted, and bytes of each file."""
        for rows, size in zip(self.log.rows_of, self.log.bytes_of, strict=True):
            yield math.ceil(size / BYTES_PER_ROW) if rows is None else rows, size

    def shares(self) -> Iterator[list[_Piece]]:
        """Pieces for each task: several small files, or a part of a large one."""
        share: list[_Piece] = []
        load = 0.0
        for number, (file, (rows, size)) in enumerate(zip(self.files, self.sizes(), strict=True)):
            fraction = max(rows / ROWS_PER_TASK, size / BYTES_PER_TASK)
            count = max(1, math.ceil(fraction))
            for index in range(count):
                share.append(_Piece(file, number, self.log.rows_of[number], index, count))
                load += fraction / count
                if load + fraction / count > 1:
                    yield share
                    share, load = [], 0.0
        if share:
            yield share


def diff_rows(diff: VersionDiff, *, key: Sequence[str] = (), limit: int = 20) -> RowDiff:
    """Rows that differ between two versions; the rules are in :mod:`sluiceway.data.row_diff`.

    Args:
        diff: of the versions by their logs.
        key: columns that identify a row; whole rows are compared where there are none.
        limit: so many examples of each kind at most.

    Raises:
        SchemaMismatchError: a key column is not in both versions, or of types whose values are never equal.
        DataError: a file is gone, or does not hold what the log says, or a column cannot be compared.
        BackendError: Ray failed.
    """
    old, new = _side(diff.old, diff.removed), _side(diff.new, diff.added)
    names = check_key(old.schema, new.schema, key)
    if not (old.files or new.files):
        return RowDiff(names)
    uri = tables.absolute(diff.old.uri)
    rows = sum(count for side in (old, new) for count, _ in side.sizes())
    parts = max(1, math.ceil(rows / ROWS_PER_PART))
    cells = [[_print_files(share, side, names, parts) for share in side.shares()] for side in (old, new)]
    before = len(cells[0])
    waiting = [
        _compare_part.remote(limit, before, *(cell[part] for side in cells for cell in side)) for part in range(parts)
    ]
    # References that are let go with the tasks that need them: what is compared already leaves the object store.
    del cells
    found = _merged(finished(waiting, uri=uri), limit=limit)
    asked = [(new, found.added_prints), (old, found.removed_prints), (old, found.old_prints), (new, found.new_prints)]
    added, removed, first, second = _fetched(asked, uri=uri)
    return described(found, names, added=added, removed=removed, before=first, after=second)


def _merged(results: Iterator[Differences], *, limit: int) -> Differences:
    total: Differences | None = None
    for one in results:
        total = one if total is None else merged([total, one], limit=limit)
    if total is None:
        raise AssertionError("there is always one part")
    return total


def _side(version: TableVersion, files: FileSet) -> _Side:
    table = tables.open_table(version.uri, version=version.version)
    found, schema = data_files(table, files.paths)
    return _Side(tables.absolute(version.uri), found, schema, files)


def _print_files(share: list[_Piece], side: _Side, key: tuple[str, ...], parts: int) -> list[Any]:
    """References to the prints of some files, one a part."""
    references = _print_pieces.options(num_returns=parts).remote(share, side.schema, key, parts, side.uri)
    return references if parts > 1 else [references]


@ray.remote(max_retries=2)
def _print_pieces(
    pieces: list[_Piece], schema: pa.Schema, key: tuple[str, ...], parts: int, uri: str
) -> list[np.ndarray] | np.ndarray:
    found = split(joined(_prints(piece, schema, key, uri) for piece in pieces), parts)
    return found if parts > 1 else found[0]


def _prints(piece: _Piece, schema: pa.Schema, key: tuple[str, ...], uri: str) -> np.ndarray:
    groups = [group.num_rows for group in piece.file.fragment.row_groups]
    refuse_other_count(piece.file.path, sum(groups), expected=piece.rows, uri=uri)
    start, stop = (len(groups) * i // piece.count for i in (piece.index, piece.index + 1))
    if start == stop:
        return joined([])
    chosen = DataFile(piece.file.path, piece.file.fragment.subset(row_group_ids=list(range(start, stop))))
    found, first = [], sum(groups[:start])
    for batch in chosen.batches(schema):
        found.append(prints(batch, key, file=piece.number, first=first))
        first += batch.num_rows
    return joined(found)


@ray.remote(max_retries=2)
def _compare_part(limit: int, before: int, *cells: np.ndarray) -> Differences:
    return compare(joined(cells[:before]), joined(cells[before:]), limit=limit)


def _fetched(asked: Sequence[tuple[_Side, np.ndarray]], *, uri: str) -> list[pa.Table]:
    """The rows of examples: for each of the askings, in the order of its prints."""
    tasks = []
    for number, (side, wanted) in enumerate(asked):
        for file in np.unique(wanted[FILE]):
            places = np.flatnonzero(wanted[FILE] == file)
            rows = wanted[PLACE, places].astype(np.int64)
            tasks.append(_fetch.remote(side.files[int(file)], side.schema, rows, (number, places)))
    pieces: list[list[tuple[np.ndarray, pa.Table]]] = [[] for _ in asked]
    for (number, places), rows in finished(tasks, uri=uri):
        pieces[number].append((places, rows))
    return [_restored(found, side.schema) for found, (side, _) in zip(pieces, asked, strict=True)]


def _restored(pieces: Sequence[tuple[np.ndarray, pa.Table]], schema: pa.Schema) -> pa.Table:
    if not pieces:
        return schema.empty_table()
    places = np.concatenate([places for places, _ in pieces])
    return pa.concat_tables([rows for _, rows in pieces]).take(pa.array(np.argsort(places)))


@ray.remote(max_retries=2)
def _fetch(file: DataFile, schema: pa.Schema, rows: np.ndarray, asked: Any) -> tuple[Any, pa.Table]:
    """Rows of a file by their places, in that order; only their row groups are read."""
    ends = list(accumulate(group.num_rows for group in file.fragment.row_groups))
    group_of = np.searchsorted(ends, rows, side="right")
    pieces, order = [], []
    for group in np.unique(group_of):
        mine = np.flatnonzero(group_of == group)
        start = ends[group - 1] if group else 0
        part = DataFile(file.path, file.fragment.subset(row_group_ids=[int(group)]))
        table = pa.Table.from_batches(part.batches(schema), schema)
        pieces.append(table.take(pa.array(rows[mine] - start)))
        order.append(mine)
    return asked, pa.concat_tables(pieces).take(pa.array(np.argsort(np.concatenate(order))))
