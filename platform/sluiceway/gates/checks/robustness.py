"""Do small changes of the input matter more than they should?

Some test rows (`rows` at most, of all classes as many as there are, the same ones each time) are disturbed and scored
again. What counts is how much of the main metric is lost: AUC, the mean AUC of one class against the others where there
are several, the root mean squared error of a regression; relative to the undisturbed rows, with a 95 % interval that
takes the same rows for what they are, the same rows.

Judged, as "loss under ...":
  noise of each size of `noise_stds`, in standard deviations of each feature: on all numeric features at once, and on
    each alone, of which the worst is told. Whole numbers stay whole.
  missing values, a share of `missing_share`: in all features at once, and in each alone.
Shown, and judged where a limit is set:
  categories never seen, in each feature alone (`max_unseen_loss`);
  numbers out of range: as far beyond all observed ones as these are apart, above and below (`max_range_loss`);
  a unit error: numbers of one feature a thousand times too large (`max_unit_loss`).
Each feature alone is tried on 10,000 rows at most.

Fewer than 30 rows, or than 10 of one of two classes, are INCONCLUSIVE: a model that is right on all of 20 rows loses
nothing. So are disturbances of which none that is judged changes a value (small noise on whole numbers rounds to what
they were); where others do, it is said beside the loss. A loss up to the limit (`max_metric_loss`, 5 %) is a PASS.
Where the champion loses more than that on the same disturbed rows, the limit is what it loses: a candidate need not be
better than what serves. Beyond the limit it is a FAIL where all of the interval is, and INCONCLUSIVE where it may be
chance.
How many decisions change is told beside each loss, and judged as "decisions that change under ..." where `max_flips`
is set; a model that decides nothing then FAILs.

When it fails: the worst feature is named. A model that falls over small noise has learned values, not sizes (an
identifier, a leaked digit, a price that is a key); leave the feature out, round it, or give the trees less depth. One
that falls over missing values has never seen any: train with some. An accepted weakness is a waiver.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sluiceway.config.gates import RobustnessSection
from sluiceway.core.doors import Scorer
from sluiceway.core.verdict import Direction, Measurement, Status, Threshold, Verdict, tells_apart
from sluiceway.gates.checks.performance import reported
from sluiceway.gates.context import Gate, GateContext, GateOutput
from sluiceway.gates.disturbances import ABOVE, BELOW, Disturbances, Drawn, Kind, drawn_rows, ends_of
from sluiceway.gates.drawn import Disturbance, ReportData
from sluiceway.gates.enough_rows import FEWEST_ROWS, Lack, lack_of, only_class
from sluiceway.gates.statistics.intervals import wilson
from sluiceway.gates.statistics.row_parts import estimate_of, relative_change

Array = npt.NDArray[Any]
NAME = "robustness"
NOTHING = "nothing that is judged"  # the part that says so
UNCHANGED = "no value was changed by any disturbance that is judged"
# Of what is judged: this task changes values, only others do, none does.
Effect = Literal["changes", "others change", "none change"]
ALONE_ROWS = 10_000  # a loss is seen on far fewer, and there are many features
MOST_POINTS = 50  # of one part in the report
MOST_NAMES = 5  # of features in one line


@dataclass(frozen=True)
class Plan:
    """One task of the gate.

    Attributes:
        name: of the part, and of what is measured: "loss under NAME".
        kind: of disturbance.
        size: standard deviations of noise, or share of missing values; 0 of the others.
        alone: each feature by itself, or all at once.
        limit: of the loss, or None where it is only shown.
        flips: limit of the share of decisions that change, or None.
    """

    name: str
    kind: Kind
    size: float
    alone: bool
    limit: float | None
    flips: float | None = None


def plans(section: RobustnessSection, kinds: Mapping[str, str]) -> tuple[Plan, ...]:
    """What is tried, for features of these kinds."""
    numbers, texts = ("numeric" in kinds.values()), ("category" in kinds.values())
    loss, flips = section.max_metric_loss, section.max_flips
    found: list[Plan] = []
    for alone in (False, True):
        where = " in one feature" if alone else ""
        if numbers:
            found += [
                Plan(f"noise of {size:g} std{where}", "noise", size, alone, loss, flips) for size in section.noise_stds
            ]
        if section.missing_share and kinds:
            name = f"{100 * section.missing_share:g} % missing values{where}"
            found.append(Plan(name, "missing", section.missing_share, alone, loss, flips))
    if texts:
        found.append(Plan("categories never seen in one feature", "unseen", 0, True, section.max_unseen_loss))
    if numbers:
        found.append(Plan("numbers out of range in one feature", "range", 0, True, section.max_range_loss))
        found.append(Plan("numbers 1000 times too large in one feature", "unit", 0, True, section.max_unit_loss))
    return tuple(found)


def parts(context: GateContext) -> Sequence[str]:
    """One task a disturbance; one more says so where none of them is judged."""
    asked = plans(_section(context), context.kinds)
    nothing = () if any(plan.limit is not None for plan in asked) else (NOTHING,)
    return [*(plan.name for plan in asked), *nothing]


def run(context: GateContext) -> GateOutput:
    """One disturbance of the test rows."""
    plan = next((plan for plan in plans(_section(context), context.kinds) if plan.name == context.part), None)
    if plan is None:
        nothing = Measurement("disturbances that are judged", 0, len(context.labels))
        why = "none is asked for that these features can have"
        return GateOutput((Verdict(NAME, Status.INCONCLUSIVE, nothing, reason=why),))
    alone = only_class(context.labels) if context.task == "binary" else ""
    if alone:
        return GateOutput((_unmeasured(plan, alone, len(context.labels)),))
    found, rows, effect = measured(plan, context)
    lack = lack_of(context.labels[rows.places], ranked=context.task == "binary")
    worst = sorted(found, key=_excess, reverse=True)[:MOST_POINTS]
    verdicts = tuple(_told_of_effect(verdict, effect) for verdict in judged(plan, found, rows, lack))
    return GateOutput(verdicts, ReportData(disturbances=tuple(worst)))


def measured(plan: Plan, context: GateContext) -> tuple[tuple[Disturbance, ...], Drawn, Effect]:
    """What the disturbances of one task do to the model, and to the champion where it matters.

    Returns:
        one for each time that the rows were scored, the rows, and whether any value of them was changed.
    """
    section, seed = _section(context), context.seed % 2**63  # a generator takes no seed below 0
    limit = min(section.rows, ALONE_ROWS) if plan.alone else section.rows
    drawn = drawn_rows(context.labels, limit, classes=context.task != "regression", seed=seed)
    if not len(drawn.places):
        return (), drawn, "changes"
    kinds = {name: context.kinds[name] for name in context.features}
    test = context.test_rows
    chosen = test if len(drawn.places) == test.num_rows else test.take(pa.array(drawn.places))  # of all no copy
    ends = ends_of(test, kinds) if plan.kind == "range" else {}
    maker = Disturbances(chosen.combine_chunks(), kinds, weights=drawn.weights, ends=ends, seed=seed)
    candidate, champion = _trials(context, drawn)
    found = []
    for feature, size in _tries(plan, maker):
        names = (feature,) if feature else maker.of(plan.kind)
        rows = maker.replaced({name: maker.column(plan.kind, name, size) for name in names})
        (loss, low, high), flips = candidate.told(rows)
        plain = math.nan if plan.limit is None else plan.limit
        one = Disturbance(plan.kind, feature, size, loss, low, high, flips, math.nan, plain)
        # What the champion loses raises the limit; what one feature does within it, nobody asks the champion.
        if champion is not None and not (plan.alone and loss <= (plan.limit or math.inf)):
            one = _compared(one, champion, rows)
        found.append(one)
    return tuple(found), drawn, _effect(plan, maker, plans(section, context.kinds))


def _effect(plan: Plan, maker: Disturbances, asked: Sequence[Plan]) -> Effect:
    """Whether a task that is judged disturbs anything: whole numbers with small noise round to what they were."""
    if plan.limit is None or _changes(plan, maker):
        return "changes"
    return "others change" if any(_changes(each, maker) for each in asked if each.limit is not None) else "none change"


def _changes(plan: Plan, maker: Disturbances) -> bool:
    return any(maker.changes(plan.kind, name, plan.size) for name in maker.of(plan.kind))


def _told_of_effect(verdict: Verdict, effect: Effect) -> Verdict:
    """No PASS where nothing at all was judged; where a task changed nothing by itself, it says so."""
    if effect == "changes" or verdict.status is not Status.PASS:
        return verdict
    if effect == "none change":
        return replace(verdict, status=Status.INCONCLUSIVE, reason=UNCHANGED)
    detail = ", ".join(filter(None, (verdict.measurement.detail, "" if verdict.reason else "no value was changed")))
    return replace(verdict, measurement=replace(verdict.measurement, detail=detail))


def judged(plan: Plan, found: Sequence[Disturbance], drawn: Drawn, lack: Lack | None = None) -> tuple[Verdict, ...]:
    """The verdicts of one task: the worst loss against its limit, and the decisions that change where they are judged.

    Args:
        plan: the task.
        found: what its disturbances did; none at all where no feature is of their kind.
        drawn: rows that were disturbed.
        lack: why they are too few to judge by, or None.
    """
    name, n = f"loss under {plan.name}", len(drawn.places)
    if not n:
        return (Verdict(NAME, Status.INCONCLUSIVE, Measurement(name, None, 0), reason="no test rows"),)
    if not found:
        nothing = Measurement(name, None, n)
        return (Verdict(NAME, Status.PASS, nothing, reason="no feature can be disturbed like that"),)
    all_of_them = [(one, _loss_verdict(name, one, n)) for one in found]
    order = (Status.PASS, Status.INCONCLUSIVE, Status.FAIL)
    worst, verdict = max(all_of_them, key=lambda each: (order.index(each[1].status), _excess(each[0])))
    others = [one for one, its in all_of_them if one is not worst and its.status is not Status.PASS]
    verdict = replace(verdict, measurement=replace(verdict.measurement, detail=_detail(worst, others)))
    if lack is not None and verdict.threshold is not None:
        verdict = replace(verdict, status=Status.INCONCLUSIVE, reason=lack.reason, enough=lack.enough)
    return (verdict, *_flips(plan, found, drawn, lack))


@dataclass(frozen=True)
class _Trial:
    """One model on the drawn rows.

    Attributes:
        scorer: the model.
        labels: shape (n,).
        scores: of the undisturbed rows, shape (n,) or (n, k).
        weights: shape (n,), how many test rows each stands for.
        metric: ``auc_roc`` or ``rmse``.
        threshold: of its decisions, or None.
        features: columns that it is given; None: all.
    """

    scorer: Scorer
    labels: Array
    scores: Array
    weights: Array
    metric: str
    threshold: float | None
    features: tuple[str, ...] | None

    def told(self, rows: pa.Table) -> tuple[tuple[float, float, float], float]:
        """(Relative loss, low, high), and the share of decisions that change."""
        given = rows if self.features is None else rows.select(list(self.features))
        scores = np.asarray(self.scorer.score(given), dtype=np.float64)
        before, after = (estimate_of(self.metric, self.labels, each) for each in (self.scores, scores))
        change, low, high = relative_change(before, after)
        # More error is a loss, less AUC is one.
        loss = (change, low, high) if self.metric == "rmse" else (0.0 - change, 0.0 - high, 0.0 - low)
        return loss, self._flipped(scores)

    def _flipped(self, scores: Array) -> float:
        if self.scores.ndim == 2:
            changed = scores.argmax(axis=1) != self.scores.argmax(axis=1)
        elif self.threshold is not None:
            changed = (scores >= self.threshold) != (self.scores >= self.threshold)
        else:
            return math.nan
        return float(np.average(changed, weights=self.weights))


def _trials(context: GateContext, drawn: Drawn) -> tuple[_Trial, _Trial | None]:
    """The candidate, and the champion where there is one."""
    assert context.scorer is not None  # it comes with the test rows
    labels, metric, there = context.labels[drawn.places], context.main_metric, context.champion
    scores = context.scores[drawn.places]
    candidate = _Trial(
        context.scorer, labels, scores, drawn.weights, metric, context.threshold, tuple(context.features)
    )
    if there is None:
        return candidate, None
    scores = there.scores[drawn.places]
    return candidate, _Trial(there.scorer, labels, scores, drawn.weights, metric, there.threshold, None)


def _compared(one: Disturbance, champion: _Trial, rows: pa.Table) -> Disturbance:
    try:
        lost = champion.told(rows)[0][0]
    except Exception:  # noqa: BLE001 (a champion that cannot score such rows sets no limit; it is not what is judged)
        return one
    limit = one.limit if math.isnan(one.limit) or math.isnan(lost) else max(one.limit, lost)
    return replace(one, champion_loss=lost, limit=limit)


def _tries(plan: Plan, maker: Disturbances) -> list[tuple[str, float]]:
    """(Feature, or "" for all at once; size), one a scoring."""
    names = maker.of(plan.kind)
    if not plan.alone:
        return [("", plan.size)] if names else []
    sizes = (ABOVE, BELOW) if plan.kind == "range" else (plan.size,)
    return [(name, size) for name in names for size in sizes]


def _unmeasured(plan: Plan, why: str, n: int) -> Verdict:
    """Where there is no main metric to lose anything of, no feature is to blame."""
    measurement = Measurement(f"loss under {plan.name}", None, n, detail=why)
    if plan.limit is None:
        return reported(NAME, measurement)
    limit = Threshold(plan.limit, Direction.AT_MOST)
    if n < FEWEST_ROWS:
        return Verdict(NAME, Status.INCONCLUSIVE, measurement, limit, "too few rows")
    return tells_apart(NAME, measurement, limit)


def _loss_verdict(name: str, one: Disturbance, n: int) -> Verdict:
    low, high = (None if math.isnan(bound) else bound for bound in (one.low, one.high))
    measurement = Measurement(name, None if math.isnan(one.loss) else one.loss, n, low, high)
    if math.isnan(one.limit):
        return reported(NAME, measurement)
    return tells_apart(NAME, measurement, Threshold(one.limit, Direction.AT_MOST))


def _flips(plan: Plan, found: Sequence[Disturbance], drawn: Drawn, lack: Lack | None) -> tuple[Verdict, ...]:
    if plan.flips is None:
        return ()
    name, n = f"decisions that change under {plan.name}", len(drawn.places)
    decided = [one for one in found if not math.isnan(one.flips)]
    if not decided:
        limit, why = Threshold(plan.flips, Direction.AT_MOST), "the model decides nothing, and max_flips asks for it"
        return (Verdict(NAME, Status.FAIL, Measurement(name, None, n), limit, why),)
    worst = max(decided, key=lambda one: one.flips)
    worth = int(drawn.worth)
    low, high = wilson(round(worst.flips * worth), worth)
    measurement = Measurement(name, worst.flips, n, low, high, detail=_named(worst))
    limit = Threshold(plan.flips, Direction.AT_MOST)
    if lack is not None:
        return (Verdict(NAME, Status.INCONCLUSIVE, measurement, limit, lack.reason, enough=lack.enough),)
    return (tells_apart(NAME, measurement, limit),)


def _detail(worst: Disturbance, others: Sequence[Disturbance]) -> str:
    told = [_named(worst)]
    if not math.isnan(worst.flips):
        told.append(f"{worst.flips:.2%} of the decisions change")
    if not math.isnan(worst.champion_loss):
        told.append(f"the champion loses {worst.champion_loss:.4g}")
    unknown = [one for one in others if math.isnan(one.loss)]
    beyond = sorted((one for one in others if not math.isnan(one.loss)), key=_excess, reverse=True)
    for why, which in (("also without a value", unknown), ("also beyond the limit", beyond)):
        names = list(dict.fromkeys(one.feature for one in which))
        more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
        if names:
            told.append(f"{why}: {', '.join(names[:MOST_NAMES])}{more}")
    return ", ".join(told)


def _named(one: Disturbance) -> str:
    if not one.feature:
        return "all numeric features" if one.kind == "noise" else "all features"
    side = {ABOVE: " (above)", BELOW: " (below)"}.get(one.size, "") if one.kind == "range" else ""
    return f"worst: {one.feature}{side}"


def _excess(one: Disturbance) -> float:
    """How far beyond its limit; no value at all is the worst."""
    if math.isnan(one.loss):
        return math.inf
    return one.loss - (0.0 if math.isnan(one.limit) else one.limit)


def _section(context: GateContext) -> RobustnessSection:
    assert isinstance(context.section, RobustnessSection)
    return context.section


GATE = Gate(
    NAME, "do small changes of the input matter more than they should?", run, frozenset({"test", "champion"}), parts
)
