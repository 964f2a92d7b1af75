"""Gate: is the model good enough on rows that nothing else has seen?"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from sluiceway.config.evaluation import EvaluationSection
from sluiceway.core.verdict import Direction, GateResult, Measurement, Status, Threshold, Verdict, judge
from sluiceway.gates.metrics import Task, check_names, known_metrics, measure, metric

Array = npt.NDArray[Any]
GATE = "performance"


def performance(
    labels: Array, scores: Array, *, threshold: float | None, evaluation: EvaluationSection, task: Task = "binary"
) -> GateResult:
    """Hold each configured threshold against the test rows, by the point value; intervals are shown.

    Without thresholds the model has to be better than chance: the lower bound of the AUC above 0.5 (of R2 above 0);
    of several classes the mean AUC of one class against the others.

    Args:
        labels: shape (n,), 0 or 1; places of the classes; real numbers for regression.
        scores: shape (n,), probabilities of the positive class, or predictions; shape (n, k) of several classes.
        threshold: a score at or above it is a positive decision; None where the model decides nothing.
        evaluation: thresholds and the metrics to report.
        task: kind of the model. Metrics of the other kind are not reported; a threshold on one FAILs.

    Raises:
        ConfigError: a metric that does not exist.
    """
    check_names([*evaluation.metrics, *evaluation.thresholds])
    labels, scores = np.asarray(labels, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    applicable = known_metrics(task)
    verdicts = [
        judge(GATE, measure(name, labels, scores, threshold=threshold), Threshold(limit, metric(name, task).direction))
        if name in applicable
        else _wrong_kind(name, limit, task, len(labels))
        for name, limit in evaluation.thresholds.items()
    ]
    chance = "r2" if task == "regression" else "auc_roc"
    if not verdicts:
        verdicts.append(_better_than_chance(chance, labels, scores))
    judged = {v.measurement.name for v in verdicts}
    for name in dict.fromkeys([*evaluation.metrics, *(() if task == "binary" else applicable)]):
        if name in applicable and name not in judged:
            verdicts.append(reported(GATE, measure(name, labels, scores, threshold=threshold)))
    return GateResult(GATE, tuple(verdicts))


def reported(check: str, measurement: Any) -> Verdict:
    """A number that is shown and not judged; without rows it is INCONCLUSIVE like any other."""
    status = Status.INCONCLUSIVE if measurement.n == 0 else Status.PASS
    return Verdict(check, status, measurement, reason="reported, not judged")


def _better_than_chance(name: str, labels: Array, scores: Array) -> Verdict:
    limit = 0.5 if name == "auc_roc" else 0.0
    verdict = judge(GATE, measure(name, labels, scores), Threshold(limit, Direction.AT_LEAST, use_interval=True))
    why = "no thresholds configured: only better than chance is asked for"
    return dataclasses.replace(verdict, reason=f"{verdict.reason}; {why}" if verdict.reason else why)


def _wrong_kind(name: str, limit: float, task: Task, n: int) -> Verdict:
    verdict = judge(GATE, Measurement(name, None, max(n, 1)), Threshold(limit, metric(name).direction))
    return dataclasses.replace(verdict, reason=f"{name} cannot be computed for a {task} model")
