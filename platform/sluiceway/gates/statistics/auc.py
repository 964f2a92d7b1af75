"""Area under the ROC curve with its sampling error.

DeLong's variance by mid-ranks, O(n log n): X. Sun and W. Xu, "Fast Implementation of DeLong's Algorithm for Comparing
the Areas Under Correlated Receiver Operating Characteristic Curves", IEEE Signal Processing Letters 21 (2014).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit
from scipy.stats import norm, rankdata

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


def auc_variance(labels: Array, scores: Array) -> tuple[float, float]:
    """AUC and DeLong's variance of it.

    Args:
        labels: shape (n,), 0 or 1.
        scores: shape (n,).

    Returns:
        (auc, variance); both NaN when a class is missing, variance NaN with fewer than two rows of a class.
    """
    labels, scores = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    positive, negative = scores[labels == 1], scores[labels != 1]
    m, n = len(positive), len(negative)
    if m == 0 or n == 0:
        return math.nan, math.nan
    ranks = rankdata(np.concatenate([positive, negative]))
    above_negatives = (ranks[:m] - rankdata(positive)) / n
    below_positives = 1 - (ranks[m:] - rankdata(negative)) / m
    value = float(above_negatives.mean())
    if m < 2 or n < 2:
        return value, math.nan
    return value, float(above_negatives.var(ddof=1) / m + below_positives.var(ddof=1) / n)


def auc_interval(labels: Array, scores: Array, *, alpha: float = 0.05) -> tuple[float, float, float]:
    """AUC with a two-sided 1 - alpha interval, on the logit scale so that it stays inside (0, 1).

    Returns:
        (value, low, high). A perfect separation has no variance to speak of: its lower bound comes from the rule of
        three on the smaller class.
    """
    value, variance = auc_variance(labels, scores)
    if math.isnan(value) or math.isnan(variance):
        return value, math.nan, math.nan
    smaller = int(min((np.asarray(labels) == 1).sum(), (np.asarray(labels) != 1).sum()))
    return _on_logit_scale(value, variance, smaller, alpha)


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

    A row has a part in the AUC of every class: its parts (DeLong's structural components) are added up before they
    are squared, so that what the classes' AUCs have in common is counted.

    Returns:
        (value, low, high); the bounds are NaN where a class has fewer than two rows.
    """
    k = scores.shape[1]
    rows = np.bincount(labels.astype(np.int64), minlength=k)
    value = macro_auc(labels, scores)
    if math.isnan(value) or rows.min() < 2:
        return value, math.nan, math.nan
    parts = np.zeros(len(labels))
    for place in range(k):
        parts += _parts(labels == place, scores[:, place]) / k
    return _on_logit_scale(value, float((parts**2).sum()), int(rows.min()), alpha)


def _parts(positive: Array, scores: Array) -> Array:
    """What each row adds to the error of an AUC; the sum of their squares is its variance."""
    above, below = scores[positive], scores[~positive]
    m, n = len(above), len(below)
    ranks = rankdata(np.concatenate([above, below]))
    above_negatives = (ranks[:m] - rankdata(above)) / n
    below_positives = 1 - (ranks[m:] - rankdata(below)) / m
    parts = np.empty(m + n)
    parts[positive] = (above_negatives - above_negatives.mean()) / m
    parts[~positive] = (below_positives - below_positives.mean()) / n
    return parts


def _on_logit_scale(value: float, variance: float, smaller: int, alpha: float) -> tuple[float, float, float]:
    if value in (0.0, 1.0) or variance == 0:
        slack = min(1.0, -math.log(alpha / 2) / smaller)
        return value, max(0.0, value - slack), min(1.0, value + slack)
    half = norm.ppf(1 - alpha / 2) * math.sqrt(variance) / (value * (1 - value))
    return value, float(expit(logit(value) - half)), float(expit(logit(value) + half))


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
