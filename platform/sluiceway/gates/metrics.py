"""The metrics that thresholds may name: value, direction, interval."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from sluiceway.core.errors import ConfigError
from sluiceway.core.verdict import Direction, Measurement
from sluiceway.gates.class_metrics import (
    class_accuracy,
    class_confusion,
    class_f1,
    class_log_loss_rows,
    class_precision,
    class_recall,
    macro,
    weighted,
)
from sluiceway.gates.statistics.auc import auc, auc_interval, macro_auc, macro_auc_interval
from sluiceway.gates.statistics.intervals import bootstrap, bootstrap_counts

Array = npt.NDArray[Any]
Task = Literal["binary", "multiclass", "regression"]
LARGEST_LOG_LOSS = 1e-15  # probabilities are clipped to [this, 1 - this], or one wrong certainty makes it infinite
DRAWN_CELLS = 4_000_000  # of all resampled confusion matrices together; bounds memory where there are many classes


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: as in the configuration.
        direction: AT_LEAST for scores, AT_MOST for losses and errors.
        task: kind of model that it is for.
        decided: from the confusion counts (true negative, false positive, false negative, true positive), shape
            (..., 4), for metrics of decisions; of k classes shape (..., k * k), see ``class_metrics.class_confusion``.
        ranked: from (labels, scores), for everything else.
        row_loss: loss of each row, where the metric is their mean, or the root of it.
        root: take the square root of the mean.
    """

    name: str
    direction: Direction
    task: Task = "binary"
    decided: Callable[[Array], Array] | None = None
    ranked: Callable[[Array, Array], float] | None = None
    row_loss: Callable[[Array, Array], Array] | None = None
    root: bool = False


def known_metrics(task: Task | None = None) -> tuple[str, ...]:
    """Names of all metrics, or of those for one kind of model."""
    return tuple(dict.fromkeys(metric.name for metric in _METRICS if task in (None, metric.task)))


def metric(name: str, task: Task | None = None) -> Metric:
    """The metric of that name, for a kind of model; where several kinds have it, the first of them unless one is given.

    Raises:
        ConfigError: no such metric; the message has the nearest name.
    """
    for known in _METRICS:
        if known.name == name and task in (None, known.task):
            return known
    raise _unknown(name, () if task is None else (task,))


def check_names(names: Iterable[str], tasks: Sequence[Task] = ()) -> None:
    """Refuse unknown metrics before any work is done.

    Args:
        names: from the configuration.
        tasks: kinds that the model may be of; a metric of any of them will do. None given: of any kind at all.

    Raises:
        ConfigError: all unknown names at once, with what may be used.
    """
    usable = {name for task in tasks or (None,) for name in known_metrics(task)}
    wrong = [_unknown(name, tasks) for name in dict.fromkeys(names) if name not in usable]
    if wrong:
        raise ConfigError(
            "the evaluation names metrics that do not exist",
            problems=tuple(f"evaluation: {error.message}; {error.hint}" for error in wrong),
        )


def _unknown(name: str, tasks: Sequence[Task]) -> ConfigError:
    usable = dict.fromkeys(known for task in tasks or (None,) for known in known_metrics(task))
    elsewhere = bool(tasks) and name in known_metrics()
    of = f" for a {' or '.join(tasks)} model" if elsewhere else ""
    close = difflib.get_close_matches(name, usable, n=1, cutoff=0.4)
    meant = f"did you mean {close[0]!r}?" if close else ""
    listed = "" if close and not elsewhere else f"it may be: {', '.join(usable)}"
    return ConfigError(f"there is no metric {name!r}{of}", hint=" ".join(part for part in (meant, listed) if part))


def evaluate(name: str, labels: Array, scores: Array, *, threshold: float | None = 0.5) -> float:
    """Value of one metric.

    Args:
        name: see :func:`known_metrics`.
        labels: shape (n,), 0 or 1; places of the classes; real numbers for regression.
        scores: shape (n,), probability of the positive class, or the prediction; shape (n, k) of several classes.
        threshold: a score at or above it is a positive decision; of several classes the largest score decides.

    Returns:
        The value; NaN where it is not defined (no rows, a class missing, no threshold for a metric of decisions).

    Raises:
        ConfigError: no such metric.
    """
    labels, scores = np.asarray(labels, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    chosen = _chosen(name, scores)
    if len(labels) == 0 or np.isnan(scores).any():
        return math.nan
    if chosen.decided is not None:
        counts = _counts(labels, scores, threshold)
        return math.nan if counts is None else float(chosen.decided(counts))
    if chosen.row_loss is not None:
        mean = float(chosen.row_loss(labels, scores).mean())
        return math.sqrt(mean) if chosen.root else mean
    assert chosen.ranked is not None  # a metric has one of the three
    return chosen.ranked(labels, scores)


def measure(
    name: str, labels: Array, scores: Array, *, threshold: float | None = 0.5, alpha: float = 0.05, seed: int = 0
) -> Measurement:
    """Value of one metric with its two-sided interval.

    DeLong for the AUC (of several classes for their mean), a multinomial bootstrap for metrics of decisions, the normal
    interval for means of row losses, a bootstrap of rows for the rest.

    Raises:
        ConfigError: no such metric.
    """
    labels, scores = np.asarray(labels, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    chosen = _chosen(name, scores)
    value = evaluate(name, labels, scores, threshold=threshold)
    if math.isnan(value):
        return Measurement(name, None, len(labels), detail=_absent(labels, scores))
    low, high = _interval(chosen, labels, scores, threshold, alpha, seed)
    return Measurement(name, value, len(labels), None if math.isnan(low) else low, None if math.isnan(high) else high)


def confusion(labels: Array, scores: Array, threshold: float) -> Array:
    """Counts (true negative, false positive, false negative, true positive), shape (4,)."""
    cell = 2 * (np.asarray(labels) == 1).astype(np.int64) + (np.asarray(scores) >= threshold)
    return np.bincount(cell, minlength=4)


def _chosen(name: str, scores: Array) -> Metric:
    return metric(name, "multiclass") if scores.ndim == 2 else metric(name)


def _counts(labels: Array, scores: Array, threshold: float | None) -> Array | None:
    if scores.ndim == 2:
        return class_confusion(labels, scores)
    return None if threshold is None else confusion(labels, scores, threshold)


def _absent(labels: Array, scores: Array) -> str:
    """Why a number of several classes has no value, where it is for want of rows."""
    if scores.ndim != 2 or len(labels) == 0:
        return ""
    absent = scores.shape[1] - len(np.unique(labels))
    return f"{absent} of {scores.shape[1]} classes have no row" if absent else ""


def _interval(
    chosen: Metric, labels: Array, scores: Array, threshold: float | None, alpha: float, seed: int
) -> tuple[float, float]:
    if chosen.name == "auc_roc":
        of = macro_auc_interval if scores.ndim == 2 else auc_interval
        return of(labels, scores, alpha=alpha)[1:]
    counts = _counts(labels, scores, threshold)
    if chosen.decided is not None and counts is not None:
        draws = max(200, min(2000, DRAWN_CELLS // len(counts)))
        return bootstrap_counts(chosen.decided, counts.tolist(), alpha=alpha, seed=seed, resamples=draws)
    if chosen.row_loss is not None:
        losses = chosen.row_loss(labels, scores)
        half = float(norm.ppf(1 - alpha / 2)) * float(losses.std()) / math.sqrt(len(losses))
        low, high = max(0.0, float(losses.mean()) - half), float(losses.mean()) + half
        return (math.sqrt(low), math.sqrt(high)) if chosen.root else (low, high)
    assert chosen.ranked is not None  # a metric has one of the three
    return bootstrap(chosen.ranked, labels, scores, alpha=alpha, seed=seed)


def _ratio(top: Array, bottom: Array) -> Array:
    result: Array = np.divide(top, bottom, out=np.full(np.shape(bottom), np.nan), where=np.asarray(bottom) > 0)
    return result


def _precision(c: Array) -> Array:
    # No positive decision: precision is 0, as scikit-learn has it, so that a threshold on it fails.
    c = c.astype(np.float64)
    return np.where(c[..., 1] + c[..., 3] > 0, _ratio(c[..., 3], c[..., 1] + c[..., 3]), 0.0)


def _recall(c: Array) -> Array:
    c = c.astype(np.float64)
    return _ratio(c[..., 3], c[..., 2] + c[..., 3])


def _f1(c: Array) -> Array:
    c = c.astype(np.float64)
    return _ratio(2 * c[..., 3], 2 * c[..., 3] + c[..., 1] + c[..., 2])


def _accuracy(c: Array) -> Array:
    c = c.astype(np.float64)
    return _ratio(c[..., 0] + c[..., 3], c.sum(axis=-1))


def _steps(labels: Array, scores: Array) -> tuple[Array, Array]:
    """True and false positives at every distinct score, from the highest down."""
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    true = np.cumsum(labels[order] == 1)[last]
    return true, last + 1 - true


def _average_precision(labels: Array, scores: Array) -> float:
    true, false = _steps(labels, scores)
    if true[-1] == 0:
        return math.nan
    gained = np.diff(true, prepend=0)
    return float((gained * true / (true + false)).sum() / true[-1])


def _ks(labels: Array, scores: Array) -> float:
    true, false = _steps(labels, scores)
    if true[-1] == 0 or false[-1] == 0:
        return math.nan
    return float(np.abs(true / true[-1] - false / false[-1]).max())


def _r2(labels: Array, scores: Array) -> float:
    spread = float(((labels - labels.mean()) ** 2).sum())
    return 1 - float(((labels - scores) ** 2).sum()) / spread if spread > 0 else math.nan


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


_METRICS = (
    Metric("auc_roc", Direction.AT_LEAST, ranked=auc),
    Metric("average_precision", Direction.AT_LEAST, ranked=_average_precision),
    Metric("ks", Direction.AT_LEAST, ranked=_ks),
    Metric("precision", Direction.AT_LEAST, decided=_precision),
    Metric("recall", Direction.AT_LEAST, decided=_recall),
    Metric("f1_score", Direction.AT_LEAST, decided=_f1),
    Metric("accuracy", Direction.AT_LEAST, decided=_accuracy),
    Metric("log_loss", Direction.AT_MOST, row_loss=_log_loss_rows),
    Metric("brier", Direction.AT_MOST, row_loss=_squared_rows),
    Metric("mae", Direction.AT_MOST, "regression", row_loss=_absolute_rows),
    Metric("rmse", Direction.AT_MOST, "regression", row_loss=_squared_rows, root=True),
    Metric("r2", Direction.AT_LEAST, "regression", ranked=_r2),
    Metric("auc_roc", Direction.AT_LEAST, "multiclass", ranked=macro_auc),
    Metric("accuracy", Direction.AT_LEAST, "multiclass", decided=class_accuracy),
    Metric("precision_macro", Direction.AT_LEAST, "multiclass", decided=macro(class_precision)),
    Metric("precision_weighted", Direction.AT_LEAST, "multiclass", decided=weighted(class_precision)),
    Metric("recall_macro", Direction.AT_LEAST, "multiclass", decided=macro(class_recall)),
    Metric("recall_weighted", Direction.AT_LEAST, "multiclass", decided=weighted(class_recall)),
    Metric("f1_macro", Direction.AT_LEAST, "multiclass", decided=macro(class_f1)),
    Metric("f1_weighted", Direction.AT_LEAST, "multiclass", decided=weighted(class_f1)),
    Metric("log_loss", Direction.AT_MOST, "multiclass", row_loss=_class_log_loss_rows),
)
