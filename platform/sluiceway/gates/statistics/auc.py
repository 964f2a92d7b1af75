"""Area under the ROC curve with its sampling error, of one model and of two on the same rows.

The variance is DeLong's: E. DeLong, D. DeLong and D. Clarke-Pearson, "Comparing the Areas under Two or More Correlated
Receiver Operating Characteristic Curves: A Nonparametric Approach", Biometrics 44 (1988), in O(n log n) by mid-ranks:
X. Sun and W. Xu, "Fast Implementation of DeLong's Algorithm for Comparing the Areas Under Correlated Receiver Operating
Characteristic Curves", IEEE Signal Processing Letters 21 (2014).

It is told by row here: what each row adds to the error of the AUC (its centred structural component over the rows of
its class). The sum of the squares is the variance; the parts of two models on the same rows are subtracted before they
are squared, and those of several classes added, which takes care of what they have in common.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import norm, rankdata

from sluiceway.gates.statistics.differences import auc_bounds

Array = npt.NDArray[Any]


def auc(labels: Array, scores: Array) -> float:
    """Probability that a positive row scores above a negative one, ties counting half.

    Args:
        labels: shape (n,), 0 or 1.
        scores: shape (n,), any real numbers without NaN.

    Returns:
        0 to 1, or NaN when a class is missing.
    """
    positive = np.asarray(labels) == 1
    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    if n_positive == 0 or n_negative == 0:
        return math.nan
    ranks = rankdata(scores)[positive].sum()
    return float((ranks - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


def auc_of_bins(positives: Array, negatives: Array, scores: Array) -> float:
    """The AUC of rows that are known only by their bin: :func:`auc` with the bin's score for each of its rows.

    Args:
        positives: shape (bins,), rows with label 1.
        negatives: shape (bins,), the other rows.
        scores: shape (bins,).

    Returns:
        0 to 1, or NaN when a class is missing.
    """
    total = float(positives.sum()) * float(negatives.sum())
    if total == 0:
        return math.nan
    level = np.unique(scores, return_inverse=True)[1]
    above = np.bincount(level, weights=positives)
    below = np.bincount(level, weights=negatives)
    return float((above * (np.cumsum(below) - below / 2)).sum() / total)


def auc_parts(labels: Array, scores: Array) -> Array:
    """What each row adds to the error of the AUC; the sum of their squares is DeLong's variance.

    Args:
        labels: shape (n,), 0 or 1.
        scores: shape (n,).

    Returns:
        shape (n,); all NaN where a class has fewer than two rows.
    """
    return auc_with_parts(labels, scores)[1]


def auc_with_parts(labels: Array, scores: Array) -> tuple[float, Array]:
    """:func:`auc` and :func:`auc_parts` in one sort.

    Args:
        labels: shape (n,), 0 or 1.
        scores: shape (n,).

    Returns:
        (auc, parts); NaN where a class is missing, the parts with fewer than two rows of a class.
    """
    return _components(np.asarray(labels) == 1, np.asarray(scores, dtype=np.float64))


def macro_auc_parts(labels: Array, scores: Array) -> Array:
    """As :func:`auc_parts`, of :func:`macro_auc`: each row's parts in the AUCs of all classes, added up.

    Args:
        labels: shape (n,), places of the classes.
        scores: shape (n, k).

    Returns:
        shape (n,).
    """
    k = scores.shape[1]
    parts = np.zeros(len(labels))
    for place in range(k):
        parts += _components(labels == place, scores[:, place])[1] / k
    return parts


def auc_variance(labels: Array, scores: Array) -> tuple[float, float]:
    """AUC and DeLong's variance of it.

    Args:
        labels: shape (n,), 0 or 1.
        scores: shape (n,).

    Returns:
        (auc, variance); both NaN when a class is missing, variance NaN with fewer than two rows of a class.
    """
    value, parts = auc_with_parts(labels, scores)
    return value, float((parts**2).sum()) if len(parts) else math.nan


def auc_interval(labels: Array, scores: Array, *, alpha: float = 0.05) -> tuple[float, float, float]:
    """AUC with a two-sided 1 - alpha interval, on the logit scale so that it stays inside (0, 1).

    Returns:
        (value, low, high). A perfect separation has no variance to speak of: its lower bound comes from the rule of
        three on the smaller class.
    """
    value, variance = auc_variance(labels, scores)
    low, high = map(float, auc_bounds(value, variance, smallest_class(labels, 2), alpha))
    return value, low, high


def macro_auc(labels: Array, scores: Array) -> float:
    """Mean over the classes of the AUC of one class against all others, each class counting the same.

    Args:
        labels: shape (n,), places of the classes, 0 to k - 1.
        scores: shape (n, k).

    Returns:
        0 to 1, or NaN when a class has no row.
    """
    return float(np.mean([auc(labels == place, scores[:, place]) for place in range(scores.shape[1])]))


def macro_auc_interval(labels: Array, scores: Array, *, alpha: float = 0.05) -> tuple[float, float, float]:
    """:func:`macro_auc` with a two-sided 1 - alpha interval on the logit scale.

    Returns:
        (value, low, high); the bounds are NaN where a class has fewer than two rows.
    """
    variance = float((macro_auc_parts(labels, scores) ** 2).sum()) if len(labels) else math.nan
    value = macro_auc(labels, scores)
    low, high = map(float, auc_bounds(value, variance, smallest_class(labels, scores.shape[1]), alpha))
    return value, low, high


def smallest_class(labels: Array, classes: int) -> int:
    """Rows of the class that has the fewest.

    Args:
        labels: shape (n,), places of the classes; of two 0 or 1.
        classes: how many there are.
    """
    return int(np.bincount(np.asarray(labels).astype(np.int64), minlength=classes).min())


def auc_difference(
    first: tuple[Array, Array], second: tuple[Array, Array], *, alpha: float = 0.05
) -> tuple[float, float, float]:
    """Difference of the AUCs of two independent groups of rows, first minus second.

    Args:
        first: (labels, scores) of one group.
        second: (labels, scores) of the other.
        alpha: two-sided error of the normal interval.

    Returns:
        (difference, low, high).
    """
    (a, var_a), (b, var_b) = auc_variance(*first), auc_variance(*second)
    half = float(norm.ppf(1 - alpha / 2)) * math.sqrt(var_a + var_b)
    return a - b, max(-1.0, a - b - half), min(1.0, a - b + half)


def _components(positive: Array, scores: Array) -> tuple[float, Array]:
    """The AUC and what each row adds to its error; one sort.

    A positive row's component is the share of negative rows below it, a negative row's the share of positive rows above
    it, ties counting half: the same numbers as differences of mid-ranks.
    """
    n = len(scores)
    m = int(positive.sum())
    if m == 0 or m == n:
        return math.nan, np.full(n, math.nan)
    order = np.argsort(scores)
    ranked, up = scores[order], positive[order]
    level = np.zeros(n, dtype=np.int64)
    np.cumsum(ranked[1:] != ranked[:-1], out=level[1:])
    above = np.bincount(level, weights=up)
    below = np.bincount(level) - above
    wins = (np.cumsum(below) - below / 2) / (n - m)
    losses = (m - np.cumsum(above) + above / 2) / m
    value = float((wins * above).sum() / m)
    if m < 2 or n - m < 2:
        return value, np.full(n, math.nan)
    # Divided so that the sum of the squares is the sample variance (with one degree of freedom less) over the rows.
    wins = (wins - value) / math.sqrt(m * (m - 1))
    losses = (losses - value) / math.sqrt((n - m) * (n - m - 1))
    parts = np.empty(n)
    parts[order] = np.where(up, wins[level], losses[level])
    return value, parts
