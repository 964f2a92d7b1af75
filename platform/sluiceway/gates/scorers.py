"""Metrics by the names of scikit-learn's scorers.

A scorer asks a fitted estimator for predictions; here that is one whose rows are the model's scores themselves. Which
scorers are for which kind of model is found by asking each for a number on a few rows of that kind.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import get_scorer, get_scorer_names

from sluiceway.core.verdict import Direction
from sluiceway.gates.metric_kinds import ScoredMetric, Task
from sluiceway.gates.scored_rows import ScoredRows

Array = npt.NDArray[Any]
# They compare groupings, whatever the groups are called: a model that takes every class for another one is perfect.
OF_CLUSTERS = frozenset(
    {
        "adjusted_mutual_info_score",
        "adjusted_rand_score",
        "completeness_score",
        "fowlkes_mallows_score",
        "homogeneity_score",
        "mutual_info_score",
        "normalized_mutual_info_score",
        "rand_score",
        "v_measure_score",
    }
)


def is_scorer(name: str) -> bool:
    """Whether scikit-learn has a scorer of that name, for any purpose."""
    return name in get_scorer_names()


def scorer_names(tasks: Iterable[Task]) -> tuple[str, ...]:
    """The scorers that are for any of these kinds of models."""
    return tuple(name for name in get_scorer_names() if any(scorer_metric(name, task) for task in tasks))


@functools.cache
def scorer_metric(name: str, task: Task) -> ScoredMetric | None:
    """The metric that a scorer of scikit-learn is; larger is better, losses are negative there.

    Args:
        name: one of ``sklearn.metrics.get_scorer_names()``.
        task: kind of the model.

    Returns:
        None where there is no such scorer, or it is for another kind of model.
    """
    if not is_scorer(name) or name in OF_CLUSTERS:
        return None
    # Errors of numbers can be computed of 0 and 1, too; a scorer that takes numbers is for numbers.
    of_numbers = _works(name, "regression")
    if not of_numbers if task == "regression" else of_numbers or not _works(name, task):
        return None
    formula = functools.partial(_scored, name, task)
    return ScoredMetric(name, Direction.AT_LEAST, task, formula, task != "regression" and _of_decisions(name, task))


def _scored(name: str, task: Task, rows: ScoredRows) -> float:
    """The scorer's number; NaN where it cannot be computed on these rows."""
    if len(rows.labels) == 0:
        return math.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return _number(name, task, rows)
        except ValueError:  # a class is missing, a number is negative, there is no threshold
            return math.nan


def _number(name: str, task: Task, rows: ScoredRows) -> float:
    estimator = _Predictor() if task == "regression" else _Classifier(rows.threshold, rows.classes)
    labels = rows.labels if task == "regression" else rows.labels.astype(np.int64)
    return float(get_scorer(name)(estimator, rows.scores.reshape(len(labels), -1), labels))


@functools.cache
def _works(name: str, task: Task) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", UndefinedMetricWarning)
        try:
            return math.isfinite(_number(name, task, _few_rows(task)))
        except Exception:  # noqa: BLE001 (each scorer has its own way of refusing what it is not made for)
            return False


def _of_decisions(name: str, task: Task) -> bool:
    """Whether scores that are the decisions themselves give the same number."""
    random = np.random.default_rng(0)
    k = 2 if task == "binary" else 4
    labels = (np.arange(60) % k).astype(np.float64)
    raw = random.random((60, k))
    raw /= raw.sum(axis=1, keepdims=True)
    decided = np.eye(k)[raw.argmax(axis=1)]
    found = [
        _scored(name, task, ScoredRows(labels, each[:, 1] if task == "binary" else each, 0.5))
        for each in (raw, decided)
    ]
    return found[0] == found[1]


def _few_rows(task: Task) -> ScoredRows:
    """Rows on which every metric of their kind is defined."""
    places = np.arange(30)
    if task == "regression":
        return ScoredRows(1 + places % 7 / 4, 1 + places % 5 / 3, None)
    if task == "binary":
        return ScoredRows((places % 2).astype(np.float64), (1 + places % 7) / 9, 0.5)
    raw = 1.0 + (places[:, None] * np.array([1, 2, 3]) + np.array([0, 1, 3])) % 5
    return ScoredRows((places % 3).astype(np.float64), raw / raw.sum(axis=1, keepdims=True), None)


class _Classifier(ClassifierMixin, BaseEstimator):
    """A classifier whose rows are its own scores: shape (n, 1) of two classes, (n, k) of more."""

    def __init__(self, threshold: float | None = None, classes: int = 2) -> None:
        self.threshold = threshold
        self.classes = classes
        self.classes_ = np.arange(classes)

    def predict_proba(self, rows: Array) -> Array:
        return np.column_stack([1 - rows[:, 0], rows[:, 0]]) if rows.shape[1] == 1 else rows

    def predict(self, rows: Array) -> Array:
        if rows.shape[1] > 1:
            place: Array = rows.argmax(axis=1)
            return place
        if self.threshold is None:
            raise ValueError("the model decides nothing")
        decided: Array = (rows[:, 0] >= self.threshold).astype(np.int64)
        return decided


class _Predictor(RegressorMixin, BaseEstimator):
    """A regressor whose rows are its own predictions, shape (n, 1)."""

    def predict(self, rows: Array) -> Array:
        predicted: Array = rows[:, 0]
        return predicted
