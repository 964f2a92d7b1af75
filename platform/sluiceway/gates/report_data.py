"""The numbers that the report draws; bounded in size, computed where the rows are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sluiceway.core.classes import Class
from sluiceway.gates.class_metrics import class_confusion, class_f1, class_precision, class_recall
from sluiceway.gates.fairness import GroupScore
from sluiceway.gates.statistics.auc import auc
from sluiceway.gates.statistics.intervals import wilson

Array = npt.NDArray[Any]
CURVE_POINTS = 200
CALIBRATION_BINS = 10
MOST_CONFUSED = 20  # a square of more is not read by anybody; the table names the class that each is taken for


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
class ClassScore:
    """How well one of several classes is told from the others.

    Attributes:
        name: the class, as text.
        n: its rows.
        decided: rows that were decided as it.
        precision: share of right ones among these; 0 where there are none.
        recall: share of its rows that were decided as it; NaN without rows.
        f1: of both.
        auc: of its probability, its rows against all others; NaN without rows of either.
        taken_for: the other class that its rows were most often decided as, and how many; empty where there is none.
    """

    name: str
    n: int
    decided: int
    precision: float
    recall: float
    f1: float
    auc: float
    taken_for: str


@dataclass(frozen=True)
class ReportData:
    """What there is to draw; every part may be empty.

    Attributes:
        roc: (false positive rate, true positive rate), rising, at most 200 points.
        calibration: at most 10 bins of equally many rows; of several classes it is that of the decided one.
        classes: of a model of several classes, in the order of its scores.
        confusion: rows of each class by the class that was decided, at most ``MOST_CONFUSED`` classes, else empty.
        groups: groups of the protected attributes.
        folds: (name of the fold, value of the metric).
        fold_metric: name of that metric.
    """

    roc: tuple[tuple[float, float], ...] = ()
    calibration: tuple[CalibrationBin, ...] = ()
    classes: tuple[ClassScore, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()
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


def class_data(labels: Array, scores: Array, classes: Sequence[Class]) -> ReportData:
    """Every class, which are taken for which, and the calibration of the decided class.

    Args:
        labels: shape (n,), places of the classes.
        scores: shape (n, k), probabilities.
        classes: k values of the target.
    """
    names, k = [str(value) for value in classes], len(classes)
    counts = class_confusion(labels, scores)
    square = counts.reshape(k, k)
    precision, recall, f1 = (of(counts).tolist() for of in (class_precision, class_recall, class_f1))
    found = tuple(
        ClassScore(
            name,
            n=int(square[i].sum()),
            decided=int(square[:, i].sum()),
            precision=precision[i],
            recall=recall[i],
            f1=f1[i],
            auc=auc(labels == i, scores[:, i]),
            taken_for=_taken_for(square[i], i, names),
        )
        for i, name in enumerate(names)
    )
    right = (scores.argmax(axis=1) == labels).astype(np.float64)
    confusion = tuple(tuple(row) for row in square.tolist()) if k <= MOST_CONFUSED else ()
    return ReportData(calibration=_calibration(right, scores.max(axis=1)), classes=found, confusion=confusion)


def _taken_for(row: Array, own: int, names: Sequence[str]) -> str:
    others = row.copy()
    others[own] = 0
    return f"{names[int(others.argmax())]} ({int(others.max()):,})" if others.any() else ""


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
