"""What rows come from: files by path, folder or pattern, and versions of Delta tables; cut into pieces for tasks."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
from deltalake import DeltaTable

from sluiceway.core.errors import ConfigError, DataError
from sluiceway.core.references import TableVersion
from sluiceway.data import tables
from sluiceway.data.ingest import text_files
from sluiceway.data.ingest.pieces import ARROW, CSV, JSON, PARQUET, Piece, arrow_batches, open_filesystem
from sluiceway.data.ingest.text_files import TextOptions

_ENDINGS = {
    **dict.fromkeys((".parquet", ".pq"), PARQUET),
    **dict.fromkeys((".csv", ".tsv"), CSV),
    **dict.fromkeys((".json", ".jsonl", ".ndjson"), JSON),
    **dict.fromkeys((".arrow", ".arrows", ".feather", ".ipc"), ARROW),
}
_PACKED = (".gz", ".bz2", ".zst", ".lz4")
_PATTERN = frozenset("*?[")
# A task should have no less, so that it does not begin in vain, and a file no more, so that all CPUs have work.
PIECE_BYTES = 128 * 2**20


@dataclass(frozen=True)
class SourceFile:
    """A file before its types are known.

    Attributes:
        kind: as of :class:`Piece`.
        path: absolute path or URI.
        size: bytes.
    """

    kind: str
    path: str
    size: int


@dataclass(frozen=True)
class FoundSource:
    """One source, looked at.

    Attributes:
        name: as it was given.
        schema: its columns; of text files those of the first one, with the table's types where it has them.
        pieces: what is to be read.
        typed: False where the types were guessed or taken from the table, since the files hold text.
    """

    name: str
    schema: pa.Schema
    pieces: tuple[Piece, ...] = field(default=(), repr=False)
    typed: bool = True


def look_at(
    source: str | Path | TableVersion,
    *,
    kind: str | None,
    text: TextOptions,
    known: Mapping[str, pa.DataType],
    headers: bool = False,
) -> FoundSource:
    """Find the files of a source and what columns they have; reads footers and first blocks only.

    Args:
        source: a file, a folder, a pattern (``data/2024-*.csv``), or a version of a Delta table.
        kind: of the files; None goes by their names.
        text: how text files are read.
        known: types of the table's columns, for text files.
        headers: look at the header of every CSV, not of the first one only: they may differ.

    Raises:
        DataError: there is no such file, it cannot be read, or files of one source have different types.
        ConfigError: the format is not known.
    """
    if isinstance(source, TableVersion):
        return _table(source.uri, source.version)
    name = str(source)
    if kind is None and holds_table(name):
        return _table(name, None)
    found = list(_files(name, kind))
    if not found:
        raise DataError(f"there are no files at {name}", hint="check the path; a pattern needs quotes in a shell")
    kinds = {one.kind for one in found}
    if len(kinds) > 1:
        raise DataError(f"{name} holds files of different formats: {', '.join(sorted(kinds))}", hint="give --format")
    if kinds <= {CSV, JSON}:
        return _texts(name, found, text=text, known=known, headers=headers)
    pieces = [piece for one in found for piece in (_parquet(one) if one.kind == PARQUET else _arrow(one))]
    return FoundSource(name, _common(pieces, name), tuple(replace(piece, schema=None) for piece in pieces))


def pieces_of(version: TableVersion, *, unopened: int) -> tuple[Piece, ...]:
    """Cut a version into pieces and open the large files only, so that a table of many small ones costs little.

    Args:
        version: which.
        unopened: files of at most so many bytes are one piece each; nobody looks whether they are there.

    Raises:
        DataError: a large file is gone or broken.
    """
    return _table(version.uri, version.version, unopened=unopened).pieces


def holds_table(name: str) -> bool:
    """Whether a path or URI is that of a Delta table, and not of a file or a pattern."""
    if _PATTERN & set(name) or ("://" not in name and not Path(name).expanduser().is_dir()):
        return False
    return tables.is_table(name)


def _files(name: str, kind: str | None) -> Iterator[SourceFile]:
    files, path = open_filesystem(name if "://" in name else str(Path(name).expanduser().absolute()))
    prefix = name[: len(name) - len(path)] if "://" in name else ""
    patterned = bool(_PATTERN & set(path))
    root = path
    while _PATTERN & set(root):
        root = root.rpartition("/")[0] or "/"
    info = files.get_file_info(root)
    if info.type == pa.fs.FileType.NotFound:
        return
    if info.is_file:
        yield SourceFile(kind or _kind(path), prefix + path, info.size)
        return
    listed = files.get_file_info(pa.fs.FileSelector(root, recursive=True))
    for one in sorted(listed, key=lambda one: str(one.path)):
        inner = one.path.removeprefix(root).strip("/").split("/")
        hidden = any(part.startswith(("_", ".")) for part in inner)
        if not one.is_file or hidden or (patterned and not _matches(one.path, path)):
            continue
        yield SourceFile(kind or _kind(one.path), prefix + one.path, one.size)


def _matches(path: str, pattern: str) -> bool:
    """Part by part, so that a star does not stand for a slash."""
    parts, wanted = path.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(map(fnmatch.fnmatchcase, parts, wanted))


def _kind(path: str) -> str:
    name = path.casefold()
    for ending in _PACKED:
        name = name.removesuffix(ending)
    found = _ENDINGS.get(Path(name).suffix)
    if found is None:
        raise ConfigError(
            f"the format of {path} cannot be told from its name", hint="give --format parquet, csv, json or arrow"
        )
    return found


def _parquet(one: SourceFile) -> list[Piece]:
    files, path = open_filesystem(one.path)
    try:
        with pq.ParquetFile(path, filesystem=files) as opened:
            footer, schema = opened.metadata, opened.schema_arrow
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{one.path} cannot be read as parquet: {error}") from error
    return _by_row_groups(Piece(PARQUET, one.path, one.size, schema=schema), footer)


def _by_row_groups(piece: Piece, footer: Any) -> list[Piece]:
    """Row groups of one file, so many together that they are worth a task."""
    pieces, groups, size = [], [], 0
    for group in range(footer.num_row_groups):
        columns = footer.row_group(group)
        groups.append(group)
        size += sum(columns.column(i).total_compressed_size for i in range(columns.num_columns))
        if size >= PIECE_BYTES // 8 or group == footer.num_row_groups - 1:
            pieces.append(replace(piece, row_groups=tuple(groups), size=size))
            groups, size = [], 0
    return pieces or [replace(piece, row_groups=())]


def _arrow(one: SourceFile) -> list[Piece]:
    files, path = open_filesystem(one.path)
    try:
        with files.open_input_file(path) as opened:
            schema = _arrow_schema(opened)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{one.path} cannot be read as arrow: {error}") from error
    return [Piece(ARROW, one.path, one.size, schema=schema)]


def _arrow_schema(opened: Any) -> pa.Schema:
    for batch in arrow_batches(opened):
        return batch.schema
    opened.seek(0)
    return pa.ipc.open_file(opened).schema if opened.read(6) == b"ARROW1" else pa.ipc.open_stream(opened).schema


def _common(pieces: Sequence[Piece], name: str) -> pa.Schema:
    """The columns of all files together; whether each file has all of them is for the table to say."""
    schemas = [piece.schema.remove_metadata() for piece in pieces if piece.schema is not None]
    try:
        return pa.unify_schemas(schemas)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise DataError(f"the files of {name} have different types: {error}", hint="ingest them one by one") from error


def _texts(
    name: str, found: list[SourceFile], *, text: TextOptions, known: Mapping[str, pa.DataType], headers: bool
) -> FoundSource:
    if found[0].path.casefold().endswith((".tsv", ".tsv.gz")) and text.delimiter == ",":
        text = replace(text, delimiter="\t")
    schema = pa.schema([])
    pieces = []
    for number, one in enumerate(found):
        own = schema
        if number == 0 or (headers and one.kind == CSV):
            own = _text_schema(one, text=text, known={**known, **dict(zip(schema.names, schema.types, strict=True))})
            schema = pa.unify_schemas([schema, own])
        pieces.append(Piece(one.kind, one.path, one.size, schema=own, text=text))
    return FoundSource(name, schema, tuple(pieces), typed=False)


def _text_schema(one: SourceFile, *, text: TextOptions, known: Mapping[str, pa.DataType]) -> pa.Schema:
    files, path = open_filesystem(one.path)
    opening = partial(files.open_input_stream, path, compression="detect")
    try:
        if one.kind == CSV:
            return text_files.csv_schema(opening, where=one.path, options=text, known=known)
        return text_files.json_schema(opening, where=one.path, known=known)
    except OSError as error:
        raise DataError(f"{one.path} cannot be read as {one.kind}: {error}") from error


def _table(uri: str, version: int | None, *, unopened: int = 0) -> FoundSource:
    table = tables.open_table(uri, version=version)
    schema = tables.arrow_schema(table).remove_metadata()
    root = tables.absolute(uri)
    pieces = tuple(_live_pieces(table, schema, root=root, unopened=unopened))
    return FoundSource(f"{root}@{table.version()}", schema, pieces)


def _live_pieces(table: DeltaTable, schema: pa.Schema, *, root: str, unopened: int) -> Iterator[Piece]:
    live = tables.files(table)
    partitions = [name for name in live.column_names if name.startswith("partition.")]
    for row in range(live.num_rows):
        # The log has a path as a URI writes it; it is absolute where the table is a shallow copy.
        path = unquote(live["path"][row].as_py()).removeprefix("file://")
        full = path if path.startswith("/") or "://" in path else f"{root}/{path}"
        constants = tuple((n.removeprefix("partition."), live[n].slice(row, 1).combine_chunks()) for n in partitions)
        piece = Piece(PARQUET, full, live["size_bytes"][row].as_py(), schema=schema, constants=constants)
        if piece.size <= unopened:
            yield piece
            continue
        files, inner = open_filesystem(full)
        try:
            with pq.ParquetFile(inner, filesystem=files) as opened:
                footer = opened.metadata
        except (pa.ArrowInvalid, OSError) as error:
            raise DataError(f"a data file of {root} is gone or broken: {error}", table=root) from error
        yield from _by_row_groups(piece, footer)
