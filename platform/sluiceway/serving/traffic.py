"""Moves an endpoint's traffic: tells every replica, and waits until each has confirmed."""

from __future__ import annotations

import time
from typing import Any

from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException

from sluiceway.catalog.traffic import TrafficStore
from sluiceway.core.errors import BackendError, SluicewayError
from sluiceway.core.traffic import TrafficDocument
from sluiceway.serving.handles import driver_handle
from sluiceway.serving.specs import ENDPOINT_DEPLOYMENT

APPLY_SECONDS = 60.0
RETRY_SECONDS = 0.1


class ServeTraffic:
    """The traffic of one endpoint on Ray Serve; the door ``core.doors.Traffic``.

    Args:
        endpoint: name of the endpoint.
        store: the catalog's traffic documents.
        timeout_seconds: how long replicas have for loading a model and confirming.
    """

    def __init__(self, endpoint: str, store: TrafficStore, *, timeout_seconds: float = APPLY_SECONDS) -> None:
        self._endpoint, self._store, self._timeout = endpoint, store, timeout_seconds
        self._handle: Any = None

    def current(self) -> TrafficDocument | None:
        """The newest document in the catalog, or None before the first rollout."""
        return self._store.newest(self._endpoint)

    def apply(self, document: TrafficDocument) -> None:
        """Make all replicas follow a document that is in the catalog; does nothing where they do already.

        Raises:
            BackendError: a replica did not confirm in time; those that did follow it, the others will on their own.
        """
        deadline = time.monotonic() + self._timeout
        problem = ""
        while (left := deadline - time.monotonic()) > 0:
            try:
                generations = self._broadcast(document, timeout_seconds=left)
            except SluicewayError as error:
                raise self._not_followed(document, str(error)) from error  # e.g. a damaged bundle: it does not heal
            except (RayError, RayServeException, TimeoutError) as error:
                problem = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
                self._handle = None
                time.sleep(RETRY_SECONDS)
                continue
            if generations and min(generations) >= document.generation:
                return
            problem = f"generations {generations}"
            time.sleep(RETRY_SECONDS)
        raise self._not_followed(document, problem)

    def _not_followed(self, document: TrafficDocument, problem: str) -> BackendError:
        return BackendError(
            f"endpoint {self._endpoint} did not follow generation {document.generation}: {problem}",
            hint="see `sluiceway serve status` and the log of its replicas",
            endpoint=self._endpoint,
            generation=document.generation,
        )

    def _broadcast(self, document: TrafficDocument, *, timeout_seconds: float) -> list[int]:
        if self._handle is None:
            self._handle = driver_handle(ENDPOINT_DEPLOYMENT, application=self._endpoint)
        response = self._handle.broadcast("apply", document.to_json())
        return [int(generation) for generation in response.results(timeout_s=timeout_seconds)]
