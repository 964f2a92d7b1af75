"""Bins of many values: a pass an edge, and no search row by row."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def bin_places(values: Array, edges: Array) -> Array:
    """The bin of each value: as ``numpy.searchsorted(edges, values, side="right")``, and 0 for NaN.

    One pass an edge, several times as fast as a search a value for the few edges that bins have (25 and 3 ms for a
    million values and 19 edges).

    Args:
        values: shape (n,).
        edges: rising, at most 255.

    Returns:
        shape (n,), uint8.
    """
    if len(edges) > 255:
        raise ValueError(f"{len(edges)} edges; a place is one byte")
    places = np.zeros(len(values), np.uint8)
    for edge in edges:
        places += values >= edge
    return places


def sorted_edges(ordered: Array, bins: int) -> Array:
    """:func:`~sluiceway.gates.statistics.distances.quantile_edges` of values that are sorted already.

    Args:
        ordered: shape (n,), rising, no NaN.
        bins: at most so many.
    """
    n = len(ordered)
    if n == 0 or ordered[0] == ordered[-1]:
        return np.empty(0)
    place = np.arange(1, bins) / bins * (n - 1)
    below = place.astype(np.int64)
    low, high = ordered[below], ordered[np.minimum(below + 1, n - 1)]
    edges = low + (high - low) * (place - below)
    # A value that holds more than one bin's worth of rows at the lower end is a bin of its own.
    edges[edges == ordered[0]] = ordered[np.searchsorted(ordered, ordered[0], side="right")]
    distinct: Array = np.unique(edges)
    return distinct


def bin_counts(values: Array, absent: Array, edges: Array) -> Array:
    """:func:`~sluiceway.gates.statistics.distances.histogram`, without a search row by row.

    Args:
        values: shape (n,).
        absent: shape (n,), bool: where they are NaN.
        edges: inner edges; a value equal to an edge belongs to the bin above it.

    Returns:
        shape (len(edges) + 2,), int64: rows of each bin, the missing ones last.
    """
    missing = int(absent.sum())
    counts = np.append(np.bincount(bin_places(values, edges), minlength=len(edges) + 1), missing).astype(np.int64)
    counts[0] -= missing
    return counts
