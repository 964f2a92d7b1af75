"""Differences of two shares, and whether the new one is no worse by more than a margin."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from scipy.optimize import brentq
from scipy.stats import norm


@dataclass(frozen=True)
class Pairs:
    """Rows that two models judged, by who was right.

    Attributes:
        both: both models right.
        only_champion: the champion right, the challenger wrong.
        only_challenger: the challenger right, the champion wrong.
        neither: both wrong.
    """

    both: int
    only_champion: int
    only_challenger: int
    neither: int

    @property
    def n(self) -> int:
        """Number of pairs."""
        return self.both + self.only_champion + self.only_challenger + self.neither

    @property
    def discordant(self) -> int:
        """Pairs on which exactly one was right."""
        return self.only_champion + self.only_challenger


def paired_difference(pairs: Pairs, *, alpha: float = 0.05) -> tuple[float, float, float]:
    """Share right, challenger minus champion, on the same rows.

    Bounds are Tango's score limits (T. Tango, "Equivalence test and confidence interval for the difference in
    proportions for the paired-sample design", Statistics in Medicine 17, 1998), good also for few or no discordant
    pairs.

    Args:
        pairs: the four counts.
        alpha: error of each bound. No worse by a margin at error alpha: ``low > -margin``.

    Returns:
        (difference, low, high); NaN for no pairs.
    """
    n, gained, lost = pairs.n, pairs.only_challenger, pairs.only_champion
    if n == 0:
        return math.nan, math.nan, math.nan
    z = float(norm.ppf(1 - alpha))

    def score(delta: float) -> float:
        b = -gained - lost + (2 * n - gained + lost) * delta
        c = -lost * delta * (1 - delta)
        q = (math.sqrt(max(0.0, b * b - 8 * n * c)) - b) / (4 * n)
        variance = n * (2 * q + delta * (1 - delta))
        distance = gained - lost - n * delta
        return distance / math.sqrt(variance) if variance > 1e-12 else math.copysign(math.inf, distance)

    value = (gained - lost) / n
    return value, _root(score, z, -1.0, value), _root(score, -z, value, 1.0)


def independent_difference(
    champion: tuple[int, int], challenger: tuple[int, int], *, alpha: float = 0.05
) -> tuple[float, float, float]:
    """Share of events, challenger minus champion, on different requests.

    Bounds are the score limits with the variance under the constrained estimate (O. Miettinen and M. Nurminen,
    Statistics in Medicine 4, 1985; C. Farrington and G. Manning, Statistics in Medicine 9, 1990, for the closed form).

    Args:
        champion: (events, requests).
        challenger: (events, requests).
        alpha: error of each bound. Error rate no worse by a margin at error alpha: ``high < margin``.

    Returns:
        (difference, low, high); NaN when an arm has no requests.
    """
    (x0, n0), (x1, n1) = champion, challenger
    if n0 == 0 or n1 == 0:
        return math.nan, math.nan, math.nan
    z = float(norm.ppf(1 - alpha))
    value = x1 / n1 - x0 / n0

    def score(delta: float) -> float:
        p1, p0 = _constrained(x1, n1, x0, n0, delta)
        n = n1 + n0
        variance = (p1 * (1 - p1) / n1 + p0 * (1 - p0) / n0) * n / (n - 1)
        return (value - delta) / math.sqrt(variance) if variance > 1e-15 else math.copysign(math.inf, value - delta)

    return value, _root(score, z, -1.0, value), _root(score, -z, value, 1.0)


def _constrained(x1: int, n1: int, x0: int, n0: int, delta: float) -> tuple[float, float]:
    """Most likely (p1, p0) among those with p1 - p0 = delta: a root of a cubic in p0 (Farrington and Manning)."""
    n = n1 + n0
    a3 = float(n)
    a2 = (n1 + 2 * n0) * delta - n - (x1 + x0)
    a1 = (n0 * delta - n - 2 * x0) * delta + x1 + x0
    a0 = x0 * delta * (1 - delta)
    v = a2**3 / (27 * a3**3) - a1 * a2 / (6 * a3**2) + a0 / (2 * a3)
    u = math.copysign(math.sqrt(max(0.0, a2**2 / (9 * a3**2) - a1 / (3 * a3))), v)
    w = (math.pi + math.acos(max(-1.0, min(1.0, v / u**3 if u else 0.0)))) / 3
    p0 = min(max(2 * u * math.cos(w) - a2 / (3 * a3), max(0.0, -delta)), min(1.0, 1 - delta))
    return min(1.0, max(0.0, p0 + delta)), p0


def _root(score: Callable[[float], float], target: float, low: float, high: float) -> float:
    # The score falls from +inf to -inf; where it does not reach the target inside, the bound is the end of the range.
    def distance(delta: float) -> float:
        return max(-1e9, min(1e9, score(delta) - target))

    step = 1e-12
    low, high = low + step, high - step
    if low >= high or distance(low) <= 0:
        return max(-1.0, low - step)
    if distance(high) >= 0:
        return min(1.0, high + step)
    return float(brentq(distance, low, high, xtol=1e-10))
