"""An endpoint's replica: the champion in process, the newest traffic document followed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from dataclasses import replace
from typing import Any

from ray import serve

from sluiceway.catalog.api_keys import ApiKeyStore
from sluiceway.catalog.breakers import BreakerStore
from sluiceway.catalog.engine import open_catalog
from sluiceway.catalog.leases import LeaseStore
from sluiceway.catalog.records import RecordStore
from sluiceway.catalog.traffic import TrafficStore
from sluiceway.core.errors import SluicewayError
from sluiceway.core.traffic import Arm, TrafficDocument
from sluiceway.serving.answering import Answerer
from sluiceway.serving.breaker_reports import BreakerReports
from sluiceway.serving.deadline import Deadline
from sluiceway.serving.grpc_surface import GrpcMethods
from sluiceway.serving.guard import Guard
from sluiceway.serving.key_follower import KeyFollower
from sluiceway.serving.keyless import replica_needs_keys
from sluiceway.serving.ledger import Ledger
from sluiceway.serving.metrics_lease import MetricsLease
from sluiceway.serving.outbox import Call, Outbox, Parcel, Receipt
from sluiceway.serving.record_batches import LogPlan
from sluiceway.serving.route import Route, load_route, load_scorer
from sluiceway.serving.scorer import BundleScorer
from sluiceway.serving.specs import EndpointSpec
from sluiceway.serving.surface import build_app
from sluiceway.telemetry.metrics import ServingMetrics
from sluiceway.telemetry.process import ProcessMetrics

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0


class EndpointReplica(GrpcMethods):
    """Answers an endpoint's requests.

    Args:
        spec: which endpoint.
        recorder: handle of the endpoint's recorder.

    Raises:
        BackendError: the catalog cannot be reached; Serve tries again and then fails the deployment.
        ConfigError: it is to do without keys where others can reach it.
    """

    def __init__(self, spec: EndpointSpec, recorder: Any) -> None:
        self.spec, self.endpoint, self.limits = spec, spec.name, spec.serving
        self.route: Route | None = None
        self._loaded: dict[str, BundleScorer] = {}
        self._refused_generation = 0
        self._applying = asyncio.Lock()
        self.guard = Guard(spec.name, required=replica_needs_keys(spec.serving.keys))
        self._engine = open_catalog(spec.catalog_url, migrate=False)
        self._keys = KeyFollower(self.guard, ApiKeyStore(self._engine), endpoint=spec.name)
        self._keys.read()
        self._traffic = TrafficStore(self._engine)
        self._replica_id = serve.get_replica_context().replica_id.unique_id
        self.metrics = ServingMetrics(spec.name)
        ProcessMetrics(self.metrics.registry, model=spec.name, component="replica")
        self._lease = MetricsLease(
            self.metrics.registry,
            leases=LeaseStore(self._engine),
            owner=self._replica_id,
            endpoint=spec.name,
            component="replica",
        )
        self.ledger = Ledger(
            RecordStore(self._engine),
            endpoint=spec.name,
            replica=self._replica_id,
            dropped=self.metrics.records_dropped.inc,
            each_flush=self._flushed,
            outbox=Outbox(_recorder_call(recorder), replica=self._replica_id, dropped=self.metrics.records_dropped.inc),
            plan=_log_plan(spec),
        )
        self._breakers = BreakerReports(
            BreakerStore(self._engine), endpoint=spec.name, replica=self._replica_id, before=self.ledger.flush
        )
        self.answerer = Answerer(
            spec.name,
            ledger=self.ledger,
            metrics=self.metrics,
            limits=spec.serving,
            opened=self._breakers.opened,
        )
        self._start_with_newest()
        self.ledger.start()
        self._poll_task = asyncio.get_running_loop().create_task(self._poll_forever())
        self._keys_task = asyncio.get_running_loop().create_task(self._keys.forever())

    def __serve_build_asgi_app__(self) -> Deadline:
        """The HTTP surface, with a time limit."""
        return Deadline(build_app(self), seconds=self.limits.request_timeout_seconds, counted=self._given_up)

    async def apply(self, document_json: str) -> int:
        """Follow a traffic document, unless a newer one is followed already.

        Args:
            document_json: ``TrafficDocument.to_json()``.

        Returns:
            The generation that this replica follows now.

        Raises:
            ModelError: an arm that gets requests, or a new shadow, cannot be loaded; the replica goes on as before.
        """
        document = TrafficDocument.from_json(document_json)
        async with self._applying:
            if self.route is None or document.generation > self.route.generation:
                route, loaded = await asyncio.to_thread(self._load_what_it_needs, document)
                self.answerer.open(route)
                await self.answerer.warm(route)
                self.route, self._loaded = route, loaded
        return self.route.generation

    async def read_keys(self) -> None:
        """Follow the keys that the catalog has now; within a second a replica does so by itself.

        Raises:
            BackendError: the catalog cannot be reached; the replica goes on with the keys that it knows.
        """
        await asyncio.to_thread(self._keys.read)

    async def describe(self) -> dict[str, str]:
        """Which deployment this is, to tell whether another one would be the same."""
        return {"digest": self.spec.digest, "replica": self._replica_id}

    async def check_health(self) -> None:
        """Fail where a task that follows the traffic or the keys has died.

        Raises:
            RuntimeError: it has; Serve starts another replica.
        """
        if self._poll_task.done() or self._keys_task.done():
            raise RuntimeError("the replica does not follow its traffic or its keys any more")
        if not self.ledger.alive:
            raise RuntimeError("the replica does not write down what it counts any more")

    async def __del__(self) -> None:
        """Write what is in memory; Serve awaits this before it ends the process."""
        self._poll_task.cancel()
        self._keys_task.cancel()
        await self._breakers.close()
        await self.ledger.close()
        await asyncio.to_thread(self._lease.close)
        self._engine.dispose()

    def _given_up(self, status: str) -> None:
        self.metrics.refused.labels(self.endpoint, status).inc()

    def _start_with_newest(self) -> None:
        # Before the replica takes its first request, or a second replica would answer 503 to its first clients.
        document = self._traffic.newest(self.endpoint)
        if document is None:
            return
        beside = (*document.challengers, *document.shadows, *document.warm)
        absent = {arm.version for arm in beside if not self._has_loaded(arm, document.generation, "starts")}
        followed = document
        if absent & {arm.version for arm in (*document.challengers, *document.shadows)}:
            # Of the generation before: nobody takes it for the document itself, which is tried again each second. One
            # that lacks nothing but a warm arm is followed as it is: what a rollout counts at its generation is whole
            # here, open breakers too, and the document that gives the arm requests loads it, or is not followed.
            followed = replace(document, generation=document.generation - 1)
        try:
            route, self._loaded = self._load(followed, absent)
        except SluicewayError as error:
            self._refuse(document, error)
            return
        self.answerer.open(route)
        self.route = route

    def _load_what_it_needs(self, document: TrafficDocument) -> tuple[Route, dict[str, BundleScorer]]:
        """All of a document but for what does not load and gets no requests: what is kept warm, shadows that it keeps.

        A shadow that it brings is what it is for, so that one has to load; and the document that this replica has
        started with a part of is tried as a whole.
        """
        optional, before = list(document.warm), self.route.document if self.route else None
        if before is not None and replace(before, generation=document.generation) != document:
            seeing = {arm.digest for arm in before.shadows}
            optional += [arm for arm in document.shadows if arm.digest in seeing]
        absent = {arm.version for arm in optional if not self._has_loaded(arm, document.generation, "goes on")}
        return self._load(document, absent)

    def _has_loaded(self, arm: Arm, generation: int, does: str) -> bool:
        if arm.digest in self._loaded:
            return True
        try:
            self._loaded[arm.digest] = load_scorer(arm)
        except Exception as error:  # whatever it is, it costs nobody but this arm anything
            if generation != self._refused_generation:  # else it is tried each second, and told already
                text = "endpoint %s %s without version %s of generation %s: %s"
                logger.error(text, self.endpoint, does, arm.version, generation, error, exc_info=_unforeseen(error))
            return False
        return True

    def _load(self, document: TrafficDocument, absent: Collection[str] = ()) -> tuple[Route, dict[str, BundleScorer]]:
        route, loaded = load_route(document, self._loaded, load=load_scorer, breaker=self.limits.breaker, absent=absent)
        names = route.champion.scorer.schema.names
        unknown = sorted({*self.limits.log.drop, *self.limits.log.hash} - {*names})
        if unknown and (self.route is None or self.route.champion.scorer.schema.names != names):
            # A name that is written wrongly would leave in the log what is not to be there.
            logger.warning("serving.log of %s names what is no feature: %s", self.endpoint, ", ".join(unknown))
        return route, loaded

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
        except Exception as error:  # noqa: BLE001 (whatever it is, the replica answers on and looks again)
            self._refuse(document, error)

    def _refuse(self, document: TrafficDocument | None, error: Exception) -> None:
        generation = document.generation if document else 0
        if generation != self._refused_generation or not generation:
            text = "endpoint %s does not follow generation %s: %s"
            logger.error(text, self.endpoint, generation, error, exc_info=_unforeseen(error))
        self._refused_generation = generation

    def _flushed(self) -> None:
        self.metrics.tick()
        self._lease.renew()


def _unforeseen(error: Exception) -> Exception | None:
    """What the log shows with its traceback: an error that is none of ours."""
    return None if isinstance(error, SluicewayError) else error


def _log_plan(spec: EndpointSpec) -> LogPlan:
    if spec.log_table is None:
        return LogPlan()
    return LogPlan(spec.serving.log.sample, frozenset(spec.serving.log.drop))


def _recorder_call(recorder: Any) -> Call:
    async def call(parcel: Parcel) -> Receipt:
        response = recorder.take.remote(parcel)
        try:
            receipt: Receipt = await response
        except asyncio.CancelledError:  # it took too long
            response.cancel()
            raise
        return receipt

    return call
