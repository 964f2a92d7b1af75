"""The identity of a version: a digest over its schema and its live files, without reading data.

It trusts data files never to be overwritten in place. Rewriting equal rows (a compaction) changes it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote

from deltalake import DeltaTable

from sluiceway.data import tables
from sluiceway.data.delta_log import LogState, rows_of

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


def digest_of_state(state: LogState) -> str:
    """The same for a version that was read by :func:`sluiceway.data.delta_log.replay`, without opening it again.

    Where the log spells paths or the schema in another way than the engine, it is another digest: only equality says
    something.
    """
    files = sorted((unquote(path), int(add["size"]), rows_of(add)) for path, add in state.adds.items())
    return _digest(json.loads(state.metadata["schemaString"]), files)


def digest_of(table: DeltaTable) -> str:
    """The same for an open table."""
    live = tables.files(table)
    columns = (live["path"].to_pylist(), live["size_bytes"].to_pylist(), live["num_records"].to_pylist())
    return _digest(json.loads(table.schema().to_json()), zip(*columns, strict=True))


def _digest(schema: Any, files: Iterable[tuple[str, int, int | None]]) -> str:
    text = json.dumps(schema, sort_keys=True, separators=(",", ":"))
    state = hashlib.sha256(f"{FORMAT}\n{text}\n".encode())
    for path, size, rows in files:
        state.update(f"{path}\0{size}\0{'' if rows is None else rows}\n".encode())
    return state.hexdigest()
