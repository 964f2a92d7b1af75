"""Trials of a search on the Ray cluster: Ray Tune runs them, ASHA stops the hopeless ones between two folds.

Tune keeps pickles of its own to go on after a crash, up to ten seconds old; nothing here reads them. A search that is
taken up again is told its settled trials: they go through the same schedule in the same order, without being trained.
"""

from __future__ import annotations

import json
import logging
import math
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search import Searcher

from sluiceway.config.search import SearchSection
from sluiceway.core.errors import BackendError, SluicewayError
from sluiceway.training.job import Job
from sluiceway.training.loop import Loop, LoopSpec
from sluiceway.training.optuna_draws import Draws
from sluiceway.training.plan import WORKER_SHARE, Plan, plan_run, require_memory, require_room, worker_bytes
from sluiceway.training.ray_blocks import stored_blocks
from sluiceway.training.ray_errors import cause_of, of_the_parameters
from sluiceway.training.ray_resources import reserve_cpus
from sluiceway.training.ray_run import Prepared
from sluiceway.training.recipe import Recipe
from sluiceway.training.search_space import with_params
from sluiceway.training.trials import Status, Trial
from sluiceway.training.workplace import Workplace, workplace

SCORE, FOLDS, TRIAL = "score", "folds", "trial"
_LOUD = ("ray.tune", "ray.train", "ray.air")


@dataclass(frozen=True)
class TrialJob:
    """What every trial needs beside the rows.

    Attributes:
        recipe: of the configured model.
        job: of the configured model; its rows, folds and matrices are every trial's.
        threads: of a trial.
        concurrent: trials at a time.
        deadline: UTC epoch seconds after which no round is begun; infinite without a limit.
    """

    recipe: Recipe
    job: Job
    threads: int
    concurrent: int
    deadline: float

    @property
    def folds(self) -> int:
        """Folds of a trial."""
        return self.job.spec.folds

    @property
    def mode(self) -> str:
        """Tune's word for what is better."""
        return "max" if self.job.spec.maximise else "min"

    def spec(self, params: dict[str, Any]) -> LoopSpec:
        """What a trial boosts."""
        model = with_params(self.recipe.model, params)
        return replace(self.recipe, model=model).loop_spec(threads=self.threads)


def plan_trials(prepared: Prepared, recipe: Recipe, search: SearchSection, *, deadline: float) -> tuple[TrialJob, Plan]:
    """How trials are trained: each in one worker, whatever the final model is going to take.

    Args:
        prepared: the rows.
        recipe: of the configured model.
        search: how many trials at a time.
        deadline: UTC epoch seconds, or infinite.

    Raises:
        BackendError: no node has the CPUs, the GPU and the memory of a trial, or a GPU cannot hold the rows.
    """
    alone = recipe.training.model_copy(update={"engine": "xgboost", "workers": 1, "parallel_folds": 1})
    plan = plan_run(alone, prepared.cluster, rows=prepared.rows, features=prepared.width)
    require_room(plan, prepared.cluster)
    require_memory(alone, rows=prepared.rows, features=prepared.width, workers=1)
    job = Job(
        spec=recipe.loop_spec(threads=plan.threads),
        width=prepared.width,
        oof_uri="",
        version=recipe.data.path,
        fold_cuts=prepared.fold_cuts,
        seed=recipe.seed,
        disk_rows=plan.disk_rows,
        weighted=recipe.data.weight is not None,
    )
    concurrent = side_by_side(search, plan, prepared) if search.concurrent == "auto" else search.concurrent
    return TrialJob(recipe, job, plan.threads, concurrent, deadline), plan


def side_by_side(search: SearchSection, plan: Plan, prepared: Prepared) -> int:
    """How many trials the cluster has room for: in CPUs, GPUs and memory."""
    cluster = prepared.cluster
    room = [cluster.cpus / plan.threads]
    if plan.gpus:
        room.append(cluster.gpus / plan.gpus)
    if not plan.disk_rows:
        room.append(cluster.nodes * cluster.node_memory * WORKER_SHARE / worker_bytes(prepared.rows, prepared.width))
    most = min(room) if search.trials is None else min(*room, search.trials)
    return max(1, int(most))


def run_trials(
    blocks: Sequence[ray.ObjectRef],
    job: TrialJob,
    plan: Plan,
    *,
    search: SearchSection,
    draws: Draws,
    known: Sequence[Trial],
    heard: Callable[[Trial], None],
) -> None:
    """Try sets of parameters until the trials or the time are over.

    Args:
        blocks: encoded blocks in the object store; each worker arranges them once, for all its trials.
        job: what a trial needs beside them.
        plan: threads and GPUs of a trial.
        search: number of trials, and how early they are stopped.
        draws: says what is tried.
        known: settled trials of earlier tries of the same search.
        heard: told of each trial after each of its folds (``running``) and when it is over; not of known ones.

    Raises:
        BackendError: Ray cannot run the trials.
    """
    listener = _Listener(heard, {trial.number for trial in known})
    cpus = reserve_cpus(replace(plan, workers=job.concurrent))
    storage = tempfile.mkdtemp(prefix="sluiceway-search-")
    try:
        with _silence():
            tune.run(
                tune.with_parameters(_FoldByFold, blocks=list(blocks), job=job),
                name="search",
                storage_path=storage,
                resources_per_trial={"cpu": cpus, "gpu": plan.gpus} | ({"memory": plan.memory} if plan.memory else {}),
                num_samples=-1,  # the searcher says when it is over
                search_alg=_Turns(draws, known, trials=search.trials, job=job),
                max_concurrent_trials=job.concurrent,
                scheduler=ASHAScheduler(
                    time_attr=FOLDS,
                    metric=SCORE,
                    mode=job.mode,
                    max_t=job.folds,
                    grace_period=search.grace_folds,
                    reduction_factor=search.reduction,
                ),
                callbacks=[listener],
                stop=_UntilTheEnd(listener, deadline=job.deadline),
                max_failures=job.recipe.training.retries,
                reuse_actors=True,
                raise_on_failed_trial=False,
                trial_dirname_creator=lambda trial: trial.trial_id,
                verbose=0,
            )
    except (ray.exceptions.RayError, tune.TuneError) as error:
        raise cause_of(error, "the search") from error
    finally:
        shutil.rmtree(storage, ignore_errors=True)
    if listener.problem is not None:
        raise listener.problem


@contextmanager
def _silence() -> Iterator[None]:
    """Tune tells of every trial in several ways; here the listener does."""
    loggers = [logging.getLogger(name) for name in _LOUD]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


class _Turns(Searcher):
    """Whose turn it is: the known trials in their order, then new draws under the numbers that are left."""

    def __init__(self, draws: Draws, known: Sequence[Trial], *, trials: int | None, job: TrialJob) -> None:
        super().__init__(metric=SCORE, mode=job.mode)
        self._draws, self._most, self._deadline = draws, trials, job.deadline
        self._known = sorted(known, key=lambda trial: trial.number)
        self._begun = len(self._known)
        self._taken = {trial.number for trial in known}
        self._out: dict[str, Trial] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        """The next trial, as Tune's configuration of it."""
        if self._known:
            self._out[trial_id] = trial = self._known.pop(0)
            return {TRIAL: _packed(trial)}
        if (self._most is not None and self._begun >= self._most) or time.time() >= self._deadline:
            return str(Searcher.FINISHED)
        number = next(number for number in range(len(self._taken) + 1) if number not in self._taken)
        self._taken.add(number)
        self._begun += 1
        self._out[trial_id] = trial = Trial(number, self._draws.draw(number), (), "running", 0.0)
        return {TRIAL: _packed(trial)}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Teach the sampler."""
        trial = self._out.pop(trial_id)
        if trial.status != "running":
            self._draws.told(trial)
        else:
            self._draws.told(_ended(result) if result and not error else replace(trial, status="failed"))

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: a search is taken up from what its trials have left."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing was saved."""


def _packed(trial: Trial) -> str:
    """As text: Tune takes mappings and lists apart."""
    return json.dumps(trial.to_dict())


def _unpacked(told: dict[str, Any]) -> Trial:
    return Trial.from_dict(json.loads(told[TRIAL]))


def _ended(result: dict[str, Any]) -> Trial:
    """A trial that was running with its last result was stopped."""
    trial = _unpacked(result)
    return replace(trial, status="stopped") if trial.status == "running" else trial


class _Listener(tune.Callback):
    """Passes on what becomes of the trials; known ones are no news."""

    def __init__(self, heard: Callable[[Trial], None], known: set[int]) -> None:
        self._heard, self._known = heard, known
        self.problem: Exception | None = None
        self.begun = False

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A worker has its place."""
        self.begun = True

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """A fold is trained."""
        self._tell(_unpacked(result), over=False)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """All folds are, or ASHA or the trial itself ended it."""
        self._tell(_ended(trial.last_result), over=True)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Its worker died or could not work, more often than is tried again."""
        error = _error_of(trial)
        given = _unpacked(trial.config)
        told = cause_of(error, f"trial {given.number}").message
        self._tell(replace(given, status="failed", error=told, lost=not of_the_parameters(error)), over=True)

    def _tell(self, trial: Trial, *, over: bool) -> None:
        if self.problem is not None or trial.number in self._known or over == (trial.status == "running"):
            return
        try:
            self._heard(trial)
        except Exception as problem:  # noqa: BLE001 (raised when Tune has ended, which takes errors of listeners for the trial's)
            self.problem = problem


class _UntilTheEnd(tune.Stopper):
    """Ends everything when nobody can listen any more, or when the time is over and no trial ever found a place.

    A trial that has begun ends itself in time. A copy, which Tune keeps with its state, ends nothing.
    """

    def __init__(self, listener: _Listener | None = None, *, deadline: float = math.inf) -> None:
        self._listener, self._deadline = listener, deadline

    def __reduce__(self) -> tuple[type[_UntilTheEnd], tuple[()]]:
        return _UntilTheEnd, ()

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """No trial is ended by itself."""
        return False

    def stop_all(self) -> bool:
        """Whether the search is over."""
        listener = self._listener
        if listener is None:
            return False
        return listener.problem is not None or (not listener.begun and time.time() >= self._deadline)


def _error_of(trial: Any) -> Exception:
    """What a trial died of; Tune has not copied it to the storage yet when its listeners are told."""
    file = trial.pickled_error_file
    if file is None or not Path(file).exists():
        return BackendError("the worker is gone")
    error: Exception = ray.cloudpickle.loads(Path(file).read_bytes())
    return error


class _FoldByFold(tune.Trainable):
    """A trial: each step is a fold, so that what comes after a stop is never begun. The worker serves many trials."""

    def setup(self, config: dict[str, Any], blocks: list[ray.ObjectRef], job: TrialJob) -> None:
        """Remember where the rows are; a worker that only tells known trials again fetches none."""
        self._blocks, self._job = blocks, job
        self._opened = ExitStack()
        self._place: Workplace | None = None
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin another trial."""
        given = _unpacked(new_config)
        self._known = None if given.status == "running" else given
        self._trial = replace(given, status="running", scores=())
        self._loop: Loop | None = None
        return True

    def cleanup(self) -> None:
        """Let go of the rows."""
        self._opened.close()

    def step(self) -> dict[str, Any]:
        """Train the next fold, or tell again what became of it."""
        trial = self._retold(self._known) if self._known else self._trained()
        self._trial = trial
        told = {TRIAL: _packed(trial), FOLDS: len(trial.scores), tune.result.DONE: trial.status != "running"}
        # ASHA and the sampler look at trials with a score only: one that failed has none to compare.
        return told if trial.status in ("failed", "cut") else {**told, SCORE: trial.score}

    def _retold(self, known: Trial) -> Trial:
        scores = known.scores[: len(self._trial.scores) + 1]
        return replace(known, scores=scores, status="running" if len(scores) < len(known.scores) else known.status)

    def _trained(self) -> Trial:
        began = time.monotonic()
        scores, error, lost = self._trial.scores, "", False
        status: Status = "running"
        try:
            scores = (*scores, _finite(self._train(len(scores))))
            status = "finished" if len(scores) == self._job.folds else "running"
        except (SluicewayError, ValueError) as problem:  # XGBoost's own error is a ValueError
            cut = time.time() >= self._job.deadline
            status, error = ("cut", "") if cut else ("failed", _first_line(problem))
            lost = not cut and not of_the_parameters(problem)
        seconds = self._trial.seconds + time.monotonic() - began
        return replace(self._trial, scores=scores, status=status, seconds=seconds, error=error, lost=lost)

    def _train(self, fold: int) -> float:
        job = self._job
        if self._place is None:
            self._place = self._opened.enter_context(workplace(stored_blocks(self._blocks, job.job.width), job.job))
        if self._loop is None:
            self._loop = Loop(
                self._place.train,
                spec=job.spec(self._trial.params),
                maker=self._place.maker,
                stop=lambda: time.time() >= job.deadline,
            )
        return self._loop.fold(fold).report.metric


def _finite(metric: float) -> float:
    """A fold's metric; a model that has run away (of counts, with a high learning rate, say) is no model."""
    if not math.isfinite(metric):
        raise ValueError(f"the metric of a fold is {metric}")
    return metric


def _first_line(problem: Exception) -> str:
    """XGBoost tells the time, its source file and a stack, too."""
    told = problem.message if isinstance(problem, SluicewayError) else str(problem)
    return re.sub(r"^\[[\d:]+\] \S+: ", "", told.strip().partition("\n")[0])
