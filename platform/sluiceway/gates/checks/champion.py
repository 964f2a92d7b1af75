"""Is the model no worse than the one that serves now, on the same rows?

Both models score the same test rows, and the difference is taken row by row, which needs far fewer rows than two
separate intervals. A gain above 0 is better, for losses and errors too. For each metric of
`evaluation.champion.margins` (without any: 0.01 of auc_roc, or 2 % of the champion's rmse), with the one-sided error
`alpha` (5 %):

  PASS           the lower bound of the gain is above -margin: no worse by more than the margin
  FAIL           the upper bound is below -margin: worse by more than the margin, and not by chance
  INCONCLUSIVE   the interval holds -margin, or there are fewer than 30 rows, or than 10 of a class that the metric
                 depends on; it tells about how many rows would be enough: with so many, equally good models pass in
                 80 % of all cases

`require: superiority` wants the lower bound above 0 instead. The interval is DeLong's paired one for the AUC; for
metrics of decisions, each model by its own threshold, a bootstrap of the counts of (class, decision, decision), for the
accuracy Tango's score limits; for losses and errors the normal interval of the paired differences, for average
precision that of the jackknife; for KS a bootstrap with the same weights for both models; for scikit-learn's scorers
one of at most 50,000 rows; those of decisions as the package's own. Models that differ on no row of the sample are not
known never to differ: their interval is as wide as the rule of three says.

A gain whose lower bound is above `max_gain` (without any: 0.1 of auc_roc, or half of the champion's rmse) FAILs, too:
better than anybody believes, most often because a feature knows the answer. Look at the gate leakage first.

No champion yet: says so and passes. A champion of another kind, target or set of classes cannot be compared with:
INCONCLUSIVE, for somebody to waive who knows why. A champion that cannot score these rows is an ERROR: it would serve
on, and nobody knows whether the new model is better. The other metrics of `evaluation.metrics` are compared and not
judged.

When it fails: `sluiceway gates explain slices`, and compare the two models' features and training rows. When it is
INCONCLUSIVE: a larger test part, a wider margin that somebody can answer for, or `on_inconclusive: warn`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sluiceway.config.evaluation import EvaluationSection
from sluiceway.config.gates import ChampionSection
from sluiceway.core.verdict import Direction, Measurement, Status, Threshold, Verdict
from sluiceway.gates.checks.performance import reported, reported_metrics
from sluiceway.gates.context import Gate, GateContext, GateOutput
from sluiceway.gates.drawn import ReportData
from sluiceway.gates.enough_rows import FEWEST_ROWS, Lack
from sluiceway.gates.metrics import Task, check_names, compare, evaluate, lack_for, usable
from sluiceway.gates.report.curves import curves_of_champion
from sluiceway.gates.scored_rows import Doubt, PairedRows, ScoredRows
from sluiceway.gates.statistics.planning import rows_needed

Array = npt.NDArray[Any]
NAME = "champion"
POWER = 0.8
DEFAULT_MARGIN = 0.01  # of auc_roc
DEFAULT_MARGIN_SHARE = 0.02  # of the champion's rmse
DEFAULT_MAX_GAIN = 0.1
DEFAULT_MAX_GAIN_SHARE = 0.5


@dataclass(frozen=True)
class Gain:
    """How much better the candidate is in one metric.

    Attributes:
        metric: its name.
        n: rows.
        candidate: the metric of it; NaN where it has none.
        champion: of the champion.
        value: gain, above 0 is better; NaN where one of both is.
        low: lower bound; NaN where there is none.
        high: upper bound.
        error: standard error of the gain.
    """

    metric: str
    n: int
    candidate: float
    champion: float
    value: float
    low: float
    high: float
    error: float


def run(context: GateContext) -> GateOutput:
    """Compare with the champion, and give the report its curves."""
    n = len(context.labels)
    if context.champion_error:
        measurement = Measurement("comparison", None, n)
        return GateOutput((Verdict(NAME, Status.ERROR, measurement, reason=context.champion_error),))
    if context.champion_unfit:
        measurement = Measurement("comparison", None, n)
        return GateOutput((Verdict(NAME, Status.INCONCLUSIVE, measurement, reason=context.champion_unfit),))
    found = context.champion
    if found is None:
        return GateOutput((no_champion(n),))
    section = context.section
    assert isinstance(section, ChampionSection)  # the runner gives each gate its own
    pair = PairedRows(
        ScoredRows.of(context.labels, context.scores, context.threshold),
        ScoredRows.of(context.labels, found.scores, found.threshold),
    )
    verdicts = champion(
        pair,
        section=section,
        evaluation=context.evaluation,
        task=context.task,
        seed=context.seed,
        version=found.version,
        note=found.note,
    )
    drawn = context.task == "binary" and n > 0 and not np.isnan(found.scores).any()
    return GateOutput(verdicts, curves_of_champion(context.labels, found.scores) if drawn else ReportData())


def no_champion(n: int) -> Verdict:
    """Nothing serves, so nothing can be made worse."""
    return Verdict(NAME, Status.PASS, Measurement("comparison", 0.0, n), reason="no champion yet")


def champion(
    pair: PairedRows,
    *,
    section: ChampionSection,
    evaluation: EvaluationSection,
    task: Task = "binary",
    seed: int = 0,
    version: str = "",
    note: str = "",
) -> tuple[Verdict, ...]:
    """Judge a candidate against the champion.

    Args:
        pair: the candidate's scores first, the champion's second.
        section: margins and what is asked for.
        evaluation: the metrics that are compared beside those with a margin.
        task: kind of the models.
        seed: of bootstrap draws.
        version: of the champion, for people.
        note: what a reader has to know of the comparison.

    Returns:
        one verdict a margin, then one a ``max_gain``, then those that are only reported.

    Raises:
        ConfigError: a metric that does not exist.
    """
    margins = section.margins or _relative(pair, task, DEFAULT_MARGIN, DEFAULT_MARGIN_SHARE)
    caps = section.max_gain or _relative(pair, task, DEFAULT_MAX_GAIN, DEFAULT_MAX_GAIN_SHARE)
    check_names([*margins, *caps])
    beside = [name for name in reported_metrics(evaluation, task) if name not in margins]
    doubt = Doubt(2 * section.alpha, section.resamples, seed)
    gains = {
        name: gain(name, pair, doubt) if usable(name, task) else _no_gain(name, pair)
        for name in dict.fromkeys([*margins, *caps, *beside])
    }
    told = _Told(version, note, 1 - 2 * section.alpha)
    lacks = {name: lack_for(name, pair.first.labels, task) for name in margins}
    verdicts = [no_worse(gains[name], margin, section, told, lacks[name]) for name, margin in margins.items()]
    verdicts += [believable(gains[name], most, told) for name, most in caps.items()]
    verdicts += [reported(NAME, told.measurement(gains[name])) for name in beside]
    return tuple(verdicts)


def gain(name: str, pair: PairedRows, doubt: Doubt) -> Gain:
    """How much better the first model is in one metric, with the two-sided interval of ``doubt``."""
    first, second, found = compare(name, pair, doubt)
    return Gain(name, len(pair.first.labels), first, second, found.value, found.low, found.high, found.error)


@dataclass(frozen=True)
class _Told:
    """What a reader is told beside the numbers; the level of the intervals is not that of the other gates."""

    version: str
    note: str
    level: float = 0.9

    def measurement(self, found: Gain, name: str = "") -> Measurement:
        values = " against ".join("none" if math.isnan(v) else f"{v:.4g}" for v in (found.candidate, found.champion))
        of = f" of version {self.version}" if self.version else ""
        low, high = (None if math.isnan(bound) else bound for bound in (found.low, found.high))
        value = None if math.isnan(found.value) else found.value
        interval = f"{100 * self.level:g} % interval" if low is not None else ""
        detail = "; ".join(filter(None, (f"{values}{of}", self.note, interval)))
        return Measurement(name or f"{found.metric} gain", value, found.n, low, high, detail=detail)


def no_worse(
    found: Gain, margin: float, section: ChampionSection, told: _Told = _Told("", ""), lack: Lack | None = None
) -> Verdict:
    """Non-inferiority (or superiority) in one metric: the whole interval has to be above the limit.

    Args:
        found: the gain, its interval at ``1 - 2 * section.alpha``.
        margin: how much worse is still good.
        section: the error and what is asked for.
        told: for people.
        lack: why the rows are too few to judge by, or None.
    """
    better = section.require == "superiority"
    limit = 0.0 if better else -margin
    threshold = Threshold(limit, Direction.AT_LEAST, use_interval=True)
    measurement = told.measurement(found)
    if measurement.value is None:
        return _without_value(found, measurement, threshold)
    if lack is not None:
        return Verdict(NAME, Status.INCONCLUSIVE, measurement, threshold, lack.reason, enough=lack.enough)
    if measurement.low is None or measurement.high is None:
        return Verdict(NAME, Status.INCONCLUSIVE, measurement, threshold, "no interval")
    if measurement.low > limit:
        return Verdict(NAME, Status.PASS, measurement, threshold)
    if measurement.high < limit:
        asked = "no better" if better else "worse by more than the margin"
        return Verdict(NAME, Status.FAIL, measurement, threshold, f"{asked}, and not by chance")
    why = "it may be better or not" if better else "it may be worse by more than the margin"
    return Verdict(NAME, Status.INCONCLUSIVE, measurement, threshold, why, enough=_enough(found, limit, section.alpha))


def believable(found: Gain, most: float, told: _Told = _Told("", "")) -> Verdict:
    """The leak alarm: a FAIL where all of the interval is above what anybody believes."""
    threshold = Threshold(most, Direction.AT_MOST, use_interval=True)
    measurement = told.measurement(found, f"{found.metric} gain that nobody believes")
    if measurement.value is None:
        return _without_value(found, measurement, threshold)
    if measurement.low is not None and measurement.low > most:
        return Verdict(
            NAME,
            Status.FAIL,
            measurement,
            threshold,
            f"{found.metric} is better than anybody believes: look for a leak",
        )
    return Verdict(NAME, Status.PASS, measurement, threshold)


def _without_value(found: Gain, measurement: Measurement, threshold: Threshold) -> Verdict:
    if found.n == 0:
        return Verdict(NAME, Status.INCONCLUSIVE, measurement, threshold, "no value")
    if found.n < FEWEST_ROWS:
        return Verdict(NAME, Status.INCONCLUSIVE, measurement, threshold, "no value of too few rows")
    whose = [who for who, value in (("candidate", found.candidate), ("champion", found.champion)) if math.isnan(value)]
    reason = f"the {' and the '.join(whose)} {'has' if len(whose) == 1 else 'have'} no {found.metric} on these rows"
    return Verdict(NAME, Status.FAIL, measurement, threshold, reason)


def _enough(found: Gain, limit: float, alpha: float) -> int | None:
    """Rows with which equally good models pass; where there are as many, rows that tell this gain from the limit.

    Of superiority: rows with which this gain is found, where it is one.
    """
    distance = abs(limit) if limit else found.value
    enough = rows_needed(distance, found.error, found.n, alpha=alpha, power=POWER)
    if limit and enough is not None and enough <= found.n:
        return rows_needed(abs(found.value - limit), found.error, found.n, alpha=alpha, power=POWER)
    return enough


def _relative(pair: PairedRows, task: Task, of_auc: float, of_rmse: float) -> dict[str, float]:
    """The limits where nobody has set any."""
    if task != "regression":
        return {"auc_roc": of_auc}
    rmse = evaluate("rmse", pair.second.labels, pair.second.scores)
    # A champion without any error has nothing to take a share of; whatever is worse is worse.
    return {"rmse": of_rmse * rmse if rmse > 0 else 1e-12}


def _no_gain(name: str, pair: PairedRows) -> Gain:
    nan = math.nan
    return Gain(name, len(pair.first.labels), nan, nan, nan, nan, nan, nan)


GATE = Gate(NAME, "is the model no worse than the one that serves now?", run, frozenset({"test", "champion"}))
