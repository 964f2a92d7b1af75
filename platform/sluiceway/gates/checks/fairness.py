"""Are groups of people (or of anything else) served alike?

For every protected attribute, and for the attributes that are to be taken together, it measures each group: AUC,
selection rate (share of positive decisions), true positive rate, false positive rate and precision. Of several classes
the accuracy takes the place of the AUC, of a regression the mean absolute error relative to that of all rows; rates of
decisions are then left out. A missing value is a group of its own, "(missing)".

What is judged, one verdict each:

  ATTRIBUTE AUC gap                        the best group minus the worst; limit max_disparity
  ATTRIBUTE demographic parity difference  of the selection rate; limit max_demographic_parity
  ATTRIBUTE equal opportunity difference   of the true positive rate; limit max_equal_opportunity
  ATTRIBUTE equalized odds difference      of true or false positive rate, the larger; limit max_equalized_odds
  ATTRIBUTE AUC gap above the champion's   on the same rows and groups; limit max_gap_increase
  ATTRIBUTE missing groups                 none of `groups`, nor a large one of the training rows, without a test row

Without its limit a difference is shown and not judged.

How: a difference within the limit is a PASS. Beyond it, FAIL says that it is no chance: the lower bound of the 95 %
interval is beyond the limit, too, with a correction for all pairs of groups; otherwise INCONCLUSIVE, with the rows that
would settle it. The difference from the champion's gap has an interval that knows that both scored the same rows.

Groups below min_group_rows, or with fewer than min_group_positives rows of a class, are listed and not judged; with
fewer than two others the verdict is INCONCLUSIVE. A column that is not there FAILs, and so does one of many numbers: an
age is a measurement and no group, put it into bins first.

When it fails: the line names the worst and the best group. Look at its rows in the report (few rows, few positives,
other labels, a feature that is missing there); train with more of them or with weights; or raise the limit and say why.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy.stats import norm

from sluiceway.config.gates import FairnessSection
from sluiceway.core.verdict import Direction, Measurement, Severity, Status, Threshold, Verdict, judge, tells_apart
from sluiceway.gates.context import Champion, Gate, GateContext, GateOutput
from sluiceway.gates.drawn import GroupScore, ReportData
from sluiceway.gates.group_metrics import COMPARED, GroupMetrics, JudgedRows, Rate, measure_groups
from sluiceway.gates.group_presence import missing_groups
from sluiceway.gates.groups import attribute_name, groups_of, groups_of_values, listed
from sluiceway.gates.metrics import Task
from sluiceway.gates.statistics.differences import largest_gap

Array = npt.NDArray[Any]
NAME = "fairness"
ALPHA = 0.05  # of all pairs of groups of one difference together, two-sided
DRAWN = 200  # groups in the report, of all attributes together

# Name of the difference, option with its limit, rates that it looks at.
_DECISIONS = (
    ("demographic parity difference", "max_demographic_parity", ("selection rate",)),
    ("equal opportunity difference", "max_equal_opportunity", ("true positive rate",)),
    ("equalized odds difference", "max_equalized_odds", ("true positive rate", "false positive rate")),
)


def run(context: GateContext) -> GateOutput:
    """The gate."""
    section = context.section
    assert isinstance(section, FairnessSection)
    scored = JudgedRows(context.labels, context.scores, context.task, context.threshold)
    output = fairness(context.test_rows, scored, section=section, train=context.train_rows, champion=context.champion)
    if not context.champion_error or not section.attributes:
        return output
    # The gate `champion` makes an ERROR of it; here it must only not go unsaid.
    measurement = Measurement("gap above the champion's", None, len(context.labels))
    unknown = Verdict(NAME, Status.INCONCLUSIVE, measurement, reason=context.champion_error, severity=Severity.WARN)
    return dataclasses.replace(output, verdicts=(*output.verdicts, unknown))


def fairness(
    rows: pa.Table,
    scored: JudgedRows,
    *,
    section: FairnessSection,
    train: pa.Table | None = None,
    champion: Champion | None = None,
) -> GateOutput:
    """Judge every protected attribute and intersection.

    Args:
        rows: test rows with the protected columns.
        scored: their labels and scores.
        section: attributes, limits, smallest groups.
        train: training rows with the protected columns; their large groups have to be among the test rows.
        champion: the model that serves now, on the same rows.
    """
    n = rows.num_rows
    if not section.attributes:
        status = Status.PASS if n else Status.INCONCLUSIVE
        reason = "no protected attribute is declared"
        return GateOutput((Verdict(NAME, status, Measurement("protected attributes", 0, n), reason=reason),))
    wrong = int(
        np.isnan(scored.scores).any(axis=-1).sum() if scored.scores.ndim == 2 else np.isnan(scored.scores).sum()
    )
    if wrong:
        measurement = Measurement("rows without a score", wrong, n)
        return GateOutput((judge(NAME, measurement, Threshold(0, Direction.AT_MOST)),))
    champion_rows = champion and JudgedRows(scored.labels, champion.scores, scored.task)
    verdicts: list[Verdict] = []
    drawn: list[GroupScore] = []
    for columns in section.attributes:
        groups = groups_of(rows, columns)
        if isinstance(groups, str):
            verdicts.append(_refused(attribute_name(columns), section, n, scored.task, groups))
            continue
        metrics = measure_groups(groups, scored, section)
        verdicts += (_gap(metrics, section), *_decisions(metrics, section))
        if champion and champion_rows:
            other = measure_groups(groups, champion_rows, section)
            verdicts.append(_increase(metrics, other, section, champion))
        verdicts += missing_groups(NAME, groups, section, None if train is None else groups_of(train, columns))
        drawn += metrics.scores(max(2, DRAWN // len(section.attributes)))
    return GateOutput(tuple(verdicts), ReportData(groups=tuple(drawn[:DRAWN])))


def group_scores(
    attribute: str,
    labels: Array,
    scores: Array,
    values: Sequence[Any] | pa.Array | pa.ChunkedArray,
    *,
    section: FairnessSection,
    task: Task = "binary",
    threshold: float | None = None,
) -> tuple[GroupScore, ...]:
    """Every group of one attribute, largest first."""
    rows = JudgedRows(np.asarray(labels, dtype=np.float64), np.asarray(scores, dtype=np.float64), task, threshold)
    return measure_groups(groups_of_values(attribute, values), rows, section).scores()


def _gap(metrics: GroupMetrics, section: FairnessSection) -> Verdict:
    name = f"{metrics.groups.attribute} {metrics.name} gap"
    limit = Threshold(section.max_disparity, Direction.AT_MOST)
    if metrics.judged.sum() < 2:
        return _too_few(name, metrics, metrics.judged, limit, section)
    named = "highest", "lowest"
    if metrics.task != "regression":
        named = "best", "worst"
    return _widest(name, metrics, [metrics], limit, named)


def _decisions(metrics: GroupMetrics, section: FairnessSection) -> list[Verdict]:
    verdicts = []
    for title, option, names in _DECISIONS:
        asked = getattr(section, option)
        name = f"{metrics.groups.attribute} {title}"
        limit = None if asked is None else Threshold(asked, Direction.AT_MOST)
        rates = [rate for rate in map(metrics.rate, names) if rate is not None]
        if not rates:
            if limit:
                verdict = judge(NAME, Measurement(name, None, max(1, len(metrics.groups.codes))), limit)
                of = "without a threshold" if metrics.task == "binary" else f"for a {metrics.task} model"
                verdicts.append(dataclasses.replace(verdict, reason=f"there are no positive decisions {of}"))
        elif rates[0].judged.sum() >= 2:
            verdicts.append(_widest(name, metrics, rates, limit, ("highest", "lowest")))
        elif limit:
            verdicts.append(_too_few(name, metrics, rates[0].judged, limit, section))
    return verdicts


def _widest(
    name: str,
    metrics: GroupMetrics,
    compared: Sequence[GroupMetrics | Rate],
    limit: Threshold | None,
    named: tuple[str, str],
) -> Verdict:
    """The largest gap between two judged groups, of one value or of several."""
    judged = np.flatnonzero(compared[0].judged)
    names = [metrics.groups.names[i] for i in judged]
    pairs = len(compared) * len(judged) * (len(judged) - 1) // 2
    gaps = []
    for each in compared:
        low, high = each.bounds(ALPHA / pairs)
        gaps.append((largest_gap(each.values[judged], low[judged], high[judged]), each))
    gap, of = max(gaps, key=lambda found: found[0].value)
    surest, sure_of = max(gaps, key=lambda found: found[0].low)
    ends = ", ".join(
        f"{word} {names[i]} {of.values[judged[i]]:.3f}"
        for word, i in zip(reversed(named), (gap.lowest, gap.highest), strict=True)
    )
    said = [f"in {_groups(metrics, judged)}", f"{of.name}: {ends}" if len(compared) > 1 else ends]
    if limit and surest.low > limit.limit and (surest.surest != (gap.highest, gap.lowest) or sure_of is not of):
        higher, lower = surest.surest
        said.append(f"surest {sure_of.name}: {names[lower]} below {names[higher]} by at least {surest.low:.3f}")
    said += _small(metrics, compared[0].judged)
    ceiling = math.inf if metrics.task == "regression" else 1.0
    upper = min(ceiling, max(found.high for found, _ in gaps))
    n = int(metrics.groups.rows[judged].sum())
    measurement = Measurement(name, gap.value, n, surest.low, upper, detail="; ".join(said))
    if limit is None:
        return Verdict(NAME, Status.PASS, measurement, reason="reported, not judged")
    return tells_apart(NAME, measurement, limit)


def _increase(metrics: GroupMetrics, other: GroupMetrics, section: FairnessSection, champion: Champion) -> Verdict:
    """The gap minus the champion's: a sum of values with signs, of groups whose rows are independent."""
    name = f"{metrics.groups.attribute} {metrics.name} gap above the champion's"
    limit = Threshold(section.max_gap_increase, Direction.AT_MOST)
    judged = np.flatnonzero(metrics.judged)
    n = int(metrics.groups.rows[judged].sum())
    if len(judged) < 2:
        return _too_few(name, metrics, metrics.judged, limit, section)
    if np.isnan(other.values[judged]).any():
        reason = f"the champion, version {champion.version}, gave scores that are no numbers"
        return Verdict(NAME, Status.INCONCLUSIVE, Measurement(name, None, n), limit, reason, severity=Severity.WARN)
    gaps, signs, said = [], [], []
    for model, known in ((f"champion version {champion.version}", other), ("candidate", metrics)):
        values = known.values[judged]
        highest, lowest = int(values.argmax()), int(values.argmin())
        sign = np.zeros(len(metrics.groups.names))
        sign[judged[highest]], sign[judged[lowest]] = 1.0, -1.0
        gaps.append(float(values[highest] - values[lowest]))
        signs.append(sign)
        names = [metrics.groups.names[judged[i]] for i in (lowest, highest)]
        said.append(f"{model} {gaps[-1]:.3f} ({names[0]} to {names[1]})")
    influence = signs[1][metrics.groups.codes] * metrics.influence - signs[0][metrics.groups.codes] * other.influence
    pairs = len(judged) * (len(judged) - 1) / 2
    half = float(norm.ppf(1 - ALPHA / 2 / pairs)) * math.sqrt(float(np.nansum(influence**2)))
    value = gaps[1] - gaps[0]
    detail = "; ".join([f"in {_groups(metrics, judged)}", *said, *_small(metrics, metrics.judged)])
    verdict = tells_apart(NAME, Measurement(name, value, n, value - half, value + half, detail=detail), limit)
    reason = "; ".join(part for part in (verdict.reason, champion.note) if part)
    return dataclasses.replace(verdict, reason=reason)


def _too_few(name: str, metrics: GroupMetrics, judged: Array, limit: Threshold, section: FairnessSection) -> Verdict:
    each = f" and {section.min_group_positives} of each class" if metrics.task == "binary" else ""
    why = f"fewer than two groups of {section.min_group_rows} rows{each}"
    detail = "; ".join(_small(metrics, judged))
    n = metrics.groups.rows
    measurement = Measurement(name, None, int(n[judged].sum()), detail=detail)
    lacking = section.min_group_rows / n
    if metrics.task == "binary":
        rarer = np.minimum(metrics.positives, n - metrics.positives)
        # Of a group with one class only nobody knows how many rows would bring the other.
        lacking = np.where(rarer > 0, np.maximum(lacking, section.min_group_positives / np.maximum(rarer, 1)), np.inf)
    # So many times these rows, and a second group is large enough.
    times = float(np.sort(lacking)[1]) if len(lacking) > 1 else math.inf
    enough = math.ceil(len(metrics.groups.codes) * times) if math.isfinite(times) else None
    return Verdict(NAME, Status.INCONCLUSIVE, measurement, limit, why, enough=enough)


def _refused(attribute: str, section: FairnessSection, n: int, task: Task, reason: str) -> Verdict:
    measurement = Measurement(f"{attribute} {COMPARED[task]} gap", None, n)
    return Verdict(NAME, Status.FAIL, measurement, Threshold(section.max_disparity, Direction.AT_MOST), reason)


def _groups(metrics: GroupMetrics, judged: Array) -> str:
    return f"{len(judged)} groups, smallest {int(metrics.groups.rows[judged].min()):,}"


def _small(metrics: GroupMetrics, judged: Array) -> list[str]:
    n = metrics.groups.rows
    small = sorted(np.flatnonzero(~judged), key=lambda i: (-n[i], metrics.groups.names[i]))
    named = listed([f"{metrics.groups.names[i]} ({n[i]:,} rows)" for i in small])
    return [f"too small to judge: {named}"] if named else []


GATE = Gate(NAME, "are groups served alike?", run, frozenset({"test", "train", "champion"}))
