"""The HTTP surface of an endpoint: predict, feedback, health, ready."""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route as HttpRoute

from sluiceway.config.platform import ServingSection
from sluiceway.core.errors import BackendError, NotReadyError, RequestError
from sluiceway.serving.answering import Answerer
from sluiceway.serving.ledger import Ledger
from sluiceway.serving.requests import read_body, read_feedback, read_request_id, read_rows
from sluiceway.serving.route import Route
from sluiceway.telemetry.metrics import ServingMetrics

logger = logging.getLogger(__name__)

Handler = Callable[[Request, str], Awaitable[Response]]

# nginx's number for a client that hung up; nobody reads it.
CLIENT_CLOSED = 499


class Replica(Protocol):
    """What the surface needs of a replica."""

    endpoint: str
    limits: ServingSection
    route: Route | None
    answerer: Answerer
    ledger: Ledger
    metrics: ServingMetrics


def build_app(replica: Replica) -> Starlette:
    """The ASGI application of a replica."""
    surface = Surface(replica)
    return Starlette(
        routes=[
            HttpRoute("/predict", surface.guarded(surface.predict), methods=["POST"]),
            HttpRoute("/feedback", surface.guarded(surface.feedback), methods=["POST"]),
            HttpRoute("/health", surface.guarded(surface.health)),
            HttpRoute("/ready", surface.guarded(surface.ready)),
        ],
        exception_handlers={HTTPException: _not_here},
    )


async def _not_here(request: Request, error: Exception) -> Response:
    """A path or a method that nobody serves."""
    assert isinstance(error, HTTPException)
    body = {"error": f"{request.method} {error.detail}", "hint": "POST /predict or /feedback, GET /health or /ready"}
    return _json(body, error.status_code, dict(error.headers or {}))


class Surface:
    """The handlers; whatever happens inside, a client gets JSON with the request's id and nothing from the inside."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica

    def guarded(self, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        """A handler with request id and errors turned into answers."""

        async def handle(request: Request) -> Response:
            request_id = ""
            try:
                request_id = read_request_id(request.headers) or uuid.uuid4().hex
                return await handler(request, request_id)
            except ClientDisconnect:
                return Response(status_code=CLIENT_CLOSED)
            except RequestError as error:
                self._replica.metrics.refused.labels(self._replica.endpoint, str(error.status)).inc()
                return _refusal(error, request_id)
            except (NotReadyError, BackendError) as error:
                if isinstance(error, BackendError):
                    logger.error("request %s: %s", request_id, error)
                text = error.message if isinstance(error, NotReadyError) else "the platform's database does not answer"
                return _json({"error": text, "request_id": request_id}, 503, {"Retry-After": "1"})
            except Exception:
                logger.exception("request %s failed", request_id)
                return _json({"error": "the model could not answer", "request_id": request_id}, 500)

        return handle

    async def predict(self, request: Request, request_id: str) -> Response:
        """Score rows."""
        started = time.perf_counter()
        limits = self._replica.limits
        body = await read_body(request, max_bytes=limits.max_body_bytes)
        route = self._route()
        rows = read_rows(body, max_rows=limits.max_rows)
        answer = await self._replica.answerer.answer(route, rows, request_id=request_id, started=started)
        return _json(answer, 200)

    async def feedback(self, request: Request, request_id: str) -> Response:
        """Take outcomes; answers when they are durable."""
        limits = self._replica.limits
        body = await read_body(request, max_bytes=limits.max_body_bytes)
        records = read_feedback(body, max_rows=limits.max_rows, outcomes=self._route().outcomes)
        await self._replica.ledger.feedback(records)
        return _json({"accepted": len(records), "request_id": request_id}, 200)

    async def health(self, _request: Request, request_id: str) -> Response:
        """Say who is there; 200 also before the first model, so that a process is not killed for waiting."""
        route = self._replica.route
        state: dict[str, Any] = {"endpoint": self._replica.endpoint, "ready": route is not None}
        if route is not None:
            state |= {
                "generation": route.generation,
                "arms": [{"arm": a.name, "version": a.arm.version, "weight": a.arm.weight} for a in route.arms],
            }
        return _json(state, 200)

    async def ready(self, _request: Request, request_id: str) -> Response:
        """200 where requests can be answered, else 503."""
        return _json({"ready": True, "generation": self._route().generation}, 200)

    def _route(self) -> Route:
        if self._replica.route is None:
            raise NotReadyError(f"endpoint {self._replica.endpoint} has no model yet")
        return self._replica.route


def _refusal(error: RequestError, request_id: str) -> Response:
    body: dict[str, Any] = {"error": error.message, "request_id": request_id}
    if error.problems:
        body["problems"] = list(error.problems)
    if error.hint:
        body["hint"] = error.hint
    return _json(body, error.status)


def _json(body: dict[str, Any], status: int, headers: dict[str, str] | None = None) -> Response:
    # Serve itself puts X-Request-Id into the headers of every answer.
    text = json.dumps(body, separators=(",", ":"))
    return Response(text, status_code=status, media_type="application/json", headers=headers)
