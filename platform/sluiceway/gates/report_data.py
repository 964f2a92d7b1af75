"""The numbers that the report draws; bounded in size, computed where the rows are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sluiceway.gates.fairness import GroupScore
from sluiceway.gates.statistics.intervals import wilson

Array = npt.NDArray[Any]
CURVE_POINTS = 200
CALIBRATION_BINS = 10


@dataclass(frozen=True)
class CalibrationBin:
    """Rows of about the same score.

    Attributes:
        predicted: their average score.
        observed: share of positives among them.
        low: lower bound of that share, 95 %.
        high: upper bound.
        n: rows.
    """

    predicted: float
    observed: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class ReportData:
    """What there is to draw; every part may be empty.

    Attributes:
        roc: (false positive rate, true positive rate), rising, at most 200 points.
        calibration: at most 10 bins of equally many rows.
        groups: groups of the protected attributes.
        folds: (name of the fold, value of the metric).
        fold_metric: name of that metric.
    """

    roc: tuple[tuple[float, float], ...] = ()
    calibration: tuple[CalibrationBin, ...] = ()
    groups: tuple[GroupScore, ...] = ()
    folds: tuple[tuple[str, float], ...] = ()
    fold_metric: str = ""

    def merged(self, other: ReportData) -> ReportData:
        """The parts of both; where both have one, the other's."""
        return replace(self, **{k: v for k, v in vars(other).items() if v})


def curves(labels: Array, scores: Array) -> ReportData:
    """ROC curve and calibration of a classifier.

    Args:
        labels: shape (n,), 0 or 1.
        scores: shape (n,), probabilities.
    """
    labels, scores = np.asarray(labels, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    return ReportData(roc=_roc(labels, scores), calibration=_calibration(labels, scores))


def _roc(labels: Array, scores: Array) -> tuple[tuple[float, float], ...]:
    positives = int((labels == 1).sum())
    negatives = len(labels) - positives
    if positives == 0 or negatives == 0:
        return ()
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    true = np.cumsum(labels[order] == 1)[last]
    false = last + 1 - true
    x, y = np.append(0, false / negatives), np.append(0, true / positives)
    if len(x) > CURVE_POINTS:
        kept = np.unique(np.linspace(0, len(x) - 1, CURVE_POINTS).round().astype(int))
        x, y = x[kept], y[kept]
    return tuple((round(float(a), 5), round(float(b), 5)) for a, b in zip(x, y, strict=True))


def _calibration(labels: Array, scores: Array) -> tuple[CalibrationBin, ...]:
    bins = []
    for rows in np.array_split(np.argsort(scores, kind="stable"), CALIBRATION_BINS):
        if len(rows):
            hits = int((labels[rows] == 1).sum())
            low, high = wilson(hits, len(rows))
            bins.append(CalibrationBin(float(scores[rows].mean()), hits / len(rows), low, high, len(rows)))
    return tuple(bins)
