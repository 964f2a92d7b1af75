"""What a replica has to tell: records of its answers, counts and feedback, written off the request's way."""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sluiceway.catalog.records import FeedbackRecord, RecordStore, ReplicaCounts
from sluiceway.core.errors import BackendError
from sluiceway.core.traffic import LATENCY_BOUNDS_SECONDS
from sluiceway.serving.outbox import Batch, Outbox
from sluiceway.serving.record_batches import About, LogPlan, from_bytes, record_batches, to_bytes
from sluiceway.serving.record_keeping import keep_records

if TYPE_CHECKING:
    import numpy as np

    from sluiceway.serving.route import LoadedArm

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 0.25
# Feedback waits so long for company: with the commit itself an acknowledgement takes at most 50 ms on a healthy disk.
FEEDBACK_GATHER_SECONDS = 0.01
# This thread holds the interpreter while it works, and requests wait for it: a millisecond at a time.
ANSWERS_AT_ONCE = 256
PAUSE_SECONDS = 0.0005
# Answers that wait for the next flush; beyond it answering goes on, and records are dropped and counted.
ROOM_BYTES = 32 * 2**20
# What an answer takes beside its arrays' values.
ANSWER_BYTES = 700


@dataclass(frozen=True, slots=True)
class Answer:
    """An answered request, kept until the next flush.

    Attributes:
        request_id: of the request.
        time: UTC epoch seconds.
        generation: of the route that it was answered by.
        arm: who answered.
        scores: shape (n_rows,) or (n_rows, classes), float64.
        decisions: shape (n_rows,), float64.
        matrix: shape (n_rows, n_features), float32: encoded for ``paired``, or for the arm where there is none.
        paired: the champion, where it has to score the rows too; else None.
        seconds: from the request to its answer; NaN where nobody waited for it.
        key: what the arm was drawn by; None where it was drawn by chance.
    """

    request_id: str
    time: float
    generation: int
    arm: LoadedArm
    scores: np.ndarray
    decisions: np.ndarray
    matrix: np.ndarray
    paired: LoadedArm | None
    seconds: float = math.nan
    key: str | None = None


@dataclass(slots=True)
class _Counts:
    requests: int = 0
    errors: int = 0
    latency: list[int] = field(default_factory=lambda: [0] * (len(LATENCY_BOUNDS_SECONDS) + 1))
    in_row: int = 0
    longest_row: int = 0
    row_noted: float = -math.inf

    def failed(self, seconds: float) -> None:
        """One more in the row, as the breaker counts: what was under way at the last failure belongs to that one."""
        now = time.perf_counter()
        if now - seconds >= self.row_noted:
            self.in_row += 1
            self.row_noted = now
            self.longest_row = max(self.longest_row, self.in_row)


CountsKey = tuple[int, str, str]


class Ledger:
    """Collects in memory; four times a second a thread makes columns of it.

    Records go to the recorder through the outbox, or to the catalog from here where there is none. Counts and feedback
    always go to the catalog from here.

    Args:
        store: the catalog's records.
        endpoint: name of the endpoint.
        replica: id of this replica.
        dropped: called with the number of records that found no room.
        each_flush: called in the thread of every flush, e.g. to renew a lease.
        outbox: of what is for the recorder.
        plan: what of the answers is for the log.
    """

    def __init__(
        self,
        store: RecordStore,
        *,
        endpoint: str,
        replica: str,
        dropped: Callable[[int], None],
        each_flush: Callable[[], None] = lambda: None,
        outbox: Outbox | None = None,
        plan: LogPlan | None = None,
    ) -> None:
        self._store, self._endpoint, self._replica = store, endpoint, replica
        self._dropped, self._each_flush = dropped, each_flush
        self._outbox, self._plan = outbox, plan or LogPlan()
        self._answers: deque[Answer] = deque()
        self._bytes = 0
        self._unwritten: deque[Batch] = deque()  # for the catalog, where there is no recorder
        self._counts: dict[CountsKey, _Counts] = {}
        self._changed: set[CountsKey] = set()
        self._feedback: list[tuple[list[FeedbackRecord], asyncio.Future[int]]] = []
        self._writing_feedback = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flusher: asyncio.Task[None] | None = None
        self._delivery: asyncio.Task[None] | None = None
        self._flushing, self._closing = asyncio.Lock(), asyncio.Event()
        self._failing = False

    def answered(self, answer: Answer) -> None:
        """Keep an answer for the next flush; drop and count it where there is no room."""
        if self._bytes > ROOM_BYTES:
            self._dropped(len(answer.scores))
            return
        self._bytes += answer.matrix.nbytes + answer.scores.nbytes + ANSWER_BYTES
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
        counts = self._counts.get(key)
        if counts is None:
            counts = self._counts[key] = _Counts()
        counts.requests += 1
        if failed:
            counts.errors += 1
            counts.failed(seconds)
        else:
            counts.in_row = 0
        counts.latency[bisect.bisect_left(LATENCY_BOUNDS_SECONDS, seconds)] += 1
        self._changed.add(key)

    def opened(self, generation: int, arms: Sequence[LoadedArm]) -> None:
        """Make the counts of the arms exist, at 0, in the next flush."""
        for arm in arms:
            key = (generation, arm.name, arm.arm.version)
            self._counts.setdefault(key, _Counts())
            self._changed.add(key)

    @property
    def alive(self) -> bool:
        """False where a task has died that should go on for ever."""
        return self._flusher is None or self._closing.is_set() or not self._flusher.done()

    def start(self) -> None:
        """Begin to flush; needs the running event loop."""
        self._flusher = self._spawn(self._flush_forever())
        if self._outbox is not None:
            self._delivery = asyncio.get_running_loop().create_task(self._deliver_forever(self._outbox))

    async def close(self) -> None:
        """Stop flushing and write what is left; what the recorder does not take any more is in the catalog at least."""
        self._closing.set()
        await asyncio.gather(*self._tasks)
        await self._write_feedback()
        await self.flush()
        if self._outbox is None:
            return
        if self._delivery is not None:
            self._delivery.cancel()
        left = await self._outbox.close()
        if left:
            rows = sum(batch.rows for batch in left)
            logger.warning("the recorder did not take the last %d rows; they are not in the prediction log", rows)
            self._unwritten.extend(left)
            await self.flush()

    async def feedback(self, records: list[FeedbackRecord]) -> int:
        """Return when the outcomes are durably in the catalog, together with others that came at the same time.

        Returns:
            How many of them are new: of two for one request the first stays.

        Raises:
            BackendError: the catalog did not take them.
        """
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._feedback.append((records, future))
        if len(self._feedback) == 1:
            self._spawn(self._gather_feedback())
        return await future

    async def flush(self) -> None:
        """Hand on what is in memory now: records to the outbox, or else to the catalog; counts to the catalog."""
        async with self._flushing:
            answers = list(self._answers)
            self._answers.clear()
            self._bytes = 0
            if answers:
                self._keep(await asyncio.to_thread(self._packed, answers))
            now = time.time()
            keys, self._changed = self._changed, set()
            counts = [self._replica_counts(key, now) for key in keys]
            try:
                await asyncio.to_thread(self._write, counts)
                self._failing = False
            except BackendError as error:
                self._changed |= keys
                if not self._failing:
                    logger.warning("counts and records wait in memory: %s", error)
                self._failing = True

    def _packed(self, answers: list[Answer]) -> list[Batch]:
        packed: list[Batch] = []
        for start in range(0, len(answers), ANSWERS_AT_ONCE):
            some = answers[start : start + ANSWERS_AT_ONCE]
            try:
                packed += [
                    Batch(to_bytes(batch), batch.num_rows, About.of(batch).logged)
                    for batch in record_batches(some, self._plan)
                ]
            except Exception:  # a model that fails here must not end the task that all other records go through
                logger.exception("the records of %d requests are lost", len(some))
                self._dropped(sum(len(answer.scores) for answer in some))
            if start + ANSWERS_AT_ONCE < len(answers):
                time.sleep(PAUSE_SECONDS)
        return packed

    def _keep(self, batches: list[Batch]) -> None:
        if self._outbox is not None:
            self._outbox.put(batches)
            return
        waiting = sum(len(batch.payload) for batch in self._unwritten)
        for batch in batches:
            waiting += len(batch.payload)
            if waiting > ROOM_BYTES:
                self._dropped(batch.rows)
            else:
                self._unwritten.append(batch)

    def _write(self, counts: list[ReplicaCounts]) -> None:
        self._store.put_counts(counts)
        while self._unwritten:
            batch = from_bytes(self._unwritten[0].payload)
            keep_records(self._store, batch, endpoint=self._endpoint, keys=None)
            self._unwritten.popleft()
        self._each_flush()

    def _replica_counts(self, key: CountsKey, now: float) -> ReplicaCounts:
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
            counts.longest_row,
        )

    async def _flush_forever(self) -> None:
        while not self._closing.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), timeout=FLUSH_SECONDS)
            await self.flush()

    async def _deliver_forever(self, outbox: Outbox) -> None:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            await outbox.deliver()

    async def _gather_feedback(self) -> None:
        await asyncio.sleep(FEEDBACK_GATHER_SECONDS)
        await self._write_feedback()

    async def _write_feedback(self) -> None:
        async with self._writing_feedback:  # what comes while a slow catalog is written to is gathered
            waiting, self._feedback = self._feedback, []
            if waiting:
                await self._write_gathered(waiting)

    async def _write_gathered(self, waiting: list[tuple[list[FeedbackRecord], asyncio.Future[int]]]) -> None:
        try:
            records = [record for records, _ in waiting for record in records]
            new = await asyncio.to_thread(self._store.add_feedback, self._endpoint, records)
        except BackendError as error:
            for _, future in waiting:
                if not future.done():
                    future.set_exception(error)
            return
        for records, future in waiting:
            own = {record.request_id for record in records} & new
            new -= own  # of two requests with one id, the first has brought it
            if not future.done():
                future.set_result(len(own))

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
