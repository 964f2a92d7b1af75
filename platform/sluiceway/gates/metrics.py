"""The metrics that thresholds may name: value, direction, interval, and the difference of two models.

Names are those of the package (:func:`known_metrics`), ``pinball_0.9`` for any quantile, and any scorer of
scikit-learn; where both have a name, the package's counts. Which interval a metric has: ``metric_kinds``.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sluiceway.core.errors import ConfigError
from sluiceway.core.verdict import Direction, Measurement
from sluiceway.gates.enough_rows import Lack, lack_of, only_class
from sluiceway.gates.metric_kinds import Difference, Metric, Task
from sluiceway.gates.metric_table import METRICS, pinball
from sluiceway.gates.scored_rows import Doubt, PairedRows, ScoredRows
from sluiceway.gates.scorers import is_scorer, scorer_metric, scorer_names

__all__ = [
    "Metric",
    "Task",
    "check_names",
    "compare",
    "evaluate",
    "is_known",
    "lack_for",
    "known_metrics",
    "measure",
    "measure_rows",
    "metric",
    "usable",
]

Array = npt.NDArray[Any]
TASKS: tuple[Task, ...] = ("binary", "multiclass", "regression")
# Means over all rows: a rare class is but a small part of them, and its few rows do not decide how well they are known.
_OVER_ALL_ROWS = re.compile(
    r"accuracy|top_k_accuracy|log_loss|brier|neg_(log_loss|brier_score)|d2_.*|.*_(weighted|micro)"
)
# Kinds of models by the shape of their scores, where nobody says the kind.
_ONE_SCORE: tuple[Task, ...] = ("binary", "regression")


def known_metrics(task: Task | None = None) -> tuple[str, ...]:
    """Names of the package's own metrics, or of those for one kind of model."""
    return tuple(dict.fromkeys(metric.name for metric in METRICS if task in (None, metric.task)))


def usable(name: str, task: Task) -> bool:
    """Whether there is a metric of that name for a kind of model."""
    return _found(name, (task,)) is not None


def is_known(name: str) -> bool:
    """Whether there is a metric of that name for any kind of model."""
    return _found(name, TASKS) is not None


def metric(name: str, task: Task | None = None) -> Metric:
    """The metric of that name, for a kind of model; where several kinds have it, the first of them unless one is given.

    Raises:
        ConfigError: no such metric; the message has the nearest name.
    """
    found = _found(name, TASKS if task is None else (task,))
    if found is None:
        raise _unknown(name, () if task is None else (task,))
    return found


def lack_for(name: str, labels: Array, task: Task) -> Lack | None:
    """What rows lack for one metric to be judged by, or None.

    Args:
        name: see the module.
        labels: shape (n,).
        task: kind of the model.
    """
    return lack_of(labels, ranked=task != "regression" and not _OVER_ALL_ROWS.fullmatch(name))


def check_names(names: Iterable[str], tasks: Sequence[Task] = ()) -> None:
    """Refuse unknown metrics before any work is done.

    Args:
        names: from the configuration.
        tasks: kinds that the model may be of; a metric of any of them will do. None given: of any kind at all.

    Raises:
        ConfigError: all names that cannot be used at once, with what may be used.
    """
    wrong = [_unknown(name, tasks) for name in dict.fromkeys(names) if _found(name, tasks or TASKS) is None]
    if wrong:
        raise ConfigError(
            "the evaluation names metrics that do not exist",
            problems=tuple(f"evaluation: {error.message}; {error.hint}" for error in wrong),
        )


def evaluate(name: str, labels: Array, scores: Array, *, threshold: float | None = 0.5) -> float:
    """Value of one metric.

    Args:
        name: see the module.
        labels: shape (n,), 0 or 1; places of the classes; real numbers for regression.
        scores: shape (n,), probability of the positive class, or the prediction; shape (n, k) of several classes.
        threshold: a score at or above it is a positive decision; of several classes the largest score decides.

    Returns:
        The value; NaN where it is not defined (no rows, a class missing, no threshold for a metric of decisions).

    Raises:
        ConfigError: no such metric.
    """
    rows = ScoredRows.of(labels, scores, threshold)
    chosen = _of_rows(name, rows)
    return math.nan if rows.blank else chosen.value(rows)


def measure(
    name: str, labels: Array, scores: Array, *, threshold: float | None = 0.5, alpha: float = 0.05, seed: int = 0
) -> Measurement:
    """Value of one metric with its two-sided interval.

    Args:
        name: see the module.
        labels: as of :func:`evaluate`.
        scores: as of :func:`evaluate`.
        threshold: as of :func:`evaluate`.
        alpha: two-sided error.
        seed: of bootstrap draws.

    Raises:
        ConfigError: no such metric.
    """
    return measure_rows(name, ScoredRows.of(labels, scores, threshold), Doubt(alpha, seed=seed))


def measure_rows(name: str, rows: ScoredRows, doubt: Doubt) -> Measurement:
    """As :func:`measure`; what several metrics of the same rows need is worked out once.

    Raises:
        ConfigError: no such metric.
    """
    chosen, n = _of_rows(name, rows), len(rows.labels)
    value = math.nan if rows.blank else chosen.value(rows)
    if math.isnan(value):
        return Measurement(name, None, n, detail=_absent(rows, chosen.task))
    low, high = chosen.interval(rows, value, doubt)
    return Measurement(name, value, n, None if math.isnan(low) else low, None if math.isnan(high) else high)


def compare(name: str, pair: PairedRows, doubt: Doubt) -> tuple[float, float, Difference]:
    """One metric of two models on the same rows.

    Args:
        name: see the module.
        pair: the rows.
        doubt: how the interval of the difference is taken.

    Returns:
        (value of the first, value of the second, how much BETTER the first is: the difference with its sign turned for
        losses). NaN where a value is not defined.

    Raises:
        ConfigError: no such metric.
    """
    chosen = _of_rows(name, pair.first)
    values = tuple(math.nan if rows.blank else chosen.value(rows) for rows in (pair.first, pair.second))
    first, second = values
    if math.isnan(first - second):
        return first, second, Difference(math.nan)
    found = chosen.difference(pair, (first, second), doubt)
    if chosen.direction is Direction.AT_MOST:
        found = Difference(-found.value, -found.high, -found.low, found.error)
    return first, second, found


def _found(name: str, tasks: Sequence[Task]) -> Metric | None:
    """Of the package first, whichever kind of model it is for; then of scikit-learn."""
    own = next((m for m in METRICS if m.name == name and m.task in tasks), None)
    if own is None and "regression" in tasks:
        own = pinball(name)
    if own is not None:
        return own
    return next((m for task in tasks if (m := scorer_metric(name, task)) is not None), None)


def _of_rows(name: str, rows: ScoredRows) -> Metric:
    tasks: tuple[Task, ...] = ("multiclass",) if rows.scores.ndim == 2 else _ONE_SCORE
    found = _found(name, tasks)
    if found is None:
        raise _unknown(name, tasks)
    return found


def _unknown(name: str, tasks: Sequence[Task]) -> ConfigError:
    kinds = tasks or TASKS
    mine = list(dict.fromkeys(known for task in kinds for known in known_metrics(task)))
    if "regression" in kinds:
        mine.append("pinball_0.9")
    elsewhere = bool(tasks) and (_found(name, TASKS) is not None or is_scorer(name))
    of = f" for a {' or '.join(tasks)} model" if elsewhere else ""
    alike = {known: difflib.SequenceMatcher(None, name, known).ratio() for known in (*mine, *scorer_names(kinds))}
    nearest = max(alike, key=lambda known: alike[known])  # of equals the package's, which come first
    meant = not elsewhere and alike[nearest] >= 0.4
    listed = f"it may be: {', '.join(mine)}, or a scorer of scikit-learn"
    return ConfigError(f"there is no metric {name!r}{of}", hint=f"did you mean {nearest!r}?" if meant else listed)


def _absent(rows: ScoredRows, task: Task) -> str:
    """Why a number of classes has no value, where it is for want of rows."""
    if task == "binary":
        return only_class(rows.labels)
    if rows.scores.ndim != 2 or len(rows.labels) == 0:
        return ""
    absent = rows.classes - len(np.unique(rows.labels))
    return f"{absent} of {rows.classes} classes have no row" if absent else ""
