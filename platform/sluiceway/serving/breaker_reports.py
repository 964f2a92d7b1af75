"""Tells the catalog, and through it the controller of a rollout, which challengers a replica has stopped asking."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from sluiceway.catalog.breakers import BreakerStore, OpenBreaker
from sluiceway.core.errors import BackendError

logger = logging.getLogger(__name__)

RETRY_SECONDS = 1.0


class BreakerReports:
    """Writes open breakers off the requests' way, again and again until the catalog has them.

    Args:
        store: where to.
        endpoint: name of the endpoint.
        replica: id of this replica.
        before: awaited before a breaker is written: the counts that have opened it are then there before it is, and
            whoever judges them can name the metric.
        retry_seconds: between two tries.
    """

    def __init__(
        self,
        store: BreakerStore,
        *,
        endpoint: str,
        replica: str,
        before: Callable[[], Awaitable[None]],
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self._store, self._endpoint, self._replica = store, endpoint, replica
        self._before, self._retry_seconds = before, retry_seconds
        self._waiting: list[OpenBreaker] = []
        self._task: asyncio.Task[None] | None = None

    def opened(self, generation: int, version: str, reason: str) -> None:
        """A breaker has opened; returns at once.

        Args:
            generation: of the traffic document.
            version: of the challenger.
            reason: what opened it.
        """
        logger.error(
            "endpoint %s asks version %s no more at generation %s: %s", self._endpoint, version, generation, reason
        )
        self._waiting.append(OpenBreaker(self._endpoint, generation, self._replica, version, reason, time.time()))
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._write_all())

    async def close(self) -> None:
        """Write what is left, once; what the catalog does not take is in the log."""
        if self._task is not None:
            self._task.cancel()
        if self._waiting and not await self._write():
            logger.error("the catalog has not heard of these open breakers: %s", self._waiting)

    async def _write_all(self) -> None:
        while self._waiting:
            await self._before()
            if not await self._write():
                await asyncio.sleep(self._retry_seconds)

    async def _write(self) -> bool:
        rows = list(self._waiting)
        try:
            await asyncio.to_thread(self._store.add, rows)
        except BackendError as error:
            logger.warning("open breakers wait in memory: %s", error)
            return False
        del self._waiting[: len(rows)]
        return True
