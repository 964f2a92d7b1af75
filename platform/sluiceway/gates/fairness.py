"""Gate: are groups served alike?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from scipy.stats import norm

from sluiceway.config.evaluation import FairnessSection
from sluiceway.core.verdict import Direction, GateResult, Measurement, Status, Threshold, Verdict
from sluiceway.gates.metrics import Task
from sluiceway.gates.statistics.auc import auc_interval, auc_variance
from sluiceway.gates.statistics.intervals import wilson

Array = npt.NDArray[Any]
GATE = "fairness"
COMPARED: dict[Task, str] = {"binary": "AUC", "multiclass": "accuracy", "regression": "relative error"}
LISTED = 8  # small groups named in a verdict; the report has all


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


def fairness(
    labels: Array,
    scores: Array,
    groups: Mapping[str, Sequence[Any] | pa.Array | pa.ChunkedArray],
    *,
    section: FairnessSection,
    task: Task = "binary",
) -> GateResult:
    """Per protected attribute, the largest difference of AUC (or what ``task`` says) between two groups.

    At or below the limit is a PASS. Above it the difference has to be more than chance to be a FAIL: the lower bound
    of the interval of the two extreme groups (Bonferroni over all pairs of groups) is above the limit; otherwise
    INCONCLUSIVE. Both block.

    Args:
        labels: shape (n,), 0 or 1; places of the classes; real numbers for regression.
        scores: shape (n,); shape (n, k) of several classes.
        groups: values of each protected attribute, n each; null is a group of its own.
        section: attributes, limit, smallest groups.
        task: AUC's place is taken by the accuracy for several classes, and for regression by the mean absolute error
            of a group relative to that of all rows.
    """
    names = section.protected_attributes
    n = len(labels)
    if not names:
        measurement = Measurement("protected attributes", 0, n)
        status = Status.PASS if n else Status.INCONCLUSIVE
        return GateResult(GATE, (Verdict(GATE, status, measurement, reason="no protected attribute is declared"),))
    verdicts = [
        _judge(name, group_scores(name, labels, scores, groups[name], section=section, task=task), section, task)
        if name in groups
        else _missing(name, section, n, task)
        for name in names
    ]
    return GateResult(GATE, tuple(verdicts))


def group_scores(
    attribute: str,
    labels: Array,
    scores: Array,
    values: Sequence[Any] | pa.Array | pa.ChunkedArray,
    *,
    section: FairnessSection,
    task: Task = "binary",
) -> tuple[GroupScore, ...]:
    """Every group of one attribute, largest first."""
    labels, scores = np.asarray(labels, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    column = values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values)
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    encoded = pc.dictionary_encode(pc.fill_null(pc.cast(column, pa.string()), "(missing)"))
    codes = encoded.indices.to_numpy(zero_copy_only=False)
    found = []
    if task == "binary":
        for code, name in enumerate(encoded.dictionary.to_pylist()):
            found.append(_ranked(attribute, name, labels[codes == code], scores[codes == code], section))
    else:
        values = _right(labels, scores) if task == "multiclass" else _relative_errors(labels, scores)
        for code, name in enumerate(encoded.dictionary.to_pylist()):
            found.append(_averaged(attribute, name, values[codes == code], section, shares=task == "multiclass"))
    return tuple(sorted(found, key=lambda g: (-g.n, g.group)))


def _ranked(attribute: str, name: str, labels: Array, scores: Array, section: FairnessSection) -> GroupScore:
    n, positives = len(labels), int((labels == 1).sum())
    value, variance = auc_variance(labels, scores)
    _, low, high = auc_interval(labels, scores)
    enough = n >= section.min_group_rows and min(positives, n - positives) >= section.min_group_positives
    return GroupScore(attribute, name, n, positives, value, low, high, variance, enough and not math.isnan(value))


def _averaged(attribute: str, name: str, values: Array, section: FairnessSection, *, shares: bool) -> GroupScore:
    n = len(values)
    value, variance = float(values.mean()), float(values.var() / n)
    if shares:
        # Agresti and Coull's two more of each: a group that is always right is not known to be so for certain.
        share = (float(values.sum()) + 2) / (n + 4)
        variance = share * (1 - share) / (n + 4)
    half = float(norm.ppf(0.975)) * math.sqrt(variance)
    low, high = (wilson(int(values.sum()), n)) if shares else (value - half, value + half)
    enough = n >= section.min_group_rows and not math.isnan(value)
    return GroupScore(attribute, name, n, 0, value, low, high, variance, enough)


def _right(labels: Array, scores: Array) -> Array:
    result: Array = (scores.argmax(axis=1) == labels).astype(np.float64)
    return result


def _relative_errors(labels: Array, scores: Array) -> Array:
    errors = np.abs(scores - labels)
    overall = float(errors.mean()) if len(errors) else 0.0
    return errors / overall if overall else np.zeros(len(errors))


def _judge(attribute: str, found: tuple[GroupScore, ...], section: FairnessSection, task: Task) -> Verdict:
    judged = [g for g in found if g.judged]
    small = [f"{g.group} ({g.n} rows)" for g in found if not g.judged]
    more = f" and {len(small) - LISTED} more" if len(small) > LISTED else ""
    too_small = f"too small to judge: {', '.join(small[:LISTED])}{more}" if small else ""
    name = f"{COMPARED[task]} gap by {attribute}"
    limit = Threshold(section.max_disparity, Direction.AT_MOST)
    n = sum(g.n for g in judged)
    if len(judged) < 2:
        each = f" and {section.min_group_positives} of each class" if task == "binary" else ""
        why = f"fewer than two groups of {section.min_group_rows} rows{each}"
        return Verdict(GATE, Status.INCONCLUSIVE, Measurement(name, None, n, detail=too_small), limit, why)
    best, worst = max(judged, key=lambda g: g.value), min(judged, key=lambda g: g.value)
    gap = best.value - worst.value
    pairs = len(judged) * (len(judged) - 1) / 2
    half = float(norm.ppf(1 - 0.025 / pairs)) * math.sqrt(best.variance + worst.variance)
    detail = f"{worst.group} {worst.value:.3f}, {best.group} {best.value:.3f}"
    low = max(0.0, gap - half)
    measurement = Measurement(
        name, gap, n, low, min(1.0, gap + half), detail=f"{detail}; {too_small}" if too_small else detail
    )
    if gap <= limit.limit:
        return Verdict(GATE, Status.PASS, measurement, limit)
    if low > limit.limit:
        return Verdict(GATE, Status.FAIL, measurement, limit)
    return Verdict(GATE, Status.INCONCLUSIVE, measurement, limit, "above the limit, but it may be chance")


def _missing(attribute: str, section: FairnessSection, n: int, task: Task) -> Verdict:
    measurement = Measurement(f"{COMPARED[task]} gap by {attribute}", None, n)
    reason = f"the protected attribute {attribute!r} is not a column of the test rows"
    return Verdict(GATE, Status.FAIL, measurement, Threshold(section.max_disparity, Direction.AT_MOST), reason)
