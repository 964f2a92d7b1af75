"""Intervals of many values at once, of the difference of two, and of the largest gap among many.

A difference has its interval from those of its two sides, which need not be symmetric (the method of variance
estimates recovery: G. Zou and A. Donner, "Construction of confidence limits about effect measures: a general
approach", Statistics in Medicine 27, 2008; for shares it is Newcombe's, Statistics in Medicine 17, 1998).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit
from scipy.stats import norm

Array = npt.NDArray[Any]
Bounds = tuple[Array, Array]


def share_bounds(successes: npt.ArrayLike, n: npt.ArrayLike, alpha: float) -> Bounds:
    """Wilson's score intervals of shares, two-sided 1 - alpha; (0, 1) where n is 0."""
    successes, n = np.asarray(successes, dtype=np.float64), np.asarray(n, dtype=np.float64)
    z2 = float(norm.ppf(1 - alpha / 2)) ** 2
    some = np.maximum(n, 1)
    share = successes / some
    centre = (share + z2 / (2 * some)) / (1 + z2 / some)
    half = math.sqrt(z2) * np.sqrt(share * (1 - share) / some + z2 / (4 * some * some)) / (1 + z2 / some)
    low = np.where((n == 0) | (successes == 0), 0.0, centre - half)
    return low, np.where((n == 0) | (successes == n), 1.0, centre + half)


def auc_bounds(values: npt.ArrayLike, variances: npt.ArrayLike, rarer: npt.ArrayLike, alpha: float) -> Bounds:
    """Intervals of AUCs on the logit scale, two-sided 1 - alpha.

    Args:
        values: AUCs.
        variances: their sampling variances.
        rarer: rows of the rarer class; a perfect separation has its bound from the rule of three on them.
        alpha: error of both sides together.
    """
    values, variances = np.asarray(values, dtype=np.float64), np.asarray(variances, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        half = float(norm.ppf(1 - alpha / 2)) * np.sqrt(variances) / (values * (1 - values))
        low, high = expit(logit(values) - half), expit(logit(values) + half)
        slack = np.minimum(1.0, -math.log(alpha / 2) / np.asarray(rarer))
    flat = (values <= 0) | (values >= 1) | (variances == 0)
    return np.where(flat, np.maximum(0, values - slack), low), np.where(flat, np.minimum(1, values + slack), high)


def mean_bounds(values: Array, variances: Array, alpha: float) -> Bounds:
    """Normal intervals, two-sided 1 - alpha."""
    half = float(norm.ppf(1 - alpha / 2)) * np.sqrt(variances)
    return values - half, values + half


def difference_bounds(
    first: tuple[Any, Any, Any], second: tuple[Any, Any, Any], correlation: float = 0.0
) -> tuple[Any, Any]:
    """Interval of first minus second, at the level of theirs.

    Args:
        first: (value, low, high), numbers or arrays.
        second: (value, low, high).
        correlation: of the two estimates, 0 where they are of different rows.
    """
    (a, a_low, a_high), (b, b_low, b_high) = first, second

    def reach(x: Any, y: Any) -> Any:
        return np.sqrt(np.maximum(0.0, x * x + y * y - 2 * correlation * x * y))

    return a - b - reach(a - a_low, b_high - b), a - b + reach(a_high - a, b - b_low)


@dataclass(frozen=True)
class Gap:
    """The largest difference between two of many.

    Attributes:
        value: highest minus lowest.
        low: a pair of them differs by at least this.
        high: no pair differs by more.
        highest: place of the highest.
        lowest: place of the lowest.
        surest: (higher, lower) of the pair behind ``low``; not always the extremes, which may be small.
    """

    value: float
    low: float
    high: float
    highest: int
    lowest: int
    surest: tuple[int, int]


def largest_gap(values: Array, lows: Array, highs: Array) -> Gap:
    """The largest gap among at least two independent values.

    With intervals at 1 - alpha / pairs each, the interval of the gap holds for all pairs at once (Bonferroni): the
    largest true gap is at least the largest lower bound of a pair, and at most the largest upper one.

    Args:
        values: shape (k,), k >= 2.
        lows: lower bounds of the values.
        highs: upper bounds.
    """
    low, high, surest = -math.inf, -math.inf, (0, 1)
    for i in range(len(values)):
        below, above = difference_bounds((values[i], lows[i], highs[i]), (values, lows, highs))
        below[i] = above[i] = -math.inf
        j = int(below.argmax())
        if below[j] > low:
            low, surest = float(below[j]), (i, j)
        high = max(high, float(above.max()))
    highest, lowest = int(values.argmax()), int(values.argmin())
    return Gap(float(values[highest] - values[lowest]), max(0.0, low), high, highest, lowest, surest)


def holm_levels(lower_bounds: Callable[[float], Array], limit: float, alpha: float) -> Array:
    """The error that the one-sided bound of each of several may have so that all of them together err with alpha.

    Holm's step-down procedure told in bounds: those beyond the limit at alpha / k are settled, the others get the
    share of the rest, until none is added (S. Holm, Scandinavian Journal of Statistics 6, 1979). An element is
    rejected by Holm if, and only if, its bound at the level returned is beyond the limit.

    Args:
        lower_bounds: one-sided lower bounds of all k, shape (k,), at the error that it is called with.
        limit: a bound above it settles an element.
        alpha: the error of the family.

    Returns:
        shape (k,).
    """
    levels = np.full(len(lower_bounds(alpha)), alpha)
    waiting = np.ones(len(levels), dtype=np.bool_)
    while waiting.any():
        levels[waiting] = alpha / waiting.sum()
        settled = waiting & (lower_bounds(alpha / int(waiting.sum())) > limit)
        if not settled.any():
            break
        waiting &= ~settled
    return levels
