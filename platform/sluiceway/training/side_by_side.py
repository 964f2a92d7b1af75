"""Folds that share one worker: side by side, each on its share of the threads.

A tree is grown level by level, and all threads wait for the slowest at the end of each: two folds on one thread each
are done sooner than one after the other on two, and do not lose their pace to whatever else runs on the machine
(docs/decisions/0031).
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


def fold_threads(folds: int, threads: int) -> tuple[int, ...]:
    """Threads of each fold, so that as many folds as there are threads run at once.

    What is left over after rounds of so many folds runs together at the end, on all threads: of 5 folds on 2 threads
    the first four take one each, and the last takes both.

    Args:
        folds: how many.
        threads: of the worker.

    Returns:
        shape (folds,), each at least 1. It depends on nothing else: sums depend on it, and bytes on them.
    """
    width = min(threads, folds)
    over = folds % width
    return (threads // width,) * (folds - over) + ((threads // over,) * over if over else ())


def run_side_by_side(
    work: Callable[[int, int], T], shares: Sequence[int], threads: int, *, failed: threading.Event
) -> list[T]:
    """Do the folds of equal shares together, one set of equals after the other.

    Args:
        work: takes the fold's number and its threads.
        shares: of :func:`fold_threads`.
        threads: of the worker.
        failed: set with the first fold that raises; the others are to look at it and end.

    Returns:
        What ``work`` gave, in the order of the folds.

    Raises:
        BaseException: what the fold raised that failed first.
    """

    def guarded(number: int) -> T:
        try:
            return work(number, shares[number])
        except BaseException as error:
            if not failed.is_set():
                failed.set()
                first.append(error)
            raise

    first: list[BaseException] = []
    done: list[T] = []
    for share in dict.fromkeys(shares):
        numbers = [number for number, own in enumerate(shares) if own == share]
        with ThreadPoolExecutor(max_workers=max(1, threads // share), thread_name_prefix="fold") as pool:
            futures = [pool.submit(guarded, number) for number in numbers]
        if first:
            raise first[0]
        done += [future.result() for future in futures]
    return done


Span = tuple[float, float]


class Spans:
    """When a worker's folds built matrices, one at a time because each takes all threads, and when they boosted."""

    def __init__(self) -> None:
        self._one = threading.Lock()
        self._built: list[Span] = []
        self._boosted: list[Span] = []

    @contextmanager
    def building(self, own: list[Span]) -> Iterator[None]:
        """Build a matrix; when that was is also added to what the fold has built."""
        with self._one:
            began = time.perf_counter()
            yield
            own.append((began, time.perf_counter()))
            self._built.append(own[-1])

    def boosted(self, own: list[Span]) -> float:
        """A fold has ended that boosted since its last matrix was built; gives its seconds, with building."""
        ended = time.perf_counter()
        self._boosted.append((own[-1][1], ended))
        return ended - own[0][0]

    def seconds(self) -> tuple[float, float]:
        """How long matrices were built and no fold boosted, and how long folds boosted; (0, 0) before any."""
        spans = [*self._built, *self._boosted]
        marks = sorted({moment for span in spans for moment in span})
        pieces = list(itertools.pairwise(marks))
        boosting = sum(end - start for start, end in pieces if _covered(self._boosted, start, end))
        either = sum(end - start for start, end in pieces if _covered(spans, start, end))
        return either - boosting, boosting


def _covered(spans: Sequence[Span], start: float, end: float) -> bool:
    return any(first <= start and end <= last for first, last in spans)
