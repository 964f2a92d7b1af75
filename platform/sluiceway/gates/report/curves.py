"""The curves of a classifier and the scores of several classes, from labels and scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sluiceway.core.classes import Class
from sluiceway.gates.class_metrics import class_confusion, class_f1, class_precision, class_recall
from sluiceway.gates.drawn import ClassScore, CurvePoint, ReportData
from sluiceway.gates.statistics.auc import auc
from sluiceway.gates.statistics.curve_bands import Cuts, cuts_of, even_cuts, even_recalls, precision_band, roc_band
from sluiceway.gates.statistics.reliability import reliability_bins

Array = npt.NDArray[Any]
CURVE_POINTS = 200
CALIBRATION_BINS = 10
MOST_CONFUSED = 20  # a square of more is not read by anybody; the table names the class that each is taken for


def curves(labels: Array, scores: Array) -> ReportData:
    """ROC curve, precision by recall and calibration of a classifier, with 95 % intervals; one sort for all three.

    The bands are of each point by itself: of the true positive rate at that false positive rate and of the precision
    at that recall (:mod:`sluiceway.gates.statistics.curve_bands`); of a calibration bin Wilson's.

    Args:
        labels: shape (n,), 0 or 1.
        scores: shape (n,), probabilities without NaN.

    Returns:
        The curves; those that need rows of both classes are empty without them.
    """
    positive, ordered = _sorted(labels, scores)
    cuts = cuts_of(positive[::-1], ordered[::-1])
    return ReportData(
        roc=_roc(cuts),
        precision_recall=_precision_recall(cuts),
        calibration=reliability_bins(positive, ordered, CALIBRATION_BINS),
    )


def curves_of_champion(labels: Array, scores: Array) -> ReportData:
    """ROC curve and precision by recall of the champion on the same rows, to be drawn beside :func:`curves`.

    Args:
        labels: shape (n,), 0 or 1.
        scores: shape (n,), the champion's probabilities without NaN.
    """
    positive, ordered = _sorted(labels, scores)
    cuts = cuts_of(positive[::-1], ordered[::-1])
    return ReportData(roc_champion=_roc(cuts), precision_recall_champion=_precision_recall(cuts))


def roc_curve(labels: Array, scores: Array) -> Array:
    """The points of a ROC curve, for a drawing.

    Args:
        labels: shape (n,), 0 or 1, or bool.
        scores: shape (n,).

    Returns:
        shape (k, 2), false and true positive rate, rising from (0, 0) to (1, 1), at most 200 points; shape (0, 2) where
        a class has no rows.
    """
    positive, ordered = _sorted(labels, scores)
    return np.array([(p.x, p.y) for p in _roc(cuts_of(positive[::-1], ordered[::-1]))]).reshape(-1, 2)


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
    right, highest = _sorted(scores.argmax(axis=1) == labels, scores.max(axis=1))
    confusion = tuple(tuple(row) for row in square.tolist()) if k <= MOST_CONFUSED else ()
    return ReportData(
        calibration=reliability_bins(right, highest, CALIBRATION_BINS), classes=found, confusion=confusion
    )


def _taken_for(row: Array, own: int, names: Sequence[str]) -> str:
    others = row.copy()
    others[own] = 0
    return f"{names[int(others.argmax())]} ({int(others.max()):,})" if others.any() else ""


def _sorted(labels: Array, scores: Array) -> tuple[Array, Array]:
    """(positive, scores), the lowest score first; stable, so that the same rows give the same bins everywhere."""
    scores = np.asarray(scores, dtype=np.float64)
    order = np.argsort(scores, kind="stable")
    return (np.asarray(labels) == 1)[order], scores[order]


def _roc(cuts: Cuts) -> tuple[CurvePoint, ...]:
    if cuts.positives == 0 or cuts.negatives == 0:
        return ()
    places = even_cuts(cuts, CURVE_POINTS - 1)
    x, y = (rate[places] for rate in cuts.rates)
    low, high = roc_band(cuts, places)
    # The curve begins at (0, 0) and ends at (1, 1) whatever the model: nothing is uncertain there.
    low[-1] = high[-1] = 1.0
    return (CurvePoint(0.0, 0.0, 0.0, 0.0), *_points(x, y, low, high))


def _precision_recall(cuts: Cuts) -> tuple[CurvePoint, ...]:
    if cuts.positives == 0 or cuts.negatives == 0:
        return ()
    places = even_recalls(cuts, CURVE_POINTS)
    true, false = cuts.true[places], cuts.false[places]
    return _points(true / cuts.positives, true / (true + false), *precision_band(cuts, places))


def _points(*columns: Array) -> tuple[CurvePoint, ...]:
    return tuple(CurvePoint(*row) for row in np.column_stack(columns).round(5).tolist())
