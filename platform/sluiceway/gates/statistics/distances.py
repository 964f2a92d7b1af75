"""How far one distribution is from another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def psi(reference: Sequence[float], observed: Sequence[float]) -> float:
    """Population stability index of two histograms over the same bins.

    Sum over bins of (p - q) ln(p / q). Every bin gets half a count more, so that an empty one does not make it
    infinite. Below 0.1 is commonly called stable, above 0.25 a shift (N. Siddiqi, "Credit Risk Scorecards", 2006).
    Under no shift its expectation is about (bins - 1) (1/n + 1/m).

    Args:
        reference: count of each bin, shape (bins,).
        observed: count of each bin, shape (bins,).

    Returns:
        0 or more; NaN when a side has no rows.
    """
    p, q = np.asarray(observed, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    if p.shape != q.shape:
        raise ValueError(f"{p.shape} and {q.shape} are not the same bins")
    if p.sum() == 0 or q.sum() == 0:
        return float("nan")
    p, q = (p + 0.5) / (p + 0.5).sum(), (q + 0.5) / (q + 0.5).sum()
    return float(((p - q) * np.log(p / q)).sum())


def psi_categories(reference: Mapping[str, float], observed: Mapping[str, float]) -> float:
    """:func:`psi` over the union of the categories; a category that one side lacks counts as 0 there."""
    names = sorted(set(reference) | set(observed))
    return psi([reference.get(k, 0) for k in names], [observed.get(k, 0) for k in names])


def quantile_edges(values: Array, bins: int = 10) -> Array:
    """Inner edges of bins that hold about equally many values each; fewer where values repeat.

    Args:
        values: shape (n,), NaN ignored.
        bins: at most so many.

    Returns:
        shape (at most bins - 1,), strictly rising; empty when there is nothing to cut.
    """
    present = np.asarray(values, dtype=np.float64)
    present = present[~np.isnan(present)]
    if len(present) == 0:
        return np.empty(0)
    edges = np.quantile(present, np.arange(1, bins) / bins)
    above = present[present > present.min()]
    if len(above) == 0:
        return np.empty(0)
    # A value that holds more than one bin's worth of rows at the lower end is a bin of its own.
    edges[edges == present.min()] = above.min()
    distinct: Array = np.unique(edges)
    return distinct


def histogram(values: Array, edges: Array) -> Array:
    """Counts per bin, the missing values last.

    Args:
        values: shape (n,), NaN is missing.
        edges: inner edges; a value equal to an edge belongs to the bin above it.

    Returns:
        shape (len(edges) + 2,), int64.
    """
    values = np.asarray(values, dtype=np.float64)
    missing = np.isnan(values)
    counts = np.bincount(np.searchsorted(edges, values[~missing], side="right"), minlength=len(edges) + 1)
    return np.append(counts, missing.sum()).astype(np.int64)
