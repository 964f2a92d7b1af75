"""The row-set digest of a version: Ray tasks read the files whose digest nobody has kept, the driver adds up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import ray

from sluiceway.catalog.file_digests import FileDigestStore
from sluiceway.core.references import TableVersion
from sluiceway.core.row_digest import FORMAT, RowDigest
from sluiceway.data import tables
from sluiceway.data.ray_files import DataFile, data_files, finished, refuse_other_count, shares
from sluiceway.data.row_digest import digest_rows


def version_row_digest(version: TableVersion, *, kept: FileDigestStore) -> RowDigest:
    """The digest of the rows of a version, from what is kept and what has to be read; the latter is kept, too.

    Args:
        version: which.
        kept: digests of files; a version that shares files with one that was asked for before reads the others only.

    Raises:
        TableNotFoundError, ReferenceNotFoundError, UnsupportedTableError: the version cannot be read any more.
        DataError: a file is gone, or holds another number of rows than the log says.
        BackendError: Ray or the catalog failed.
    """
    table = tables.open_table(version.uri, version=version.version)
    live = tables.files(table)
    paths, counted = live["path"].to_pylist(), live["num_records"].to_pylist()
    expected = dict(zip(paths, counted, strict=True))
    uri = tables.absolute(version.uri)
    known = kept.known(uri, format_name=FORMAT)
    sizes = zip(paths, live["size_bytes"].to_pylist(), strict=True)
    for found in _read(table, [(path, size) for path, size in sizes if path not in known], uri=uri):
        for path, one in found.items():
            refuse_other_count(path, one.rows, expected=expected[path], uri=uri)
        kept.keep(uri, found, format_name=FORMAT)
        known |= found
    return sum((known[path] for path in paths), RowDigest())


def _read(table: Any, missing: Sequence[tuple[str, int]], *, uri: str) -> Iterator[dict[str, RowDigest]]:
    """Digests of files, as the tasks finish."""
    if not missing:
        return
    files, schema = data_files(table, [path for path, _ in missing])
    by_path = {file.path: file for file in files}
    tasks = [_digest_files.remote([by_path[path] for path in share], schema) for share in shares(missing)]
    yield from finished(tasks, uri=uri)


@ray.remote(max_retries=2)
def _digest_files(files: list[DataFile], schema: pa.Schema) -> dict[str, RowDigest]:
    return {file.path: digest_rows(file.batches(schema)) for file in files}
