"""The HTTP surface of an endpoint: which path is whose, and what comes of errors.

An ASGI application of its own: one request in a hundred microseconds leaves no room for a framework between.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from sluiceway.core.errors import BackendError, NotReadyError, OverloadedError, RequestError
from sluiceway.serving.about import About
from sluiceway.serving.body_room import BodyRoom
from sluiceway.serving.exchange import JSON, Exchange, Receive, Reply, Scope, Send, json_reply
from sluiceway.serving.guard import CHALLENGE
from sluiceway.serving.protocols.open_inference_answers import refusal_text
from sluiceway.serving.replica import Replica, present_route
from sluiceway.serving.requests import read_feedback, read_request_id
from sluiceway.serving.scoring import Scoring

logger = logging.getLogger(__name__)

# nginx's number for a client that hung up; nobody reads it.
CLIENT_CLOSED = 499
MODELS = "/v2/models/"
HINT = "GET /docs lists what is served here"

Handler = Callable[[Exchange], Awaitable[Reply]]
VersionHandler = Callable[[Exchange, "str | None"], Awaitable[Reply]]


@dataclass(frozen=True, slots=True)
class Operation:
    """What is done for a path.

    Attributes:
        method: the one it is asked by; HEAD is taken for GET.
        handle: does it.
        scope: that a key needs; None is open to everybody.
    """

    method: str
    handle: Handler
    scope: str | None


def build_app(replica: Replica) -> Surface:
    """The ASGI application of a replica."""
    return Surface(replica)


class Surface:
    """Answers HTTP; whatever happens inside, a client gets its protocol's errors and nothing from the inside.

    Args:
        replica: that it stands before.

    Attributes:
        room: for the bodies of the requests that are under way.
    """

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self.room = BodyRoom(replica.limits.room_for_bodies)
        scoring, about = Scoring(replica), About(replica)
        self._operations: Mapping[str, Operation] = {
            "/predict": Operation("POST", scoring.predict, "predict"),
            "/invocations": Operation("POST", scoring.invocations, "predict"),
            "/feedback": Operation("POST", self._feedback, "feedback"),
            "/health": Operation("GET", about.health, None),
            "/ready": Operation("GET", about.ready, None),
            "/ping": Operation("GET", about.ping, None),
            "/version": Operation("GET", about.version, "predict"),
            "/openapi.json": Operation("GET", about.openapi, "predict"),
            "/docs": Operation("GET", about.docs, "predict"),
            "/v2": Operation("GET", about.server, "predict"),
            "/v2/health/live": Operation("GET", about.live, None),
            "/v2/health/ready": Operation("GET", about.server_ready, None),
        }
        self._of_model: Mapping[str, tuple[str, VersionHandler, str | None]] = {
            "": ("GET", about.model, "predict"),
            "ready": ("GET", about.model_ready, None),
            "infer": ("POST", scoring.infer, "predict"),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, as ASGI has it."""
        if scope["type"] != "http":
            await _no_request(scope, receive, send)
            return
        exchange = Exchange(scope, receive, self.room)
        path: str = scope["path"]
        if exchange.root and path.startswith(exchange.root):
            path = path[len(exchange.root) :]
        try:
            reply = await self._reply(exchange, path)
        finally:
            exchange.close()
        await reply.send(send)

    async def _reply(self, exchange: Exchange, path: str) -> Reply:
        refusal: Callable[[RequestError, str], Reply] = _refusal
        try:
            operation = self._operations.get(path)
            if operation is None and path.startswith("/v2"):
                refusal = _open_inference_refusal
                operation = self._operation_of_model(path)
            elif path.startswith("/v2"):
                refusal = _open_inference_refusal
            exchange.request_id = read_request_id(exchange.headers) or uuid.uuid4().hex
            if operation is None:
                return self._nobody(exchange, 404)
            if exchange.method != operation.method and (exchange.method, operation.method) != ("HEAD", "GET"):
                return self._nobody(exchange, 405, operation.method)
            if operation.scope is not None:
                exchange.caller = self._replica.guard.admit(exchange.headers, operation.scope)
            return await operation.handle(exchange)
        except ConnectionResetError:
            return Reply(CLIENT_CLOSED, b"")
        except RequestError as error:
            self._replica.metrics.refused.labels(self._replica.endpoint, str(error.status)).inc()
            return refusal(error, exchange.request_id)
        except OverloadedError as error:
            return self._shed(error, exchange.request_id)
        except (NotReadyError, BackendError) as error:
            if isinstance(error, BackendError):
                logger.error("request %s: %s", exchange.request_id, error)
            text = error.message if isinstance(error, NotReadyError) else "the platform's database does not answer"
            return json_reply({"error": text, "request_id": exchange.request_id}, 503, {"Retry-After": "1"})
        except Exception:
            logger.exception("request %s failed", exchange.request_id)
            return json_reply({"error": "the model could not answer", "request_id": exchange.request_id}, 500)

    def _shed(self, error: OverloadedError, request_id: str) -> Reply:
        limits = self._replica.limits
        self._replica.metrics.refused.labels(self._replica.endpoint, str(limits.shed_status)).inc()
        body = {"error": error.message, "hint": error.hint, "request_id": request_id}
        return json_reply(body, limits.shed_status, {"Retry-After": str(limits.retry_after_seconds)})

    def _nobody(self, exchange: Exchange, status: int, allowed: str | None = None) -> Reply:
        """A path or a method that nobody serves."""
        self._replica.metrics.refused.labels(self._replica.endpoint, str(status)).inc()
        text = "Not Found" if allowed is None else "Method Not Allowed"
        headers = None if allowed is None else {"Allow": "GET, HEAD" if allowed == "GET" else allowed}
        body = {"error": f"{exchange.method} {text}", "hint": HINT, "request_id": exchange.request_id}
        return json_reply(body, status, headers)

    async def _feedback(self, exchange: Exchange) -> Reply:
        """``POST /feedback``: take outcomes; answers when they are durable."""
        limits = self._replica.limits
        exchange.content_type((JSON,))
        body = await exchange.body(limits.max_body_bytes)
        outcomes = present_route(self._replica).outcomes
        records = read_feedback(body, max_rows=limits.max_rows, outcomes=outcomes)
        new = await self._replica.ledger.feedback(records)
        return json_reply({"accepted": len(records), "new": new, "request_id": exchange.request_id})

    def _operation_of_model(self, path: str) -> Operation | None:
        """What is done for a path of the Open Inference Protocol that names a model.

        Raises:
            RequestError: 404, another model.
        """
        if not path.startswith(MODELS):
            return None
        model, *rest = path[len(MODELS) :].split("/")
        version = None
        if len(rest) >= 2 and rest[0] == "versions":
            version, rest = rest[1], rest[2:]
        found = self._of_model.get("/".join(rest)) if rest != [""] else None
        if found is None:
            return None
        if model != self._replica.endpoint:
            raise RequestError(f"there is no model {model[:100]!r} here", status=404)
        method, handle, scope = found
        if version is not None:
            scope = "predict"  # a probe needs none, and whoever asks for one after the other would learn them all

        async def of_version(exchange: Exchange) -> Reply:
            return await handle(exchange, version)

        return Operation(method, of_version, scope)


def _refusal(error: RequestError, request_id: str) -> Reply:
    body: dict[str, object] = {"error": error.message, "request_id": request_id}
    if error.problems:
        body["problems"] = list(error.problems)
    if error.hint:
        body["hint"] = error.hint
    return json_reply(body, error.status, CHALLENGE if error.status == 401 else None)


def _open_inference_refusal(error: RequestError, _: str) -> Reply:
    return json_reply({"error": refusal_text(error)}, error.status, CHALLENGE if error.status == 401 else None)


async def _no_request(scope: Scope, receive: Receive, send: Send) -> None:
    """Start and end of the server; a WebSocket is refused."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1000})
        return
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
