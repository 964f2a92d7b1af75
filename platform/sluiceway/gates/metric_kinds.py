"""The kinds of metrics: how each is computed, and how far it may be off, of one model and between two on the same rows.

========== ===================================== =============================== ====================================
kind       metrics                               interval of one model           difference of two on the same rows
========== ===================================== =============================== ====================================
summed     AUC, average precision, losses,       normal, from what each row adds the same, of what each row adds to
           errors, R2                            to the error (AUC: DeLong's,    the difference (AUC: paired DeLong)
                                                 average precision: jackknife)
distance   KS                                    normal, less its known excess   bootstrap, same weights for both
decided    accuracy, precision, recall, F1       Wilson where it is a share,     bootstrap of (class, decision,
                                                 else bootstrap of the counts    decision); accuracy: Tango
scored     scikit-learn's scorers                bootstrap of 50,000 rows        the same rows for both; of decisions
                                                                                 as "decided"
========== ===================================== =============================== ====================================
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit
from scipy.stats import norm

from sluiceway.core.verdict import Direction
from sluiceway.gates.scored_rows import Doubt, PairedRows, ScoredRows
from sluiceway.gates.statistics.auc import smallest_class
from sluiceway.gates.statistics.intervals import (
    MOST_ROWS,
    bootstrap_counts,
    deviations,
    percentiles,
    rule_of_three,
    student,
    wilson,
)
from sluiceway.gates.statistics.ks import ks, ks_difference, ks_interval
from sluiceway.gates.statistics.proportions import paired_difference

Array = npt.NDArray[Any]
Task = Literal["binary", "multiclass", "regression"]
DRAWN_CELLS = 4_000_000  # of all resampled confusion matrices together; bounds memory where there are many classes
NO_SPREAD = 1e-12  # what rounding leaves of no difference at all
SLOW_RESAMPLES = 200  # of metrics that are computed from scratch for each


@dataclass(frozen=True)
class Difference:
    """How much larger a metric is of one model than of another.

    Attributes:
        value: first minus second.
        low: lower bound; NaN where there is none.
        high: upper bound.
        error: standard error of the value.
    """

    value: float
    low: float = math.nan
    high: float = math.nan
    error: float = math.nan


@dataclass(frozen=True)
class Metric(ABC):
    """One metric.

    Attributes:
        name: as in the configuration.
        direction: AT_LEAST for scores, AT_MOST for losses and errors.
        task: kind of model that it is for.
    """

    name: str
    direction: Direction
    task: Task

    @abstractmethod
    def value(self, rows: ScoredRows) -> float:
        """The metric of rows that are not blank; NaN where it is not defined."""

    @abstractmethod
    def interval(self, rows: ScoredRows, value: float, doubt: Doubt) -> tuple[float, float]:
        """Two-sided bounds of a value that there is; NaN where there are none."""

    @abstractmethod
    def difference(self, pair: PairedRows, values: tuple[float, float], doubt: Doubt) -> Difference:
        """First minus second model, whose values there are."""


@dataclass(frozen=True)
class SummedMetric(Metric):
    """A metric whose error is a sum over the rows.

    Attributes:
        formula: (labels, scores) -> value.
        parts: (labels, scores) -> (what each row adds to the error, shape (n,); how much the value is too large on
            average, 0 but for the average precision).
        bounds: ``share`` on the logit scale, between 0 and 1; ``loss`` on the logarithm's, so that it stays above 0;
            ``explained`` on that of the unexplained rest.
    """

    formula: Callable[[Array, Array], float]
    parts: Callable[[Array, Array], tuple[Array, float]]
    bounds: Literal["share", "loss", "explained"]

    def value(self, rows: ScoredRows) -> float:
        """See :meth:`Metric.value`."""
        return self.formula(rows.labels, rows.scores)

    def interval(self, rows: ScoredRows, value: float, doubt: Doubt) -> tuple[float, float]:
        """Normal on the metric's own scale."""
        parts, excess = self.parts(rows.labels, rows.scores)
        error, support = _error(parts), self._support(rows)
        half = student(error, support - 1, alpha=doubt.alpha)
        if self.bounds == "share":
            return _share_bounds(value, excess, half, rule_of_three(support, alpha=doubt.alpha))
        size = value if self.bounds == "loss" else 1 - value
        if size <= 0 or not math.isfinite(half):
            return (value, value) if error == 0 else (math.nan, math.nan)
        factor = math.exp(min(half / size, 700.0))  # what a float holds; two rows can be as uncertain as that
        low, high = size / factor, size * factor
        return (low, high) if self.bounds == "loss" else (1 - high, 1 - low)

    def difference(self, pair: PairedRows, values: tuple[float, float], doubt: Doubt) -> Difference:
        """Normal; scores that are the same on all rows are judged by the rule of three."""
        first, second = (self.parts(rows.labels, rows.scores) for rows in (pair.first, pair.second))
        value, error, support = values[0] - values[1], _error(first[0] - second[0]), self._support(pair.first)
        if error == 0:
            # On a row that is not in the sample they may differ by as much as the metric itself.
            size = {"share": 1.0, "loss": abs(values[0]), "explained": 1 - values[0]}[self.bounds]
            return _same(value, rule_of_three(support, alpha=doubt.alpha) * size, doubt)
        half, centre = student(error, support - 1, alpha=doubt.alpha), value - (first[1] - second[1])
        return Difference(value, centre - half, centre + half, error)

    def _support(self, rows: ScoredRows) -> int:
        """What the error is estimated on: rows of the smallest class, or all."""
        return smallest_class(rows.labels, rows.classes) if self.bounds == "share" else len(rows.labels)


@dataclass(frozen=True)
class DistanceMetric(Metric):
    """The Kolmogorov-Smirnov distance, see ``statistics.ks``."""

    def value(self, rows: ScoredRows) -> float:
        """See :meth:`Metric.value`."""
        return ks(rows.labels, rows.scores)

    def interval(self, rows: ScoredRows, value: float, doubt: Doubt) -> tuple[float, float]:
        """Normal, less what a largest distance is too large by."""
        return ks_interval(rows.labels, rows.scores, alpha=doubt.alpha)

    def difference(self, pair: PairedRows, values: tuple[float, float], doubt: Doubt) -> Difference:
        """Normal with the spread over resamples; the rule of three where both models rank all rows alike."""
        value, first = values[0] - values[1], pair.first
        low, high, error = ks_difference(
            first.labels,
            first.scores,
            pair.second.scores,
            alpha=doubt.alpha,
            resamples=doubt.resamples,
            seed=doubt.seed,
        )
        if error == 0:
            return _same(value, rule_of_three(smallest_class(first.labels, 2), alpha=doubt.alpha), doubt)
        return Difference(value, low, high, error)


@dataclass(frozen=True)
class DecidedMetric(Metric):
    """A metric of decisions.

    Attributes:
        formula: from confusion counts of shape (..., k * k), see ``ScoredRows.counts``, to values of shape (...).
        share: from counts of shape (k * k,) to (so many, of so many), where the metric is a share.
        of_share: from that share to the metric; it rises.
    """

    formula: Callable[[Array], Array]
    share: Callable[[Array], tuple[int, int]] | None = None
    of_share: Callable[[float], float] = float

    def value(self, rows: ScoredRows) -> float:
        """See :meth:`Metric.value`."""
        return math.nan if rows.counts is None else float(self.formula(rows.counts))

    def interval(self, rows: ScoredRows, value: float, doubt: Doubt) -> tuple[float, float]:
        """Wilson of a share, else the bootstrap of the counts."""
        counts = rows.counts
        if counts is None:
            return math.nan, math.nan
        if self.share is not None:
            hits, of = self.share(counts)
            if of == 0:  # no positive decision: the metric is set, not estimated
                return value, value
            low, high = wilson(hits, of, alpha=doubt.alpha)
            return self.of_share(low), self.of_share(high)
        draws = max(200, min(2000, DRAWN_CELLS // len(counts)))
        return bootstrap_counts(self.formula, counts.tolist(), alpha=doubt.alpha, seed=doubt.seed, resamples=draws)

    def difference(self, pair: PairedRows, values: tuple[float, float], doubt: Doubt) -> Difference:
        """Tango's score limits of the accuracy, else the bootstrap of the joint counts."""
        value, joint = values[0] - values[1], pair.counts
        if joint is None:
            return Difference(value)
        first, second = joint.draws(self.formula, seed=doubt.seed)
        drawn = _known(first - second)
        if len(drawn) == 0:
            return Difference(value)
        error = float(drawn.std())
        if self.name == "accuracy":
            return Difference(*paired_difference(joint.pairs(), alpha=doubt.alpha / 2), error)
        return Difference(value, *percentiles(drawn, alpha=doubt.alpha), error)


@dataclass(frozen=True)
class ScoredMetric(Metric):
    """Anything else: computed again for each resample of rows.

    Attributes:
        formula: of rows; NaN where it cannot be computed.
        of_decisions: it depends on what is decided, not on the scores themselves.
    """

    formula: Callable[[ScoredRows], float]
    of_decisions: bool = False

    def value(self, rows: ScoredRows) -> float:
        """See :meth:`Metric.value`."""
        return self.formula(rows)

    def interval(self, rows: ScoredRows, value: float, doubt: Doubt) -> tuple[float, float]:
        """Percentile bootstrap of the rows, see :func:`~sluiceway.gates.statistics.intervals.deviations`."""
        drawn = deviations(
            lambda chosen: self.formula(_chosen(rows, chosen)),
            len(rows.labels),
            resamples=min(SLOW_RESAMPLES, doubt.resamples),
            seed=doubt.seed,
        )
        known = _known(drawn)
        if len(known) and known.std() <= NO_SPREAD * max(1.0, abs(value)):
            half, best = self._hidden(value, rows, doubt), 0.0 if self.name.startswith("neg_") else 1.0
            return value - half, max(value, min(best, value + half))
        return percentiles(value + drawn, alpha=doubt.alpha)

    def difference(self, pair: PairedRows, values: tuple[float, float], doubt: Doubt) -> Difference:
        """The same, of the difference on the same resamples; of decisions the bootstrap of the joint counts."""
        value, resamples = values[0] - values[1], min(SLOW_RESAMPLES, doubt.resamples)
        joint = pair.counts if self.of_decisions and len(pair.first.labels) <= MOST_ROWS else None
        if joint is not None:
            first, second = joint.draws(self._of_counts, resamples=resamples, seed=doubt.seed)
            drawn = first - second
        else:
            drawn = value + deviations(
                lambda chosen: self.formula(_chosen(pair.first, chosen)) - self.formula(_chosen(pair.second, chosen)),
                len(pair.first.labels),
                resamples=resamples,
                seed=doubt.seed,
            )
        known = _known(drawn)
        if len(known) == 0:
            return Difference(value)
        error = float(known.std())
        if error <= NO_SPREAD * max(1.0, abs(values[0])):
            return self._same(value, values[0], pair.first, doubt)
        return Difference(value, *percentiles(drawn, alpha=doubt.alpha), error)

    def _of_counts(self, counts: Array) -> Array:
        """The formula of rows with these decisions, from confusion counts of shape (resamples, k * k)."""
        k = math.isqrt(counts.shape[-1])
        cells = np.arange(k * k)
        scores = (cells % k).astype(np.float64) if k == 2 else np.eye(k)[cells % k]
        each = ScoredRows((cells // k).astype(np.float64), scores, 0.5)
        whole = counts.astype(np.int64)
        return np.array([self.formula(_chosen(each, np.repeat(cells, drawn))) for drawn in whole])

    def _same(self, value: float, first: float, rows: ScoredRows, doubt: Doubt) -> Difference:
        """By the rule of three; no interval where both models are without any error."""
        half = self._hidden(first, rows, doubt)
        return _same(value, half, doubt) if half > 0 else Difference(value)

    def _hidden(self, value: float, rows: ScoredRows, doubt: Doubt) -> float:
        """What rows that are not in the sample may change, where no row of it makes any difference: rule of three."""
        numbers = self.task == "regression"
        size = abs(value) if self.name.startswith("neg_") else 1 - value if numbers else 1.0
        support = len(rows.labels) if numbers else smallest_class(rows.labels, rows.classes)
        return float(rule_of_three(support, alpha=doubt.alpha)) * size


def _share_bounds(value: float, excess: float, half: float, slack: float) -> tuple[float, float]:
    """Bounds of a metric between 0 and 1, normal on the logit scale.

    Args:
        value: the metric.
        excess: how much it is too large on average.
        half: half the width of its interval.
        slack: what may hide behind a value of 0 or 1, which has no width to speak of.
    """
    if not math.isfinite(half):
        return math.nan, math.nan
    centre = value - excess
    if not (0 < value < 1 and 0 < centre < 1) or half == 0:
        return max(0.0, value - slack), min(1.0, value + slack)
    half /= centre * (1 - centre)
    return float(expit(logit(centre) - half)), float(expit(logit(centre) + half))


def _same(value: float, half: float, doubt: Doubt) -> Difference:
    """Two models that differ on no row: a standard error that belongs to this half width."""
    return Difference(value, value - half, value + half, half / float(norm.ppf(1 - doubt.alpha / 2)))


def _chosen(rows: ScoredRows, chosen: Array) -> ScoredRows:
    return ScoredRows(rows.labels[chosen], rows.scores[chosen], rows.threshold)


def _known(drawn: Array) -> Array:
    """Draws that could be taken; none where that is fewer than half of them."""
    known: Array = drawn[~np.isnan(drawn)]
    return known if 2 * len(known) >= len(drawn) else known[:0]


def _error(parts: Array) -> float:
    return math.sqrt(float((parts**2).sum()))
