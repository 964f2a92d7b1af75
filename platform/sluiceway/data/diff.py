"""What differs between two versions of one table by its log: columns, files, counts; no data file is opened."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable

from sluiceway.core.errors import DataError
from sluiceway.core.references import TableVersion
from sluiceway.data import tables
from sluiceway.data.places import file_uri, main_of


@dataclass(frozen=True)
class ColumnChange:
    """A column that is not the same in both versions.

    Attributes:
        column: its name.
        change: ``added``, ``removed``, or ``changed`` (type, nullability or metadata).
        old: type in the old version, ``not null`` where it may not be null, and metadata; None where it was not there.
        new: the same in the new version.
    """

    column: str
    change: str
    old: str | None
    new: str | None


@dataclass(frozen=True)
class FileSet:
    """Data files of a version.

    Attributes:
        paths: as the log of their version has them (the new one's where both have them), sorted.
        bytes: their size together.
        rows: in them together; None where the log does not say it of every file.
        rows_of: the same of each file, in the order of ``paths``.
        bytes_of: size of each file, in the order of ``paths``.
    """

    paths: tuple[str, ...]
    bytes: int
    rows: int | None
    rows_of: tuple[int | None, ...]
    bytes_of: tuple[int, ...]


@dataclass(frozen=True)
class VersionDiff:
    """What it takes to come from one version to another.

    Attributes:
        old: the version to come from.
        new: the version to come to.
        columns: that differ, in the order of the new version, removed ones at the end.
        reordered: the columns that both have are in another order.
        old_partitions: partition columns of the old version.
        new_partitions: partition columns of the new version.
        added: files that only the new version has.
        removed: files that only the old version has.
        kept: files of both.
    """

    old: TableVersion
    new: TableVersion
    columns: tuple[ColumnChange, ...]
    reordered: bool
    old_partitions: tuple[str, ...]
    new_partitions: tuple[str, ...]
    added: FileSet
    removed: FileSet
    kept: FileSet

    @property
    def empty(self) -> bool:
        """True where schema, files and with them the rows are the same."""
        schema = self.columns or self.reordered or self.old_partitions != self.new_partitions
        return not (schema or self.added.paths or self.removed.paths)


def diff_versions(old: TableVersion, new: TableVersion) -> VersionDiff:
    """Compare two versions of one table, or of it and a branch's copy of it.

    Args:
        old: the version to come from; it may be the later one.
        new: the version to come to.

    Returns:
        the difference; a file that was removed and came back (a restore) counts as kept.

    Raises:
        DataError: they are versions of two tables.
        TableNotFoundError, ReferenceNotFoundError, UnsupportedTableError: a version cannot be opened any more.
    """
    if main_of(tables.absolute(old.uri)) != main_of(tables.absolute(new.uri)):
        raise DataError(
            f"{old.uri} and {new.uri} are two tables",
            hint="name two versions of one table, for example sales@1 sales@2",
            table=old.uri,
            other=new.uri,
        )
    before, after = (tables.open_table(version.uri, version=version.version) for version in (old, new))
    old_schema, new_schema = tables.arrow_schema(before), tables.arrow_schema(after)
    old_files, new_files = _files(before, old.uri), _files(after, new.uri)
    return VersionDiff(
        old=old,
        new=new,
        columns=tuple(_column_changes(old_schema, new_schema)),
        reordered=_common(old_schema, new_schema) != _common(new_schema, old_schema),
        old_partitions=tuple(before.metadata().partition_columns),
        new_partitions=tuple(after.metadata().partition_columns),
        added=_file_set(new_files, new_files.keys() - old_files.keys()),
        removed=_file_set(old_files, old_files.keys() - new_files.keys()),
        kept=_file_set(new_files, new_files.keys() & old_files.keys()),
    )


def _column_changes(old: pa.Schema, new: pa.Schema) -> Iterator[ColumnChange]:
    for field in new:
        if field.name not in old.names:
            yield ColumnChange(field.name, "added", None, _said(field))
        elif _said(old.field(field.name)) != _said(field):
            yield ColumnChange(field.name, "changed", _said(old.field(field.name)), _said(field))
    for field in old:
        if field.name not in new.names:
            yield ColumnChange(field.name, "removed", _said(field), None)


def _said(field: Any) -> str:
    """All that a schema says of a column, so that two that read alike are alike."""
    text = f"{field.type}" + ("" if field.nullable else " not null")
    metadata = {key.decode(): value.decode() for key, value in sorted((field.metadata or {}).items())}
    return f"{text} {metadata}" if metadata else text


def _common(schema: pa.Schema, other: pa.Schema) -> list[str]:
    return [name for name in schema.names if name in other.names]


def _files(table: DeltaTable, uri: str) -> dict[str, tuple[str, int, int | None]]:
    """Path, size and rows by identity: logs of two places name one file by two paths."""
    live = tables.files(table)
    columns = (live["path"].to_pylist(), live["size_bytes"].to_pylist(), live["num_records"].to_pylist())
    place = tables.absolute(uri)
    return {file_uri(place, file[0]): file for file in zip(*columns, strict=True)}


def _file_set(files: Mapping[str, tuple[str, int, int | None]], chosen: Iterable[str]) -> FileSet:
    found = sorted((files[identity] for identity in chosen), key=lambda file: file[0])
    rows_of = tuple(rows for _, _, rows in found)
    return FileSet(
        paths=tuple(path for path, _, _ in found),
        bytes=sum(size for _, size, _ in found),
        rows=None if None in rows_of else sum(count or 0 for count in rows_of),
        rows_of=rows_of,
        bytes_of=tuple(size for _, size, _ in found),
    )
