"""From what Ray raises to what went wrong."""

from __future__ import annotations

from collections.abc import Iterator

from ray.train import TrainingFailedError

from sluiceway.core.errors import BackendError, SluicewayError


def cause_of(error: BaseException, where: str) -> SluicewayError:
    """Find our own error under Ray's wrappers; anything else becomes a BackendError that quotes it.

    Args:
        error: as Ray raised it.
        where: what failed, for people.
    """
    last = error
    for inner in _chain(error):
        if isinstance(inner, SluicewayError) and type(inner).__module__ == SluicewayError.__module__:
            return inner
        last = inner
    told = str(last).strip().splitlines()
    return BackendError(
        f"{where} failed: {type(last).__name__}: {told[-1] if told else 'no message'}",
        hint="the worker's log is in Ray's session folder; an OutOfMemory needs a larger node or training.workers: 2",
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    queue = [error]
    while queue:
        inner = queue.pop(0)
        if inner is None or id(inner) in seen:
            continue
        seen.add(id(inner))
        yield inner
        if isinstance(inner, TrainingFailedError):
            queue.extend(getattr(inner, "worker_failures", {}).values())
            queue.append(getattr(inner, "controller_failure", None))
        queue.extend([getattr(inner, "cause", None), inner.__cause__])
