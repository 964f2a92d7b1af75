"""Users of an endpoint that a rollout moves: a closed loop over HTTP, their true outcomes, and all that they saw."""

from __future__ import annotations

import http.client
import json
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

Post = Callable[[str, object], tuple[int, Any]]
BATCH = 50


@dataclass(frozen=True)
class Seen:
    """One answered request; times are UTC epoch seconds."""

    asked: float
    answered: float
    request_id: str
    arm: str
    version: str
    failover: bool
    decision: float
    truth: int


class Users:
    """What they saw.

    Args:
        url: of the endpoint.
        rows: what they send, one after the other.
        truths: the outcome of each.
        tells: of an answer, whether its outcome is sent back at once.
        clients: requests under way at once.
        many: rows in one request; the truth of more than one is nobody's.
        limit: no more requests than these.
        pause: seconds that a client waits after each answer.

    Attributes:
        answers: all requests that were answered.
        failed: what a user would call an error, as text; of outcomes that were not taken, too.
        told: outcomes that the endpoint has acknowledged.
    """

    def __init__(
        self,
        url: str,
        rows: Sequence[dict[str, Any]],
        truths: Sequence[int],
        *,
        tells: Callable[[Seen], bool] = lambda seen: True,
        clients: int = 4,
        many: int = 1,
        limit: int = 100_000,
        pause: float = 0.0,
    ) -> None:
        self._url, self._rows, self._truths, self._tells, self._many = url, rows, truths, tells, many
        self._pause = pause
        self._numbers = iter(range(limit))
        self._taking, self._over = threading.Lock(), threading.Event()
        self._outcomes: queue.SimpleQueue[Seen | None] = queue.SimpleQueue()
        self._clients = [threading.Thread(target=self._ask, daemon=True) for _ in range(clients)]
        self._sender = threading.Thread(target=self._send, daemon=True)
        self.answers: list[Seen] = []
        self.failed: list[str] = []
        self.told = 0

    def start(self) -> None:
        """Begin to ask."""
        for thread in (*self._clients, self._sender):
            thread.start()

    def stop(self) -> None:
        """End the requests; those under way are waited for."""
        self._over.set()
        for thread in self._clients:
            thread.join(timeout=60)

    def close(self) -> None:
        """End, and wait until all outcomes are sent."""
        self.stop()
        self._outcomes.put(None)
        self._sender.join(timeout=60)

    def tell(self, which: Callable[[Seen], bool]) -> int:
        """Send outcomes back that were kept until now; gives how many."""
        chosen = [seen for seen in list(self.answers) if which(seen)]
        for seen in chosen:
            self._outcomes.put(seen)
        return len(chosen)

    def wait(self, requests: int, *, seconds: float = 60) -> None:
        """Until so many more requests have been answered."""
        goal, deadline = len(self.answers) + requests, time.monotonic() + seconds
        while len(self.answers) < goal:
            assert time.monotonic() < deadline, f"{len(self.answers)} answers, {goal} were to come; {self.failed[:5]}"
            time.sleep(0.02)

    def _ask(self) -> None:
        with _posting(self._url) as post:
            while not self._over.is_set():
                with self._taking:
                    number = next(self._numbers, None)
                if number is None:
                    return
                place = number * self._many % (len(self._rows) - self._many + 1)
                asked = time.time()
                status, body = post("/predict", {"rows": self._rows[place : place + self._many]})
                if status != 200:
                    self.failed.append(f"{status}: {body}")
                    continue
                seen = Seen(
                    asked,
                    time.time(),
                    body["request_id"],
                    body["arm"],
                    body["version"],
                    bool(body.get("failover")),
                    body["predictions"][0]["decision"],
                    self._truths[place],
                )
                self.answers.append(seen)
                if self._tells(seen):
                    self._outcomes.put(seen)
                self._over.wait(self._pause)

    def _send(self) -> None:
        with _posting(self._url) as post:
            going = True
            while going:
                batch = [self._outcomes.get()]
                while len(batch) < BATCH and batch[-1] is not None and not self._outcomes.empty():
                    batch.append(self._outcomes.get())
                going = batch[-1] is not None
                entries = [{"request_id": seen.request_id, "outcome": seen.truth} for seen in batch if seen is not None]
                if not entries:
                    continue
                status, body = post("/feedback", {"feedback": entries})
                if status == 200:
                    self.told += len(entries)
                else:
                    self.failed.append(f"feedback {status}: {body}")


@contextmanager
def _posting(url: str) -> Iterator[Post]:
    """A connection that is kept; status 0 where there was no answer."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)

    def post(path: str, document: object) -> tuple[int, Any]:
        try:
            connection.request(
                "POST", parts.path + path, json.dumps(document).encode(), {"content-type": "application/json"}
            )
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            return 0, f"{type(error).__name__}: {error}"
        return answer.status, json.loads(text) if answer.status == 200 else text[:300]

    try:
        yield post
    finally:
        connection.close()


@contextmanager
def users(url: str, rows: Sequence[dict[str, Any]], truths: Sequence[int], **more: Any) -> Iterator[Users]:
    """Users for as long as the block runs."""
    present = Users(url, rows, truths, **more)
    present.start()
    try:
        yield present
    finally:
        present.close()
