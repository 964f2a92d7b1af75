"""The numbers that the report draws; bounded in size, computed where the rows are, JSON-ready."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from pydantic import TypeAdapter


@dataclass(frozen=True)
class CurvePoint:
    """One point of a curve.

    Attributes:
        x: false positive rate, or recall.
        y: true positive rate, or precision.
        low: lower bound of y, 95 %.
        high: upper bound.
    """

    x: float
    y: float
    low: float
    high: float


@dataclass(frozen=True)
class CalibrationBin:
    """Rows of about the same score.

    Attributes:
        predicted: their average score.
        observed: share of positives among them.
        low: lower bound of that share, 95 %.
        high: upper bound.
        n: rows.
    """

    predicted: float
    observed: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class ClassScore:
    """How well one of several classes is told from the others.

    Attributes:
        name: the class, as text.
        n: its rows.
        decided: rows that were decided as it.
        precision: share of right ones among these; 0 where there are none.
        recall: share of its rows that were decided as it; NaN without rows.
        f1: of both.
        auc: of its probability, its rows against all others; NaN without rows of either.
        taken_for: the other class that its rows were most often decided as, and how many; empty where there is none.
    """

    name: str
    n: int
    decided: int
    precision: float
    recall: float
    f1: float
    auc: float
    taken_for: str


@dataclass(frozen=True)
class GroupScore:
    """How well one group is served.

    Attributes:
        attribute: the protected column.
        group: its value.
        n: rows.
        positives: rows with label 1 (0 for regression and for several classes).
        value: AUC; of several classes the accuracy; of a regression the mean absolute error over that of all rows;
            NaN where it cannot be taken.
        low: lower bound, 95 %.
        high: upper bound.
        variance: sampling variance of the value.
        judged: large enough to count.
        selection_rate: share of positive decisions; NaN where nothing is decided.
        true_positive_rate: share of these among rows with label 1; NaN without such rows.
        false_positive_rate: share of these among rows with label 0; NaN without such rows.
        precision: share of label 1 among positive decisions; NaN without any.
    """

    attribute: str
    group: str
    n: int
    positives: int
    value: float
    low: float
    high: float
    variance: float
    judged: bool
    selection_rate: float = math.nan
    true_positive_rate: float = math.nan
    false_positive_rate: float = math.nan
    precision: float = math.nan


@dataclass(frozen=True)
class Disturbance:
    """What one disturbance of the input did.

    Attributes:
        kind: ``noise``, ``missing``, ``unseen``, ``range`` or ``unit``.
        feature: that was disturbed; "" for all at once.
        size: of the noise in standard deviations; share of missing values; 1 above and -1 below the observed range; 0
            otherwise.
        loss: of the main metric, relative.
        low: lower bound, 95 %; NaN where none was taken.
        high: upper bound.
        flips: share of decisions that changed; NaN where nothing is decided.
        champion_loss: what the champion lost; NaN without one, and where one feature's loss is within the limit.
        limit: it was held against, or NaN where it is only shown.
    """

    kind: str
    feature: str
    size: float
    loss: float
    low: float
    high: float
    flips: float
    champion_loss: float
    limit: float


@dataclass(frozen=True)
class SliceScore:
    """One part of the test rows by itself.

    Attributes:
        name: what it is.
        found: ``declared`` or ``discovered``.
        n: rows that were judged.
        value: main metric of the slice.
        low: lower bound, 95 %.
        high: upper bound.
        whole: main metric of all rows.
        judged: large enough to count.
        loss: what was held against the limit: how much worse than all rows it is, of a discovered one also than what
            its scores promise.
        loss_low: lower bound of the loss, corrected for the number of slices.
        confirmed: of a discovered one, the other half of the rows says the same.
    """

    name: str
    found: str
    n: int
    value: float
    low: float
    high: float
    whole: float
    judged: bool
    loss: float = math.nan
    loss_low: float = math.nan
    confirmed: bool = False


@dataclass(frozen=True)
class DriftScore:
    """One feature of the training rows against another version's.

    Attributes:
        feature: the column.
        against: ``champion`` or ``production``.
        value: population stability index.
        limit: it was held against, or NaN where it is only shown.
    """

    feature: str
    against: str
    value: float
    limit: float


@dataclass(frozen=True)
class ReportData:
    """What there is to draw; every part may be empty.

    Attributes:
        roc: true positive rate by false positive rate, rising, at most 200 points.
        roc_champion: the champion's on the same rows.
        precision_recall: precision by recall, at most 200 points.
        precision_recall_champion: the champion's on the same rows.
        calibration: bins of equally many rows; of several classes it is that of the decided one.
        classes: of a model of several classes, in the order of its scores.
        confusion: rows of each class by the class that was decided, where there are not too many to read.
        groups: groups of the protected attributes.
        disturbances: of the gate ``robustness``.
        slices: declared and discovered ones.
        drift: of the features, largest first.
        folds: (name of the fold, value of the metric).
        fold_metric: name of that metric.
    """

    roc: tuple[CurvePoint, ...] = ()
    roc_champion: tuple[CurvePoint, ...] = ()
    precision_recall: tuple[CurvePoint, ...] = ()
    precision_recall_champion: tuple[CurvePoint, ...] = ()
    calibration: tuple[CalibrationBin, ...] = ()
    classes: tuple[ClassScore, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()
    groups: tuple[GroupScore, ...] = ()
    disturbances: tuple[Disturbance, ...] = ()
    slices: tuple[SliceScore, ...] = ()
    drift: tuple[DriftScore, ...] = ()
    folds: tuple[tuple[str, float], ...] = ()
    fold_metric: str = ""

    def merged(self, other: ReportData) -> ReportData:
        """The parts of both, one behind the other."""
        return ReportData(**{part.name: getattr(self, part.name) + getattr(other, part.name) for part in fields(self)})

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form, but for NaN."""
        return asdict(self)

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> ReportData:
        """The inverse of :meth:`to_dict`."""
        return TypeAdapter(cls).validate_python(document)
