"""From what Ray raises to what went wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator

import ray
from ray.train import TrainingFailedError

from sluiceway.core.errors import BackendError, ConfigError, InputError, SluicewayError

OUT_OF_MEMORY = (
    "set training.memory_per_worker to what a worker may hold (rows that need more are trained from disk), "
    "training.workers to share the rows among nodes, or take a larger node"
)
# How XGBoost, numpy and the system say that a file cannot be made, written or opened.
_OF_A_DISK = re.compile(
    r"LocalFileSystem::|FileStream\.|/common/io\.cc:|\d+ requested and \d+ written|No space left on device"
)
_LOST = (
    ray.exceptions.WorkerCrashedError,
    ray.exceptions.NodeDiedError,
    ray.exceptions.LocalRayletDiedError,
    ray.exceptions.ObjectLostError,
    ray.exceptions.ActorDiedError,
)
# What XGBoost quotes of the system and of CUDA, in an error of its own.
_OF_THE_MACHINE = ("No space left on device", "Input/output error", "cudaError")


def worker_was_lost(error: BaseException) -> bool:
    """Whether a process or a node is gone, and the work may succeed on another."""
    return any(isinstance(inner, _LOST) for inner in _chain(error)) and not _out_of_memory(error)


def of_the_parameters(error: BaseException) -> bool:
    """Whether what is trained cannot be trained, and another try would only find the same.

    Whatever else there is (memory, disk, a GPU that is not there, a lost process) is the machine's.
    """
    if _out_of_memory(error) or worker_was_lost(error):
        return False
    chain = list(_chain(error))
    if any(words in str(inner) for inner in chain for words in _OF_THE_MACHINE) or any(map(_of_a_disk, chain)):
        return False
    return any(isinstance(inner, InputError | ValueError) for inner in chain)  # XGBoost's own error is a ValueError


def cause_of(error: BaseException, where: str) -> SluicewayError:
    """Find our own error under Ray's wrappers; anything else becomes a BackendError that quotes it.

    Args:
        error: as Ray raised it.
        where: what failed, for people.
    """
    chain = list(_chain(error))
    for inner in chain:
        if isinstance(inner, SluicewayError) and type(inner).__module__ == SluicewayError.__module__:
            return inner
    if _out_of_memory(error):
        return BackendError(f"{where} ran out of memory", hint=OUT_OF_MEMORY)
    for inner in chain:
        if told := _of_a_disk(inner):
            return BackendError(
                f"{where} cannot use its disk: {_without_place(told)}",
                hint="look at TMPDIR on the worker's node and at the room that is left there",
            )
    lost = [inner for inner in chain if isinstance(inner, _LOST)]
    refused = [inner for inner in chain if type(inner).__name__ == "XGBoostError" and not _of_a_lost_peer(inner)]
    if refused and not lost:
        # It tells the cause first and then its stack; Ray the other way round.
        return ConfigError(
            f"XGBoost refuses what it is given: {_without_place(_lines(refused[0])[0])}",
            hint="look at model.params, experiment.seed, the target and data.weight",
        )
    last = (lost or chain)[-1]
    told = "a worker lost the others" if _of_a_lost_peer(last) else f"{type(last).__name__}: {_lines(last)[-1]}"
    return BackendError(
        f"{where} failed: {told}",
        hint=f"the worker's log is in Ray's session folder; where the system killed it for its memory: {OUT_OF_MEMORY}",
    )


def _of_a_disk(error: BaseException) -> str:
    """The line that says so, or ""."""
    if isinstance(error, OSError) or type(error).__name__ == "XGBoostError":
        return next((line for line in _lines(error) if _OF_A_DISK.search(line)), "")
    return ""


def _lines(error: BaseException) -> list[str]:
    return str(error).strip().splitlines() or ["no message"]


def _of_a_lost_peer(error: BaseException) -> bool:
    """Whether XGBoost could not reach another worker of its group: what ended that one is the cause, and not this."""
    return type(error).__name__ == "XGBoostError" and "/collective/" in _lines(error)[0]


def _without_place(line: str) -> str:
    """Without the time and the source line that XGBoost begins with: ``[12:00:00] /src/x.cc:80: Check failed: ...``."""
    return re.sub(r"^(\[[\d:]+\] )?\S+:\d+: ", "", line)


def _out_of_memory(error: BaseException) -> bool:
    for inner in _chain(error):
        if isinstance(inner, ray.exceptions.OutOfMemoryError | MemoryError):
            return True
        text = str(inner)
        if (
            "bad_alloc" in text
            or "bad allocation" in text
            or "MemoryError" in text
            or "cudaErrorMemoryAllocation" in text
        ):
            return True
    return False


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
        queue += [getattr(inner, name, None) for name in ("health_check_failure", "cause", "__cause__")]
