"""How far predicted probabilities are from what comes true.

Bins hold about equally many rows, because bins of equal width leave most of them empty where events are rare
(R. Roelofs, N. Cain, J. Shlens and M. Mozer, "Mitigating Bias in Calibration Error Estimation", AISTATS 2022).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import erf, expit
from scipy.stats import norm

from sluiceway.gates.drawn import CalibrationBin
from sluiceway.gates.statistics.binning import bin_places
from sluiceway.gates.statistics.intervals import wilson

Array = npt.NDArray[Any]
NEWTON_STEPS = 60
STEEPEST = 1e4  # a slope beyond this is on its way to infinity: the scores separate the labels


@dataclass(frozen=True)
class Reliability:
    """Bins of rows with about the same score, rising.

    Attributes:
        n: rows of each bin, shape (bins,), never 0.
        predicted: their average score, float64.
        observed: share of label 1 among them, float64.
        error: standard error of observed - predicted, float64.
    """

    n: Array
    predicted: Array
    observed: Array
    error: Array


@dataclass(frozen=True)
class LogisticLine:
    """``logit(chance of label 1) = intercept + slope * x``.

    Attributes:
        intercept: most likely value.
        slope: most likely value.
        intercept_error: standard error.
        slope_error: standard error.
    """

    intercept: float
    slope: float
    intercept_error: float
    slope_error: float


def reliability(labels: Array, scores: Array, bins: int) -> Reliability:
    """Cut the rows into bins of about equally many; rows of one score are never parted, whatever their order.

    The standard error is that of the rows' own residuals, or of the predicted chances where that is larger: a bin in
    which nothing has happened yet is not known for certain.

    Args:
        labels: shape (n,), 0 or 1.
        scores: shape (n,), probabilities of 1, no NaN.
        bins: at most so many; fewer where scores repeat.
    """
    labels, scores = np.asarray(labels, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    n = len(scores)
    if n == 0:
        return Reliability(np.empty(0, np.int64), np.empty(0), np.empty(0), np.empty(0))
    place = bin_places(scores, _cuts(np.sort(scores), bins)).astype(np.intp)
    rows = np.bincount(place)

    def mean(values: Array) -> Array:
        return np.bincount(place, weights=values) / rows

    predicted, observed = mean(scores), mean(labels)
    residual = mean((labels - scores) ** 2) - (observed - predicted) ** 2
    binomial = mean(scores * (1 - scores))
    return Reliability(rows, predicted, observed, np.sqrt(np.maximum(np.maximum(residual, binomial), 0) / rows))


def reliability_bins(labels: Array, scores: Array, bins: int) -> tuple[CalibrationBin, ...]:
    """:func:`reliability` with Wilson's interval of each observed share, as the report draws it.

    Args:
        labels: shape (n,), 0 or 1.
        scores: shape (n,), probabilities of 1.
        bins: at most so many.
    """
    found = reliability(labels, scores, bins)
    drawn = []
    for n, predicted, observed in zip(found.n.tolist(), found.predicted.tolist(), found.observed.tolist(), strict=True):
        low, high = wilson(round(observed * n), n)
        drawn.append(CalibrationBin(predicted, observed, low, high, n))
    return tuple(drawn)


def calibration_error(found: Reliability, *, alpha: float = 0.05) -> tuple[float, float, float]:
    """Expected calibration error: the average distance of observed from predicted shares, weighted by rows.

    The plain average is above 0 by chance alone: the distance of a perfectly calibrated bin has the expectation
    error * sqrt(2 / pi). What chance adds to each bin's distance is the mean of a folded normal distribution less its
    centre (after A. Kumar, P. Liang and T. Ma, "Verified Uncertainty Calibration", NeurIPS 2019), taken at the distance
    that is left when all are shrunk by the share of their mean square that chance explains (W. James and C. Stein,
    Proc. Fourth Berkeley Symposium, 1961), because at the distances as seen only part of it is taken off.

    Args:
        found: bins.
        alpha: two-sided error of the interval, the normal one of a sum of independent distances; cut at 0 and 1. Where
            the distances are about as large as their errors too much may have been taken off: the upper bound is that
            of the plain average, and the interval holds the truth more often than it says.

    Returns:
        (error, low, high); NaN without rows. What is off inside a bin and evens out there is not seen.
    """
    if len(found.n) == 0:
        return math.nan, math.nan, math.nan
    share = found.n / found.n.sum()
    distance = np.abs(found.observed - found.predicted)
    chance, seen = float(share @ found.error**2), float(share @ distance**2)
    kept = distance * (max(0.0, 1 - chance / seen) if seen else 0.0)
    plain = float(share @ distance)
    value = max(0.0, plain - float(share @ (_folded_mean(kept, found.error) - kept)))
    half = float(norm.ppf(1 - alpha / 2)) * math.sqrt(float(share**2 @ found.error**2))
    return value, max(0.0, value - half), min(1.0, plain + half)


def brier_parts(found: Reliability) -> tuple[float, float, float]:
    """Murphy's parts of the Brier score: reliability (0 is best), resolution (more is better) and uncertainty.

    Reliability - resolution + uncertainty is the Brier score of the rows with their bin's average score (A. H. Murphy,
    "A New Vector Partition of the Probability Score", J. Applied Meteorology 12, 1973); what scores differ inside a bin
    is in none of them. NaN without rows.
    """
    if len(found.n) == 0:
        return math.nan, math.nan, math.nan
    share = found.n / found.n.sum()
    overall = float(share @ found.observed)
    return (
        float(share @ (found.predicted - found.observed) ** 2),
        float(share @ (found.observed - overall) ** 2),
        overall * (1 - overall),
    )


def logistic_line(x: Array, targets: Array) -> LogisticLine | None:
    """Most likely logistic line, by Newton's method with halved steps.

    With x the logits of a model's scores it is the recalibration of D. R. Cox, "Two Further Applications of a Model for
    Binary Regression", Biometrika 45 (1958): slope 1 and intercept 0 where the model is calibrated.

    Args:
        x: shape (n,), finite.
        targets: shape (n,), 0 or 1, or chances in between.

    Returns:
        the line; None where there is no finite one: no rows, one class only, x all the same, or classes separated by x.
    """
    if len(x) == 0 or np.ptp(x) == 0 or np.ptp(targets) == 0:
        return None
    average = float(np.mean(targets))
    starts = (np.array([0.0, 1.0]), np.array([math.log(average / (1 - average)), 0.0]))
    likelihood, line = max(((_likelihood(start, x, targets), start) for start in starts), key=lambda pair: pair[0])
    for _ in range(NEWTON_STEPS):
        chance = expit(line[0] + line[1] * x)
        residual, weight = targets - chance, chance * (1 - chance)
        weighted = weight * x
        crossed = float(weighted.sum())
        information = np.array([[float(weight.sum()), crossed], [crossed, float(weighted @ x)]])
        if not np.linalg.det(information) > 0:
            return None
        step = np.linalg.solve(information, np.array([residual.sum(), residual @ x]))
        if float(np.abs(step).max()) < 1e-9 * max(1.0, float(np.abs(line).max())):
            errors = np.sqrt(np.diag(np.linalg.inv(information)))
            return LogisticLine(float(line[0]), float(line[1]), float(errors[0]), float(errors[1]))
        further = _likelihood(line + step, x, targets)
        while further < likelihood - 1e-9 * abs(likelihood) and float(np.abs(step).max()) > 1e-12:
            step /= 2
            further = _likelihood(line + step, x, targets)
        line, likelihood = line + step, further
        if abs(line[1]) > STEEPEST:
            return None
    return None


def _cuts(ordered: Array, bins: int) -> Array:
    """The lowest score of each bin but the first: the nearest change of score to where it should begin."""
    n = len(ordered)
    wanted = np.arange(1, bins) * n // bins
    starts = np.searchsorted(ordered, ordered[wanted], side="left")
    ends = np.searchsorted(ordered, ordered[wanted], side="right")
    places = np.where(wanted - starts <= ends - wanted, starts, ends)
    return np.unique(ordered[places[(places > 0) & (places < n)]])


def _likelihood(line: Array, x: Array, targets: Array) -> float:
    """Logarithm of the chance of the targets."""
    logits = line[0] + line[1] * x
    # log(1 + e^x), twice as fast as numpy's logaddexp.
    return float(targets @ logits - (np.maximum(logits, 0) + np.log1p(np.exp(-np.abs(logits)))).sum())


def _folded_mean(centre: Array, error: Array) -> Array:
    """Mean of the absolute value of a normal distribution with this centre and standard deviation."""
    ratio = np.divide(centre, error, out=np.full(len(error), np.inf), where=error > 0)
    result: Array = error * math.sqrt(2 / math.pi) * np.exp(-(ratio**2) / 2) + centre * erf(ratio / math.sqrt(2))
    return result
