"""One handle call a turn of the event loop, for all requests of the turn that go to one challenger."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np

# What a challenger's deployment is asked: encoded rows, how many requests they are, and how long it may take.
Call = Callable[[np.ndarray, int, float], Awaitable[np.ndarray]]
# Between replicas Serve lets messages of 4 MiB through: rows on their way there, and their scores, 8 bytes a class, on
# the way back. A batch that is larger goes in parts.
BYTES_A_MESSAGE = 2_000_000
ROWS_A_MESSAGE = 2_000
Entry = tuple[np.ndarray, "asyncio.Future[np.ndarray]", float]


class TurnCaller:
    """Collects the matrices of a turn and sends them in one call.

    A call of several requests that fails is repeated one by one, so that a request fails only for itself. A request has
    its time from when it was asked for, also where it is repeated.

    Args:
        call: asks the challenger; gives scores of shape (n_rows,) or (n_rows, classes), or raises.
        seconds: that each request may take.
    """

    def __init__(self, call: Call, *, seconds: float) -> None:
        self._call, self._seconds = call, seconds
        self._waiting: list[Entry] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def score(self, matrix: np.ndarray) -> asyncio.Future[np.ndarray]:
        """Scores of a request's rows.

        Args:
            matrix: shape (n_rows, n_features), float32, as the challenger's schema has it.
        """
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._send)
        future: asyncio.Future[np.ndarray] = loop.create_future()
        self._waiting.append((matrix, future, loop.time() + self._seconds))
        return future

    def _send(self) -> None:
        entries, self._waiting = self._waiting, []
        self._spawn(self._ask(entries))

    async def _ask(self, entries: list[Entry]) -> None:
        matrix = entries[0][0] if len(entries) == 1 else np.concatenate([rows for rows, _, _ in entries])
        try:
            left = max(0.0, entries[0][2] - asyncio.get_running_loop().time())
            scores = await self._call(matrix, len(entries), left)
            if len(scores) != len(matrix):
                raise ValueError(f"{len(scores)} scores for {len(matrix)} rows")
        except Exception as error:  # noqa: BLE001 (handed to the request that waits for it)
            if len(entries) > 1 and not isinstance(error, TimeoutError):
                for entry in entries:
                    self._spawn(self._ask([entry]))
                return
            for _, future, _ in entries:
                if not future.done():
                    future.set_exception(error)
            return
        start = 0
        for rows, future, _ in entries:
            if not future.done():
                future.set_result(scores[start : start + len(rows)])
            start += len(rows)

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def handle_call(handle: Any, *, raw: bool = False) -> Call:
    """What asks a challenger's deployment for scores, a large batch in parts, given up after its time.

    Args:
        handle: of the deployment.
        raw: its ``raw_scores`` are asked for, else its ``score``.
    """

    async def part(rows: np.ndarray, requests: int, seconds: float) -> np.ndarray:
        ask = handle.raw_scores if raw else handle.score
        response = ask.remote(rows.tobytes(), requests)
        try:
            # Not wait_for: it would take a task more, and with it two turns of a busy event loop.
            async with asyncio.timeout(seconds):
                answer = await response
        except TimeoutError as error:
            response.cancel()
            raise TimeoutError(f"no answer within {seconds:.3g} s") from error
        return np.frombuffer(answer, dtype=np.float64).reshape(len(rows), -1)

    async def call(matrix: np.ndarray, requests: int, seconds: float) -> np.ndarray:
        size = max(1, min(ROWS_A_MESSAGE, BYTES_A_MESSAGE // max(1, matrix.shape[1] * matrix.itemsize)))
        if len(matrix) <= size:
            return await part(matrix, requests, seconds)
        parts = [matrix[start : start + size] for start in range(0, len(matrix), size)]
        # Only one of them stands for the requests, or they would be counted several times.
        told = [part(rows, requests if i == 0 else 0, seconds) for i, rows in enumerate(parts)]
        return np.concatenate(await asyncio.gather(*told))

    return call
