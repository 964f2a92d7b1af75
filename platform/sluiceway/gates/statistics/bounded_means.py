"""The mean of bounded values, and the difference of two, tested at every look: nothing but sums is kept.

A value y of at least -1 whose mean is at most 0, whatever came before, multiplies the stake of a bet L by
``exp(L y + (log(1 - L) + L) y^2)``, which is at most ``1 + L y``: an e-process (X. Fan, I. Grama and Q. Liu,
"Exponential inequalities for martingales with applications", Electron. J. Probab. 20, 2015; as confidence sequences
I. Waudby-Smith and A. Ramdas, "Estimating means of bounded random variables by betting", JRSS B 86, 2024). The stakes
are averaged over ``BETS``. What is returned is the logarithm of the e-value, as in
:mod:`sluiceway.gates.statistics.sequential`; the order in which values come does not matter.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import logsumexp
from scipy.stats import norm

from sluiceway.core.moments import Moments

Array = npt.NDArray[Any]

# Shares of the stake, equal weights on a log scale; and what a bet pays for each square.
BETS = np.geomspace(1e-3, 0.9, 30)
PRICES = -(np.log1p(-BETS) + BETS)
# Points between an estimate and the end of its range at which a bound is looked for before it is made exact.
PLACES = 64
# So many values are asked for where no number of them would do.
NEVER = 10**12


def mean_above_log_e(seen: Moments, limits: npt.ArrayLike, *, width: npt.ArrayLike) -> Array:
    """Evidence that the mean is above a limit.

    Args:
        seen: the values.
        limits: one or more.
        width: no value lies farther below a limit than this.

    Returns:
        of the limits' shape.
    """
    limits, width = np.asarray(limits, dtype=np.float64), np.asarray(width, dtype=np.float64)
    gain = (seen.total - seen.n * limits) / width
    spent = np.maximum(0.0, seen.squares - 2 * limits * seen.total + seen.n * limits**2) / width**2
    stakes = gain[..., None] * BETS - spent[..., None] * PRICES
    result: Array = logsumexp(stakes, axis=-1) - math.log(len(BETS))
    return result


def mean_below_log_e(seen: Moments, limits: npt.ArrayLike, *, width: npt.ArrayLike) -> Array:
    """Evidence that the mean is below a limit; the mirror image of :func:`mean_above_log_e`."""
    mirrored = Moments(seen.n, -seen.total, seen.squares)
    return mean_above_log_e(mirrored, -np.asarray(limits, dtype=np.float64), width=width)


def mean_bounds(seen: Moments, *, low: float, high: float, alpha: float) -> tuple[float, float, float]:
    """The mean, and between which limits it lies at every look.

    Args:
        seen: the values, none below ``low`` or above ``high``.
        low: smallest possible value.
        high: largest possible value.
        alpha: error of each bound, over all looks.

    Returns:
        (mean, lower bound, upper bound); NaN without a value.
    """
    if seen.n == 0:
        return math.nan, math.nan, math.nan
    mean = min(max(seen.mean, low), high)
    return (
        mean,
        _bound(lambda at: mean_above_log_e(seen, at, width=at - low), mean, low, alpha),
        _bound(lambda at: mean_below_log_e(seen, at, width=high - at), mean, high, alpha),
    )


def values_needed(gap: float, variance: float, *, width: float, alpha: float, power: float = 0.8) -> int:
    """Values until a test of this module says that a mean is on the good side of a limit.

    Args:
        gap: of the true mean to the limit.
        variance: of the values.
        width: no value lies farther on the other side of the limit than this.
        alpha: of the test.
        power: chance that so many are enough (normal approximation of what each bet wins).

    Returns:
        1 to ``NEVER``.
    """
    growth = BETS * gap / width - PRICES * (variance + gap**2) / width**2
    spread = float(norm.ppf(power)) * math.sqrt(variance) / width * BETS

    def lacking(log_n: float) -> float:
        n = math.exp(log_n)
        return float(logsumexp(n * growth - math.sqrt(n) * spread)) - math.log(len(BETS) / alpha)

    if gap <= 0 or lacking(math.log(NEVER)) < 0:
        return NEVER
    return math.ceil(math.exp(brentq(lacking, 0.0, math.log(NEVER)))) if lacking(0.0) < 0 else 1


def short_of_log_e(
    champion: Moments, challenger: Moments, *, slope: float, offset: float, low: float, high: float
) -> float:
    """Evidence that the challenger's mean is below ``slope * (champion's mean) + offset``; of different requests.

    For every possible mean m of the champion the product of the evidence that the champion is above m and that the
    challenger is below ``slope * m + offset`` is an e-process if m is true; the smallest over m is one for the unknown
    m. Means have to stay the same over time, or to be the same for both arms whenever they change.

    Args:
        champion: its values.
        challenger: its values.
        slope: 1, or less: what part of the champion's mean is still enough.
        offset: what is added to it, negative for what may be lacking.
        low: smallest possible value.
        high: largest possible value.
    """

    def product(m: Array) -> Array:
        line = slope * m + offset
        short = mean_below_log_e(challenger, np.clip(line, low, high), width=high - low)
        return mean_above_log_e(champion, m, width=high - low) + np.where(line > low, short, 0.0)

    return _smallest(product, low, high)


def enough_log_e(
    champion: Moments, challenger: Moments, *, slope: float, offset: float, low: float, high: float
) -> float:
    """Evidence that the challenger's mean is above such a line; arguments as in :func:`short_of_log_e`."""

    def product(m: Array) -> Array:
        line = slope * m + offset
        more = mean_above_log_e(challenger, np.clip(line, low, high), width=high - low)
        return mean_below_log_e(champion, m, width=high - low) + np.where(line < high, more, 0.0)

    return _smallest(product, low, high)


def difference_bounds(
    champion: Moments, challenger: Moments, *, low: float, high: float, alpha: float
) -> tuple[float, float, float]:
    """The challenger's mean less the champion's, of different requests, and between which limits it lies at every look.

    Args:
        champion: its values, none below ``low`` or above ``high``.
        challenger: its values.
        low: smallest possible value.
        high: largest possible value.
        alpha: error of each bound, over all looks.

    Returns:
        (difference, lower bound, upper bound); NaN where an arm has no value.
    """
    if not champion.n or not challenger.n:
        return math.nan, math.nan, math.nan

    def told(log_e: Callable[..., float]) -> Callable[[Array], Array]:
        def at(offsets: Array) -> Array:
            found = [
                log_e(champion, challenger, slope=1.0, offset=float(offset), low=low, high=high)
                for offset in np.atleast_1d(offsets)
            ]
            return np.reshape(found, np.shape(offsets))

        return at

    value = challenger.mean - champion.mean
    return (
        value,
        _bound(told(enough_log_e), value, low - high, alpha, places=8),
        _bound(told(short_of_log_e), value, high - low, alpha, places=8),
    )


def _bound(
    log_e: Callable[[Array], Array], estimate: float, end: float, alpha: float, *, places: int = PLACES
) -> float:
    """The limit nearest to the estimate that the test rules out, or the end of the range where it rules out none."""
    wanted = -math.log(alpha)
    # Denser near the estimate, where bounds of many values are; not the end itself, where nothing can be bet.
    limits = estimate + (end - estimate) * np.geomspace(1e-5, 1 - 1e-9, places)
    if limits[0] == limits[-1]:
        return end
    out = np.flatnonzero(log_e(limits) >= wanted)
    if not len(out):
        return end
    first = int(out[0])
    inside = float(limits[first - 1]) if first else estimate
    if first == 0:
        return float(limits[0])
    return float(brentq(lambda at: float(log_e(np.asarray(at))) - wanted, inside, float(limits[first]), xtol=1e-9))


def _smallest(product: Callable[[Array], Array], low: float, high: float) -> float:
    places = np.linspace(low, high, 120)
    values = product(places)
    best = int(values.argmin())
    finer = product(np.linspace(places[max(0, best - 1)], places[min(len(places) - 1, best + 1)], 60))
    return float(min(values[best], finer.min()))
