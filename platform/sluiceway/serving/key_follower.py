"""Keeps an endpoint's guard at the keys that the catalog has."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException

from sluiceway.catalog.api_keys import ApiKeyStore
from sluiceway.core.errors import BackendError, SluicewayError
from sluiceway.serving.guard import Guard
from sluiceway.serving.handles import driver_handle
from sluiceway.serving.instance import last_line
from sluiceway.serving.specs import ENDPOINT_DEPLOYMENT

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0
TELL_SECONDS = 30.0


class KeyFollower:
    """Reads an endpoint's keys every second, beside the traffic, whose models may take longer to load.

    While the catalog cannot be reached the guard goes on with the keys that it knows: who could ask before can ask, and
    nobody else. A revocation takes effect when the catalog is back.

    Args:
        guard: to keep.
        store: the catalog's keys.
        endpoint: whose.
    """

    def __init__(self, guard: Guard, store: ApiKeyStore, *, endpoint: str) -> None:
        self._guard, self._store, self._endpoint = guard, store, endpoint
        self._silent = False

    def read(self) -> None:
        """Read the keys now; does nothing where the guard asks for none.

        Raises:
            BackendError: the catalog cannot be reached; the guard stays as it is.
        """
        if self._guard.required:
            self._guard.follow(self._store.usable(self._endpoint))

    async def forever(self) -> None:
        """Read them again and again, until this is cancelled."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                await asyncio.to_thread(self.read)
            except SluicewayError as error:
                if not self._silent:
                    logger.error("endpoint %s goes on with the keys that it knows: %s", self._endpoint, error)
                self._silent = True
            else:
                if self._silent:
                    logger.warning("endpoint %s follows its keys again", self._endpoint)
                self._silent = False


def tell_replicas(endpoint: str) -> None:
    """Have every replica of an endpoint read its keys now; returns when all have.

    Raises:
        BackendError: one of them did not.
    """
    try:
        handle: Any = driver_handle(ENDPOINT_DEPLOYMENT, application=endpoint)
        handle.broadcast("read_keys").results(timeout_s=TELL_SECONDS)
    except (RayError, RayServeException, TimeoutError, KeyError) as error:  # a KeyError where there is no endpoint
        raise BackendError(
            f"endpoint {endpoint} did not read its keys: {last_line(error)}",
            hint="see `sluiceway serve status` and the log of its replicas",
            endpoint=endpoint,
        ) from error
