"""Clients that ask an endpoint without a pause, each over a connection of its own, and what they were told."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx


class Load:
    """What the clients have seen.

    Attributes:
        answers: one (status, body) a request that was answered; the body of a 200 only.
        broken: texts of requests that got no HTTP answer.
    """

    def __init__(self, url: str, rows: list[dict[str, Any]], *, clients: int, pause: float = 0.0) -> None:
        self._url, self._rows, self._pause = url, rows, pause
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(clients)]
        self.answers: list[tuple[int, Any]] = []
        self.broken: list[str] = []

    @property
    def statuses(self) -> Counter[int]:
        """How often each status was seen so far."""
        return Counter(status for status, _ in list(self.answers))

    @property
    def failed(self) -> list[Any]:
        """Every request that was not answered with 200."""
        return [answer for answer in list(self.answers) if answer[0] != 200] + list(self.broken)

    def wait(self, requests: int, *, seconds: float = 180.0) -> None:
        """Until so many more requests have been answered."""
        goal, deadline = len(self.answers) + requests, time.monotonic() + seconds
        while len(self.answers) < goal:
            assert time.monotonic() < deadline, f"{len(self.answers)} answers, {goal} were to come"
            time.sleep(0.02)

    def _ask(self) -> None:
        with httpx.Client(timeout=60) as client:
            while not self._stop.is_set():
                try:
                    answer = client.post(self._url, json={"rows": self._rows})
                    self.answers.append((answer.status_code, answer.json() if answer.status_code == 200 else None))
                except httpx.HTTPError as error:
                    self.broken.append(f"{type(error).__name__}: {error}")
                self._stop.wait(self._pause)

    def _run(self) -> None:
        for thread in self._threads:
            thread.start()

    def _end(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=70)


@contextmanager
def load(url: str, rows: list[dict[str, Any]], *, clients: int, pause: float = 0.0) -> Iterator[Load]:
    """Ask for as long as the block runs."""
    running = Load(url, rows, clients=clients, pause=pause)
    running._run()
    try:
        yield running
    finally:
        running._end()
