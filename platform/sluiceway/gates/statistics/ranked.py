"""The bootstrap of AUC, average precision and Kolmogorov-Smirnov distance: rows are weighed again, not drawn again.

A resample of n rows is a weight for each row: how often it was drawn. The rows are sorted once; a draw is a weight a
row, two running sums over the sorted rows, and three metrics from them. At a million rows that is a few milliseconds,
where drawing rows and sorting them takes a hundred. Memory is that of one draw, however many there are.

The weights are independent, whole numbers of mean 1 and variance 1 (the Poisson bootstrap, which differs from drawing
exactly n rows by terms of order 1/n: J. Praestgaard and J. Wellner, "Exchangeably weighted bootstraps of the general
empirical process", Annals of Probability 21, 1993). Poisson(1) itself is cut to 256 equally likely cases, so that one
random byte is one weight: mean and variance are exactly 1, the third factorial moment is 252/256.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
# Out of 256 bytes, how many mean a weight of 0, 1, 2, 3, 4, 5; Poisson(1) would have 94.2, 94.2, 47.1, 15.7, 3.9, 0.8.
CASES = (94, 95, 46, 16, 4, 1)
WEIGHT_OF_BYTE = np.repeat(np.arange(len(CASES), dtype=np.uint8), CASES).tobytes()
CELLS = 250_000  # weights that are drawn at once: small enough for the processor's cache, many draws of few rows
AUC, AVERAGE_PRECISION, KS = range(3)


def row_weights(random: np.random.Generator, draws: int, n: int) -> Array:
    """How often each row is in each resample.

    Args:
        random: the generator.
        draws: how many resamples.
        n: rows.

    Returns:
        shape (draws, n), uint8; mean and variance of each are 1.
    """
    return np.frombuffer(random.bytes(draws * n).translate(WEIGHT_OF_BYTE), dtype=np.uint8).reshape(draws, n)


@dataclass(frozen=True)
class RankedRows:
    """Rows in the order of a score from the highest down, and where the positive ones stand.

    Rows of the same score are one group; only groups with a positive row matter, because between them all three metrics
    are known from their ends.

    Attributes:
        order: shape (n,), the rows.
        positives: shape (p,), places of the positive rows in that order.
        starts: shape (g,), place of the first row of each group that has a positive row.
        ends: shape (g,), place behind the last row of it.
        before: shape (g,), positive rows above the group.
        after: shape (g,), positive rows above it and in it.
    """

    order: Array
    positives: Array
    starts: Array
    ends: Array
    before: Array
    after: Array

    @classmethod
    def of(cls, labels: Array, scores: Array) -> RankedRows:
        """Sort the rows.

        Args:
            labels: shape (n,), 0 or 1.
            scores: shape (n,), without NaN.
        """
        order = np.argsort(-scores)
        ranked = scores[order]
        first = np.append(0, np.flatnonzero(ranked[1:] != ranked[:-1]) + 1)
        last = np.append(first[1:], len(ranked))
        positives = np.flatnonzero(labels[order] == 1)
        group = np.searchsorted(first, positives, side="right") - 1
        after = np.append(np.flatnonzero(np.diff(group)) + 1, len(positives))
        before = np.append(0, after[:-1])
        found = group[before] if len(positives) else np.empty(0, dtype=np.int64)
        return cls(order, positives, first[found], last[found], before, after)

    def metrics(self, weights: Array) -> Array:
        """AUC, average precision and Kolmogorov-Smirnov distance of weighed rows.

        Args:
            weights: shape (draws, n), whole numbers from 0, in the order of the scores.

        Returns:
            shape (draws, 3); NaN where a class has no weight, or no row.
        """
        draws = len(weights)
        if len(self.positives) == 0:
            return np.full((draws, 3), math.nan)
        every, hits = _running_sums(weights), _running_sums(weights.take(self.positives, axis=1))
        hit_before, hit_after = hits.take(self.before, axis=1), hits.take(self.after, axis=1)
        all_before, all_after = every.take(self.starts, axis=1), every.take(self.ends, axis=1)
        miss_before, miss_after = all_before - hit_before, all_after - hit_after
        gained = hit_after - hit_before
        positive = hits[:, -1:].astype(np.float64)
        negative = every[:, -1:] - positive
        with np.errstate(divide="ignore", invalid="ignore"):
            area = (gained * (negative - (miss_before + miss_after) / 2)).sum(axis=1) / (positive * negative)[:, 0]
            precise = (gained * (hit_after / np.maximum(all_after, 1))).sum(axis=1) / positive[:, 0]
            # The distance is largest behind a group of positives, or before one (on the other side).
            above = (hit_after / positive - miss_after / negative).max(axis=1)
            below = (miss_before / negative - hit_before / positive).max(axis=1)
            distance = np.maximum(np.maximum(above, below), 0.0)
        found = np.column_stack([area, precise, distance])
        found[(positive[:, 0] == 0) | (negative[:, 0] == 0)] = math.nan
        return found

    def observed(self) -> Array:
        """AUC, average precision and Kolmogorov-Smirnov distance of the rows themselves, shape (3,)."""
        found: Array = self.metrics(np.ones((1, len(self.order)), dtype=np.uint8))[0]
        return found


def ranked_draws(labels: Array, columns: Sequence[Array], *, resamples: int, seed: int) -> Array:
    """AUC, average precision and Kolmogorov-Smirnov distance of resamples; of several models on the same resamples.

    Args:
        labels: shape (n,), 0 or 1.
        columns: one a model, shape (n,) each.
        resamples: how many.
        seed: of the draws.

    Returns:
        shape (models, resamples, 3); the places of the last axis are ``AUC``, ``AVERAGE_PRECISION`` and ``KS``.
    """
    random, n = np.random.default_rng(seed), len(labels)
    ranked = [RankedRows.of(labels, scores) for scores in columns]
    # Weights do not care which row they belong to: they are drawn in the order of the first model's scores, and only
    # moved into that of the others.
    place = np.empty(n, dtype=np.int64)
    place[ranked[0].order] = np.arange(n)
    moved = [place[other.order] for other in ranked[1:]]
    found = np.empty((len(columns), resamples, 3))
    block = max(1, min(resamples, CELLS // max(n, 1)))
    for begin in range(0, resamples, block):
        weights = row_weights(random, min(block, resamples - begin), n)
        rows = slice(begin, begin + len(weights))
        found[0, rows] = ranked[0].metrics(weights)
        for model, places in enumerate(moved, start=1):
            found[model, rows] = ranked[model].metrics(weights.take(places, axis=1))
    return found


def _running_sums(weights: Array) -> Array:
    """Sums of all weights before each place, shape (draws, n + 1)."""
    sums = np.zeros((weights.shape[0], weights.shape[1] + 1), dtype=np.int32)
    np.cumsum(weights, axis=1, out=sums[:, 1:])
    return sums
