"""The identity of a version: a digest over its schema and its live files, without reading data.

It trusts data files never to be overwritten in place. Rewriting equal rows (a compaction) changes it.
"""

from __future__ import annotations

import hashlib
import json

from deltalake import DeltaTable

from sluiceway.data import tables

FORMAT = "sluiceway-version-1"


def version_digest(uri: str, version: int) -> str:
    """Level-1 digest of a version.

    Args:
        uri: the table.
        version: version number.

    Returns:
        64 hex digits: sha256 over the format's name, the canonical JSON of the Delta schema, and one line
        ``path NUL size NUL numRecords`` per live file, sorted by path.
    """
    return digest_of(tables.open_table(uri, version=version))


def digest_of(table: DeltaTable) -> str:
    """The same for an open table."""
    schema = json.dumps(json.loads(table.schema().to_json()), sort_keys=True, separators=(",", ":"))
    state = hashlib.sha256(f"{FORMAT}\n{schema}\n".encode())
    live = tables.files(table)
    columns = (live["path"].to_pylist(), live["size_bytes"].to_pylist(), live["num_records"].to_pylist())
    for path, size, rows in zip(*columns, strict=True):
        state.update(f"{path}\0{size}\0{'' if rows is None else rows}\n".encode())
    return state.hexdigest()
