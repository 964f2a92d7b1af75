"""The handlers that tell of an endpoint: whether it is there, what it takes and gives, its documents."""

from __future__ import annotations

from typing import Any

from sluiceway.core.errors import RequestError
from sluiceway.core.version import VERSION
from sluiceway.serving.exchange import Exchange, Reply, json_reply
from sluiceway.serving.protocols.open_inference_answers import model_metadata
from sluiceway.serving.protocols.openapi import openapi_document
from sluiceway.serving.protocols.page import page_of
from sluiceway.serving.replica import Replica, present_route
from sluiceway.serving.scoring import arm_of, named_version

# The page has no script and asks nobody for anything.
_POLICY = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'", "Referrer-Policy": "no-referrer"}


class About:
    """Tells of an endpoint.

    Args:
        replica: whose route and limits count.
    """

    def __init__(self, replica: Replica) -> None:
        self._replica = replica

    async def health(self, exchange: Exchange) -> Reply:
        """Say who is there; 200 also before the first model, so that a process is not killed for waiting.

        Anybody may ask; which versions there are and what they get is told to who may ask them.
        """
        route = self._replica.route
        state: dict[str, Any] = {"endpoint": self._replica.endpoint, "ready": route is not None}
        if route is not None and self._replica.guard.would_admit(exchange.headers, "predict"):
            state |= {"generation": route.generation, "arms": route.described()}
        return json_reply(state)

    async def ready(self, _exchange: Exchange) -> Reply:
        """200 where requests can be answered, else 503."""
        return json_reply({"ready": True, "generation": present_route(self._replica).generation})

    async def ping(self, _exchange: Exchange) -> Reply:
        """``GET /ping`` of MLflow's scoring server: as :meth:`ready`, without words."""
        present_route(self._replica)
        return Reply(200, b"\n", "text/plain; charset=utf-8")

    async def version(self, _exchange: Exchange) -> Reply:
        """``GET /version``: of Sluiceway."""
        return Reply(200, VERSION.encode(), "text/plain; charset=utf-8")

    async def server(self, _exchange: Exchange) -> Reply:
        """``GET /v2``."""
        return json_reply({"name": "sluiceway", "version": VERSION, "extensions": ["binary_tensor_data"]})

    async def live(self, _exchange: Exchange) -> Reply:
        """``GET /v2/health/live``."""
        return json_reply({"live": True})

    async def server_ready(self, _exchange: Exchange) -> Reply:
        """``GET /v2/health/ready``."""
        ready = self._replica.route is not None
        return json_reply({"ready": ready}, 200 if ready else 503)

    async def model(self, exchange: Exchange, version: str | None) -> Reply:
        """``GET /v2/models/{model}[/versions/{version}]``."""
        route = present_route(self._replica)
        arm = route.champion
        if version is not None:
            arm = arm_of(route, named_version(exchange.caller, route, version, None))
        versions = list(route.pinned) if exchange.caller.admin else [arm.arm.version]
        return json_reply(model_metadata(arm.scorer, model=self._replica.endpoint, versions=versions))

    async def model_ready(self, _exchange: Exchange, version: str | None) -> Reply:
        """``GET /v2/models/{model}[/versions/{version}]/ready``; anybody may ask, so it tells of the champion only."""
        route = present_route(self._replica)
        if version not in (None, route.champion.arm.version):
            raise RequestError(f"version {version[:100]!r} is not the one that answers", status=404)
        return json_reply({"name": self._replica.endpoint, "ready": True})

    async def openapi(self, exchange: Exchange) -> Reply:
        """``GET /openapi.json``."""
        return json_reply(self._document(exchange))

    async def docs(self, exchange: Exchange) -> Reply:
        """``GET /docs``: the same as a page."""
        return Reply(200, page_of(self._document(exchange)).encode(), "text/html; charset=utf-8", _POLICY)

    def _document(self, exchange: Exchange) -> dict[str, Any]:
        route = present_route(self._replica)
        return openapi_document(
            route.champion.scorer,
            endpoint=self._replica.endpoint,
            version=route.champion.arm.version,
            limits=self._replica.limits,
            keys=self._replica.guard.required,
            url=exchange.root or "/",
        )
