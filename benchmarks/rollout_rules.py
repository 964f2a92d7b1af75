"""What others decide a canary by, on the same simulated requests: fixed thresholds, and Mann-Whitney on intervals."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np
from rollout_simulated import LOOK, WEIGHTS, Cell, Ended, Users

WINDOW = 50  # the challenger's requests of one measurement


def thresholds(cell: Cell, random: np.random.Generator, *, total: int | None, in_a_row: int | None) -> Ended:
    """One measurement a window, failed where its error rate is above the champion's true rate and the margin.

    To know the true rate is more than such a rule knows.

    Args:
        cell: the kind of rollout.
        random: of the draws.
        total: goes back at more failed measurements than this, or None.
        in_a_row: goes back at so many one after the other, or None.
    """
    users, limit = Users(cell, random), cell.errors[0] + cell.margin
    failed = row = errors = 0
    for request in range(LOOK, cell.budget + 1, LOOK):
        weight = _weight(cell, request)
        errors += users.look(weight, first=False)[1].errors
        if request % WINDOW:
            continue
        bad = errors / WINDOW > limit
        failed, row, errors = failed + bad, (row + 1) * bad, 0
        if (total is not None and failed > total) or (in_a_row is not None and row >= in_a_row):
            return Ended("back", request, weight)
    return Ended("promoted", cell.budget, 1.0)


def mann_whitney(cell: Cell, random: np.random.Generator) -> Ended:
    """Error rates of intervals, both arms; back where the challenger's are surely higher, at each window from two on.

    As Kayenta's judge: the 98 % interval of the shift, and a tolerance of a quarter of the estimate.
    """
    users = Users(cell, random)
    ours: list[float] = []
    theirs: list[float] = []
    for request in range(LOOK, cell.budget + 1, LOOK):
        weight = _weight(cell, request)
        champion, challenger = users.look(weight, first=False)
        ours.append(challenger.errors / LOOK)
        if champion.requests:
            theirs.append(champion.errors / champion.requests)
        if request % WINDOW == 0 and request >= 2 * WINDOW and _higher(np.array(ours), np.array(theirs)):
            return Ended("back", request, weight)
    return Ended("promoted", cell.budget, 1.0)


def _higher(ours: np.ndarray, theirs: np.ndarray, confidence: float = 0.98, tolerance: float = 0.25) -> bool:
    apart = np.sort(np.subtract.outer(ours, theirs).ravel())
    m, n = len(ours), len(theirs)
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    below = int(m * n / 2 - z * math.sqrt(m * n * (m + n + 1) / 12))
    return below > 0 and bool(apart[below] > tolerance * abs(float(np.median(apart))))


def _weight(cell: Cell, request: int) -> float:
    """Equal shares of the budget for the steps that have a champion beside the challenger."""
    beside = [weight for weight in WEIGHTS if weight < 1]
    return beside[min(len(beside) - 1, (request - 1) * len(beside) // cell.budget)]


def none_failed(cell: Cell, random: np.random.Generator) -> Ended:
    """One failed measurement sends back."""
    return thresholds(cell, random, total=0, in_a_row=None)


def three_in_all(cell: Cell, random: np.random.Generator) -> Ended:
    """Three failed measurements are allowed."""
    return thresholds(cell, random, total=3, in_a_row=None)


def three_in_a_row(cell: Cell, random: np.random.Generator) -> Ended:
    """Three one after the other send back."""
    return thresholds(cell, random, total=None, in_a_row=3)


RULES: dict[str, Callable[[Cell, np.random.Generator], Ended]] = {
    "no failed window": none_failed,
    "3 failed in all": three_in_all,
    "3 in a row": three_in_a_row,
    "Mann-Whitney": mann_whitney,
}
