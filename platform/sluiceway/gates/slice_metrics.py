"""The main metric of a part of some rows against that of all of them.

A part shares its rows with the whole, so their two estimates go together; the influence of each row on both says how
much. The loss is ``whole - part`` of an AUC or an accuracy, and ``part / whole - 1`` of an RMSE, whose interval is
normal for the logarithm of the mean squared error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from sluiceway.gates.enough_rows import FEWEST_OF_A_CLASS
from sluiceway.gates.metrics import Task
from sluiceway.gates.statistics.differences import auc_bounds, difference_bounds, share_bounds
from sluiceway.gates.statistics.influence import auc_influence, mean_influence

Array = npt.NDArray[Any]
Interval = tuple[float, float, float]
METRIC: dict[Task, str] = {"binary": "AUC", "multiclass": "accuracy", "regression": "RMSE"}


@dataclass(frozen=True)
class PartMetric:
    """The main metric of some rows.

    Attributes:
        task: kind of the model.
        n: rows.
        rarer: rows of the rarer class; n where there are not two classes.
        value: AUC, accuracy or RMSE; NaN where it cannot be taken.
        variance: of the value; of an RMSE that of the logarithm of its square.
        shared: covariance of the same with the whole.
    """

    task: Task
    n: int
    rarer: int
    value: float
    variance: float
    shared: float

    @property
    def few_of_a_class(self) -> bool:
        """Whether there are too few rows of a class to believe the interval."""
        return self.task == "binary" and self.rarer < FEWEST_OF_A_CLASS

    def interval(self, alpha: float) -> Interval:
        """(value, low, high), two-sided 1 - alpha."""
        if self.task == "regression":
            reach = math.exp(_z(alpha) * math.sqrt(self.variance) / 2)
            return self.value, self.value / reach, self.value * reach
        if self.task == "multiclass":
            low, high = share_bounds(np.rint(self.value * self.n), self.n, alpha)
        else:
            low, high = auc_bounds(self.value, self.variance, self.rarer, alpha)
        return self.value, float(low), float(high)


@dataclass(frozen=True)
class WholeRows:
    """Rows of which parts are looked at by themselves.

    Attributes:
        labels: shape (n,), 0 or 1; places of the classes; real numbers for regression.
        scores: shape (n,); shape (n, k) of several classes.
        task: kind of the model.
    """

    labels: Array
    scores: Array
    task: Task

    @cached_property
    def whole(self) -> PartMetric:
        """The metric of all of them."""
        return self.part(np.ones(len(self.labels), dtype=np.bool_))

    @cached_property
    def outcomes(self) -> Array:
        """What a good score says before it is known, shape (n,): the label, a right decision, the squared error."""
        if self.task == "binary":
            return np.asarray(self.labels == 1, dtype=np.float64)
        if self.task == "multiclass":
            return np.asarray(self.scores.argmax(axis=1) == self.labels, dtype=np.float64)
        return np.asarray((self.scores - self.labels) ** 2)

    def part(self, inside: Array) -> PartMetric:
        """The metric of a part.

        Args:
            inside: shape (n,), bool.
        """
        value, influence = self._influence(inside)
        n = int(inside.sum())
        rarer = n
        if self.task == "binary":
            positives = int(self.outcomes[inside].sum())
            rarer = min(positives, n - positives)
        shared = float(influence @ self._of_all[1])
        return PartMetric(self.task, n, rarer, value, float(influence @ influence), shared)

    def loss(self, part: PartMetric, alpha: float) -> Interval:
        """How much worse a part is than the whole: (loss, low, high), two-sided 1 - alpha."""
        whole = self.whole
        if self.task == "regression":
            spread = math.sqrt(max(0.0, part.variance + whole.variance - 2 * part.shared))
            return relative_loss(part.value, whole.value, spread, alpha)
        both = math.sqrt(part.variance * whole.variance)
        correlation = min(1.0, max(-1.0, part.shared / both)) if both else 0.0
        low, high = difference_bounds(whole.interval(alpha), part.interval(alpha), correlation)
        return whole.value - part.value, float(low), float(high)

    @cached_property
    def _order(self) -> Array:
        return np.argsort(self.scores) if self.task == "binary" else np.empty(0)

    @cached_property
    def _of_all(self) -> tuple[float, Array]:
        return self._value_and_influence(np.ones(len(self.labels), dtype=np.bool_))

    def _influence(self, inside: Array) -> tuple[float, Array]:
        return self._of_all if inside.all() else self._value_and_influence(inside)

    def _value_and_influence(self, inside: Array) -> tuple[float, Array]:
        if not inside.any():
            return math.nan, np.zeros(len(inside))
        if self.task == "binary":
            order = self._order[inside[self._order]]
            values, influence = auc_influence(self.labels, self.scores, order, np.zeros(len(inside), dtype=np.int64), 1)
            return float(values[0]), influence
        means, influence = mean_influence(self.outcomes, inside.astype(np.int64), 2)
        mean, influence = float(means[1]), np.where(inside, influence, 0.0)
        if self.task == "multiclass":
            return mean, influence
        # d log(m) = dm / m; without any error there is nothing to be uncertain of.
        return math.sqrt(mean), influence / mean if mean else np.zeros(len(inside))


def relative_loss(value: float, base: float, spread: float, alpha: float) -> Interval:
    """How much larger an RMSE is than another one, as a share of that: (loss, low, high).

    Args:
        value: the RMSE.
        base: the other one.
        spread: standard error of the logarithm of the ratio of their squares.
        alpha: two-sided error.
    """
    if base == 0 or math.isnan(base) or math.isnan(value):
        same = 0.0 if value == base else math.inf if base == 0 else math.nan
        return same, same, same
    reach = math.exp(_z(alpha) * spread / 2)
    return value / base - 1, value / base / reach - 1, value / base * reach - 1


def _z(alpha: float) -> float:
    return float(norm.ppf(1 - alpha / 2))
