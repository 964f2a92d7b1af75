"""The engine for rows that fit one worker: the loop in one Ray task, or each fold in one of its own."""

from __future__ import annotations

import functools
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import ray

from sluiceway.core.errors import BackendError
from sluiceway.training.job import Job, Outcome, scored_rows
from sluiceway.training.loop import Emit, Event, Fold, Loop
from sluiceway.training.oof import keep_oof, oof_table
from sluiceway.training.plan import Plan
from sluiceway.training.ray_errors import cause_of, worker_was_lost
from sluiceway.training.ray_resources import START_SECONDS, reserve_cpus, waiting_event
from sluiceway.training.rows import RowSource
from sluiceway.training.workplace import workplace

PATIENCE_SECONDS = 3.0
_BEGUN: dict[str, Any] = {"begun": True}
_RESULT: dict[str, Any] = {"result": True}  # what follows it is for other workers, and is not fetched by the driver


def run_task(source: RowSource, job: Job, plan: Plan, *, emit: Emit) -> Outcome:
    """Train in one Ray task, or in one for each fold and one for the final model.

    Args:
        source: of the rows; only the tasks fetch them.
        job: what to train.
        plan: threads, GPUs, and folds side by side.
        emit: called on the driver with each progress event.

    Raises:
        SluicewayError: as the loop raised it.
        BackendError: workers died more often than ``job.retries``, or ran out of memory.
    """
    asked = time.time()
    cpus = reserve_cpus(plan)
    task = _train.options(num_cpus=cpus, num_gpus=plan.gpus, **({"memory": plan.memory} if plan.memory else {}))
    follow = functools.partial(_follow, late=waiting_event(plan, cpus), emit=emit)
    start = functools.partial(task.remote, source, job)
    folds: list[ray.ObjectRef] = []
    lost = 0
    if plan.parallel > 1:
        starts = [functools.partial(start, number) for number in range(job.spec.folds)]
        folds, lost = follow(starts, most=plan.parallel, retries=job.retries)
    ends, lost_again = follow([functools.partial(start, None, *folds)], most=1, retries=job.retries - lost)
    try:
        outcome: Outcome = ray.get(ends[0])
    except ray.exceptions.RayError as error:
        raise cause_of(error, "the training task") from error
    seconds = dict(outcome.seconds)
    started = max(seconds.pop("began") - asked, 0.0)
    return replace(outcome, seconds={"start": started, **seconds}, restarts=lost + lost_again)


def _follow(
    starts: Sequence[Callable[[], ray.ObjectRefGenerator]], *, most: int, retries: int, late: Event, emit: Emit
) -> tuple[list[ray.ObjectRef], int]:
    """Run tasks, some at a time; one whose worker is lost begins again, and goes on from its checkpoints.

    ``late`` is told where none has begun for long.

    Returns:
        the results' references, in the order of ``starts``, and how many workers were lost.
    """
    waiting = list(range(len(starts)))
    running: list[tuple[int, ray.ObjectRefGenerator]] = []
    results: dict[int, ray.ObjectRef] = {}
    lost = 0
    patience: float | None = START_SECONDS
    try:
        while waiting or running:
            while waiting and len(running) < most:
                number = waiting.pop(0)
                running.append((number, starts[number]()))
            streams = [stream for _, stream in running]
            ready, _ = ray.wait(streams, num_returns=1, fetch_local=False, timeout=patience)
            patience = None
            if not ready:
                emit(late)
                continue
            number, stream = next(pair for pair in running if pair[1] is ready[0])
            try:
                item = ray.get(next(stream))
                if item == _RESULT:
                    results[number] = next(stream)
                    running.remove((number, stream))
                elif item != _BEGUN:
                    emit(item)
            except ray.exceptions.RayError as error:
                running.remove((number, stream))
                if lost >= retries or not worker_was_lost(error):
                    raise cause_of(error, "the training task") from error
                lost += 1
                emit({"restart": lost})
                waiting.insert(0, number)
            except StopIteration:
                raise BackendError("the training task ended without a model") from None
    except BaseException:
        for _, stream in running:
            _end(stream)
        raise
    return [results[number] for number in range(len(starts))], lost


def _end(stream: ray.ObjectRefGenerator) -> None:
    """End a task that nobody waits for any more: asked first, its thread ends with the next round.

    A busy worker can miss what it is asked, and would hold its CPUs until the last round; then its process is killed.
    """
    ray.cancel(stream)
    ended, _ = ray.wait([stream.completed()], timeout=PATIENCE_SECONDS)
    if not ended:
        ray.cancel(stream, force=True)


@ray.remote(num_returns="streaming", max_retries=0)
def _train(source: RowSource, job: Job, fold: int | None, *done: Fold) -> Iterator[Any]:
    """Yield progress events, then the result; boosting blocks, so it has a thread of its own."""
    events: queue.SimpleQueue[Any] = queue.SimpleQueue()
    abandoned = threading.Event()

    def work() -> None:
        try:
            events.put(_work(source, job, fold, done, emit=events.put, abandoned=abandoned))
        except BaseException as error:  # noqa: BLE001 (raised again below, in the task's own thread)
            events.put(error)

    threading.Thread(target=work, name="boosting", daemon=True).start()
    try:
        yield _BEGUN
        while True:
            item = events.get()
            if isinstance(item, BaseException):
                raise item
            if isinstance(item, dict):
                yield item
                continue
            yield _RESULT
            yield item
            return
    finally:
        abandoned.set()


def _work(
    source: RowSource,
    job: Job,
    fold: int | None,
    done: Sequence[Fold],
    *,
    emit: Emit,
    abandoned: threading.Event,
) -> Outcome | Fold:
    """A fold; or the final model of those that are done; or all of it."""
    began = time.time()
    with workplace(source, job) as place:
        loaded = time.time() - began
        train, validation = place.train, place.validation
        loop = Loop(
            train,
            spec=job.spec,
            maker=place.maker,
            emit=emit,
            stop=abandoned.is_set,
            checkpoints=place.checkpoints,
        )
        if fold is not None:
            return loop.fold(fold)
        folds = done or loop.folds(together=job.together)
        result = loop.finish(folds, validation)
        kept = keep_oof(job.oof_uri, oof_table(train, result.oof), version=job.version)
        return Outcome(
            model=result.model,
            rounds=result.rounds,
            folds=result.folds,
            validation=scored_rows(validation.y, result.validation, validation.x),
            rows={"train": len(train), "validation": len(validation)},
            seconds={"began": began, "load": loaded, **result.seconds, "oof": kept.seconds},
            oof_version=kept.version,
        )
