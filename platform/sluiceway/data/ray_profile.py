"""Profiles a version where its rows are: each block gives a partial profile of a few kilobytes, the driver merges."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict

import pyarrow as pa
from ray.exceptions import RayError

from sluiceway.core.references import TableVersion
from sluiceway.data import tables
from sluiceway.data.profile import ColumnProfile, TableProfile, merge, profile_table
from sluiceway.data.ray_files import not_read
from sluiceway.data.ray_read import read_version


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
    names = tuple(tables.schema(version.uri, version.version).names)
    present = [name for name in dict.fromkeys(columns) if name in names]
    if not present:
        return TableProfile(version.rows, {}, names)
    partial = read_version(version, columns=present).map_batches(
        _partial, batch_format="pyarrow", batch_size=None, zero_copy_batch=True
    )
    try:
        columns_found = merge(_decoded(row["profile"]) for row in partial.iter_rows())
    except RayError as error:
        raise not_read(version.uri, error) from error
    return TableProfile(version.rows, columns_found, names)


def _partial(block: pa.Table) -> Iterator[pa.Table]:
    body = json.dumps([asdict(column) for column in profile_table(block).values()])
    yield pa.table({"profile": [body]})


def _decoded(body: str) -> dict[str, ColumnProfile]:
    columns = (ColumnProfile(**{**entry, "values": tuple(entry["values"])}) for entry in json.loads(body))
    return {column.name: column for column in columns}
