"""Figures of a classifier's scores: ROC, precision by recall, calibration."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from sluiceway.gates.drawn import CalibrationBin, CurvePoint
from sluiceway.gates.report.chart import Chart, Line
from sluiceway.gates.report.figure import Figure, share_with_interval, with_interval


def roc(points: Sequence[CurvePoint], champion: Sequence[CurvePoint]) -> Figure:
    """True positive rate by false positive rate, against the champion's."""
    said = _compared(points, champion, 0.1, "At a false positive rate of 0.1 the true positive rate is")
    chance = Line("chance", "chance", [(0.0, 0.0), (1.0, 1.0)])
    chart = Chart(
        "ROC curve",
        said,
        (0, 1),
        (0, 1),
        "false positive rate",
        "true positive rate",
        [chance, *_both(points, champion)],
    )
    return Figure("ROC curve", said, chart.svg())


def precision_recall(points: Sequence[CurvePoint], champion: Sequence[CurvePoint]) -> Figure:
    """Precision by recall, against the champion's."""
    said = _compared(points, champion, 0.5, "At a recall of 0.5 the precision is")
    base = points[-1].y if points[-1].x == 1 else math.nan
    guess = [Line("chance", f"share of positives, {base:.3g}: a guess", [(0.0, base), (1.0, base)])]
    lines = [*(guess if math.isfinite(base) else []), *_both(points, champion)]
    chart = Chart("Precision and recall", said, (0, 1), (0, 1), "recall", "precision", lines)
    return Figure("Precision by recall", said, chart.svg())


def calibration(bins: Sequence[CalibrationBin], *, decided: bool) -> Figure:
    """Observed shares over predicted ones; rare events fill the drawing.

    Args:
        bins: from low scores to high ones.
        decided: they are of the class that was decided, of several classes.
    """
    worst = max(bins, key=lambda b: abs(b.observed - b.predicted))
    of = " of the decided class" if decided else ""
    said = (
        f"Furthest from the line: predicted {worst.predicted:.3g}, observed {worst.observed:.3g} "
        f"[{worst.low:.3g}, {worst.high:.3g}] on {worst.n:,} rows."
    )
    largest = max(max(b.predicted, b.high) for b in bins)
    end = 1.0 if largest > 0.5 else 1.05 * largest or 1.0
    observed = Line(
        "candidate",
        "observed, with 95 % intervals",
        [(b.predicted, b.observed) for b in bins],
        [(b.predicted, b.low, b.high) for b in bins],
        "circle",
        [
            f"predicted {b.predicted:.4g}, observed {b.observed:.4g} [{b.low:.4g}, {b.high:.4g}], n={b.n:,}"
            for b in bins
        ],
    )
    perfect = Line("chance", "as predicted", [(0.0, 0.0), (end, end)])
    chart = Chart(
        f"Calibration{of}",
        said,
        (0, end),
        (0, end),
        "predicted probability",
        "observed share",
        [perfect, observed],
        whiskers=True,
    )
    rows = tuple((f"{b.predicted:.4f}", with_interval(b.observed, b.low, b.high, decimals=4), f"{b.n:,}") for b in bins)
    columns = ("Predicted", "Observed [95 %]", "Rows")
    return Figure(f"Calibration{of}", f"Points on the line come true as predicted. {said}", chart.svg(), columns, rows)


def _both(points: Sequence[CurvePoint], champion: Sequence[CurvePoint]) -> list[Line]:
    lines = [_curve("champion", "champion, same rows", champion)] if champion else []
    return [*lines, _curve("candidate", "this model", points)]


def _curve(kind: str, label: str, points: Sequence[CurvePoint]) -> Line:
    return Line(kind, label, [(p.x, p.y) for p in points], [(p.x, p.low, p.high) for p in points])


def _compared(points: Sequence[CurvePoint], champion: Sequence[CurvePoint], x: float, begin: str) -> str:
    """A sentence: the curve at one place, and the champion's."""
    said = f"{begin} {_read(points, x)}"
    return f"{said}, the champion's {_read(champion, x)}." if champion else f"{said}."


def _read(points: Sequence[CurvePoint], x: float) -> str:
    places = np.array([p.x for p in points])
    y, low, high = (float(np.interp(x, places, [getattr(p, name) for p in points])) for name in ("y", "low", "high"))
    return share_with_interval(y, low, high)
