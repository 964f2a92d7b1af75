"""A piece of a source: what one task reads, as a stream of Arrow batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq

from sluiceway.core.errors import DataError
from sluiceway.data.ingest import text_files
from sluiceway.data.ingest.text_files import TextOptions

PARQUET, CSV, JSON, ARROW = "parquet", "csv", "json", "arrow"
BATCH_BYTES = 16 * 2**20
BATCH_ROWS = 1 << 16
READ_BUFFER = 1 << 20


@dataclass(frozen=True)
class Piece:
    """A file, or row groups of one.

    Attributes:
        kind: ``parquet``, ``csv``, ``json`` or ``arrow``.
        path: absolute path or URI.
        size: bytes that are to be read.
        row_groups: of a Parquet file; None is the whole file.
        schema: the columns that it is read as: of a text file, or of a Delta table whose file may lack some.
        constants: values that are not in the file but belong to each of its rows, as one-row arrays.
        text: how a text file is read.
    """

    kind: str
    path: str
    size: int
    row_groups: tuple[int, ...] | None = None
    schema: pa.Schema | None = None
    constants: tuple[tuple[str, pa.Array], ...] = ()
    text: TextOptions = field(default_factory=TextOptions)

    @property
    def where(self) -> str:
        """The file, for errors."""
        return self.path


def open_filesystem(uri: str) -> tuple[Any, str]:
    """The file system of a path or URI, and the path within; neither is encoded."""
    if "://" in uri:
        found, path = pa.fs.FileSystem.from_uri(quote(uri, safe=":/"))
        return found, str(path)
    return pa.fs.LocalFileSystem(), uri


def batches_of(piece: Piece, *, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Read a piece.

    Args:
        piece: which.
        columns: only these, of those that are there; None is all.

    Returns:
        the rows in the order of the file, at most about 16 MiB at once.

    Raises:
        DataError: the file is gone or broken, or a value does not parse.
    """
    try:
        yield from _readers[piece.kind](piece, columns)
    except FileNotFoundError as error:
        raise DataError(f"{piece.path} is gone: {error}") from error
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{piece.path} cannot be read as {piece.kind}: {error}") from error


def _parquet(piece: Piece, columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
    files, path = open_filesystem(piece.path)
    with pq.ParquetFile(path, filesystem=files, buffer_size=READ_BUFFER, pre_buffer=False) as opened:
        footer = opened.metadata
        groups = list(range(footer.num_row_groups)) if piece.row_groups is None else list(piece.row_groups)
        weight = sum(footer.row_group(group).total_byte_size for group in groups)
        rows = sum(footer.row_group(group).num_rows for group in groups)
        names = opened.schema_arrow.names
        read = opened.iter_batches(
            batch_size=max(256, min(BATCH_ROWS, rows * BATCH_BYTES // max(weight, 1))),
            row_groups=groups,
            columns=None if columns is None else [name for name in names if name in columns],
            use_threads=False,
        )
        for batch in read:
            yield _completed(batch, piece, columns)


def _completed(batch: pa.RecordBatch, piece: Piece, columns: Sequence[str] | None) -> pa.RecordBatch:
    """Add what a file of a Delta table leaves out: partition values, and columns that are younger than it."""
    if piece.schema is None:
        return batch
    constants = dict(piece.constants)
    fields = [one for one in piece.schema if columns is None or one.name in columns]
    arrays = []
    for one in fields:
        if one.name in constants:
            arrays.append(pa.repeat(constants[one.name][0], batch.num_rows))
        elif one.name in batch.schema.names:
            arrays.append(batch.column(one.name).cast(one.type))
        else:
            arrays.append(pa.nulls(batch.num_rows, one.type))
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


def _arrow(piece: Piece, columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
    files, path = open_filesystem(piece.path)
    with files.open_input_file(path) as opened:
        for batch in arrow_batches(opened):
            kept = batch if columns is None else batch.select([n for n in batch.schema.names if n in columns])
            for start in range(0, kept.num_rows, BATCH_ROWS):
                yield kept.slice(start, BATCH_ROWS)


def arrow_batches(opened: Any) -> Iterator[pa.RecordBatch]:
    """The batches of an Arrow IPC file or stream."""
    magic = opened.read(6)
    opened.seek(0)
    if magic != b"ARROW1":
        yield from pa.ipc.open_stream(opened)
        return
    reader = pa.ipc.open_file(opened)
    for number in range(reader.num_record_batches):
        yield reader.get_batch(number)


def _text(piece: Piece, columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
    if piece.schema is None:
        raise DataError(f"{piece.path}: nobody said which columns it has")
    files, path = open_filesystem(piece.path)
    read = text_files.csv_batches if piece.kind == CSV else text_files.json_batches
    opening = partial(files.open_input_stream, path, compression="detect")
    for batch in read(opening, piece.schema, where=piece.where, options=piece.text):
        yield batch if columns is None else batch.select([n for n in batch.schema.names if n in columns])


_readers = {PARQUET: _parquet, ARROW: _arrow, CSV: _text, JSON: _text}
