"""Prints of rows, 128 bits for the key and 128 for the whole row, and what differs between two sides of them.

The rules are in :mod:`sluiceway.data.row_diff`. Prints go from task to task and not rows: 48 bytes each, whatever a row
holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from sluiceway.data.row_digest import row_lanes

# What is known of a row: two lanes of its key, two of the whole row, and where it is (file, place in it).
# Prints of n rows are an array of uint64, shape (6, n).
LANES, FILE, PLACE = 4, 4, 5


@dataclass(frozen=True)
class Differences:
    """How many rows differ, and the prints of some that do.

    Attributes:
        added: rows that only the new side has.
        removed: rows that only the old side has.
        changed: pairs of one key.
        added_prints: of examples, shape (6, at most the limit); the others alike.
        removed_prints: of examples.
        old_prints: of the old rows of example pairs.
        new_prints: of the new rows of the same pairs, in the same order.
    """

    added: int
    removed: int
    changed: int
    added_prints: np.ndarray
    removed_prints: np.ndarray
    old_prints: np.ndarray
    new_prints: np.ndarray


def table_prints(table: pa.Table, key: Sequence[str]) -> np.ndarray:
    """Prints of all rows of a table, shape (6, rows), uint64; the file is 0, places count from 0."""
    found, first = [], 0
    for batch in table.to_batches():
        found.append(prints(batch, key, file=0, first=first))
        first += batch.num_rows
    return joined(found)


def prints(batch: pa.RecordBatch, key: Sequence[str], *, file: int, first: int) -> np.ndarray:
    """Prints of rows.

    Args:
        batch: the rows, all their columns.
        key: columns of the key; the whole row is the key where there are none.
        file: number of their file.
        first: place of the first of them in that file.

    Returns:
        uint64, shape (6, rows).

    Raises:
        DataError: a column's type cannot be compared.
    """
    rows = row_lanes(batch)
    keys = row_lanes(batch.select(list(key))) if key else rows
    places = np.arange(first, first + batch.num_rows, dtype=np.uint64)
    return np.stack([*keys, *rows, np.full(batch.num_rows, file, np.uint64), places])


def split(found: np.ndarray, parts: int) -> list[np.ndarray]:
    """Prints by their keys' hash: rows of one key are in the same part, on whatever side."""
    if parts == 1:
        return [found]
    part = found[0] % np.uint64(parts)
    order = np.argsort(part, kind="stable")
    bounds = np.cumsum(np.bincount(part.astype(np.int64), minlength=parts))[:-1]
    return [np.ascontiguousarray(piece) for piece in np.split(found[:, order], bounds, axis=1)]


def joined(pieces: Iterable[np.ndarray]) -> np.ndarray:
    """Prints behind each other."""
    return np.concatenate([np.empty((6, 0), np.uint64), *pieces], axis=1)


def compare(old: np.ndarray, new: np.ndarray, *, limit: int) -> Differences:
    """What differs between the rows of two sides.

    Args:
        old: prints of the rows before, shape (6, n), in any order.
        new: prints of the rows after.
        limit: so many examples of each kind at most.
    """
    both = np.concatenate([old, new], axis=1)
    side = np.repeat(np.array([0, 1], np.uint8), [old.shape[1], new.shape[1]])
    order = np.lexsort((side, *both[LANES - 1 :: -1]))
    both, side = both[:, order], side[order]
    left = ~_matched(_groups(both[:LANES]), side)
    both, side = both[:, left], side[left]
    key = _groups(both[:2])
    order = np.lexsort((side, key))
    both, side, key = both[:, order], side[order], key[order]
    changed = _matched(key, side)
    added, removed, before, after = (
        both[:, chosen]
        for chosen in (~changed & (side == 1), ~changed & (side == 0), changed & (side == 0), changed & (side == 1))
    )
    counts = (added.shape[1], removed.shape[1], before.shape[1])
    return Differences(*counts, *(piece[:, :limit] for piece in (added, removed, before, after)))


def _groups(lanes: np.ndarray) -> np.ndarray:
    """A number for each column of an array whose equal columns are neighbours; the same for equal ones."""
    starts = np.any(lanes[:, 1:] != lanes[:, :-1], axis=0)
    return np.concatenate([np.zeros(min(1, lanes.shape[1]), np.int64), np.cumsum(starts)])


def _matched(group: np.ndarray, side: np.ndarray) -> np.ndarray:
    """Which have a partner in the same group on the other side; sorted by group and side."""
    run = group * 2 + side
    sizes = np.bincount(run, minlength=2 * (int(group[-1]) + 1) if len(group) else 0)
    rank = np.arange(len(run)) - (np.cumsum(sizes) - sizes)[run]
    return np.asarray(rank < np.minimum(sizes[0::2], sizes[1::2])[group])


def merged(found: Sequence[Differences], *, limit: int) -> Differences:
    """The differences of all parts from those of each."""

    def first(name: str) -> np.ndarray:
        pieces = joined(getattr(one, name) for one in found)
        return pieces[:, np.lexsort(pieces[LANES - 1 :: -1])[:limit]]

    return Differences(
        added=sum(one.added for one in found),
        removed=sum(one.removed for one in found),
        changed=sum(one.changed for one in found),
        added_prints=first("added_prints"),
        removed_prints=first("removed_prints"),
        # Both rows of a pair have the same key, and within a key both sides are in order: they stay side by side.
        old_prints=first("old_prints"),
        new_prints=first("new_prints"),
    )
