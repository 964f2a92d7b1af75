"""Profiles a version where its files are: each task gives a partial profile of a few kilobytes, the driver merges."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pyarrow as pa
import ray

from sluiceway.core.references import TableVersion
from sluiceway.data import tables
from sluiceway.data.profile import ColumnProfile, TableProfile, merge, profile_table
from sluiceway.data.ray_files import DataFile, data_files, finished, shares


def profile(version: TableVersion, columns: Sequence[str]) -> TableProfile:
    """What columns of a version hold.

    Args:
        version: which version.
        columns: which columns; those that the table lacks are left out, for
            :func:`sluiceway.data.profile.check_trainable` to name.

    Raises:
        TableNotFoundError, ReferenceNotFoundError, UnsupportedTableError: the version cannot be read any more.
        DataError: a data file is gone.
        BackendError: Ray failed.
    """
    table = tables.open_table(version.uri, version=version.version)
    names = tuple(tables.arrow_schema(table).names)
    present = [name for name in dict.fromkeys(columns) if name in names]
    if not present:
        return TableProfile(version.rows, {}, names)
    live = tables.files(table)
    paths = live["path"].to_pylist()
    files, schema = data_files(table, paths)
    by_path = {file.path: file for file in files}
    tasks = [
        _profile_files.remote([by_path[path] for path in share], schema, present)
        for share in shares(list(zip(paths, live["size_bytes"].to_pylist(), strict=True)))
    ]
    empty = profile_table(schema.empty_table().select(present))  # a table without rows has columns, too
    return TableProfile(version.rows, merge(itertools.chain([empty], finished(tasks, uri=version.uri))), names)


@ray.remote(max_retries=2)
def _profile_files(files: list[DataFile], schema: pa.Schema, columns: list[str]) -> dict[str, ColumnProfile]:
    batches = (batch for file in files for batch in file.batches(schema, columns))
    return merge(profile_table(pa.Table.from_batches([batch])) for batch in batches)
