"""What a replica has to tell the catalog: prediction records, counts and feedback, written off the request's way."""

from __future__ import annotations

import asyncio
import bisect
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import xxhash

from sluiceway.catalog.records import FeedbackRecord, PredictionRecord, RecordStore, ReplicaCounts
from sluiceway.core.errors import BackendError
from sluiceway.core.traffic import LATENCY_BOUNDS_SECONDS

if TYPE_CHECKING:
    from sluiceway.serving.route import LoadedArm
    from sluiceway.serving.scorer import BundleScorer

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 0.25
# Feedback waits so long for company: with the commit itself an acknowledgement takes at most 50 ms on a healthy disk.
FEEDBACK_GATHER_SECONDS = 0.01
# About 30 s at 1,000 requests a second, some 20 MB; beyond it answers go on and records are dropped and counted.
ANSWERS_IN_MEMORY = 30_000


@dataclass(frozen=True)
class Answer:
    """An answered request, kept until the next flush.

    Attributes:
        request_id: of the request.
        time: UTC epoch seconds.
        generation: of the route that it was answered by.
        arm: who answered.
        scores: shape (n_rows,) or (n_rows, classes), float64.
        decisions: shape (n_rows,), float64.
        matrix: shape (n_rows, n_features), float32: encoded for the champion.
        paired: the champion, where it has to score the rows too; else None.
    """

    request_id: str
    time: float
    generation: int
    arm: LoadedArm
    scores: np.ndarray
    decisions: np.ndarray
    matrix: np.ndarray
    paired: LoadedArm | None


@dataclass
class _Counts:
    requests: int = 0
    errors: int = 0
    latency: list[int] = field(default_factory=lambda: [0] * (len(LATENCY_BOUNDS_SECONDS) + 1))


class Ledger:
    """Collects in memory, writes to the catalog four times a second in a thread.

    Args:
        store: where to.
        endpoint: name of the endpoint.
        replica: id of this replica.
        dropped: called with the number of records that found no room.
        each_flush: called in the thread of every flush, e.g. to renew a lease.
    """

    def __init__(
        self,
        store: RecordStore,
        *,
        endpoint: str,
        replica: str,
        dropped: Callable[[int], None],
        each_flush: Callable[[], None] = lambda: None,
    ) -> None:
        self._store, self._endpoint, self._replica = store, endpoint, replica
        self._dropped, self._each_flush = dropped, each_flush
        self._answers: deque[Answer] = deque()
        self._counts: dict[tuple[int, str, str], _Counts] = {}
        self._changed: set[tuple[int, str, str]] = set()
        self._feedback: list[tuple[list[FeedbackRecord], asyncio.Future[None]]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._flushing = asyncio.Lock()
        self._failing = False

    def answered(self, answer: Answer) -> None:
        """Keep an answer for the next flush; drop and count it where there is no room."""
        if len(self._answers) >= ANSWERS_IN_MEMORY:
            self._dropped(len(answer.scores))
            return
        self._answers.append(answer)

    def counted(self, generation: int, arm: LoadedArm, *, seconds: float, failed: bool) -> None:
        """Count a request of an arm.

        Args:
            generation: of the route.
            arm: who was asked.
            seconds: from the request to the answer, or to the failure.
            failed: the arm did not answer.
        """
        key = (generation, arm.name, arm.arm.version)
        counts = self._counts.setdefault(key, _Counts())
        counts.requests += 1
        counts.errors += failed
        counts.latency[bisect.bisect_left(LATENCY_BOUNDS_SECONDS, seconds)] += 1
        self._changed.add(key)

    def opened(self, generation: int, arms: Sequence[LoadedArm]) -> None:
        """Make the counts of the arms exist, at 0, in the next flush."""
        for arm in arms:
            key = (generation, arm.name, arm.arm.version)
            self._counts.setdefault(key, _Counts())
            self._changed.add(key)

    def start(self) -> None:
        """Begin to flush; needs the running event loop."""
        self._spawn(self._flush_forever())

    async def close(self) -> None:
        """Stop flushing and write what is left."""
        for task in list(self._tasks):
            task.cancel()
        await self._write_feedback()
        await self.flush()

    async def feedback(self, records: list[FeedbackRecord]) -> None:
        """Return when the outcomes are durably in the catalog, together with others that came at the same time.

        Raises:
            BackendError: the catalog did not take them.
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._feedback.append((records, future))
        if len(self._feedback) == 1:
            self._spawn(self._gather_feedback())
        await future

    async def flush(self) -> None:
        """Write what is in memory now."""
        async with self._flushing:
            answers = list(self._answers)
            self._answers.clear()
            now = time.time()
            keys, self._changed = self._changed, set()
            counts = [self._replica_counts(key, now) for key in keys]
            try:
                await asyncio.to_thread(self._write, answers, counts)
                self._failing = False
            except BackendError as error:
                self._changed |= keys
                self._put_back(answers)
                if not self._failing:
                    logger.warning("records wait in memory: %s", error)
                self._failing = True

    def _write(self, answers: list[Answer], counts: list[ReplicaCounts]) -> None:
        if answers:
            self._store.add_predictions(prediction_records(answers, endpoint=self._endpoint))
        self._store.put_counts(counts)
        self._each_flush()

    def _put_back(self, answers: list[Answer]) -> None:
        # Writing again is safe: of two records with one request id the first stays.
        room = max(0, ANSWERS_IN_MEMORY - len(self._answers))
        kept, lost = answers[:room], answers[room:]
        self._answers.extendleft(reversed(kept))
        if lost:
            self._dropped(sum(len(answer.scores) for answer in lost))

    def _replica_counts(self, key: tuple[int, str, str], now: float) -> ReplicaCounts:
        generation, arm, version = key
        counts = self._counts[key]
        return ReplicaCounts(
            self._endpoint,
            generation,
            self._replica,
            version,
            arm,
            counts.requests,
            counts.errors,
            tuple(counts.latency),
            now,
        )

    async def _flush_forever(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            await self.flush()

    async def _gather_feedback(self) -> None:
        await asyncio.sleep(FEEDBACK_GATHER_SECONDS)
        await self._write_feedback()

    async def _write_feedback(self) -> None:
        waiting, self._feedback = self._feedback, []
        if not waiting:
            return
        try:
            await asyncio.to_thread(self._store.add_feedback, [record for records, _ in waiting for record in records])
        except BackendError as error:
            for _, future in waiting:
                if not future.done():
                    future.set_exception(error)
            return
        for _, future in waiting:
            if not future.done():
                future.set_result(None)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def prediction_records(answers: Sequence[Answer], *, endpoint: str) -> list[PredictionRecord]:
    """The records of answers; the champion scores the rows that it has to score, all of them in one call.

    Args:
        answers: of one endpoint.
        endpoint: its name.

    Returns:
        One record a row.
    """
    champion_scores = _paired_scores(answers)
    records: list[PredictionRecord] = []
    for position, answer in enumerate(answers):
        paired = champion_scores.get(position)
        decisions = answer.paired.scorer.decide(paired) if answer.paired and paired is not None else None
        kept = answer.paired.scorer.kept(paired) if answer.paired and paired is not None else None
        many = len(answer.scores) > 1
        for row, score in enumerate(answer.arm.scorer.kept(answer.scores)):
            records.append(
                PredictionRecord(
                    request_id=f"{answer.request_id}/{row}" if many else answer.request_id,
                    time=answer.time,
                    endpoint=endpoint,
                    generation=answer.generation,
                    arm=answer.arm.name,
                    version=answer.arm.arm.version,
                    score=float(score),
                    decision=float(answer.decisions[row]),
                    key_hash=xxhash.xxh64_hexdigest(answer.matrix[row].tobytes()),
                    champion_version=answer.paired.arm.version if answer.paired else None,
                    champion_score=None if kept is None else float(kept[row]),
                    champion_decision=None if decisions is None else float(decisions[row]),
                )
            )
    return records


def _paired_scores(answers: Sequence[Answer]) -> dict[int, np.ndarray]:
    by_champion: dict[BundleScorer, list[int]] = {}
    for position, answer in enumerate(answers):
        if answer.paired:
            by_champion.setdefault(answer.paired.scorer, []).append(position)
    found: dict[int, np.ndarray] = {}
    for scorer, positions in by_champion.items():
        scores = scorer.score_matrix(np.concatenate([answers[position].matrix for position in positions]))
        ends = np.cumsum([len(answers[position].matrix) for position in positions])
        found |= dict(zip(positions, np.split(scores, ends[:-1]), strict=True))
    return found
