"""Does a probability of 0.2 come true in one of five?

Ranking well is not enough where the score itself is used: for expected costs, for a threshold that somebody sets by
hand, or beside another model's score. The test rows are cut into `bins` bins of equally many rows by their score, and
each bin's average score is held against the share of positives in it.

Judged:
  expected calibration error   the average distance of the two, less what chance alone adds to it. At most `max_error`.
                               Beyond it the 95 % interval has to say that it is no chance: FAIL where all of it lies
                               beyond, INCONCLUSIVE otherwise. Fewer than 20 rows a bin are too few. With several
                               classes it is that of the decided class: its probability against the share that is right.

Shown, not judged:
  slope, intercept             of a logistic recalibration of the scores: 1 and 0 where they are calibrated. A slope
                               below 1: scores are too extreme (overfitted); an intercept below 0: they are too high.
  Brier score                  with its parts: reliability (0 is best), resolution (the more the better), uncertainty.
  worst class                  the largest error of one class against the others, where there are several.

A regression has no probabilities: one line says so.

Options (`evaluation.calibration`): max_error, bins, calibrator. The limit is in probability: where one row in a hundred
is positive, the default of 0.1 allows nearly everything; ask for less than the share of positives.

When it fails: `calibrator: isotonic` (or `sigmoid`, for fewer than about 1,000 validation rows) fits a rising curve on
the validation rows and ships it with the model as a table; scores pass through it wherever the model is asked, and the
decision threshold is chosen on them. The ranking stays. Without it: look at scale_pos_weight and other weights, which
shift probabilities on purpose, and at training rows that are older than the test rows.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import logit
from scipy.stats import norm

from sluiceway.config.gates import CalibrationSection
from sluiceway.core.classes import Class
from sluiceway.core.verdict import Direction, Measurement, Status, Threshold, Verdict, judge, tells_apart
from sluiceway.gates.checks.performance import reported
from sluiceway.gates.context import Gate, GateContext, GateOutput
from sluiceway.gates.drawn import ReportData
from sluiceway.gates.metrics import Task, measure
from sluiceway.gates.statistics.reliability import (
    Reliability,
    brier_parts,
    calibration_error,
    logistic_line,
    reliability,
    reliability_bins,
)

Array = npt.NDArray[Any]
NAME = "calibration"
ROWS_OF_A_BIN = 20
ERROR = "expected calibration error"
# Probabilities are clipped before their logits are taken: the smallest step of a 32-bit score below 1.
SMALLEST = 2.0**-24
CELLS = 20_000_000  # rows times classes that the worst class is looked for among; it is only shown


def run(context: GateContext) -> GateOutput:
    """Judge the test rows' scores."""
    section = context.section
    assert isinstance(section, CalibrationSection)
    labels, scores = context.labels, context.scores
    verdicts = calibration(labels, scores, section=section, task=context.task, classes=context.classes)
    if context.task == "regression" or len(labels) == 0 or _unusable(scores):
        return GateOutput(verdicts)
    # The bins that are judged, so that the picture and the verdict name the same furthest point.
    return GateOutput(verdicts, ReportData(calibration=reliability_bins(*_decided(labels, scores), section.bins)))


def calibration(
    labels: Array,
    scores: Array,
    *,
    section: CalibrationSection,
    task: Task = "binary",
    classes: Sequence[Class] = (),
) -> tuple[Verdict, ...]:
    """Hold the expected calibration error against its limit, and show what it is made of.

    Args:
        labels: shape (n,), float64: 0 or 1; places of the classes; real numbers for regression.
        scores: shape (n,), or (n, k) of several classes; probabilities.
        section: limit, bins, and what the model is calibrated with already.
        task: kind of the model.
        classes: their names, where there are several.
    """
    if task == "regression":
        status = Status.PASS if len(labels) else Status.INCONCLUSIVE
        return (Verdict(NAME, status, Measurement(ERROR, None, len(labels)), reason="a regression has none"),)
    name = ERROR if task == "binary" else f"{ERROR} of the decided class"
    limit = Threshold(section.max_error, Direction.AT_MOST, n_needed=ROWS_OF_A_BIN * section.bins)
    wrong = _unusable(scores)
    if wrong:
        verdict = judge(NAME, Measurement(name, None, len(labels)), limit)
        return (dataclasses.replace(verdict, reason=wrong),)
    hits, chances = _decided(labels, scores)
    found = reliability(hits, chances, section.bins)
    judged = _judge(name, found, limit, section, task)
    if task == "multiclass":
        return (judged, reported(NAME, _worst_class(labels, scores, classes, section.bins)))
    return (judged, *(reported(NAME, shown) for shown in (*_line(hits, chances), _brier(hits, chances, found))))


def _unusable(scores: Array) -> str:
    """Why scores are no probabilities, or ""."""
    if len(scores) == 0:
        return ""
    if np.isnan(scores).any():
        return "the model gives no score for some rows"
    if scores.min() < 0 or scores.max() > 1:
        return f"scores from {scores.min():.4g} to {scores.max():.4g} are no probabilities"
    return ""


def _decided(labels: Array, scores: Array) -> tuple[Array, Array]:
    """What came true, and the chance that was given to it."""
    if scores.ndim == 1:
        return (np.asarray(labels) == 1).astype(np.float64), scores
    if len(scores) == 0:
        return np.empty(0), np.empty(0)
    return (scores.argmax(axis=1) == labels).astype(np.float64), scores.max(axis=1)


def _judge(name: str, found: Reliability, limit: Threshold, section: CalibrationSection, task: Task) -> Verdict:
    value, low, high = calibration_error(found)
    n = int(found.n.sum())
    if n == 0:
        return judge(NAME, Measurement(name, None, 0), limit)
    furthest = int(np.abs(found.observed - found.predicted).argmax())
    detail = (
        f"furthest off: {found.predicted[furthest]:.3f} predicted, {found.observed[furthest]:.3f} observed "
        f"in {int(found.n[furthest]):,} rows"
    )
    verdict = tells_apart(NAME, Measurement(name, value, n, low, high, detail=detail), limit)
    if verdict.status is not Status.FAIL:
        return verdict
    return dataclasses.replace(verdict, reason=_what_to_do(section, task))


def _what_to_do(section: CalibrationSection, task: Task) -> str:
    if task != "binary":
        return "a calibrator is for two classes only; stronger regularisation makes scores less extreme"
    if section.calibrator == "none":
        return "evaluation.calibration.calibrator: isotonic fits the scores to the validation rows"
    return f"in spite of calibrator: {section.calibrator}: are validation and test rows of one kind?"


def _line(hits: Array, chances: Array) -> tuple[Measurement, ...]:
    """Slope and intercept of the recalibration, with their intervals."""
    names, n = ("slope of a logistic recalibration", "intercept of a logistic recalibration"), len(hits)
    line = logistic_line(logit(np.clip(chances, SMALLEST, 1 - SMALLEST)), hits)
    if line is None:
        none = "there is no finite line: one class only, one score only, or classes that the scores part"
        return tuple(Measurement(name, None, n, detail=none if n else "") for name in names)
    z = float(norm.ppf(0.975))
    each = ((line.slope, line.slope_error), (line.intercept, line.intercept_error))
    return tuple(
        Measurement(name, value, n, value - z * error, value + z * error)
        for name, (value, error) in zip(names, each, strict=True)
    )


def _brier(hits: Array, chances: Array, found: Reliability) -> Measurement:
    if len(hits) == 0:
        return Measurement("Brier score", None, 0)
    apart, resolution, uncertainty = brier_parts(found)
    detail = f"reliability {apart:.4g}, resolution {resolution:.4g}, uncertainty {uncertainty:.4g}"
    return dataclasses.replace(measure("brier", hits, chances), name="Brier score", detail=detail)


def _worst_class(labels: Array, scores: Array, classes: Sequence[Class], bins: int) -> Measurement:
    name = f"largest {ERROR} of a class"
    if len(labels) == 0:
        return Measurement(name, None, 0)
    step = max(1, math.ceil(scores.size / CELLS))
    labels, scores = labels[::step], scores[::step]
    errors = [
        calibration_error(reliability((labels == place).astype(np.float64), scores[:, place], bins))
        for place in range(scores.shape[1])
    ]
    worst = max(range(len(errors)), key=lambda place: errors[place][0])
    value, low, high = errors[worst]
    return Measurement(name, value, len(labels), low, high, detail=f"class {classes[worst] if classes else worst}")


GATE = Gate(NAME, "does a probability of 0.2 come true in one of five?", run, frozenset({"test"}))
