"""The loop that every engine runs: cut points once, the folds, then the model of all training rows.

In a Ray Train worker group all ranks run it at the same time, each on its own rows; XGBoost joins their histograms, so
every rank has to take part in every matrix and every fold, also with no row of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xgboost

from sluiceway.core.errors import BackendError, DataError
from sluiceway.training.report import FoldReport
from sluiceway.training.rows import Rows

BLOCK = 65_536  # rows that are copied at a time while a matrix is built
EVENT_SECONDS = 0.5
Event = dict[str, Any]
Emit = Callable[[Event], None]


@dataclass(frozen=True)
class LoopSpec:
    """What to boost.

    Attributes:
        params: of ``xgboost.train``.
        rounds: most rounds of a fold.
        early_stopping: rounds without an improvement after which a fold stops, or None.
        folds: how many.
        binary: whether labels are 0 and 1.
        names: of the features, or None where XGBoost would refuse them.
        types: XGBoost's types of the features.
        every: rounds between two progress events; 0 is none within a fold.
    """

    params: Mapping[str, Any]
    rounds: int
    early_stopping: int | None
    folds: int
    binary: bool
    names: tuple[str, ...] | None
    types: tuple[str, ...]
    every: int

    @property
    def metric(self) -> str:
        """XGBoost's name of the metric that is watched."""
        return str(self.params["eval_metric"])


@dataclass(frozen=True)
class LoopResult:
    """What the loop made, on one rank.

    Attributes:
        model: UBJSON; the same on all ranks.
        rounds: of the final fit.
        folds: reports; ``rows`` counts all ranks' rows.
        oof: shape (n_train,), float32: each training row's score by the fold that has not seen it.
        validation: shape (n_validation,), float32: scores of the final model.
        seconds: ``folds`` and ``final``.
    """

    model: bytes
    rounds: int
    folds: tuple[FoldReport, ...]
    oof: np.ndarray
    validation: np.ndarray
    seconds: Mapping[str, float]


def boost(train: Rows, validation: Rows, *, spec: LoopSpec, emit: Emit, stop: Callable[[], bool]) -> LoopResult:
    """Cross-validate, then fit all training rows with as many rounds as the folds chose.

    The rounds are the median of the folds' ``best_iteration + 1``, halves rounded up: one fold that stops early or
    late does not move it.

    Args:
        train: this rank's training rows.
        validation: this rank's validation rows; scored, never trained on.
        spec: what to boost.
        emit: called with progress, at most about twice a second and at the end of each fold.
        stop: asked after each round; True ends the work.

    Raises:
        BackendError: it was told to stop.
        DataError: a fold has no rows, or rows of one class.
    """
    sizes = _check_folds(train, spec)
    began = time.perf_counter()
    everything = np.ones(len(train), bool)
    cuts = _quantile_matrix(train, everything, spec)
    oof = np.full(len(train), np.nan, np.float32)
    reports = []
    for fold in range(spec.folds):
        emit({"fold": fold, "of": spec.folds, "rounds": spec.rounds})
        report, scores = _one_fold(fold, train, cuts, spec=spec, watch=_Watch(fold, spec, emit, stop), size=sizes[fold])
        oof[train.fold == fold] = scores
        reports.append(report)
        emit({"fold": fold, "of": spec.folds, "round": report.rounds, "value": report.metric, "done": True})
    halfway = time.perf_counter()
    rounds = int(np.median([report.best_iteration + 1 for report in reports]) + 0.5)
    emit({"final": rounds, "of": spec.folds})
    watch = _Watch(None, spec, emit, stop)
    model = xgboost.train(dict(spec.params), cuts, rounds, callbacks=[watch], verbose_eval=False)
    scored = (
        model.inplace_predict(validation.x, validate_features=False) if len(validation) else np.empty(0, np.float32)
    )
    seconds = {"folds": halfway - began, "final": time.perf_counter() - halfway}
    return LoopResult(bytes(model.save_raw("ubj")), rounds, tuple(reports), oof, scored, seconds)


def _one_fold(
    fold: int, train: Rows, cuts: xgboost.QuantileDMatrix, *, spec: LoopSpec, watch: _Watch, size: int
) -> tuple[FoldReport, np.ndarray]:
    began = time.perf_counter()
    own = train.fold == fold
    matrix = _quantile_matrix(train, ~own, spec, ref=cuts)
    # A plain matrix: watching it is 10 to 15 % quicker than watching a quantile matrix, with the same scores.
    watched = _matrix(train, own, spec)
    callbacks: list[xgboost.callback.TrainingCallback] = [watch]
    if spec.early_stopping:
        callbacks.append(
            xgboost.callback.EarlyStopping(rounds=spec.early_stopping, metric_name=spec.metric, data_name="fold")
        )
    history: dict[str, dict[str, list[float]]] = {}
    model = xgboost.train(
        dict(spec.params),
        matrix,
        spec.rounds,
        evals=[(watched, "fold")],
        evals_result=history,
        callbacks=callbacks,
        verbose_eval=False,
    )
    values = history["fold"][spec.metric]
    best = model.best_iteration if spec.early_stopping else len(values) - 1
    scores = model.predict(watched, iteration_range=(0, best + 1))
    seconds = time.perf_counter() - began
    return FoldReport(fold, best, len(values), float(values[best]), size, seconds), scores


def _check_folds(train: Rows, spec: LoopSpec) -> list[int]:
    """Rows of each fold on all ranks together; every fold, and what is left beside it, needs both classes."""
    counts = np.zeros((spec.folds, 2))
    for fold in range(spec.folds):
        labels = train.y[train.fold == fold]
        positive = np.count_nonzero(labels > 0)
        counts[fold] = (len(labels) - positive, positive)
    if xgboost.collective.is_distributed():
        counts = xgboost.collective.allreduce(counts, xgboost.collective.Op.SUM).reshape(spec.folds, 2)
    sizes = [int(size) for size in counts.sum(axis=1)]
    for fold, size in enumerate(sizes):
        if size == 0:
            raise DataError(f"fold {fold + 1} of {spec.folds} has no rows", hint="lower training.folds, or add rows")
        if spec.binary and counts[fold].min() == 0:
            label = int(counts[fold].argmax())
            raise DataError(
                f"all {size} rows of fold {fold + 1} of {spec.folds} have the label {label}",
                hint="lower training.folds, or add rows of the other class",
            )
    return sizes


class _Watch(xgboost.callback.TrainingCallback):
    """Tells how far a booster is, and ends it when nobody waits for it any more."""

    def __init__(self, fold: int | None, spec: LoopSpec, emit: Emit, stop: Callable[[], bool]) -> None:
        super().__init__()
        self._fold, self._spec, self._emit, self._stop = fold, spec, emit, stop
        self._told = time.monotonic()

    def after_iteration(self, model: Any, epoch: int, evals_log: Mapping[str, Mapping[str, list[float]]]) -> bool:
        """Tell of every so many rounds, at most twice a second."""
        done = epoch + 1
        if self._spec.every and done % self._spec.every == 0 and time.monotonic() - self._told >= EVENT_SECONDS:
            self._told = time.monotonic()
            event: Event = {"fold": self._fold, "of": self._spec.folds, "round": done, "rounds": self._spec.rounds}
            if evals_log:
                event["value"] = float(evals_log["fold"][self._spec.metric][-1])
            self._emit(event)
        if self._stop():
            raise BackendError("the training was ended before it was done: nobody waits for it any more")
        return False


class _Blocks(xgboost.DataIter):
    """Chosen rows, a block at a time, so that no second copy of them all is made."""

    def __init__(self, rows: Rows, chosen: np.ndarray, spec: LoopSpec) -> None:
        self._rows, self._chosen, self._spec = rows, chosen, spec
        self._start = 0
        super().__init__(release_data=True)

    def reset(self) -> None:
        """Begin again; XGBoost goes over the rows several times."""
        self._start = 0

    def next(self, input_data: Callable[..., None]) -> bool:
        """Hand over the next block; at least one, which may be empty."""
        start = self._start
        if start > 0 and start >= len(self._rows):
            return False
        self._start = start + BLOCK
        part = slice(start, start + BLOCK)
        chosen = self._chosen[part]
        input_data(
            data=self._rows.x[part][chosen],
            label=self._rows.y[part][chosen],
            feature_names=self._spec.names,
            feature_types=self._spec.types,
        )
        return True


def _quantile_matrix(
    rows: Rows, chosen: np.ndarray, spec: LoopSpec, *, ref: xgboost.QuantileDMatrix | None = None
) -> xgboost.QuantileDMatrix:
    bins = {"max_bin": spec.params["max_bin"]} if ref is None else {"ref": ref, "max_bin": spec.params["max_bin"]}
    return xgboost.QuantileDMatrix(_Blocks(rows, chosen, spec), nthread=spec.params["nthread"], **bins)


def _matrix(rows: Rows, chosen: np.ndarray, spec: LoopSpec) -> xgboost.DMatrix:
    return xgboost.DMatrix(
        rows.x[chosen],
        rows.y[chosen],
        feature_names=spec.names,
        feature_types=spec.types,
        nthread=spec.params["nthread"],
    )
