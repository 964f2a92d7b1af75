"""The loop that every engine runs: cut points once, the folds, then the final model.

In a Ray Train worker group all ranks run it at the same time, each on its own rows; XGBoost joins their histograms, so
every rank has to take part in every matrix and every fold, also with no row of it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import xgboost

from sluiceway.core.errors import BackendError, DataError
from sluiceway.training.boosting import Boosting, best_round, run_rounds
from sluiceway.training.checkpoints import Checkpoints, NoCheckpoints
from sluiceway.training.final_model import average, first_rounds
from sluiceway.training.fold_checks import check_folds
from sluiceway.training.matrices import MatrixMaker, predict_rows
from sluiceway.training.report import FoldReport, Kind
from sluiceway.training.rows import Rows
from sluiceway.training.side_by_side import Span, Spans, fold_threads, run_side_by_side

EVENT_SECONDS = 0.5
Event = dict[str, Any]
Emit = Callable[[Event], None]
Stop = Callable[[], bool]


@dataclass(frozen=True)
class LoopSpec:
    """What to boost.

    Attributes:
        params: of ``xgboost.train``.
        rounds: most rounds of a fold.
        early_stopping: rounds without an improvement after which a fold stops, or None.
        maximise: whether more of the metric is better.
        folds: how many.
        kind: of the model.
        classes: how many; 0 for a regressor.
        final: what the model is made of.
        names: of the features, or None where XGBoost would refuse them.
        types: XGBoost's types of the features.
        every: rounds between two progress events; 0 is none within a fold.
        checkpoint_rounds: rounds between two checkpoints.
        base: a booster as UBJSON that all folds and the model go on from, or None.
    """

    params: Mapping[str, Any]
    rounds: int
    early_stopping: int | None
    maximise: bool
    folds: int
    kind: Kind
    classes: int
    names: tuple[str, ...] | None
    types: tuple[str, ...]
    every: int
    final: Literal["refit", "best_fold", "average"] = "refit"
    checkpoint_rounds: int = 50
    base: bytes | None = field(default=None, repr=False)

    @property
    def metric(self) -> str:
        """XGBoost's name of the metric that is watched."""
        return str(self.params["eval_metric"])


@dataclass(frozen=True)
class Fold:
    """A fold that is done, on one rank.

    Attributes:
        report: for people; ``rows`` counts all ranks' rows.
        model: the booster up to its best round, as UBJSON; the same on all ranks.
        scores: float32, shape (rows of the fold on this rank,) or (.., classes).
    """

    report: FoldReport
    model: bytes
    scores: np.ndarray


@dataclass(frozen=True)
class LoopResult:
    """What the loop made, on one rank.

    Attributes:
        model: UBJSON; the same on all ranks.
        rounds: of the final fit; of the best fold; of all folds together.
        folds: reports; ``rows`` counts all ranks' rows.
        oof: shape (n_train,) or (n_train, classes), float32: each training row's score by the fold that has not seen
            it; NaN where no fold validates the row.
        validation: shape (n_validation,) or (n_validation, classes), float32: scores of the final model.
        seconds: ``build``, ``folds`` and ``final``.
    """

    model: bytes
    rounds: int
    folds: tuple[FoldReport, ...]
    oof: np.ndarray
    validation: np.ndarray
    seconds: Mapping[str, float]


class Loop:
    """One run's folds and final model on the rows of one rank.

    Args:
        train: this rank's training rows.
        spec: what to boost.
        maker: of the matrices.
        emit: called with progress, at most about twice a second and at the end of each fold.
        stop: asked after each round; True ends the work.
        checkpoints: where boosters are kept.

    Raises:
        DataError: a fold has no rows, or rows of one class.
    """

    def __init__(
        self,
        train: Rows,
        *,
        spec: LoopSpec,
        maker: MatrixMaker | None = None,
        emit: Emit = lambda event: None,
        stop: Stop = lambda: False,
        checkpoints: Checkpoints | None = None,
    ) -> None:
        self._train, self._spec = train, spec
        self._emit, self._stop = emit, stop
        self._maker = maker or MatrixMaker(spec.params, spec.names, spec.types)
        self._checkpoints = checkpoints or NoCheckpoints()
        self._failed = threading.Event()
        self._spans = Spans()
        self._sizes = check_folds(train, folds=spec.folds, classes=spec.classes)
        began = time.perf_counter()
        self._all = self._maker.quantile(train, np.ones(len(train), bool))
        self.build_seconds = time.perf_counter() - began

    def folds(self, *, together: bool) -> list[Fold]:
        """Train all folds.

        Args:
            together: side by side, sharing the threads, where the worker has several and the memory for them.

        Raises:
            BackendError: it was told to stop.
        """
        spec, threads = self._spec, int(self._spec.params["nthread"])
        if not together or threads == 1:
            return [self.fold(number) for number in range(spec.folds)]
        return run_side_by_side(
            lambda number, share: self.fold(number, threads=share),
            fold_threads(spec.folds, threads),
            threads,
            failed=self._failed,
        )

    def fold(self, number: int, *, threads: int | None = None) -> Fold:
        """Train a fold and judge it by its own rows.

        Args:
            number: which, from 0.
            threads: of its own; all of the worker's where left out.

        Raises:
            BackendError: it was told to stop.
            DataError: the metric is not a number.
        """
        spec, train = self._spec, self._train
        self._emit({"fold": number, "of": spec.folds, "rounds": spec.rounds})
        built: list[Span] = []
        with self._spans.building(built):
            watched = self._maker.quantile(train, train.validated_in(number), ref=self._all)

        def build() -> xgboost.DMatrix:
            with self._spans.building(built):
                return self._maker.quantile(train, train.trained_in(number), ref=self._all)

        boosted = run_rounds(
            self._plan(f"fold-{number}", spec.rounds, watched=True, threads=threads),
            build,
            watched,
            checkpoints=self._checkpoints,
            after_round=_Watch(number, spec.rounds, spec, self._emit, self._ended),
        )
        if not np.isfinite(boosted.history).all():
            raise DataError(
                f"{spec.metric} of fold {number + 1} is not a number",
                hint="the metric cannot be taken of these labels and weights; choose another training.eval_metric",
            )
        best = boosted.rounds - 1
        if spec.early_stopping:
            best = best_round(boosted.history, maximise=spec.maximise)
        base_rounds = boosted.booster.num_boosted_rounds() - boosted.rounds
        model = first_rounds(boosted.booster, base_rounds + best + 1)
        scores = self._shaped(model.predict(watched))
        report = FoldReport(
            number,
            best,
            boosted.rounds,
            float(boosted.history[best]),
            self._sizes[number],
            self._spans.boosted(built),
            boosted.history,
            sum(end - start for start, end in built),
        )
        self._emit({"fold": number, "of": spec.folds, "round": report.rounds, "value": report.metric, "done": True})
        return Fold(report, self._saved(model), scores)

    def _ended(self) -> bool:
        return self._stop() or self._failed.is_set()

    def finish(self, folds: Iterable[Fold], validation: Rows) -> LoopResult:
        """Make the final model of the folds, and score the validation rows with it.

        A refit takes the median of the folds' ``best_iteration + 1`` rounds, halves rounded up: one fold that stops
        early or late does not move it.

        Args:
            folds: all of them, in order.
            validation: this rank's validation rows; scored, never trained on.
        """
        done = list(folds)
        reports = [fold.report for fold in done]
        began = time.perf_counter()
        oof = np.full((len(self._train), *done[0].scores.shape[1:]), np.nan, np.float32)
        for number, fold in enumerate(done):
            oof[self._train.validated_in(number)] = fold.scores
        model, rounds = self._final(done)
        scored = self._shaped(predict_rows(model, validation))
        built = sum(report.build_seconds for report in reports)
        alone, boosting = self._spans.seconds()
        here = boosting > 0  # else the folds are from other tasks
        seconds = {
            "build": self.build_seconds + (alone if here else built),
            "folds": boosting if here else sum(report.seconds for report in reports) - built,
            "final": time.perf_counter() - began,
        }
        return LoopResult(self._saved(model), rounds, tuple(reports), oof, scored, seconds)

    def _final(self, folds: list[Fold]) -> tuple[xgboost.Booster, int]:
        spec = self._spec
        rounds = [fold.report.best_iteration + 1 for fold in folds]
        if spec.final == "average":
            self._emit({"final": sum(rounds), "of": spec.folds})
            return average([fold.model for fold in folds]), sum(rounds)
        if spec.final == "best_fold":
            metrics = tuple(fold.report.metric for fold in folds)
            best = best_round(metrics, maximise=spec.maximise)
            self._emit({"final": rounds[best], "of": spec.folds})
            return xgboost.Booster(model_file=bytearray(folds[best].model)), rounds[best]
        median = int(np.median(rounds) + 0.5)
        self._emit({"final": median, "of": spec.folds})
        boosted = run_rounds(
            self._plan("final", median, watched=False),
            lambda: self._all,
            None,
            checkpoints=self._checkpoints,
            after_round=_Watch(None, median, spec, self._emit, self._stop),
        )
        return boosted.booster, median

    def _plan(self, name: str, rounds: int, *, watched: bool, threads: int | None = None) -> Boosting:
        spec = self._spec
        return Boosting(
            name,
            {**spec.params, **({} if threads is None else {"nthread": threads})},
            rounds,
            spec.metric,
            spec.maximise,
            spec.early_stopping if watched else None,
            spec.checkpoint_rounds,
            spec.base,
        )

    def _shaped(self, scores: np.ndarray) -> np.ndarray:
        """Scores of no rows have a class's place, too: other ranks have rows."""
        return scores.reshape(-1, self._spec.classes) if self._spec.kind == "multiclass" else scores

    def _saved(self, booster: xgboost.Booster) -> bytes:
        """As UBJSON. A rank without rows has lost the features' names and types in its matrices: told again."""
        booster.feature_names = None if self._spec.names is None else list(self._spec.names)
        booster.feature_types = list(self._spec.types)
        return bytes(booster.save_raw("ubj"))


def boost(
    train: Rows,
    validation: Rows,
    *,
    spec: LoopSpec,
    emit: Emit,
    stop: Stop,
    maker: MatrixMaker | None = None,
    checkpoints: Checkpoints | None = None,
    together: bool = False,
) -> LoopResult:
    """Cross-validate, then make the final model.

    Args:
        train: this rank's training rows.
        validation: this rank's validation rows.
        spec: what to boost.
        emit: see :class:`Loop`.
        stop: see :class:`Loop`.
        maker: of the matrices; in memory by default.
        checkpoints: where boosters are kept; nowhere by default.
        together: folds side by side; not in a group, whose ranks boost one fold together.

    Raises:
        BackendError: it was told to stop.
        DataError: a fold has no rows, or rows of one class.
    """
    loop = Loop(train, spec=spec, maker=maker, emit=emit, stop=stop, checkpoints=checkpoints)
    return loop.finish(loop.folds(together=together), validation)


class _Watch:
    """Tells how far a booster is, and ends it when nobody waits for it any more."""

    def __init__(self, fold: int | None, rounds: int, spec: LoopSpec, emit: Emit, stop: Stop) -> None:
        self._fold, self._rounds, self._spec, self._emit, self._stop = fold, rounds, spec, emit, stop
        self._told = time.monotonic()

    def __call__(self, done: int, value: float | None) -> None:
        """Tell of every so many rounds, at most twice a second."""
        every = self._spec.every
        if every and done % every == 0 and time.monotonic() - self._told >= EVENT_SECONDS:
            self._told = time.monotonic()
            event: Event = {"fold": self._fold, "of": self._spec.folds, "round": done, "rounds": self._rounds}
            self._emit(event if value is None else event | {"value": value})
        if self._stop():
            raise BackendError("the training was ended before it was done: nobody waits for it any more")
