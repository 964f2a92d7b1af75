"""Encoded blocks in Ray's object store as a source of rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import ray

from sluiceway.training.rows import EncodedBlocks


def stored_blocks(blocks: Sequence[ray.ObjectRef], width: int) -> EncodedBlocks:
    """Blocks that a worker fetches one after the other, each time anew.

    Args:
        blocks: references.
        width: number of features.
    """

    def fetch() -> Iterator[pa.Table]:
        for block in blocks:
            yield ray.get(block)

    return EncodedBlocks(fetch, width)
