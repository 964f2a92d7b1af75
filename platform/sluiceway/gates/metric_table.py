"""The metrics of the package: their formulas, and the table of them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from sluiceway.core.verdict import Direction
from sluiceway.gates.class_metrics import (
    class_accuracy,
    class_f1,
    class_log_loss_rows,
    class_precision,
    class_recall,
    macro,
    ratio,
    weighted,
)
from sluiceway.gates.metric_kinds import DecidedMetric, DistanceMetric, Metric, SummedMetric, Task
from sluiceway.gates.statistics.auc import auc, auc_parts, macro_auc, macro_auc_parts
from sluiceway.gates.statistics.average_precision import average_precision, average_precision_parts

Array = npt.NDArray[Any]
RowLoss = Callable[[Array, Array], Array]
LARGEST_LOG_LOSS = 1e-15  # probabilities are clipped to [this, 1 - this], or one wrong certainty makes it infinite
_PINBALL = re.compile(r"pinball(_0?\.\d+)?")


def pinball(name: str) -> Metric | None:
    """The loss of a predicted quantile: ``pinball_0.9`` of the quantile 0.9, ``pinball`` of the median.

    Returns:
        the metric; None where the name is none of these, or the quantile is not above 0 and below 1.
    """
    quantile = float(name.partition("_")[2] or 0.5) if _PINBALL.fullmatch(name) else 0.0
    if quantile == 0:
        return None

    def rows(labels: Array, scores: Array) -> Array:
        above = labels - scores
        result: Array = np.maximum(quantile * above, (quantile - 1) * above)
        return result

    return _loss(name, "regression", rows)


def _loss(name: str, task: Task, row_loss: RowLoss, *, root: bool = False) -> Metric:
    """The mean of a loss of each row, or the root of it."""

    def value(labels: Array, scores: Array) -> float:
        mean = float(row_loss(labels, scores).mean())
        return math.sqrt(mean) if root else mean

    def parts(labels: Array, scores: Array) -> Array:
        losses = row_loss(labels, scores)
        n, mean = len(losses), float(losses.mean())
        # The root of the mean moves by 1 / (2 root) of what the mean moves by.
        slope = 1 / (2 * math.sqrt(mean)) if root and mean > 0 else 1.0
        scaled: Array = (losses - mean) * (slope / math.sqrt(n * max(n - 1, 1)))
        return scaled

    return SummedMetric(name, Direction.AT_MOST, task, value, _unbiased(parts), "loss")


def _unbiased(parts: Callable[[Array, Array], Array]) -> Callable[[Array, Array], tuple[Array, float]]:
    """The parts of a metric that is not too large on average, or by far less than its error."""

    def both(labels: Array, scores: Array) -> tuple[Array, float]:
        return parts(labels, scores), 0.0

    return both


def _share(hit: int, *beside: int) -> Callable[[Array], tuple[int, int]]:
    """A share of confusion counts: one cell, of it and those beside it."""

    def share(counts: Array) -> tuple[int, int]:
        return int(counts[hit]), int(counts[[hit, *beside]].sum())

    return share


def _precision(c: Array) -> Array:
    # No positive decision: precision is 0, as scikit-learn has it, so that a threshold on it fails.
    c = c.astype(np.float64)
    return np.where(c[..., 1] + c[..., 3] > 0, ratio(c[..., 3], c[..., 1] + c[..., 3]), 0.0)


def _recall(c: Array) -> Array:
    c = c.astype(np.float64)
    return ratio(c[..., 3], c[..., 2] + c[..., 3])


def _f1(c: Array) -> Array:
    c = c.astype(np.float64)
    return ratio(2 * c[..., 3], 2 * c[..., 3] + c[..., 1] + c[..., 2])


def _f1_of_share(share: float) -> float:
    """F1 from the share of true positives among all rows that are positive or decided so (the Jaccard index)."""
    return 2 * share / (1 + share)


def _accuracy_share(counts: Array) -> tuple[int, int]:
    k = math.isqrt(len(counts))
    return int(counts[:: k + 1].sum()), int(counts.sum())


def _r2(labels: Array, scores: Array) -> float:
    spread = float(((labels - labels.mean()) ** 2).sum())
    return 1 - float(((labels - scores) ** 2).sum()) / spread if spread > 0 else math.nan


def _r2_parts(labels: Array, scores: Array) -> Array:
    """R2 is 1 less a ratio of two means: the delta method."""
    n = len(labels)
    squares, spread = (labels - scores) ** 2, (labels - labels.mean()) ** 2
    rest = float(squares.mean()) / float(spread.mean())
    parts: Array = (rest * spread - squares) / float(spread.mean()) / math.sqrt(n * max(n - 1, 1))
    return parts


def _log_loss_rows(labels: Array, scores: Array) -> Array:
    p = np.clip(scores, LARGEST_LOG_LOSS, 1 - LARGEST_LOG_LOSS)
    result: Array = -np.where(labels == 1, np.log(p), np.log1p(-p))
    return result


def _squared_rows(labels: Array, scores: Array) -> Array:
    result: Array = (scores - labels) ** 2
    return result


def _absolute_rows(labels: Array, scores: Array) -> Array:
    result: Array = np.abs(scores - labels)
    return result


def _class_log_loss_rows(labels: Array, scores: Array) -> Array:
    return class_log_loss_rows(labels, scores, smallest=LARGEST_LOG_LOSS)


_UP = Direction.AT_LEAST
# Confusion counts of two classes are (true negative, false positive, false negative, true positive).
METRICS: tuple[Metric, ...] = (
    SummedMetric("auc_roc", _UP, "binary", auc, _unbiased(auc_parts), "share"),
    SummedMetric("average_precision", _UP, "binary", average_precision, average_precision_parts, "share"),
    DistanceMetric("ks", _UP, "binary"),
    DecidedMetric("precision", _UP, "binary", _precision, _share(3, 1)),
    DecidedMetric("recall", _UP, "binary", _recall, _share(3, 2)),
    DecidedMetric("f1_score", _UP, "binary", _f1, _share(3, 1, 2), _f1_of_share),
    DecidedMetric("accuracy", _UP, "binary", class_accuracy, _accuracy_share),
    _loss("log_loss", "binary", _log_loss_rows),
    _loss("brier", "binary", _squared_rows),
    _loss("mae", "regression", _absolute_rows),
    _loss("rmse", "regression", _squared_rows, root=True),
    SummedMetric("r2", _UP, "regression", _r2, _unbiased(_r2_parts), "explained"),
    SummedMetric("auc_roc", _UP, "multiclass", macro_auc, _unbiased(macro_auc_parts), "share"),
    DecidedMetric("accuracy", _UP, "multiclass", class_accuracy, _accuracy_share),
    DecidedMetric("precision_macro", _UP, "multiclass", macro(class_precision)),
    DecidedMetric("precision_weighted", _UP, "multiclass", weighted(class_precision)),
    DecidedMetric("recall_macro", _UP, "multiclass", macro(class_recall)),
    DecidedMetric("recall_weighted", _UP, "multiclass", weighted(class_recall)),
    DecidedMetric("f1_macro", _UP, "multiclass", macro(class_f1)),
    DecidedMetric("f1_weighted", _UP, "multiclass", weighted(class_f1)),
    _loss("log_loss", "multiclass", _class_log_loss_rows),
)
