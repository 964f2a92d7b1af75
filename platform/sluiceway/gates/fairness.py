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

Array = npt.NDArray[Any]
GATE = "fairness"
LISTED = 8  # small groups named in a verdict; the report has all


@dataclass(frozen=True)
class GroupScore:
    """How well one group is served.

    Attributes:
        attribute: the protected column.
        group: its value.
        n: rows.
        positives: rows with label 1 (0 for regression).
        value: AUC, or the mean absolute error over that of all rows; NaN where it cannot be taken.
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
    """Per protected attribute, the largest difference of AUC between two groups.

    At or below the limit is a PASS. Above it the difference has to be more than chance to be a FAIL: the lower bound
    of the interval of the two extreme groups (Bonferroni over all pairs of groups) is above the limit; otherwise
    INCONCLUSIVE. Both block.

    Args:
        labels: shape (n,), 0 or 1; real numbers for regression.
        scores: shape (n,).
        groups: values of each protected attribute, n each; null is a group of its own.
        section: attributes, limit, smallest groups.
        task: for regression, the mean absolute error of a group relative to that of all rows takes AUC's place.
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
        else _missing(name, section, n)
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
    overall = float(np.abs(scores - labels).mean()) if len(labels) else math.nan
    found = []
    for code, name in enumerate(encoded.dictionary.to_pylist()):
        rows = codes == code
        found.append(
            _score(attribute, name, labels[rows], scores[rows], section, None if task == "binary" else overall)
        )
    return tuple(sorted(found, key=lambda g: (-g.n, g.group)))


def _score(
    attribute: str, name: str, labels: Array, scores: Array, section: FairnessSection, overall: float | None
) -> GroupScore:
    n = len(labels)
    if overall is None:
        positives = int((labels == 1).sum())
        value, variance = auc_variance(labels, scores)
        _, low, high = auc_interval(labels, scores)
        enough = n >= section.min_group_rows and min(positives, n - positives) >= section.min_group_positives
    else:
        positives, enough = 0, n >= section.min_group_rows
        errors = np.abs(scores - labels) / overall if overall else np.zeros(n)
        value, variance = float(errors.mean()), float(errors.var() / n)
        half = float(norm.ppf(0.975)) * math.sqrt(variance)
        low, high = value - half, value + half
    return GroupScore(attribute, name, n, positives, value, low, high, variance, enough and not math.isnan(value))


def _judge(attribute: str, found: tuple[GroupScore, ...], section: FairnessSection, task: Task) -> Verdict:
    judged = [g for g in found if g.judged]
    small = [f"{g.group} ({g.n} rows)" for g in found if not g.judged]
    more = f" and {len(small) - LISTED} more" if len(small) > LISTED else ""
    too_small = f"too small to judge: {', '.join(small[:LISTED])}{more}" if small else ""
    kind = "AUC" if task == "binary" else "relative error"
    name = f"{kind} gap by {attribute}"
    limit = Threshold(section.max_disparity, Direction.AT_MOST)
    n = sum(g.n for g in judged)
    if len(judged) < 2:
        why = f"fewer than two groups of {section.min_group_rows} rows and {section.min_group_positives} of each class"
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


def _missing(attribute: str, section: FairnessSection, n: int) -> Verdict:
    measurement = Measurement(f"AUC gap by {attribute}", None, n)
    reason = f"the protected attribute {attribute!r} is not a column of the test rows"
    return Verdict(GATE, Status.FAIL, measurement, Threshold(section.max_disparity, Direction.AT_MOST), reason)
