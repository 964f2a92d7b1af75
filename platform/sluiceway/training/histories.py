"""The folds' metric over the rounds, small enough for a journal, and as series for MLflow."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from sluiceway.training.report import FoldReport

MOST_POINTS = 1_000


def thinned(folds: Sequence[FoldReport]) -> list[dict[str, list[Any]]]:
    """The histories with at most 1,000 points a fold.

    Where a fold has more rounds, every second, third ... is kept, the same ones of all folds, and of each fold its best
    and its last one.

    Args:
        folds: with their whole histories.

    Returns:
        for each fold ``round`` (from 0, rising) and ``value``; JSON-ready.
    """
    longest = max((len(fold.history) for fold in folds), default=0)
    step = math.ceil(longest / (MOST_POINTS - 2)) if longest > MOST_POINTS else 1
    return [_points(fold, step) for fold in folds]


def series(histories: Sequence[dict[str, list[Any]]], metric: str) -> dict[str, list[tuple[int, float]]]:
    """The histories as series over the rounds, by the names that they have in MLflow.

    Args:
        histories: as :func:`thinned` gives them.
        metric: its name.

    Returns:
        ``fold_1.METRIC`` and so on, and over the rounds that all folds have ``cv.METRIC``, their mean, and
        ``cv.METRIC_std``, their sample standard deviation; (round, value) each.
    """
    points = [dict(zip(one["round"], one["value"], strict=True)) for one in histories]
    found = {f"fold_{number}.{metric}": sorted(one.items()) for number, one in enumerate(points, start=1) if one}
    together = sorted(set.intersection(*(set(one) for one in points))) if points else []
    if together:
        values = {step: [one[step] for one in points] for step in together}
        found[f"cv.{metric}"] = [(step, math.fsum(values[step]) / len(points)) for step in together]
        found[f"cv.{metric}_std"] = [(step, _spread(values[step])) for step in together]
    return found


def _points(fold: FoldReport, step: int) -> dict[str, list[Any]]:
    n = len(fold.history)
    kept = sorted({*range(0, n, step), fold.best_iteration, n - 1}) if n else []
    return {"round": kept, "value": [fold.history[place] for place in kept]}


def _spread(values: Sequence[float]) -> float:
    return statistics.stdev(values) if all(map(math.isfinite, values)) and len(values) > 1 else math.nan
