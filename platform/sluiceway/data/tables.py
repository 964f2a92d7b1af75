"""Opens Delta tables, and refuses those that would be read wrongly."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
from deltalake import DeltaTable
from deltalake import exceptions as delta

from sluiceway.core.errors import DataError, ReferenceNotFoundError, TableNotFoundError, UnsupportedTableError

# Features under which the Parquet files alone still hold the rows as they are.
READER_FEATURES = frozenset({"timestampNtz"})


def absolute(uri: str) -> str:
    """One spelling for one table: an absolute path for local files, the URI without a last slash for others."""
    if uri.startswith("file://"):
        uri = uri.removeprefix("file://")
    if uri.startswith("s3a://"):
        uri = "s3://" + uri.removeprefix("s3a://")
    if "://" in uri:
        return uri.rstrip("/")
    return str(Path(uri).expanduser().resolve())


def table_uri(name: str, aliases: Mapping[str, str]) -> str:
    """Follow an alias once, and make a local path absolute.

    Args:
        name: path, URI, or a key of ``aliases`` (with or without a slash at its end).
        aliases: ``platform.aliases`` of the configuration.
    """
    for alias, target in aliases.items():
        if name.rstrip("/") == alias.rstrip("/"):
            name = target
            break
    return name if "://" in name else str(Path(name).resolve())


def open_table(uri: str, *, version: int | None = None) -> DeltaTable:
    """Open a table at a version.

    Args:
        uri: folder or URI.
        version: version number; the newest when left out.

    Raises:
        TableNotFoundError: there is no Delta table.
        ReferenceNotFoundError: the table has no such version, or its log does not reach back so far.
        UnsupportedTableError: its rows would be read wrongly (column mapping, deletion vectors, unknown features).
    """
    uri = absolute(uri)
    try:
        table = DeltaTable(uri)
    except delta.TableNotFoundError as error:
        raise TableNotFoundError(
            f"there is no Delta table at {uri}", hint="check the path, or ingest rows there first", table=uri
        ) from error
    except delta.DeltaError as error:
        raise DataError(f"the table at {uri} cannot be opened: {error}", table=uri) from error
    if version is not None and version != table.version():
        _load(table, uri=uri, version=version)
    _refuse_unreadable(table, uri=uri)
    return table


def is_table(uri: str) -> bool:
    """Whether a Delta table is there; creates nothing."""
    return bool(DeltaTable.is_deltatable(absolute(uri)))


def schema(uri: str, version: int | None = None) -> pa.Schema:
    """The Arrow schema of a version; raises what :func:`open_table` raises."""
    return arrow_schema(open_table(uri, version=version))


def arrow_schema(table: DeltaTable) -> pa.Schema:
    """The Arrow schema of an open table."""
    return pa.schema(table.schema().to_arrow())


def files(table: DeltaTable) -> pa.Table:
    """The live files of an open table: ``path``, ``size_bytes``, ``num_records`` and statistics, sorted by path."""
    return pa.table(table.get_add_actions(flatten=True)).sort_by("path")


def place_of(table: DeltaTable) -> str:
    """Where an open table is, spelled as :func:`absolute` does."""
    # The table tells its place as a URI, which for a local one is encoded.
    told = str(table.table_uri)
    return absolute(unquote(told) if told.startswith("file://") else told)


def row_count(table: DeltaTable) -> int:
    """Live rows of an open table, from its log."""
    return int(table.count())


def refuse_inside_another(uri: str) -> None:
    """Refuse a place for a new table that belongs to another table, whose clean-up would delete it.

    Raises:
        DataError: a folder above is a Delta table.
    """
    uri = absolute(uri)
    scheme, separator, rest = uri.rpartition("://")
    parts = rest.strip("/").split("/")
    root = f"{scheme}{separator}" if separator else "/"
    # The first part behind a scheme is the bucket, which may be a table itself.
    for depth in range(len(parts) - 1, 0, -1):
        above = root + "/".join(parts[:depth])
        if is_table(above):
            raise DataError(
                f"{uri} lies inside the Delta table {above}", hint="choose a folder beside it, not in it", table=above
            )


def _load(table: DeltaTable, *, uri: str, version: int) -> None:
    newest = table.version()
    fields: dict[str, Any] = {"table": uri, "version": version}
    if not 0 <= version <= newest:
        raise ReferenceNotFoundError(
            f"{uri} has no version {version}", hint=f"its versions are 0 to {newest}", **fields
        )
    try:
        table.load_as_version(version)
    except delta.DeltaError as error:
        raise ReferenceNotFoundError(
            f"version {version} of {uri} cannot be loaded any more: {error}",
            hint="the log of old versions may have been cleaned up",
            **fields,
        ) from error


def _refuse_unreadable(table: DeltaTable, *, uri: str) -> None:
    # Ray and pyarrow return nulls, without an error, for column mapping declared under an old protocol.
    mapping = table.metadata().configuration.get("delta.columnMapping.mode", "none")
    if mapping != "none":
        raise UnsupportedTableError(
            f"{uri} uses column mapping by {mapping}; its columns would be read as null",
            hint="write a copy of the table without column mapping",
            table=uri,
        )
    unknown = sorted(set(table.protocol().reader_features or ()) - READER_FEATURES)
    if unknown:
        raise UnsupportedTableError(
            f"{uri} needs reader features that are not understood here: {', '.join(unknown)}",
            hint="write a copy of the table without them",
            table=uri,
        )
