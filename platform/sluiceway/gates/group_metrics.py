"""How well each group is served: the main value, rates of decisions, and intervals at any level."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from sluiceway.config.gates import FairnessSection
from sluiceway.gates.class_metrics import ratio
from sluiceway.gates.drawn import GroupScore
from sluiceway.gates.groups import Groups
from sluiceway.gates.metrics import Task
from sluiceway.gates.statistics.differences import Bounds, auc_bounds, mean_bounds, share_bounds
from sluiceway.gates.statistics.influence import auc_influence, covariance, mean_influence

Array = npt.NDArray[Any]
COMPARED: dict[Task, str] = {"binary": "AUC", "multiclass": "accuracy", "regression": "relative error"}


@dataclass(frozen=True)
class JudgedRows:
    """Rows with their scores, made once for all attributes.

    Attributes:
        labels: shape (n,), 0 or 1; places of the classes; real numbers for regression.
        scores: shape (n,); shape (n, k) of several classes.
        task: kind of the model.
        threshold: a score at or above it is a positive decision, or None.
    """

    labels: Array
    scores: Array
    task: Task = "binary"
    threshold: float | None = None

    @cached_property
    def order(self) -> Array:
        """Rows with rising scores; of a model of two classes."""
        return np.argsort(self.scores)

    @cached_property
    def values(self) -> Array:
        """What is averaged in a group: right decisions, or errors relative to the average error of all rows."""
        if self.task == "multiclass":
            return np.asarray(self.scores.argmax(axis=1) == self.labels, dtype=np.float64)
        errors = np.abs(self.scores - self.labels)
        overall = float(errors.mean()) if len(errors) else 0.0
        return errors / overall if overall else np.zeros(len(errors))

    @cached_property
    def cells(self) -> Array | None:
        """2 for a positive label and 1 for a positive decision, added up, shape (n,); None where nothing is decided."""
        if self.task != "binary" or self.threshold is None:
            return None
        return np.asarray(2 * (self.labels == 1) + (self.scores >= self.threshold))


@dataclass(frozen=True)
class Rate:
    """A share of each group.

    Attributes:
        name: of the rate.
        hits: rows of each group that count, shape (k,).
        of: rows of each group that could.
        judged: groups that are large enough, shape (k,).
    """

    name: str
    hits: Array
    of: Array
    judged: Array

    @property
    def values(self) -> Array:
        """The shares; NaN where there is no row."""
        return ratio(self.hits, self.of)

    def bounds(self, alpha: float) -> Bounds:
        """Their intervals."""
        return share_bounds(self.hits, self.of, alpha)


@dataclass(frozen=True)
class GroupMetrics:
    """All groups of one attribute; arrays of shape (k,) follow ``groups.names``.

    Attributes:
        groups: which row belongs where.
        task: kind of the model.
        positives: rows with label 1; 0 for regression and for several classes.
        values: AUC, accuracy or relative error; NaN where it cannot be taken.
        variances: of the values.
        influence: of each row on the value of its group, shape (n,).
        cells: rows of each group that are true negative, false positive, false negative, true positive, shape (k, 4);
            None where nothing is decided.
        large: groups of at least ``min_group_rows`` rows.
        judged: those that have ``min_group_positives`` of both classes too.
    """

    groups: Groups
    task: Task
    positives: Array
    values: Array
    variances: Array
    influence: Array
    cells: Array | None
    large: Array
    judged: Array

    def bounds(self, alpha: float) -> Bounds:
        """Intervals of the values, two-sided 1 - alpha."""
        n = self.groups.rows
        if self.task == "binary":
            return auc_bounds(self.values, self.variances, np.minimum(self.positives, n - self.positives), alpha)
        if self.task == "multiclass":
            return share_bounds(np.rint(self.values * n), n, alpha)
        return mean_bounds(self.values, self.variances, alpha)

    @property
    def name(self) -> str:
        """What is compared."""
        return COMPARED[self.task]

    def rate(self, name: str) -> Rate | None:
        """``selection rate``, ``true positive rate``, ``false positive rate`` or ``precision`` of each group."""
        if self.cells is None:
            return None
        _, false, missed, true = self.cells.T
        negative, positive = self.cells[:, :2].sum(axis=1), missed + true
        if name == "selection rate":
            return Rate(name, false + true, self.groups.rows, self.large)
        if name == "true positive rate":
            return Rate(name, true, positive, self.judged)
        if name == "false positive rate":
            return Rate(name, false, negative, self.judged)
        return Rate(name, true, false + true, self.judged)

    def scores(self, most: int | None = None) -> tuple[GroupScore, ...]:
        """For the report: the largest groups, and among them always the two furthest apart."""
        n = self.groups.rows
        order = sorted(range(len(n)), key=lambda i: (-n[i], self.groups.names[i]))
        if most is not None and len(order) > most:
            judged = np.flatnonzero(self.judged)
            ends = {int(judged[f(self.values[judged])]) for f in (np.argmin, np.argmax)} if len(judged) else set()
            kept = {*ends, *[i for i in order if i not in ends][: most - len(ends)]}
            order = [i for i in order if i in kept]
        low, high = self.bounds(0.05)
        rates = [
            self.rate(name) for name in ("selection rate", "true positive rate", "false positive rate", "precision")
        ]
        shares = [np.full(len(n), np.nan) if rate is None else rate.values for rate in rates]
        return tuple(
            GroupScore(
                self.groups.attribute,
                self.groups.names[i],
                int(n[i]),
                int(self.positives[i]),
                float(self.values[i]),
                float(low[i]),
                float(high[i]),
                float(self.variances[i]),
                bool(self.judged[i]),
                *(float(share[i]) for share in shares),
            )
            for i in order
        )


def measure_groups(groups: Groups, rows: JudgedRows, section: FairnessSection) -> GroupMetrics:
    """Measure every group of an attribute, O(n) but for the order of the scores."""
    k, n = len(groups.names), groups.rows
    large = n >= section.min_group_rows
    if rows.task == "binary":
        positives = np.bincount(groups.codes, rows.labels == 1, k).astype(np.int64)
        values, influence = auc_influence(rows.labels, rows.scores, rows.order, groups.codes, k)
        enough = large & (np.minimum(positives, n - positives) >= section.min_group_positives)
    else:
        positives, enough = np.zeros(k, dtype=np.int64), large
        values, influence = mean_influence(rows.values, groups.codes, k)
    variances = covariance(influence, influence, groups.codes, k)
    if rows.task == "multiclass":
        # Agresti and Coull's two more of each: a group that is always right is not known to be so for certain.
        share = (values * n + 2) / (n + 4)
        variances = share * (1 - share) / (n + 4)
    cells = None if rows.cells is None else np.bincount(groups.codes * 4 + rows.cells, minlength=4 * k).reshape(k, 4)
    # Not even a number of rows that the configuration calls enough makes a variance out of one row.
    judged = enough & ~np.isnan(values) & ~np.isnan(variances)
    return GroupMetrics(groups, rows.task, positives, values, variances, influence, cells, large, judged)
