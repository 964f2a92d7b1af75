"""The recorder of an endpoint: takes what its replicas have answered, and writes it to the catalog and to the log.

A deployment of its own in the endpoint's application: what it takes of a CPU it takes from no replica, and requests do
not notice when it is slow, or dead. A replica keeps what it has sent until the recorder says that it is settled.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import pyarrow as pa
from ray import serve

from sluiceway.catalog.engine import open_catalog
from sluiceway.catalog.leases import LeaseStore
from sluiceway.catalog.outcomes import OutcomeStore
from sluiceway.catalog.records import RecordStore
from sluiceway.catalog.secrets import SecretStore
from sluiceway.catalog.traffic import TrafficStore
from sluiceway.core.errors import BackendError, SluicewayError
from sluiceway.serving.judging import Judging
from sluiceway.serving.log_rows import KeyedHash
from sluiceway.serving.metrics_lease import MetricsLease
from sluiceway.serving.outbox import Parcel, Receipt
from sluiceway.serving.prediction_log import KEYS, SECRET, ForLog, PredictionLog
from sluiceway.serving.record_batches import About, from_bytes
from sluiceway.serving.record_keeping import keep_records
from sluiceway.serving.specs import EndpointSpec
from sluiceway.telemetry.process import ProcessMetrics
from sluiceway.telemetry.recording import RecorderMetrics

logger = logging.getLogger(__name__)

# Rows that wait for a commit; beyond it they are dropped and counted. A commit is made early when a quarter waits.
ROOM_BYTES = 128 * 2**20
LOOK_SECONDS = 0.2
# Where a machine has not enough CPUs for all, requests come first.
NICE = 5
JUDGE_SECONDS = 5.0
# A replica that has not been heard of for so long is gone.
SENDER_SECONDS = 3600.0


@dataclass
class _Sender:
    """What is known of a replica: the batch that it sends next, and up to which one all are settled."""

    expected: int
    settled: int
    heard: float = 0.0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Recorder:
    """Takes batches from the replicas of one endpoint.

    Args:
        spec: of the endpoint.

    Raises:
        BackendError: the catalog cannot be reached; Serve tries again and then fails the deployment.
    """

    def __init__(self, spec: EndpointSpec) -> None:
        os.nice(NICE)
        self._endpoint, self._section = spec.name, spec.serving.log
        self._engine = open_catalog(spec.catalog_url, migrate=False)
        self._records = RecordStore(self._engine)
        secret = SecretStore(self._engine).get(SECRET)
        self._keys = KeyedHash(secret, KEYS)
        self._log = (
            PredictionLog(spec.log_table, endpoint=spec.name, section=self._section, secret=secret)
            if spec.log_table
            else None
        )
        self._metrics = RecorderMetrics(spec.name)
        ProcessMetrics(self._metrics.registry, model=spec.name, component="recorder")
        self._judging = Judging(spec.name, outcomes=OutcomeStore(self._engine), traffic=TrafficStore(self._engine))
        self._lease = MetricsLease(
            self._metrics.registry,
            leases=LeaseStore(self._engine),
            owner=serve.get_replica_context().replica_id.unique_id,
            endpoint=spec.name,
            component="recorder",
        )
        self._senders: dict[str, _Sender] = {}
        self._waiting: list[ForLog] = []
        self._since, self._retry = 0.0, 0.0
        self._rows = self._bytes = 0
        self._committing = asyncio.Lock()
        self._silent = False
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._commit_forever()), loop.create_task(self._judge_forever())]

    async def take(self, parcel: Parcel) -> Receipt:
        """Take batches of a replica; they are in the catalog when this returns, and soon in the log.

        Args:
            parcel: what it sends.

        Returns:
            What it has to send next, and what it may forget.
        """
        sender = self._senders.get(parcel.replica)
        if sender is None:
            sender = self._senders[parcel.replica] = _Sender(parcel.oldest, parcel.oldest)
        async with sender.lock:
            sender.heard = time.monotonic()
            # A replica without room lets go what this recorder, or one before it, has taken.
            sender.expected = max(sender.expected, parcel.oldest)
            for number, payload in enumerate(parcel.payloads, parcel.first):
                if number == sender.expected:
                    if not await self._taken(parcel.replica, number, payload):
                        break
                    sender.expected += 1
        if parcel.hurry:
            await self._commit()
        return Receipt(sender.expected, sender.settled)

    async def check_health(self) -> None:
        """Fail where a task has died that should go on for ever.

        Raises:
            RuntimeError: it has; Serve starts another recorder.
        """
        if any(task.done() for task in self._tasks):
            raise RuntimeError("the recorder does not write any more")

    async def __del__(self) -> None:
        """Write what is in memory; Serve awaits this before it ends the process."""
        for task in self._tasks:
            task.cancel()
        if not await self._commit():
            logger.error("%d rows of the prediction log of %s are lost", self._rows, self._endpoint)
        try:
            await asyncio.to_thread(self._lease.close)
        except BackendError as error:
            logger.warning("%s", error)
        self._engine.dispose()

    async def _taken(self, replica: str, number: int, payload: bytes) -> bool:
        """Write a batch to the catalog and keep it for the log; False where the catalog does not take it."""
        batch: pa.RecordBatch | None = None
        try:
            batch = await asyncio.to_thread(self._catalogued, payload)
        except BackendError as error:
            self._complain(f"the catalog takes no records: {error}")
            return False
        except Exception:  # it would come again for ever, and nothing behind it
            logger.exception("a batch of replica %s cannot be read and is lost", replica)
            self._metrics.unreadable.inc()
        if self._log is None:
            self._senders[replica].settled = number + 1
            return True
        rows = batch if batch is not None and About.of(batch).logged else None
        if rows is not None and self._bytes + rows.nbytes > ROOM_BYTES:
            self._metrics.dropped.inc(rows.num_rows)
            rows = None
        entry = ForLog(replica, number, rows)
        if not self._waiting:
            self._since = time.monotonic()
        self._waiting.append(entry)
        self._rows += entry.count
        self._bytes += entry.nbytes
        return True

    def _catalogued(self, payload: bytes) -> pa.RecordBatch:
        batch = from_bytes(payload)
        written = keep_records(self._records, batch, endpoint=self._endpoint, keys=self._keys)
        self._metrics.repeated.inc(batch.num_rows - written)
        return batch

    async def _commit_forever(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if self._due(time.monotonic()) and not await self._commit():
                self._retry = time.monotonic() + self._section.flush_seconds

    def _due(self, now: float) -> bool:
        if not self._waiting or now < self._retry:
            return False
        full = self._rows >= self._section.flush_rows or self._bytes >= ROOM_BYTES / 4
        return full or now - self._since >= self._section.flush_seconds

    async def _commit(self) -> bool:
        """Append all that waits to the log; False where that failed and all of it waits on."""
        async with self._committing:
            entries = list(self._waiting)
            if any(one.rows is not None for one in entries):
                begun = time.perf_counter()
                try:
                    assert self._log is not None
                    done = await asyncio.to_thread(self._log.append, entries)
                except SluicewayError as error:
                    self._metrics.failed.inc()
                    self._complain(f"the prediction log cannot be written: {error}")
                    return False
                self._metrics.commit_seconds.observe(time.perf_counter() - begun)
                self._metrics.written.inc(done.rows)
            self._settle(entries)
            self._silent = False
            return True

    def _settle(self, entries: Sequence[ForLog]) -> None:
        del self._waiting[: len(entries)]
        self._since = time.monotonic()
        for one in entries:
            self._rows -= one.count
            self._bytes -= one.nbytes
            sender = self._senders.get(one.replica)
            if sender is not None:
                sender.settled = one.number + 1

    async def _judge_forever(self) -> None:
        while True:
            self._metrics.waiting.set(self._rows)
            try:
                await asyncio.to_thread(self._lease.renew)
                self._metrics.judge(await asyncio.to_thread(self._judging.judged, time.time()))
            except SluicewayError as error:
                self._complain(f"accuracy is not known: {error}")
            except Exception:  # a recorder that ends for it takes no records meanwhile
                logger.exception("endpoint %s: accuracy is not known", self._endpoint)
            gone = time.monotonic() - SENDER_SECONDS
            waiting = {one.replica for one in self._waiting}
            self._senders = {name: one for name, one in self._senders.items() if one.heard >= gone or name in waiting}
            await asyncio.sleep(JUDGE_SECONDS)

    def _complain(self, text: str) -> None:
        if not self._silent:
            logger.error("endpoint %s: %s", self._endpoint, text)
        self._silent = True
