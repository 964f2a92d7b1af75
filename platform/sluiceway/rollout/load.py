"""Users for an environment that has none: rows replayed as HTTP requests, their true outcomes sent back.

Plain ``http.client`` on threads: one connection each, kept alive; a tenth of what httpx costs per request.
"""

from __future__ import annotations

import http.client
import json
import queue
import threading
import time
from collections import Counter
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from sluiceway.core.errors import InputError

Outcome = float | str
Row = tuple[Mapping[str, Any], Outcome]

FEEDBACK_BATCH = 50
FEEDBACK_SECONDS = 0.1
# An acknowledgement takes up to 50 ms (one group commit): so many senders carry 4,000 outcomes a second.
FEEDBACK_CONNECTIONS = 4
TIMEOUT_SECONDS = 10.0
# Failures are kept as text for the report, the rest only counted.
FAILURES_KEPT = 5


@dataclass(frozen=True)
class LoadReport:
    """What the clients saw.

    Attributes:
        sent: requests sent.
        ok: answered with 200.
        failed: any other status, or no answer at all: a failure that a user would see.
        failures: the first few of them, as text.
        failovers: answers of the champion in place of a challenger that failed.
        arms: answers by arm.
        versions: answers by model version.
        feedback_sent: outcomes acknowledged.
        feedback_failed: outcomes not acknowledged.
        seconds: from the first request to the last answer.
        p50: median latency, seconds; 0 without an answer.
        p99: 99 % of the answers took at most so many seconds.
    """

    sent: int
    ok: int
    failed: int
    failures: tuple[str, ...]
    failovers: int
    arms: dict[str, int]
    versions: dict[str, int]
    feedback_sent: int
    feedback_failed: int
    seconds: float
    p50: float
    p99: float

    @property
    def rate(self) -> float:
        """Answers per second."""
        return self.ok / self.seconds if self.seconds else 0.0


@dataclass
class _Tally:
    ok: int = 0
    failed: int = 0
    failovers: int = 0
    feedback_sent: int = 0
    feedback_failed: int = 0
    failures: list[str] = field(default_factory=list)
    arms: Counter[str] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    broken: Exception | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


class LoadGenerator:
    """Sends rows until it is stopped, begins again when they run out, never more than ``max_requests``."""

    def __init__(
        self,
        url: str,
        *,
        rows: Iterable[Row],
        connections: int = 8,
        max_requests: int = 60_000,
        headers: Mapping[str, str] | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        """Prepare; nothing is sent before :meth:`start`.

        Args:
            url: of the endpoint, e.g. ``http://127.0.0.1:8000/flights``.
            rows: (features, outcome) each; iterated again from the start when it can be, else sent once.
            connections: requests under way at once.
            max_requests: ends there.
            headers: sent with every request, e.g. the endpoint's key.
            stop: set it, or call :meth:`stop`, to end.
        """
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise InputError(f"{url!r} is not an http:// address", hint="for example http://127.0.0.1:8000/flights")
        self._host, self._port, self._path = parts.hostname, parts.port or 80, parts.path.rstrip("/")
        self._headers = {"content-type": "application/json", **(headers or {})}
        self._stop = stop or threading.Event()
        self._requests = _numbered(rows, max_requests)
        self._taking = threading.Lock()
        self._outcomes: queue.SimpleQueue[tuple[str, Outcome] | None] = queue.SimpleQueue()
        self._tally = _Tally()
        self._begun = self._ended = 0.0
        self._clients = [threading.Thread(target=self._client, name=f"load-{i}") for i in range(connections)]
        self._senders = [
            threading.Thread(target=self._sender, name=f"feedback-{i}") for i in range(FEEDBACK_CONNECTIONS)
        ]
        for thread in (*self._clients, *self._senders):
            thread.daemon = True

    def start(self) -> LoadGenerator:
        """Begin to send."""
        self._begun = time.perf_counter()
        for thread in (*self._clients, *self._senders):
            thread.start()
        return self

    @property
    def running(self) -> bool:
        """False when it was stopped or has sent everything.

        Raises:
            Exception: what came of reading the rows, or of sending one: the clients have ended.
        """
        self._raise_broken()
        return any(thread.is_alive() for thread in self._clients)

    def stop(self) -> LoadReport:
        """End: answers under way are waited for, outcomes in the queue are sent; raises as :meth:`wait`."""
        self._stop.set()
        return self.wait()

    def wait(self) -> LoadReport:
        """Wait until everything is sent, or it is stopped.

        Raises:
            Exception: as of :attr:`running`.
        """
        for thread in self._clients:
            thread.join()
        # Not left to the garbage collector: rows may come from Ray, which the collector may find shut down.
        self._requests.close()
        self._ended = self._ended or time.perf_counter()
        for _ in self._senders:
            self._outcomes.put(None)
        for thread in self._senders:
            thread.join()
        self._raise_broken()
        return self.report()

    def report(self) -> LoadReport:
        """What was seen so far."""
        with self._tally.lock:
            t = self._tally
            p50, p99 = np.quantile(t.latencies, [0.5, 0.99]) if t.latencies else (0.0, 0.0)
            return LoadReport(
                sent=t.ok + t.failed,
                ok=t.ok,
                failed=t.failed,
                failures=tuple(t.failures),
                failovers=t.failovers,
                arms=dict(t.arms),
                versions=dict(t.versions),
                feedback_sent=t.feedback_sent,
                feedback_failed=t.feedback_failed,
                seconds=(self._ended or time.perf_counter()) - self._begun,
                p50=float(p50),
                p99=float(p99),
            )

    def _raise_broken(self) -> None:
        if self._tally.broken is not None:
            raise self._tally.broken

    def _client(self) -> None:
        try:
            self._ask()
        except Exception as error:  # noqa: BLE001 (a thread's own end is silent; whoever waits for it is told)
            with self._tally.lock:
                self._tally.broken = self._tally.broken or error
            self._stop.set()

    def _ask(self) -> None:
        connection = self._connect()
        while not self._stop.is_set():
            with self._taking:
                row = next(self._requests, None)
            if row is None:
                break
            features, outcome = row
            begun = time.perf_counter()
            status, body = self._post(connection, "/predict", {"rows": [_without_nan(features)]})
            self._count(status, body, time.perf_counter() - begun)
            if status == 200:
                self._outcomes.put((body["request_id"], outcome))
        connection.close()

    def _count(self, status: int, body: Mapping[str, Any], seconds: float) -> None:
        t = self._tally
        with t.lock:
            if status != 200:
                t.failed += 1
                if len(t.failures) < FAILURES_KEPT:
                    t.failures.append(f"{status}: {json.dumps(body)[:300]}" if status else str(body["error"]))
                return
            t.ok += 1
            t.latencies.append(seconds)
            t.arms[str(body.get("arm"))] += 1
            t.versions[str(body.get("version"))] += 1
            t.failovers += bool(body.get("failover"))

    def _sender(self) -> None:
        connection = self._connect()
        open_ = True
        while open_:
            batch, open_ = self._batch()
            if not batch:
                continue
            entries = [{"request_id": request_id, "outcome": outcome} for request_id, outcome in batch]
            status, body = self._post(connection, "/feedback", {"feedback": entries})
            with self._tally.lock:
                if status in (200, 202, 204):
                    self._tally.feedback_sent += len(batch)
                else:
                    self._tally.feedback_failed += len(batch)
                    if len(self._tally.failures) < FAILURES_KEPT:
                        self._tally.failures.append(f"feedback {status}: {json.dumps(body)[:300]}")
        connection.close()

    def _batch(self) -> tuple[list[tuple[str, Outcome]], bool]:
        """Up to FEEDBACK_BATCH outcomes within FEEDBACK_SECONDS of the first; False when no more will come."""
        first = self._outcomes.get()
        if first is None:
            return [], False
        batch, until = [first], time.perf_counter() + FEEDBACK_SECONDS
        while len(batch) < FEEDBACK_BATCH:
            try:
                entry = self._outcomes.get(timeout=max(0.0, until - time.perf_counter()))
            except queue.Empty:
                break
            if entry is None:
                return batch, False
            batch.append(entry)
        return batch, True

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_SECONDS)

    def _post(self, connection: http.client.HTTPConnection, path: str, body: object) -> tuple[int, dict[str, Any]]:
        """Status and body; status 0 where there was no answer. A failed connection is opened anew by the next call."""
        try:
            connection.request("POST", self._path + path, json.dumps(body).encode(), self._headers)
            response = connection.getresponse()
            text = response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            return 0, {"error": f"{type(error).__name__}: {error}"}
        try:
            return response.status, json.loads(text) if text else {}
        except ValueError:
            return response.status, {"error": text[:300].decode(errors="replace")}


def _without_nan(features: Mapping[str, Any]) -> dict[str, Any]:
    # JSON has no NaN; a missing value is null.
    return {name: None if value != value else value for name, value in features.items()}


def _numbered(rows: Iterable[Row], max_requests: int) -> Generator[Row]:
    sent = 0
    while sent < max_requests:
        before = sent
        for row in rows:
            if sent >= max_requests:
                return
            yield row
            sent += 1
        if sent == before:
            return
