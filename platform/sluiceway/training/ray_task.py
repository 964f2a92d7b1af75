"""The engine for rows that fit one worker: the loop in one Ray task, which streams its progress."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import ray

from sluiceway.core.errors import BackendError
from sluiceway.training.loop import Emit, LoopResult, LoopSpec, boost
from sluiceway.training.oof import MOST_VALIDATION_ROWS, keep_oof, oof_table
from sluiceway.training.plan import Plan
from sluiceway.training.ray_errors import cause_of
from sluiceway.training.ray_resources import reserve_cpus
from sluiceway.training.report import FoldReport, ScoredRows
from sluiceway.training.rows import arrange

PATIENCE_SECONDS = 3.0


@dataclass(frozen=True)
class Job:
    """What a worker needs beside the rows.

    Attributes:
        spec: of the loop.
        width: number of features.
        oof_uri: where out-of-fold predictions go, or empty.
        version: the rows that are trained on, for people.
    """

    spec: LoopSpec
    width: int
    oof_uri: str
    version: str


@dataclass(frozen=True)
class Outcome:
    """What an engine gives back to the driver: the model and small things.

    Attributes:
        model: UBJSON.
        rounds: of the final fit.
        folds: reports.
        validation: scored rows, at most 200,000.
        rows: ``train`` and ``validation``.
        seconds: ``start``, ``load``, ``folds``, ``final``, ``oof``.
    """

    model: bytes
    rounds: int
    folds: tuple[FoldReport, ...]
    validation: ScoredRows
    rows: dict[str, int]
    seconds: dict[str, float]


def run_task(blocks: Sequence[ray.ObjectRef], job: Job, plan: Plan, *, emit: Emit) -> Outcome:
    """Train in one Ray task.

    Args:
        blocks: encoded blocks in the object store; only the task fetches them.
        job: what to train.
        plan: threads and GPUs.
        emit: called on the driver with each progress event.

    Raises:
        SluicewayError: as the loop raised it.
        BackendError: the worker died.
    """
    asked = time.time()
    task = _train.options(num_cpus=reserve_cpus(plan), num_gpus=plan.gpus)
    stream = task.remote(list(blocks), job)
    outcome: Outcome | None = None
    try:
        for ref in stream:
            item = ray.get(ref)
            if isinstance(item, Outcome):
                outcome = item
            else:
                emit(item)
    except ray.exceptions.RayError as error:
        raise cause_of(error, "the training task") from error
    except BaseException:
        _end(stream)
        raise
    if outcome is None:
        raise BackendError("the training task ended without a model")
    started = outcome.seconds.pop("began") - asked
    return Outcome(**{**vars(outcome), "seconds": {"start": max(started, 0.0), **outcome.seconds}})


def _end(stream: ray.ObjectRefGenerator) -> None:
    """End a task that nobody waits for any more: asked first, its thread ends with the next round.

    A busy worker can miss what it is asked, and would hold its CPUs until the last round; then its process is killed.
    """
    ray.cancel(stream)
    ended, _ = ray.wait([stream.completed()], timeout=PATIENCE_SECONDS)
    if not ended:
        ray.cancel(stream, force=True)


@ray.remote(num_returns="streaming", max_retries=0)
def _train(blocks: list[ray.ObjectRef], job: Job) -> Iterator[Any]:
    """Yield progress events, then the outcome; boosting blocks, so it has a thread of its own."""
    events: queue.SimpleQueue[Any] = queue.SimpleQueue()
    abandoned = threading.Event()

    def work() -> None:
        try:
            events.put(_work(blocks, job, emit=events.put, abandoned=abandoned))
        except BaseException as error:  # noqa: BLE001 (raised again below, in the task's own thread)
            events.put(error)

    threading.Thread(target=work, name="boosting", daemon=True).start()
    try:
        while True:
            item = events.get()
            if isinstance(item, BaseException):
                raise item
            yield item
            if isinstance(item, Outcome):
                return
    finally:
        abandoned.set()


def _work(blocks: list[ray.ObjectRef], job: Job, *, emit: Emit, abandoned: threading.Event) -> Outcome:
    began = time.time()
    train, validation = arrange((ray.get(block) for block in blocks), width=job.width)
    loaded = time.time() - began
    result: LoopResult = boost(train, validation, spec=job.spec, emit=emit, stop=abandoned.is_set)
    kept = keep_oof(job.oof_uri, oof_table(train, result.oof), version=job.version)
    most = MOST_VALIDATION_ROWS
    return Outcome(
        model=result.model,
        rounds=result.rounds,
        folds=result.folds,
        validation=ScoredRows(validation.y[:most], result.validation[:most]),
        rows={"train": len(train), "validation": len(validation)},
        seconds={"began": began, "load": loaded, **result.seconds, "oof": kept},
    )
