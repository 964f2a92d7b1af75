"""A candidate in a real replica, before any traffic: the endpoint's own HTTP surface, asked without HTTP.

A request is handed to the same ASGI application that an endpoint's replica has, so that what is read, checked, encoded,
scored and written is what a client would get. Only the way over the network is left out: the application has no route.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ray import serve

from sluiceway.catalog.records import FeedbackRecord, RecordStore, ReplicaCounts
from sluiceway.config.serving import ServingSection
from sluiceway.core.doors import ReplicaFacts
from sluiceway.core.traffic import Arm, TrafficDocument
from sluiceway.serving.answering import Answerer
from sluiceway.serving.guard import Guard
from sluiceway.serving.ledger import Ledger
from sluiceway.serving.route import Route, load_route, load_scorer
from sluiceway.serving.surface import Surface, build_app
from sluiceway.telemetry.metrics import ServingMetrics
from sluiceway.telemetry.process import resident_bytes

PREFLIGHT_DEPLOYMENT = "Preflight"
# The one who asks waits for each answer; a little room for one that gave up on an answer and asks again.
ONGOING_REQUESTS = 8


@dataclass(frozen=True)
class PreflightSpec:
    """A candidate that is going to be asked.

    Attributes:
        model: what it is called, as the endpoint would be.
        bundle_uri: folder of its bundle, reachable from every node.
        digest: of the bundle; another one is refused.
        serving: sizes and limits, the endpoint's.
    """

    model: str
    bundle_uri: str
    digest: str
    serving: ServingSection


class PreflightReplica:
    """Answers as an endpoint would whose champion is the candidate; what it answers is written down nowhere.

    Args:
        spec: what to load.

    Raises:
        ModelError: the bundle is missing, damaged or another one; Serve fails the deployment.
    """

    def __init__(self, spec: PreflightSpec) -> None:
        self.endpoint, self.limits = spec.model, spec.serving
        self.guard = Guard(spec.model, required=False)  # the application has no route: only a handle asks it
        document = TrafficDocument(spec.model, 1, Arm(spec.digest[:8], 1.0, spec.bundle_uri, spec.digest))
        before, begun = resident_bytes(), time.perf_counter()
        route, _ = load_route(document, {}, load=load_scorer)
        seconds, after = time.perf_counter() - begun, resident_bytes()
        self.route: Route | None = route
        self.metrics = ServingMetrics(spec.model)
        self.ledger = Ledger(
            _Forgetting(), endpoint=spec.model, replica="preflight", dropped=self.metrics.records_dropped.inc
        )
        self.answerer = Answerer(
            spec.model,
            ledger=self.ledger,
            metrics=self.metrics,
            limits=spec.serving,
        )
        self.answerer.open(route)
        self.ledger.start()
        self._app = build_app(self)
        files = route.champion.scorer.bundle.files()
        self._facts = ReplicaFacts(
            load_seconds=seconds,
            memory_bytes=None if before is None or after is None else max(0, after - before),
            model_bytes=sum(len(content) for content in files.values()),
        )

    async def predict(self, body: bytes) -> tuple[int, bytes]:
        """Answer what a client would POST to ``/predict``.

        Args:
            body: of the request.

        Returns:
            The HTTP status and the body of the answer.
        """
        return await asked(self._app, body)

    async def facts(self) -> ReplicaFacts:
        """Load time, memory and size."""
        return self._facts


def preflight_application(spec: PreflightSpec, *, cpus: float) -> serve.Application:
    """The Serve application of a candidate: one replica.

    Args:
        spec: the candidate.
        cpus: that Ray reserves for it.
    """
    deployment = serve.deployment(
        PreflightReplica,
        name=PREFLIGHT_DEPLOYMENT,
        num_replicas=1,
        ray_actor_options={"num_cpus": cpus},
        max_ongoing_requests=ONGOING_REQUESTS,
        graceful_shutdown_wait_loop_s=0.1,
        graceful_shutdown_timeout_s=1.0,
        max_constructor_retry_count=1,
    )
    return deployment.bind(spec)


async def asked(app: Surface, body: bytes) -> tuple[int, bytes]:
    """POST a body to ``/predict`` of an ASGI application in this process.

    Args:
        app: the application.
        body: of the request.

    Returns:
        The HTTP status and the body of the answer.
    """
    incoming = [{"type": "http.request", "body": body, "more_body": False}]
    status, parts = 0, []

    async def receive() -> dict[str, Any]:
        return incoming.pop() if incoming else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = int(message["status"])
        else:
            parts.append(bytes(message.get("body", b"")))

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/predict",
        "raw_path": b"/predict",
        "root_path": "",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())],
        "client": None,
        "server": None,
    }
    await app(scope, receive, send)
    return status, b"".join(parts)


class _Forgetting(RecordStore):
    """Takes the records of requests that no user has sent, and keeps none."""

    def __init__(self) -> None:
        pass

    def add_predictions(self, rows: Iterable[tuple[Any, ...]]) -> int:
        """Forget them."""
        return 0

    def add_feedback(self, endpoint: str, rows: Iterable[FeedbackRecord]) -> set[str]:
        """Forget them."""
        return set()

    def put_counts(self, rows: Iterable[ReplicaCounts]) -> None:
        """Forget them."""
