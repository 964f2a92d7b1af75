"""Is the model good enough, on rows that nothing else has seen?

Every limit of `evaluation.thresholds` is held against the metric on the test rows: at least for scores, at most for
losses and errors. Each value comes with its 95 % interval (DeLong for the AUC, the jackknife for average precision,
Wilson for shares of decisions, the normal interval for means of losses, the bootstrap for the rest).

  evaluation.performance.judge_by: point      PASS where the value is at or on the good side of the limit, else FAIL
  evaluation.performance.judge_by: interval   PASS where all of the interval is, FAIL where none of it is, INCONCLUSIVE
                                              between; it tells about how many rows would settle it

Metrics of decisions (precision, recall, f1_score, accuracy ...) use the threshold that was chosen on the validation
rows (`evaluation.decision`), never one of the test rows. `pinball_0.9` is the loss of the quantile 0.9, for any
quantile. Any scorer of scikit-learn may be named; its limit is always "at least", because its losses are negative.

Fewer than 30 rows, or than 10 of the smallest class that there is where the metric depends on each class by itself (all
but accuracy, the losses, and averages weighted by the rows), are INCONCLUSIVE whatever the value: the interval of so
few is not known either. A metric that has no value on these rows (a class is missing, a score is missing) FAILs, and so
does one that cannot be computed for this kind of model. Without any threshold the model has to be better than chance:
the lower bound of auc_roc above 0.5, of r2 above 0. What is in `evaluation.metrics` without a threshold is reported and
not judged; one without a value is a warning.

When it fails: compare with the folds of the training run. Good folds and a bad test say that the rows differ (look at
data_quality and slices); bad folds say that the model is not good enough yet. An INCONCLUSIVE wants more test rows.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from sluiceway.config.evaluation import EvaluationSection
from sluiceway.core.verdict import Direction, Measurement, Severity, Status, Threshold, Verdict, judge
from sluiceway.gates.context import Gate, GateContext, GateOutput
from sluiceway.gates.drawn import ReportData
from sluiceway.gates.metrics import Task, check_names, known_metrics, lack_for, measure_rows, metric, usable
from sluiceway.gates.report.curves import class_data, curves
from sluiceway.gates.scored_rows import Doubt, ScoredRows

Array = npt.NDArray[Any]
NAME = "performance"


def run(context: GateContext) -> GateOutput:
    """Judge the test rows, and give the report its curves."""
    verdicts = performance(
        context.labels,
        context.scores,
        threshold=context.threshold,
        evaluation=context.evaluation,
        task=context.task,
        seed=context.seed,
    )
    return GateOutput(verdicts, _drawn(context))


def performance(
    labels: Array,
    scores: Array,
    *,
    threshold: float | None,
    evaluation: EvaluationSection,
    task: Task = "binary",
    seed: int = 0,
) -> tuple[Verdict, ...]:
    """Hold each configured threshold against the test rows.

    Args:
        labels: shape (n,), 0 or 1; places of the classes; real numbers for regression.
        scores: shape (n,), probabilities of the positive class, or predictions; shape (n, k) of several classes.
        threshold: a score at or above it is a positive decision; None where the model decides nothing.
        evaluation: thresholds, the metrics to report, and ``performance.judge_by``.
        task: kind of the model. Metrics of the other kinds are not reported; a threshold on one FAILs.
        seed: of bootstrap draws.

    Returns:
        Judged ones first; all names of ``evaluation`` that can be computed are in it once.

    Raises:
        ConfigError: a metric that does not exist.
    """
    check_names([*evaluation.metrics, *evaluation.thresholds])
    rows, doubt = ScoredRows.of(labels, scores, threshold), Doubt(seed=seed)
    by_interval = evaluation.performance.judge_by == "interval"
    verdicts = [
        _held(
            rows, measure_rows(name, rows, doubt), Threshold(limit, metric(name, task).direction, 1, by_interval), task
        )
        if usable(name, task)
        else wrong_kind(NAME, name, limit, task, len(rows.labels))
        for name, limit in evaluation.thresholds.items()
    ]
    if not verdicts:
        verdicts.append(_better_than_chance("r2" if task == "regression" else "auc_roc", rows, doubt, task))
    judged = {v.measurement.name for v in verdicts}
    for name in reported_metrics(evaluation, task):
        if name not in judged:
            verdicts.append(reported(NAME, measure_rows(name, rows, doubt)))
    return tuple(verdicts)


def reported_metrics(evaluation: EvaluationSection, task: Task) -> tuple[str, ...]:
    """What is shown: the named metrics that this kind of model has; of several classes and of numbers all there are."""
    named = [name for name in evaluation.metrics if usable(name, task)]
    return tuple(dict.fromkeys([*named, *(() if task == "binary" else known_metrics(task))]))


def reported(check: str, measurement: Measurement) -> Verdict:
    """A number that is shown and not judged; without rows it is INCONCLUSIVE like any other.

    One that could not be taken is no PASS either, but a warning only: nobody has asked for a limit of it.
    """
    why, value = "reported, not judged", measurement.value
    if measurement.n == 0:
        return Verdict(check, Status.INCONCLUSIVE, measurement, reason=why)
    if value is None or math.isnan(value):
        return Verdict(check, Status.INCONCLUSIVE, measurement, reason=f"no value; {why}", severity=Severity.WARN)
    return Verdict(check, Status.PASS, measurement, reason=why)


def wrong_kind(check: str, name: str, limit: float, task: Task, n: int) -> Verdict:
    """The FAIL of a limit on a metric that this kind of model does not have."""
    verdict = judge(check, Measurement(name, None, max(n, 1)), Threshold(limit, metric(name).direction))
    return replace(verdict, reason=f"{name} cannot be computed for a {task} model")


def _held(rows: ScoredRows, measurement: Measurement, limit: Threshold, task: Task) -> Verdict:
    """A metric against its limit, where there are rows enough to believe it."""
    lack = lack_for(measurement.name, rows.labels, task)
    if lack is not None and measurement.n:
        return Verdict(NAME, Status.INCONCLUSIVE, measurement, limit, lack.reason, enough=lack.enough)
    return judge(NAME, measurement, limit)


def _better_than_chance(name: str, rows: ScoredRows, doubt: Doubt, task: Task) -> Verdict:
    limit = 0.5 if name == "auc_roc" else 0.0
    verdict = _held(
        rows, measure_rows(name, rows, doubt), Threshold(limit, Direction.AT_LEAST, use_interval=True), task
    )
    why = "no thresholds configured: only better than chance is asked for"
    return replace(verdict, reason=f"{verdict.reason}; {why}" if verdict.reason else why)


def _drawn(context: GateContext) -> ReportData:
    if context.task == "regression" or len(context.labels) == 0 or np.isnan(context.scores).any():
        return ReportData()
    if context.task == "multiclass":
        return replace(class_data(context.labels, context.scores, context.classes), calibration=())
    return replace(curves(context.labels, context.scores), calibration=())  # the gate calibration draws what it judges


GATE = Gate(NAME, "is the model good enough, on rows that nothing else has seen?", run, frozenset({"test"}))
