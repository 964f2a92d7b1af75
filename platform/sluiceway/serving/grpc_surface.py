"""The gRPC surface of an endpoint: the Open Inference Protocol, version 2, for replicas of a Serve that has gRPC.

Serve hands a call to the method of the same name of the deployment. Its servers for gRPC listen on all interfaces,
whatever ``http_options.host`` says; so whoever asks needs a key, also where HTTP asks for none.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from functools import cached_property
from typing import Any

import grpc

from sluiceway.core.errors import NotReadyError, RequestError
from sluiceway.core.version import VERSION
from sluiceway.serving.answering import Asked
from sluiceway.serving.guard import ANYBODY, Caller
from sluiceway.serving.inputs import Encoders
from sluiceway.serving.protocols.grpc_messages import message_class
from sluiceway.serving.protocols.open_inference import infer_request
from sluiceway.serving.protocols.open_inference_answers import infer_document, model_metadata, refusal_text
from sluiceway.serving.protocols.open_inference_grpc import document_of, infer_response, metadata_response
from sluiceway.serving.replica import Replica, present_route
from sluiceway.serving.requests import read_request_id
from sluiceway.serving.scoring import arm_of, named_version

logger = logging.getLogger(__name__)

_CODES = {
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
}
# Of a status; more would not fit into the trailers of an answer.
_LONGEST = 3000

Headers = Mapping[str, str]
Work = Callable[[Caller, Headers], Awaitable[Any]]


class GrpcMethods:
    """What Serve calls for each method of the protocol; a base of an endpoint's replica, see ``replica.Replica``."""

    async def ServerLive(self, _request: Any, grpc_context: Any) -> Any:
        """Whether the process is there."""
        return await self._grpc.answered("ServerLive", grpc_context, None, self._grpc.live)

    async def ServerReady(self, _request: Any, grpc_context: Any) -> Any:
        """Whether requests can be answered."""
        return await self._grpc.answered("ServerReady", grpc_context, None, self._grpc.ready)

    async def ModelReady(self, request: Any, grpc_context: Any) -> Any:
        """Whether a model answers."""

        async def work(_caller: Caller, _headers: Headers) -> Any:
            return self._grpc.model_ready(request)

        return await self._grpc.answered("ModelReady", grpc_context, None, work)

    async def ServerMetadata(self, _request: Any, grpc_context: Any) -> Any:
        """What serves here."""
        return await self._grpc.answered("ServerMetadata", grpc_context, "predict", self._grpc.server)

    async def ModelMetadata(self, request: Any, grpc_context: Any) -> Any:
        """What a model takes and gives."""

        async def work(caller: Caller, _headers: Headers) -> Any:
            return self._grpc.model(request, caller)

        return await self._grpc.answered("ModelMetadata", grpc_context, "predict", work)

    async def ModelInfer(self, request: Any, grpc_context: Any) -> Any:
        """Score tensors."""

        async def work(caller: Caller, headers: Headers) -> Any:
            return await self._grpc.infer(request, caller, headers)

        return await self._grpc.answered("ModelInfer", grpc_context, "predict", work)

    @cached_property
    def _grpc(self) -> GrpcSurface:
        return GrpcSurface(self)  # type: ignore[arg-type]  # the replica that it is a base of


class GrpcSurface:
    """Answers gRPC; whatever happens inside, a client gets a status and nothing from the inside.

    Args:
        replica: that it stands before.
    """

    def __init__(self, replica: Replica) -> None:
        self._replica, self._limits = replica, replica.limits
        self._encoders = Encoders.of(replica.limits)

    async def answered(self, method: str, context: Any, scope: str | None, work: Work) -> Any:
        """The answer to a call: what the work gives, or an empty one beside a status that says what is wrong.

        Args:
            method: name of the method.
            context: Serve's, of the call.
            scope: that a key needs; None is open to everybody.
            work: does it, of a caller who may ask so.
        """
        headers = {name: value for name, value in context.invocation_metadata() if isinstance(value, str)}
        try:
            caller = ANYBODY if scope is None else self._admitted(headers, scope)
            async with asyncio.timeout(self._limits.request_timeout_seconds):
                return await work(caller, headers)
        except RequestError as error:
            self._replica.metrics.refused.labels(self._replica.endpoint, str(error.status)).inc()
            code, text = _CODES.get(error.status, grpc.StatusCode.INVALID_ARGUMENT), refusal_text(error)
        except NotReadyError as error:
            code, text = grpc.StatusCode.UNAVAILABLE, error.message
        except TimeoutError:
            self._replica.metrics.refused.labels(self._replica.endpoint, "504").inc()
            code, text = grpc.StatusCode.DEADLINE_EXCEEDED, "there was no answer in time"
        except Exception:
            logger.exception("a call of %s failed", method)
            code, text = grpc.StatusCode.INTERNAL, "the model could not answer"
        # Raising would do as well, and write a traceback into Serve's log for every refusal.
        context.set_code(code)
        context.set_details(text.encode("ascii", "backslashreplace").decode()[:_LONGEST])
        return message_class(f"{method}Response")()

    async def live(self, _caller: Caller, _headers: Headers) -> Any:
        """``ServerLive``."""
        return message_class("ServerLiveResponse")(live=True)

    async def ready(self, _caller: Caller, _headers: Headers) -> Any:
        """``ServerReady``."""
        return message_class("ServerReadyResponse")(ready=self._replica.route is not None)

    async def server(self, _caller: Caller, _headers: Headers) -> Any:
        """``ServerMetadata``."""
        return message_class("ServerMetadataResponse")(name="sluiceway", version=VERSION)

    def model_ready(self, request: Any) -> Any:
        """``ModelReady``; anybody may ask, so it tells of the champion only."""
        route = self._replica.route
        mine = route is not None and request.name == self._replica.endpoint
        ready = mine and route is not None and request.version in ("", route.champion.arm.version)
        return message_class("ModelReadyResponse")(ready=ready)

    def model(self, request: Any, caller: Caller) -> Any:
        """``ModelMetadata``.

        Raises:
            RequestError: 403 a version that the caller may not name; 404 another model or version.
        """
        self._check_model(request.name)
        route = present_route(self._replica)
        arm = route.champion
        if request.version:
            arm = arm_of(route, named_version(caller, route, request.version, None))
        versions = list(route.pinned) if caller.admin else [arm.arm.version]
        return metadata_response(model_metadata(arm.scorer, model=self._replica.endpoint, versions=versions))

    async def infer(self, request: Any, caller: Caller, headers: Headers) -> Any:
        """``ModelInfer``.

        Raises:
            RequestError: 403, 404 as :meth:`model`; 413 too large, or too many rows; 422 tensors that are no rows.
        """
        started = time.perf_counter()
        self._check_model(request.model_name)
        if request.ByteSize() > self._limits.max_body_bytes:
            raise RequestError(f"the message is larger than {self._limits.max_body_bytes} bytes", status=413)
        route = present_route(self._replica)
        document, raw = document_of(request)
        wanted = infer_request(
            document,
            raw,
            scorer=route.champion.scorer,
            max_rows=self._limits.max_rows,
            encoders=self._encoders,
        )
        version, in_header = request.model_version or None, headers.get("x-model-version")
        if version is not None or in_header is not None:
            version = named_version(caller, route, version, in_header)
        asked = Asked(read_request_id(headers) or uuid.uuid4().hex, started, headers.get("x-routing-key"), version)
        answered = await self._replica.answerer.answer(route, asked, wanted.given)
        return infer_response(*infer_document(answered, wanted, model=self._replica.endpoint))

    def _admitted(self, headers: Headers, scope: str) -> Caller:
        if not self._replica.guard.required:
            raise RequestError(
                "gRPC is answered where keys are required only", status=403, hint="set serving.keys: required"
            )
        return self._replica.guard.admit(headers, scope)

    def _check_model(self, name: str) -> None:
        if name != self._replica.endpoint:
            raise RequestError(f"there is no model {name[:100]!r} here", status=404)
