"""Tests that may be looked at after every request: e-processes.

An e-process is a function of the data so far whose expectation is at most 1 under the null at every stopping time, so
the chance that it EVER reaches 1/alpha is at most alpha (Ville's inequality). Every function here takes counts so far
and returns the LOGARITHM of the e-value; act when it is at least ``log(1 / alpha)`` (:func:`crossed`).

All are mixtures of likelihood ratios or of bets over a parameter of the alternative (H. Robbins, "Statistical methods
related to the law of the iterated logarithm", Ann. Math. Stat. 41, 1970; for canaries M. Lindon, C. Sanden and
V. Shirikian, "Rapid Regression Detection in Software Deployments through Sequential Testing", KDD 2022).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import betainc, betaln, logsumexp, xlog1py, xlogy

from sluiceway.gates.statistics.proportions import Pairs

Array = npt.NDArray[Any]

# Alternatives for the ratio challenger / champion of the error rates: 1.25 to 1000, equal weights on a log scale.
RATIOS = np.geomspace(1.25, 1000, 25)
# Bets on the drop of accuracy: share of the stake that is risked, equal weights on a log scale.
BETS = np.geomspace(0.005, 0.95, 40)


@dataclass(frozen=True)
class StepCounts:
    """What one step of a rollout, or one generation of the weights, has counted so far.

    Attributes:
        weight: the challenger's share that the router drew with, 0 to 1.
        champion_requests: requests that the champion was drawn for (not those it took over after a failure).
        champion_errors: how many of them failed.
        challenger_requests: requests that the challenger was drawn for.
        challenger_errors: how many of them failed, taken over or not.
    """

    weight: float
    champion_requests: int
    champion_errors: int
    challenger_requests: int
    challenger_errors: int


def crossed(log_e: float, alpha: float) -> bool:
    """True where the null is rejected at error alpha, whenever and however often one looked."""
    return log_e >= -math.log(alpha)


def rate_above_log_e(errors: int, n: int, limit: float) -> float:
    """Evidence that one arm's error rate is above a fixed limit.

    Mixture, over rates theta uniform on (limit, 1), of (theta/limit)^errors ((1-theta)/(1-limit))^(n-errors): a ratio
    of an incomplete beta function and the likelihood at the limit.
    """
    return _mixture(errors, n - errors, limit)


def rate_below_log_e(errors: int, n: int, limit: float) -> float:
    """Evidence that one arm's error rate is below a fixed limit; the mirror image of :func:`rate_above_log_e`."""
    return _mixture(n - errors, errors, 1 - limit)


def error_share_log_e(steps: Sequence[StepCounts]) -> float:
    """Evidence that the challenger errs more often than the champion, from whose request each error was.

    When a request goes to the challenger with probability w and the challenger errs r times as often, an error is the
    challenger's with probability w r / (w r + 1 - w); under the null (r <= 1) with at most w. The likelihood ratios
    of all steps are multiplied for one r, then averaged over ``RATIOS``. Valid whatever the rates do over time, as
    long as the challenger's is at no time above the champion's: an outage that hits both arms moves nothing. A step
    of weight 1 says nothing here.
    """
    total = np.zeros(len(RATIOS))
    for step in steps:
        if not 0 < step.weight < 1:
            continue
        share = step.weight * RATIOS / (step.weight * RATIOS + 1 - step.weight)
        total += step.challenger_errors * np.log(share / step.weight)
        total += step.champion_errors * np.log((1 - share) / (1 - step.weight))
    return float(logsumexp(total) - math.log(len(RATIOS)))


def error_excess_log_e(champion: tuple[int, int], challenger: tuple[int, int], *, margin: float = 0.0) -> float:
    """Evidence that the challenger's error rate exceeds the champion's by more than a margin.

    For every possible rate p of the champion, the product of the evidence that the challenger is above p + margin and
    that the champion is below p is an e-process if p is true; the smallest over p is one for the unknown p. Needs no
    weights, and rates that do not change over time.

    Args:
        champion: (errors, requests).
        challenger: (errors, requests).
        margin: difference of the rates that is still no harm.
    """
    highest = 1 - margin

    def product(p: Array) -> Array:
        above = _mixtures(challenger[0], challenger[1] - challenger[0], np.clip(p + margin, 1e-12, 1 - 1e-12))
        return above + _mixtures(champion[1] - champion[0], champion[0], 1 - p)

    grid = np.unique(np.concatenate([np.geomspace(1e-7, highest * (1 - 1e-9), 80), np.linspace(0, highest, 42)[1:-1]]))
    values = product(grid)
    best = int(values.argmin())
    finer = product(np.linspace(grid[max(0, best - 1)], grid[min(len(grid) - 1, best + 1)], 60))
    return float(min(values[best], finer.min()))


def challenger_errors_log_e(steps: Sequence[StepCounts]) -> float:
    """Evidence, over a whole rollout, that the challenger errs more often; what a rollback is decided on.

    While both arms run, :func:`error_share_log_e`, untouched by outages that hit both. Half of the stake is kept for
    steps of weight 1, where only the champion's earlier counts are left to compare with (:func:`error_excess_log_e`):
    there an outage looks like the challenger's.

    Args:
        steps: one entry a step so far, in any order.
    """
    shared = [s for s in steps if s.weight < 1]
    alone = [s for s in steps if s.weight >= 1]
    together = error_share_log_e(shared)
    log_half = -math.log(2)
    if not alone:
        # The half that is kept is still there.
        return float(np.logaddexp(together, 0.0)) + log_half
    last = error_excess_log_e(_total(shared, "champion"), _total(alone, "challenger"))
    return float(np.logaddexp(together, last)) + log_half


def sign_log_e(pairs: Pairs, *, tolerance: float = 0.0) -> float:
    """Evidence that, where exactly one model is right, it is the champion in more than half of the cases.

    Mixture over theta uniform on (1/2 + tolerance, 1) of the likelihood ratio against 1/2 + tolerance.

    Args:
        pairs: counts so far.
        tolerance: added to one half in the null.
    """
    return _mixture(pairs.only_champion, pairs.only_challenger, 0.5 + tolerance)


def accuracy_drop_log_e(pairs: Pairs, *, drop: float = 0.0, absolute: float = 0.0) -> float:
    """Evidence that the challenger's accuracy is below ``(1 - drop)`` times the champion's, less ``absolute``.

    Each pair pays y = (1 - drop) [champion right] - [challenger right] - absolute, whose mean is at most 0 under the
    null; a bet lambda multiplies the stake by 1 + lambda y, and the stakes are averaged over ``BETS`` (I. Waudby-Smith
    and A. Ramdas, "Estimating means of bounded random variables by betting", JRSS B 86, 2024).

    Args:
        pairs: counts so far.
        drop: relative fall that is still no harm, e.g. 0.05.
        absolute: absolute fall that is still no harm, e.g. 0.02.
    """
    bets = BETS / (1 + absolute)
    total = (
        xlog1py(pairs.both, bets * (-drop - absolute))
        + xlog1py(pairs.only_champion, bets * (1 - drop - absolute))
        + xlog1py(pairs.only_challenger, bets * (-1 - absolute))
        + xlog1py(pairs.neither, bets * -absolute)
    )
    return float(logsumexp(total) - math.log(len(bets)))


def _mixture(successes: int, failures: int, limit: float) -> float:
    return float(_mixtures(successes, failures, np.array([limit]))[0])


def _mixtures(successes: int, failures: int, limits: Array) -> Array:
    """Log of the mixture, over theta uniform on (limit, 1), of the likelihood ratio of theta against each limit."""
    a, b = successes + 1, failures + 1
    log_beta = betaln(a, b)
    tail = betainc(b, a, 1 - limits)
    # Far in the tail: t >= limit bounds the integral of t^(a-1) (1-t)^(b-1) from below, which keeps the e-value valid.
    bound = xlogy(a - 1, limits) + xlog1py(b, -limits) - math.log(b) - log_beta
    log_tail = np.where(tail > 1e-290, np.log(np.maximum(tail, 1e-290)), bound)
    log_null = xlogy(successes, limits) + xlog1py(failures, -limits)
    result: Array = log_beta + log_tail - np.log1p(-limits) - log_null
    return result


def _total(steps: Sequence[StepCounts], arm: str) -> tuple[int, int]:
    return sum(getattr(s, f"{arm}_errors") for s in steps), sum(getattr(s, f"{arm}_requests") for s in steps)
