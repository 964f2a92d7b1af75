"""No worse by more than a margin, on evidence that adds up and may be looked at after every request.

What the challenger spoils is counted: requests that fail, answers that are slow, decisions that only it gets wrong. Of
a challenger that is worse by exactly the margin, the count is the sum of two: what an arm like the champion would have
spoilt on as many requests, and ``margin x requests`` more. Given the champion's count the first is negative binomial
(the two arms' events are shared out as their requests are: J. Przyborowski and H. Wilenski, Biometrika 31, 1940, here
between that test's two sides); the second is Poisson, which is a little wider than the truth. The chance of a
count as low as the one seen is the p-value (:meth:`Excess.p_value`): no normal approximation, however few there are.
Each step of a rollout is a stratum, so that a rate that changes between steps, for both arms, moves nothing.

One look passes where the p-value is at most the look's level (:func:`look_level`), and the levels are such that of all
looks together at most ``alpha`` pass wrongly: an error-spending boundary (K. Lan and D. DeMets, Biometrika 70, 1983)
computed exactly for a Poisson count that is looked at all the time (I. Silva and M. Kulldorff, Biometrics 71, 2015).
Exact where the champion's rate is known; otherwise counted, by ``make bench-rollout``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import gammaincc, gammaln, xlog1py, xlogy

Array = npt.NDArray[Any]

# Share of alpha that is spent until the planned count, rising with its cube; the rest is for looks after it.
SPENT_AS_PLANNED = 0.8
# The chance to pass by then: most of the error is spent where it gains most, and what comes later is not given up.
PLANNED_POWER = 0.65
# A plan for fewer expected events has too few places at which it could pass.
FEWEST_PLANNED = 9.0
# Beyond so many planned events the boundary hardly depends on their number: it is stretched.
MOST_PLANNED = 64.0
# Added to the champion's events: the middle between the exact test that errs too little and the one that errs too much.
MIDDLE = 1 / 3
# From so many events on, sums are taken as normal.
MANY = 1500


@dataclass(frozen=True)
class Stratum:
    """What two arms did side by side.

    Attributes:
        events: what the challenger spoilt.
        requests: of the challenger.
        champion_events: what the champion spoilt.
        champion_requests: of the champion; 0 where it is held against nothing but the margin.
    """

    events: int
    requests: int
    champion_events: int = 0
    champion_requests: int = 0


class Excess:
    """How much more the challenger spoils than the champion, over all strata.

    Args:
        strata: where both arms had requests.
    """

    def __init__(self, strata: Sequence[Stratum]) -> None:
        self._strata = tuple(strata)
        self.events = sum(s.events for s in strata)
        self.requests = sum(s.requests for s in strata)

    @property
    def value(self) -> float:
        """Events a request more than the champion's, weighted by the challenger's requests; NaN without any."""
        if not self.requests:
            return math.nan
        return (self.events - sum(s.champion_events * _odds(s) for s in self._strata)) / self.requests

    def p_value(self, margin: float) -> float:
        """Chance of so few events, or fewer, where the challenger is worse by exactly the margin."""
        return self._below(margin * self.requests)

    def high(self, level: float) -> float:
        """Upper bound of the difference: the margin whose p-value is the level; infinite without requests.

        Never below 0: that it is better is not what it is made for.
        """
        if not self.requests or level <= 0:
            return math.inf
        if self._below(0.0) <= level:
            return 0.0
        top = self.events + 10.0
        while self._below(top) > level:
            top *= 2
        return float(brentq(lambda more: self._below(more) - level, 0.0, top, xtol=1e-9)) / self.requests

    def _below(self, more: float) -> float:
        """P(as an arm like the champion + Poisson(more) <= events)."""
        if self.events > MANY:
            mean = sum(_seen(s) * _odds(s) for s in self._strata) + more
            variance = sum(_seen(s) * _odds(s) * (1 + _odds(s)) for s in self._strata) + more
            return NormalDist().cdf((self.events + 0.5 - mean) / math.sqrt(variance)) if variance else 1.0
        left = np.arange(self.events, -1, -1)
        return (
            float(self._as_the_champion @ gammaincc(left + 1.0, more)) if more else float(self._as_the_champion.sum())
        )

    @cached_property
    def _as_the_champion(self) -> Array:
        """Chances of 0, 1, ... ``events`` events of an arm like the champion."""
        counts = np.arange(self.events + 1)
        chances: Array = (counts == 0).astype(float)
        for s in self._strata:
            if s.champion_events:
                share = s.requests / (s.requests + s.champion_requests)
                seen = _seen(s)
                log = gammaln(counts + seen) - gammaln(seen) - gammaln(counts + 1)
                own = np.exp(log + xlogy(counts, share) + xlog1py(seen, -share))
                chances = np.convolve(chances, own)[: self.events + 1]
        return chances


def planned_events(rate: float, margin: float, odds: float, *, alpha: float) -> float:
    """Events of a challenger worse by the margin until most of those that are no worse have passed.

    Args:
        rate: events a request, of both arms.
        margin: difference that is still good.
        odds: the challenger's requests to the champion's; 0 where the champion's rate is known.
        alpha: one-sided error.
    """
    return max(FEWEST_PLANNED, _by_variances(rate, margin, odds, alpha, PLANNED_POWER) * (rate + margin))


def requests_needed(rate: float, margin: float, odds: float, *, alpha: float = 0.05, power: float = 0.8) -> int:
    """Requests of the challenger with which one that is no worse has passed with the given power, looked at all along.

    Where few events are planned, counted along the boundary; the champion's own noise is taken as more requests, by
    the ratio of the variances. Otherwise by the two variances of the score test (C. Farrington and G. Manning,
    Statistics in Medicine 9, 1990), and a tenth more for the looks.

    Args:
        rate: events a request, of both arms.
        margin: difference that is still good.
        odds: the challenger's requests to the champion's; 0 where the champion's rate is known.
        alpha: one-sided error.
        power: chance to pass.
    """
    planned = planned_events(rate, margin, odds, alpha=alpha)
    if planned > MOST_PLANNED:
        return math.ceil(1.1 * _by_variances(rate, margin, odds, alpha, power))
    ruled_out = rate + margin
    times = _times(_rounded(planned), alpha)
    reached = np.cumsum(_passing(times, rate / ruled_out))
    last = int(np.searchsorted(reached, power))
    if last == 0 or last == len(times):
        events = times[min(last, len(times) - 1)]
    else:
        share = (power - reached[last - 1]) / (reached[last] - reached[last - 1])
        events = times[last - 1] + share * (times[last] - times[last - 1])
    return math.ceil(events / ruled_out * (1 + odds * rate / ruled_out))


def detectable_rise(rate: float, odds: float, n: int, *, alpha: float = 0.05) -> float:
    """The smallest margin that so many requests of the challenger are enough for: :func:`requests_needed`, inverted.

    Returns:
        Absolute difference of the rates; infinite where no margin up to 1 is large enough.
    """
    if not n or requests_needed(rate, 1.0, odds, alpha=alpha) > n:
        return math.inf
    low, high = 1e-6, 1.0
    while high / low > 1.001:
        middle = math.sqrt(low * high)
        enough = requests_needed(rate, middle, odds, alpha=alpha) <= n
        low, high = (low, middle) if enough else (middle, high)
    return high


def look_level(events: int, planned: float, alpha: float) -> float:
    """The level of a look at which the challenger has spoilt so many.

    Of a challenger worse by exactly the margin, at most ``alpha`` ever pass at any look, however many there are: the
    boundary is computed for a Poisson count looked at all the time, and a test on whole counts errs less.

    Args:
        events: the challenger's, so far.
        planned: of one worse by the margin, by when the evidence should be there (:func:`planned_events`).
        alpha: of all looks together.
    """
    stretched = max(1.0, planned / MOST_PLANNED)
    times = _times(_rounded(planned), alpha)
    place = events / stretched
    if place >= len(times) - 1:
        # Beyond the table, as in its end: what is left to spend falls with the square of the count.
        return _level(times, len(times) - 1) * ((len(times) - 1) / place) ** 2
    below, part = int(place), place - int(place)
    level = _level(times, below)
    return level + part * (_level(times, below + 1) - level) if part else level


def _rounded(planned: float) -> float:
    """Plans that hardly differ share a boundary."""
    steps = math.log(min(planned, MOST_PLANNED) / FEWEST_PLANNED, 1.1)
    return float(FEWEST_PLANNED * 1.1 ** round(steps))


def _level(times: tuple[float, ...], count: int) -> float:
    return float(gammaincc(count + 1.0, times[count]))


def _by_variances(rate: float, margin: float, odds: float, alpha: float, power: float) -> float:
    known = rate * (1 + odds)
    ruled_out, as_good = (NormalDist().inv_cdf(1 - alpha), NormalDist().inv_cdf(power))
    return ((ruled_out * math.sqrt(known + margin) + as_good * math.sqrt(known)) / margin) ** 2


def _spent(share: float) -> float:
    if share <= 1:
        return SPENT_AS_PLANNED * share**3
    return SPENT_AS_PLANNED + (1 - SPENT_AS_PLANNED) * (1 - 1 / share**2)


@lru_cache(maxsize=256)
def _times(planned: float, alpha: float) -> tuple[float, ...]:
    """The expected counts from which on a look with 0, 1, 2 ... events passes.

    Under the null the count is Poisson with the expected count as its clock. Between two of these times it passes only
    by standing at the new count, whose chance falls while what may be spent rises: the first time at which the one is
    within the other.
    """
    size = int(4 * planned) + 8
    # Chance of each count, of those that have not passed.
    waiting = np.zeros(size + 1)
    waiting[0] = 1.0
    now, spent, times = 0.0, 0.0, []
    for count in range(size):

        def too_much(time: float, count: int = count, begun: float = now, spent: float = spent) -> float:
            return float(waiting[count]) * math.exp(begun - time) - (alpha * _spent(time / planned) - spent)

        begun = now
        if too_much(begun) > 0:
            now = float(brentq(too_much, begun, begun + 60.0 + planned, xtol=1e-12)) + 1e-9
        spent += _moved_on(waiting, count, now - begun)
        times.append(now)
    return tuple(times)


def _passing(times: tuple[float, ...], ratio: float) -> list[float]:
    """Chance to pass at each of the times, where events come so many times as often as under the null."""
    waiting = np.zeros(len(times) + 1)
    waiting[0] = 1.0
    found, begun = [], 0.0
    for count, time in enumerate(times):
        found.append(_moved_on(waiting, count, (time - begun) * ratio))
        begun = time
    return found


def _moved_on(waiting: Array, count: int, more: float) -> float:
    """Let Poisson(more) events come, in place, and take out those that stand at ``count``: their chance."""
    steps = np.arange(len(waiting) - count)
    coming = np.exp(xlogy(steps, more) - more - gammaln(steps + 1))
    waiting[count:] = np.convolve(waiting[count:], coming)[: len(steps)]
    passed = float(waiting[count])
    waiting[count] = 0.0
    return passed


def _seen(s: Stratum) -> float:
    return s.champion_events + MIDDLE if s.champion_events else 0.0


def _odds(s: Stratum) -> float:
    return s.requests / s.champion_requests if s.champion_requests else 0.0
