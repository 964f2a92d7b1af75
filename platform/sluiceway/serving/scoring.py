"""The handlers that score rows: the endpoint's own protocol, the Open Inference Protocol, MLflow's."""

from __future__ import annotations

import asyncio
import time

from sluiceway.core.errors import RequestError
from sluiceway.serving.answering import Answered, Asked
from sluiceway.serving.batching import LARGE_REQUESTS
from sluiceway.serving.exchange import ARROW, CSV, JSON, OCTETS, Exchange, Reply, json_reply
from sluiceway.serving.guard import Caller
from sluiceway.serving.inputs import Encoders, Input, TableInput
from sluiceway.serving.protocols.arrow import arrow_body, read_arrow
from sluiceway.serving.protocols.invocations import predictions, read_csv, read_invocations
from sluiceway.serving.protocols.native import answer_body, read_native
from sluiceway.serving.protocols.open_inference import HEADER_LENGTH, read_infer
from sluiceway.serving.protocols.open_inference_answers import infer_body
from sluiceway.serving.replica import Replica, present_route
from sluiceway.serving.route import LoadedArm, Route

# What is larger is read and encoded in a thread: it takes longer than other requests should wait for it.
BYTES_IN_LOOP = 200_000


class Scoring:
    """Answers requests with scores.

    Args:
        replica: whose route, limits and answerer count.
    """

    def __init__(self, replica: Replica) -> None:
        self._replica, self._limits = replica, replica.limits
        self._encoders = Encoders.of(replica.limits)

    async def predict(self, exchange: Exchange) -> Reply:
        """``POST /predict``: rows in JSON or Arrow, scores in either."""
        started = time.perf_counter()
        kind = exchange.content_type((JSON, ARROW))
        given: Input
        if kind == JSON:
            body = await exchange.body(self._limits.max_body_bytes)
            route = present_route(self._replica)
            given = read_native(body, max_rows=self._limits.max_rows, encoders=self._encoders)
        else:
            body = await exchange.body(self._limits.max_arrow_bytes)
            route = present_route(self._replica)
            given = await self._read_arrow(body, route)
        answered = await self._answered(exchange, route, given, started=started)
        if exchange.accepted((kind, ARROW if kind == JSON else JSON)) == ARROW:
            return Reply(200, arrow_body(answered, model=self._replica.endpoint), ARROW)
        return json_reply(answer_body(answered, model=self._replica.endpoint))

    async def infer(self, exchange: Exchange, version: str | None) -> Reply:
        """``POST /v2/models/{model}[/versions/{version}]/infer``."""
        started = time.perf_counter()
        exchange.content_type((JSON, OCTETS))
        body = await exchange.body(self._limits.max_body_bytes)
        route = present_route(self._replica)
        request = read_infer(
            body,
            json_length=exchange.headers.get(HEADER_LENGTH.lower()),
            scorer=route.champion.scorer,
            max_rows=self._limits.max_rows,
            encoders=self._encoders,
        )
        answered = await self._answered(exchange, route, request.given, started=started, version=version)
        content, json_length = infer_body(answered, request, model=self._replica.endpoint)
        if json_length is None:
            return Reply(200, content)
        return Reply(200, content, OCTETS, {HEADER_LENGTH: str(json_length)})

    async def invocations(self, exchange: Exchange) -> Reply:
        """``POST /invocations``: MLflow's bodies, and plain predictions."""
        started = time.perf_counter()
        kind = exchange.content_type((JSON, CSV))
        body = await exchange.body(self._limits.max_body_bytes)
        route = present_route(self._replica)
        read = read_invocations if kind == JSON else read_csv
        # Rows without names and categories by position are the version's that the request is for, else the champion's.
        named = route.pinned.get(_version_for(exchange, route) or "", route.champion)
        given = read(body, named.scorer.schema, max_rows=self._limits.max_rows, encoders=self._encoders)
        answered = await self._answered(exchange, route, given, started=started, raw=True)
        return json_reply({"predictions": predictions(answered)})

    async def _read_arrow(self, body: bytes, route: Route) -> TableInput:
        def read() -> TableInput:
            given = read_arrow(body, max_rows=self._limits.max_arrow_rows, encoders=self._encoders)
            given.encode(route.champion.scorer.schema)  # and keeps it for whoever asks next
            return given

        if len(body) <= BYTES_IN_LOOP:
            return read()
        return await asyncio.get_running_loop().run_in_executor(LARGE_REQUESTS, read)

    async def _answered(
        self,
        exchange: Exchange,
        route: Route,
        given: Input,
        *,
        started: float,
        version: str | None = None,
        raw: bool = False,
    ) -> Answered:
        version = _version_for(exchange, route, version)
        key = exchange.headers.get("x-routing-key")
        asked = Asked(exchange.request_id, started, key, version, raw)
        return await self._replica.answerer.answer(route, asked, given)


def _version_for(exchange: Exchange, route: Route, in_path: str | None = None) -> str | None:
    in_header = exchange.headers.get("x-model-version")
    if in_path is None and in_header is None:
        return None
    return named_version(exchange.caller, route, in_path, in_header)


def named_version(caller: Caller, route: Route, in_path: str | None, in_header: str | None) -> str:
    """The version that a request is for, of a caller who may ask so.

    Args:
        caller: who asks.
        route: what is followed; its champion's version may be named in a path by everybody.
        in_path: the version of the request's path, or None.
        in_header: its ``X-Model-Version``, or None.

    Raises:
        RequestError: 400 they differ; 403 the caller may not name it.
    """
    if in_path is not None and in_header not in (None, in_path):
        raise RequestError("X-Model-Version names another version than the path", status=400)
    if not caller.admin and (in_header is not None or in_path != route.champion.arm.version):
        raise RequestError("only a key with the scope admin may name a version", status=403)
    version = in_header if in_path is None else in_path
    assert version is not None
    return version


def arm_of(route: Route, version: str) -> LoadedArm:
    """The arm of a version, as it answers whoever names it.

    Raises:
        RequestError: 404, it is not loaded.
    """
    found = route.pinned.get(version)
    if found is None:
        raise RequestError(f"no version {version[:100]!r} is loaded", status=404)
    return found
