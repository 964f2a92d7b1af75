"""Finds rows of the same key that both sides of a merge put in: sets of files cannot show that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa

from sluiceway.data.delta_log import Action
from sluiceway.data.file_rows import file_batches
from sluiceway.data.membership import row_hashes

MOST_SHOWN = 5


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
    narrow = pa.schema([schema.field(name) for name in key])
    for uri, add in files.items():
        for batch in file_batches(uri, narrow, partition=add.get("partitionValues") or {}):
            yield pa.Table.from_batches([batch])
