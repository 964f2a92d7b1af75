"""Gate: do small changes of the input matter more than they should?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sluiceway.config.evaluation import RobustnessSection
from sluiceway.core.doors import Scorer
from sluiceway.core.verdict import Direction, GateResult, Measurement, Status, Threshold, Verdict, judge
from sluiceway.gates.metrics import Task, evaluate

Array = npt.NDArray[Any]
GATE = "robustness"
MOST_ROWS = 50_000  # a loss of 5 % of an AUC is seen on far fewer; bounds the time of the gate
UNSEEN = "(a category never seen)"


def robustness(
    rows: pa.Table,
    labels: Array,
    scorer: Scorer,
    *,
    features: Sequence[str],
    section: RobustnessSection,
    task: Task = "binary",
    seed: int = 0,
) -> GateResult:
    """Score the test rows again, disturbed, and compare AUC (RMSE for regression) with the undisturbed rows.

    Of several classes the AUC is the mean of one class against the others.

    Judged: noise on all numeric features at once at each size, on each alone at the largest, and missing values. Whole
    numbers stay whole under noise.
    Reported only: the share of decisions between several classes that change, a category never seen before, and a unit
    error (values a thousand times too large).

    Args:
        rows: test rows with a column for each feature; numbers, booleans, text or dictionary-encoded text.
        labels: shape (n,); of several classes their places.
        scorer: the model.
        features: columns that the model sees.
        section: sizes and the limit.
        task: kind of the model.
        seed: of the sample and of the disturbances.
    """
    random = np.random.default_rng(seed)
    labels = np.asarray(labels, dtype=np.float64)
    if len(labels) > MOST_ROWS:
        chosen = np.sort(random.choice(len(labels), MOST_ROWS, replace=False))
        rows, labels = rows.take(pa.array(chosen)), labels[chosen]
    trial = _Trial(rows.select(list(features)).combine_chunks(), labels, scorer, task, section, random)
    return GateResult(GATE, (*_noise(trial), *_missing(trial), *_unseen(trial), *_units(trial)))


@dataclass(frozen=True)
class _Trial:
    rows: pa.Table
    labels: Array
    scorer: Scorer
    task: Task
    section: RobustnessSection
    random: np.random.Generator
    base: float = field(init=False)
    decided: Array = field(init=False)  # place of the class of each row, where there are several; else empty

    def __post_init__(self) -> None:
        scores = self._scores(self.rows)
        object.__setattr__(self, "base", self._value(scores))
        object.__setattr__(self, "decided", scores.argmax(axis=1) if scores.ndim == 2 else np.empty(0))

    def numeric(self) -> list[str]:
        return [
            f.name
            for f in self.rows.schema
            if pa.types.is_integer(f.type) or pa.types.is_floating(f.type) or pa.types.is_decimal(f.type)
        ]

    def text(self) -> list[str]:
        return [
            f.name
            for f in self.rows.schema
            if pa.types.is_string(f.type) or pa.types.is_large_string(f.type) or pa.types.is_dictionary(f.type)
        ]

    def numbers(self, name: str) -> Array:
        values: Array = self.rows[name].cast(pa.float64()).to_numpy(zero_copy_only=False)
        return values

    def loss(self, changed: dict[str, Any]) -> float:
        """Relative loss of the metric when some columns are replaced; below 0 where it got better."""
        return self.loss_of(self.rescored(changed))

    def rescored(self, changed: dict[str, Any]) -> Array:
        """Scores when some columns are replaced."""
        rows = self.rows
        for name, column in changed.items():
            rows = rows.set_column(rows.schema.get_field_index(name), name, column)
        return self._scores(rows)

    def loss_of(self, scores: Array) -> float:
        base, value = self.base, self._value(scores)
        if self.task != "regression":
            return (base - value) / base if base else math.nan
        return (value - base) / base if base else (0.0 if value == base else math.inf)

    def verdict(self, name: str, losses: dict[str, float], detail: str) -> Verdict:
        """The worst of several losses against the limit."""
        limit = Threshold(self.section.max_metric_loss, Direction.AT_MOST)
        worst = max(losses, key=lambda k: math.inf if math.isnan(losses[k]) else losses[k])
        lost = losses[worst]
        value = None if math.isnan(lost) else lost
        text = detail.format(worst=worst)
        return judge(GATE, Measurement(name, value, len(self.labels), detail=text), limit)

    def changed(self, scores: Array, under: str) -> list[Verdict]:
        """How many decisions between several classes are no longer what they were; reported, not judged."""
        if scores.ndim != 2 or len(scores) == 0:
            return []
        share = float((scores.argmax(axis=1) != self.decided).mean())
        measurement = Measurement(f"decisions that change {under}", share, len(scores))
        return [Verdict(GATE, Status.PASS, measurement, reason="reported, not judged")]

    def _scores(self, rows: pa.Table) -> Array:
        return np.asarray(self.scorer.score(rows)) if len(self.labels) else np.empty(0)

    def _value(self, scores: Array) -> float:
        if len(self.labels) == 0:
            return math.nan
        return evaluate("rmse" if self.task == "regression" else "auc_roc", self.labels, scores)


def _noise(trial: _Trial) -> list[Verdict]:
    names = trial.numeric()
    if not names or not trial.section.noise_stds:
        return []
    values = {name: trial.numbers(name) for name in names}
    spread = {name: _spread(column) for name, column in values.items()}
    drawn = {name: trial.random.standard_normal(len(trial.labels)) for name in names}

    whole = {name: _whole(column) for name, column in values.items()}

    def noisy(name: str, size: float) -> pa.Array:
        # NaN stays NaN, which is missing for every scorer. A count stays a whole number: trees cut at the very values
        # that they saw, so that 4.9999 for 5 is another branch, and no feed ever sends it.
        changed = values[name] + size * spread[name] * drawn[name]
        return pa.array(np.rint(changed) if whole[name] else changed, from_pandas=True)

    verdicts = []
    for size in trial.section.noise_stds:
        scores, under = trial.rescored({name: noisy(name, size) for name in names}), f"under noise of {size:g} std"
        verdicts.append(trial.verdict(f"loss {under}", {"all": trial.loss_of(scores)}, "all numeric features"))
        verdicts += trial.changed(scores, under)
    largest = max(trial.section.noise_stds)
    alone = {name: trial.loss({name: noisy(name, largest)}) for name in names}
    verdicts.append(trial.verdict(f"loss under noise of {largest:g} std in one", alone, "worst: {worst}"))
    return verdicts


def _missing(trial: _Trial) -> list[Verdict]:
    share = trial.section.missing_share
    if share == 0:
        return []
    holed = {}
    for name in trial.rows.column_names:
        gone = trial.random.random(len(trial.labels)) < share
        column = trial.rows[name].combine_chunks()
        holed[name] = pc.if_else(pa.array(gone), pa.scalar(None, column.type), column)
    scores = trial.rescored(holed)
    alone = {name: trial.loss({name: column}) for name, column in holed.items()}
    worst = max(alone, key=lambda k: alone[k])
    under = f"with {share:.1%} of the values missing"
    detail = f"all features; alone the worst is {worst}"
    judged = trial.verdict(f"loss {under}", {"all": trial.loss_of(scores)}, detail)
    return [judged, *trial.changed(scores, under)]


def _unseen(trial: _Trial) -> list[Verdict]:
    names = trial.text()
    n = len(trial.labels)
    if not names or n == 0:
        return []
    alone = {name: trial.loss({name: pa.array([UNSEEN] * n, pa.string())}) for name in names}
    return [_report("loss with a category never seen", alone, n)]


def _units(trial: _Trial) -> list[Verdict]:
    names = trial.numeric()
    n = len(trial.labels)
    if not names or n == 0:
        return []
    alone = {name: trial.loss({name: pa.array(trial.numbers(name) * 1000, from_pandas=True)}) for name in names}
    return [_report("loss with values 1000 times too large", alone, n)]


def _report(name: str, losses: dict[str, float], n: int) -> Verdict:
    worst = max(losses, key=lambda k: losses[k])
    measurement = Measurement(name, losses[worst], n, detail=f"worst: {worst}")
    return Verdict(GATE, Status.PASS, measurement, reason="reported, not judged")


def _spread(values: Array) -> float:
    present = values[~np.isnan(values)]
    return float(present.std()) if len(present) else 0.0


def _whole(values: Array) -> bool:
    present = values[np.isfinite(values)]
    return bool((present == np.rint(present)).all())
