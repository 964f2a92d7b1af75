"""Tasks a few at a time: what they give as they finish, and none of them still at work when one has failed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import ray
from ray.exceptions import RayError

from sluiceway.core.doors import Progress
from sluiceway.core.errors import BackendError, SluicewayError

# Enough that a CPU has its next task at hand.
TASKS_PER_CPU = 2
S = TypeVar("S")


def in_turn(start: Callable[[S], Any], shares: Sequence[S], *, uri: str, progress: Progress) -> Iterator[Any]:
    """What the tasks of all shares give, as they finish; when one fails, none of them works any more.

    So that little is left to wait for then, few are started at a time. None is cancelled: Ray kills the driver where it
    cancels a task that ends in the same moment (2.60, "Tried to complete task that was not pending").

    Args:
        start: starts the task of a share.
        shares: the work.
        uri: the table, for errors.
        progress: told how many are done.

    Raises:
        SluicewayError: the same that a task raised.
        BackendError: Ray failed, or a task did for another reason.
    """
    to_come = list(reversed(shares))
    running: list[Any] = []
    most = TASKS_PER_CPU * cpus()
    try:
        while to_come or running:
            while to_come and len(running) < most:
                running.append(start(to_come.pop()))
            (ready, *_), running = ray.wait(running)
            yield result_of(ready, uri=uri)
            done = len(shares) - len(to_come) - len(running)
            progress.advance(f"{done} of {len(shares)} tasks", done / len(shares))
    finally:
        if running:
            ray.wait(running, num_returns=len(running))


def result_of(task: Any, *, uri: str) -> Any:
    """What a task gives.

    Args:
        task: its reference.
        uri: the table, for errors.

    Raises:
        SluicewayError: the same that the task raised.
        BackendError: Ray failed, or the task did for another reason.
    """
    try:
        return ray.get(task)
    except RayError as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, SluicewayError):
            raise cause from error
        raise BackendError(f"the rows for {uri} could not be written: {error}", table=uri) from error


def cpus() -> int:
    """How many the cluster has."""
    return int(ray.cluster_resources().get("CPU", 1))
