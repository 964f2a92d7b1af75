"""The main metric of two sets of scores for the same rows: how far apart they are, with what the rows share taken out.

Each row has a part in the error of a metric: of an AUC DeLong's component (:mod:`sluiceway.gates.statistics.auc`), of a
root mean square the row's squared error by the chain rule. Parts of two metrics on the same rows are subtracted before
they are squared, so that what makes both high or low by chance does not widen the interval. Ratios take the delta
method (A. DasGupta, "Asymptotic Theory of Statistics and Probability", 2008, chapter 7).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from sluiceway.gates.statistics.auc import auc_with_parts

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Estimate:
    """A metric with what each row has to do with it.

    Attributes:
        value: NaN where it cannot be taken.
        parts: shape (n,), what each row adds to its error; the sum of the squares is its variance. NaN: not known.
    """

    value: float
    parts: Array


def auc_estimate(labels: Array, scores: Array) -> Estimate:
    """The AUC; of several classes the mean over those that some rows have and some have not.

    Args:
        labels: shape (n,), 0 or 1, or places of the classes.
        scores: shape (n,), or (n, k) of several classes.

    Returns:
        NaN where a score is NaN, or all rows have one class.
    """
    nothing = Estimate(math.nan, np.full(len(labels), math.nan))
    if np.isnan(scores).any():
        return nothing
    if scores.ndim == 1:
        return Estimate(*auc_with_parts(labels, scores))
    columns = [(labels == place, scores[:, place]) for place in range(scores.shape[1])]
    columns = [(own, score) for own, score in columns if 0 < own.sum() < len(own)]
    if not columns:
        return nothing
    values, parts = [], np.zeros(len(labels))
    for own, score in columns:
        value, of_class = auc_with_parts(own, score)
        values.append(value)
        parts += of_class / len(columns)
    return Estimate(float(np.mean(values)), parts)


def rmse_estimate(labels: Array, scores: Array) -> Estimate:
    """The root of the mean squared error.

    Args:
        labels: shape (n,).
        scores: shape (n,).

    Returns:
        NaN without rows, or where a score is NaN.
    """
    squared = (np.asarray(scores, dtype=np.float64) - labels) ** 2
    if len(squared) == 0 or np.isnan(squared).any():
        return Estimate(math.nan, np.full(len(squared), math.nan))
    mean = float(squared.mean())
    root = math.sqrt(mean)
    # d sqrt(m) = dm / (2 sqrt(m)); a perfect prediction has no error to tell of.
    return Estimate(root, (squared - mean) / (2 * root * len(squared)) if root else np.zeros(len(squared)))


def estimate_of(metric: str, labels: Array, scores: Array) -> Estimate:
    """:func:`rmse_estimate` of the metric ``rmse``, else :func:`auc_estimate`."""
    return rmse_estimate(labels, scores) if metric == "rmse" else auc_estimate(labels, scores)


def mean_of(estimates: Sequence[Estimate]) -> Estimate:
    """The mean of several estimates on the same rows, of those that could be taken; NaN where none could.

    What is drawn anew each time averages out, what the rows themselves are worth does not.
    """
    taken = [one for one in estimates if not math.isnan(one.value)]
    if not taken:
        return Estimate(math.nan, np.full(len(estimates[0].parts) if estimates else 0, math.nan))
    return Estimate(float(np.mean([one.value for one in taken])), np.mean([one.parts for one in taken], axis=0))


def difference_of(first: Estimate, second: Estimate, *, alpha: float = 0.05) -> tuple[float, float, float]:
    """Second minus first, on the same rows.

    Args:
        first: of some rows.
        second: of the same rows, in the same order.
        alpha: two-sided error.

    Returns:
        (difference, low, high); the bounds are NaN where the parts are.
    """
    return _with_bounds(second.value - first.value, second.parts - first.parts, alpha)


def relative_change(first: Estimate, second: Estimate, *, alpha: float = 0.05) -> tuple[float, float, float]:
    """(Second minus first) over first, on the same rows.

    Args:
        first: of some rows; where it is 0, any change is infinite.
        second: of the same rows, in the same order.
        alpha: two-sided error.

    Returns:
        (change, low, high); the bounds are NaN where the parts are.
    """
    if first.value == 0:
        change = second.value if second.value == 0 or math.isnan(second.value) else math.inf
        return change, math.nan, math.nan
    ratio = second.value / first.value
    return _with_bounds(ratio - 1, (second.parts - ratio * first.parts) / first.value, alpha)


def _with_bounds(value: float, parts: Array, alpha: float) -> tuple[float, float, float]:
    half = float(norm.ppf(1 - alpha / 2)) * math.sqrt(float((parts**2).sum()))
    return value, value - half, value + half
