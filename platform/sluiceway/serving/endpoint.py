"""An endpoint's replica: the champion in process, the newest traffic document followed."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from datetime import UTC, datetime

import ray
from ray import serve
from starlette.applications import Starlette

from sluiceway.catalog.engine import open_catalog
from sluiceway.catalog.leases import LeaseStore
from sluiceway.catalog.records import RecordStore
from sluiceway.catalog.traffic import TrafficStore
from sluiceway.core.errors import SluicewayError
from sluiceway.core.traffic import TrafficDocument
from sluiceway.serving.answering import Answerer
from sluiceway.serving.ledger import Ledger
from sluiceway.serving.route import Route, load_route, load_scorer
from sluiceway.serving.scorer import BundleScorer
from sluiceway.serving.specs import ENDPOINT_DEPLOYMENT, EndpointSpec
from sluiceway.serving.surface import build_app
from sluiceway.telemetry.metrics import MetricsServer, ServingMetrics

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0
LEASE_SECONDS = 30.0
LEASE_RENEW_SECONDS = 10.0
ONGOING_REQUESTS = 512


class EndpointReplica:
    """Answers an endpoint's requests.

    Args:
        spec: which endpoint.

    Raises:
        BackendError: the catalog cannot be reached; Serve tries again and then fails the deployment.
    """

    def __init__(self, spec: EndpointSpec) -> None:
        self.spec, self.endpoint, self.limits = spec, spec.name, spec.serving
        self.route: Route | None = None
        self._loaded: dict[str, BundleScorer] = {}
        self._refused_generation = 0
        self._applying = asyncio.Lock()
        self._engine = open_catalog(spec.catalog_url, migrate=False)
        self._traffic, self._leases = TrafficStore(self._engine), LeaseStore(self._engine)
        self._replica_id = serve.get_replica_context().replica_id.unique_id
        self.metrics = ServingMetrics(spec.name)
        self._metrics_server = MetricsServer(self.metrics.registry, host=spec.serving.host)
        self._lease_renewed = 0.0
        self.ledger = Ledger(
            RecordStore(self._engine),
            endpoint=spec.name,
            replica=self._replica_id,
            dropped=self.metrics.records_dropped.inc,
            each_flush=self._renew_lease,
        )
        self.answerer = Answerer(
            spec.name,
            ledger=self.ledger,
            metrics=self.metrics,
            challenger_timeout_seconds=spec.serving.challenger_timeout_seconds,
        )
        self._start_with_newest()
        self.ledger.start()
        self._poll_task = asyncio.get_running_loop().create_task(self._poll_forever())

    def __serve_build_asgi_app__(self) -> Starlette:
        """The HTTP surface."""
        return build_app(self)

    async def apply(self, document_json: str) -> int:
        """Follow a traffic document, unless a newer one is followed already.

        Args:
            document_json: ``TrafficDocument.to_json()``.

        Returns:
            The generation that this replica follows now.

        Raises:
            ModelError: a bundle cannot be loaded; the replica goes on as before.
        """
        document = TrafficDocument.from_json(document_json)
        async with self._applying:
            if self.route is None or document.generation > self.route.generation:
                route, loaded = await asyncio.to_thread(load_route, document, self._loaded, load=load_scorer)
                self.answerer.open(route)
                await self.answerer.warm(route)
                self.route, self._loaded = route, loaded
        return self.route.generation

    async def describe(self) -> dict[str, str]:
        """Which deployment this is, to tell whether another one would be the same."""
        return {"digest": self.spec.digest, "replica": self._replica_id}

    async def check_health(self) -> None:
        """Fail where the task that follows the traffic has died.

        Raises:
            RuntimeError: it has; Serve starts another replica.
        """
        if self._poll_task.done():
            raise RuntimeError("the replica does not follow its traffic any more")

    async def __del__(self) -> None:
        """Write what is in memory; Serve awaits this before it ends the process."""
        self._poll_task.cancel()
        await self.ledger.close()
        await asyncio.to_thread(self._leases.release, self._lease_name, owner=self._replica_id)
        self._metrics_server.close()
        self._engine.dispose()

    def _start_with_newest(self) -> None:
        # Before the replica takes its first request, or a second replica would answer 503 to its first clients.
        document = self._traffic.newest(self.endpoint)
        if document is None:
            return
        try:
            route, self._loaded = load_route(document, self._loaded, load=load_scorer)
        except SluicewayError as error:
            self._refuse(document, error)
            return
        self.answerer.open(route)
        self.route = route

    async def _poll_forever(self) -> None:
        if self.route is not None:
            await self.answerer.warm(self.route)
        while True:
            await self._follow_newest()
            await asyncio.sleep(POLL_SECONDS)

    async def _follow_newest(self) -> None:
        document = None
        try:
            document = await asyncio.to_thread(self._traffic.newest, self.endpoint)
            if document is not None and (self.route is None or document.generation > self.route.generation):
                await self.apply(document.to_json())
        except SluicewayError as error:
            self._refuse(document, error)

    def _refuse(self, document: TrafficDocument | None, error: SluicewayError) -> None:
        generation = document.generation if document else 0
        if generation != self._refused_generation or not generation:
            logger.error("endpoint %s does not follow generation %s: %s", self.endpoint, generation, error)
        self._refused_generation = generation

    @property
    def _lease_name(self) -> str:
        return f"metrics:{self._replica_id}"

    def _renew_lease(self) -> None:
        if time.monotonic() - self._lease_renewed < LEASE_RENEW_SECONDS and self._lease_renewed:
            return
        host = self.spec.serving.host
        address = ray.util.get_node_ip_address() if host in ("", "0.0.0.0", "::") else host
        body = json.dumps({"address": f"{address}:{self._metrics_server.port}", "endpoint": self.endpoint})
        now = datetime.now(UTC)
        if self._leases.acquire(self._lease_name, owner=self._replica_id, ttl=LEASE_SECONDS, now=now, body=body):
            self._lease_renewed = time.monotonic()


def endpoint_application(spec: EndpointSpec) -> serve.Application:
    """The Serve application of an endpoint."""
    deployment = serve.deployment(
        serve.ingress()(EndpointReplica),
        name=ENDPOINT_DEPLOYMENT,
        num_replicas=spec.serving.replicas,
        ray_actor_options={"num_cpus": spec.serving.replica_cpus},
        max_ongoing_requests=ONGOING_REQUESTS,
        graceful_shutdown_wait_loop_s=0.1,
        graceful_shutdown_timeout_s=5.0,
        max_constructor_retry_count=2,
        health_check_period_s=5.0,
    )
    return deployment.bind(spec)
