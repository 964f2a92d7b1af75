"""Finds rows of the same key that both sides of a merge put in: sets of files cannot show that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from sluiceway.data.delta_log import Action
from sluiceway.data.membership import row_hashes
from sluiceway.data.places import filesystem_of, plain_path

MOST_SHOWN = 5
BATCH_ROWS = 1 << 17


def same_keys(
    source: Mapping[str, Action], dest: Mapping[str, Action], *, key: Sequence[str], schema: pa.Schema
) -> tuple[str, ...]:
    """Keys that lie in files of both sides, a few of them; reads the columns of the key only.

    Holds eight bytes for each row that the destination put in; the source is streamed.

    Args:
        source: files that the source put in, by URI.
        dest: files that the destination put in since the base, by URI.
        key: the columns.
        schema: of the table.

    Returns:
        at most five keys, as text.
    """
    if not source or not dest or not key:
        return ()
    there = [row_hashes(batch, tuple(key)) for batch in _keys(dest, key, schema)]
    hashes = np.unique(np.concatenate(there)) if there else np.array([], dtype=np.uint64)
    found: dict[int, str] = {}
    for batch in _keys(source, key, schema):
        own = row_hashes(batch, tuple(key))
        for index in np.flatnonzero(np.isin(own, hashes))[: MOST_SHOWN - len(found)]:
            found[int(own[index])] = ", ".join(f"{name}={batch[name][int(index)].as_py()}" for name in key)
        if len(found) >= MOST_SHOWN:
            break
    return tuple(found.values())


def _keys(files: Mapping[str, Action], key: Sequence[str], schema: pa.Schema) -> Iterator[pa.Table]:
    for uri, add in files.items():
        store: pafs.FileSystem = filesystem_of(uri)
        with store.open_input_file(plain_path(uri)) as opened:
            reader = pq.ParquetFile(opened)
            stored = [name for name in key if name in reader.schema_arrow.names]
            for batch in reader.iter_batches(BATCH_ROWS, columns=stored):
                yield _whole(batch, add, key=key, schema=schema)


def _whole(batch: pa.RecordBatch, add: Action, *, key: Sequence[str], schema: pa.Schema) -> pa.Table:
    """The key's columns in the table's types; a partition's value is in the log, and a newer column is null."""
    given: Mapping[str, Any] = add.get("partitionValues") or {}
    columns = []
    for name in key:
        kind = schema.field(name).type
        if name in batch.schema.names:
            columns.append(batch[name].cast(kind))
        else:
            columns.append(pa.array([given.get(name)], pa.string()).cast(kind).take(np.zeros(len(batch), np.int8)))
    return pa.table(dict(zip(key, columns, strict=True)))
