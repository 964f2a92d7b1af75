"""What tasks of an ingest read: pieces of files, and blocks of rows that lie in Ray's object store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import ray
import ray.data

from sluiceway.core.errors import DataError
from sluiceway.core.references import TableVersion
from sluiceway.data.ingest.pieces import BATCH_ROWS, batches_of
from sluiceway.data.ingest.request import IngestRequest
from sluiceway.data.ingest.sources import FoundSource, look_at
from sluiceway.data.write_target import WriteTarget

# A path (file, folder, pattern, Delta table), a pinned version of a table, or rows: a pyarrow table, a pandas or polars
# frame, a Ray dataset.
Source: TypeAlias = Any
FRAME_BYTES = 64 * 2**20


@dataclass(frozen=True)
class MemoryPiece:
    """A block of rows in Ray's object store.

    Attributes:
        ref: to a ``pyarrow.Table``, or a frame that Ray keeps.
        size: bytes.
        where: its name, for errors.
    """

    ref: Any
    size: int
    where: str


def find(source: Source, request: IngestRequest, table: WriteTarget | None) -> FoundSource:
    """Look at a source, and put its rows into the object store where it holds them in memory.

    Args:
        source: a path, a version of a table, or rows.
        request: says how text files are read.
        table: whose types text files take.

    Raises:
        DataError: it is no source, cannot be read, or holds no blocks.
    """
    if isinstance(source, str | Path | TableVersion):
        known = {} if table is None else dict(zip(table.schema.names, table.schema.types, strict=True))
        return look_at(source, kind=request.format, text=request.text, known=known, headers=request.evolve)
    if isinstance(source, ray.data.Dataset):
        return _dataset(source)
    rows = _arrow_table(source)
    whole = max(1, rows.num_rows * FRAME_BYTES // max(rows.nbytes, 1))
    slices = [rows.slice(start, whole) for start in range(0, rows.num_rows, whole)]
    pieces = tuple(MemoryPiece(ray.put(one), one.nbytes, "the rows") for one in slices)
    return FoundSource("rows in memory", rows.schema.remove_metadata(), pieces)  # type: ignore[arg-type]


def _arrow_table(source: Any) -> pa.Table:
    kind = type(source).__module__.partition(".")[0]
    if isinstance(source, pa.Table):
        return source
    if kind == "pandas":
        return pa.Table.from_pandas(source, preserve_index=False)
    if kind == "polars":
        return source.to_arrow()
    raise DataError(
        f"{type(source).__name__} is no source of rows",
        hint="give a path, a TableVersion, a pyarrow Table, a pandas or polars frame, or a Ray Dataset",
    )


def _dataset(source: Any) -> FoundSource:
    refs = source.to_arrow_refs()
    described = ray.get([_describe.remote(ref) for ref in refs])
    filled = [one for one in described if one[1]] or described[:1]
    if not filled:
        raise DataError("the dataset has no blocks")
    pieces = tuple(
        MemoryPiece(ref, size, "the dataset") for ref, (_, size, _) in zip(refs, described, strict=True) if size
    )
    return FoundSource("a Ray dataset", filled[0][2], pieces)  # type: ignore[arg-type]


@ray.remote(num_cpus=0)
def _describe(block: pa.Table) -> tuple[int, int, pa.Schema]:
    return block.num_rows, block.nbytes, block.schema.remove_metadata()


def read_piece(piece: Any, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """The batches of a piece, of these columns only; raises what :func:`batches_of` raises."""
    if not isinstance(piece, MemoryPiece):
        yield from batches_of(piece, columns=columns)
        return
    rows = ray.get(piece.ref)
    yield from (rows if columns is None else rows.select(list(columns))).to_batches(max_chunksize=BATCH_ROWS)
