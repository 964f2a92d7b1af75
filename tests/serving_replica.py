"""A replica without Serve: the endpoint's surface before a real model, asked over ASGI."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx

from serving_models import SmallModel
from sluiceway.catalog.records import FeedbackRecord
from sluiceway.config.serving import ServingSection
from sluiceway.core.traffic import TrafficDocument
from sluiceway.serving.answering import Answerer
from sluiceway.serving.guard import Guard
from sluiceway.serving.ledger import Ledger
from sluiceway.serving.route import Route, load_route, load_scorer
from sluiceway.serving.surface import build_app
from sluiceway.telemetry.metrics import ServingMetrics

NAME = "flights_late"


class HeldReplica:
    """What the surface needs of a replica; feedback is kept in a list.

    Args:
        model: its champion, version 1; None before the first traffic.
        serving: its limits.
        warm: by version further models that it has loaded.
        keys: whether it asks for a key; none is good.
    """

    def __init__(
        self,
        model: SmallModel | None,
        *,
        serving: ServingSection | None = None,
        warm: dict[str, SmallModel] | None = None,
        keys: bool = False,
    ) -> None:
        self.endpoint, self.limits = NAME, serving or ServingSection()
        self.metrics = ServingMetrics(NAME)
        self.ledger = Ledger(None, endpoint=NAME, replica="held", dropped=lambda _: None)  # type: ignore[arg-type]
        self.ledger.feedback = self._keep  # type: ignore[method-assign]
        self.answerer = Answerer(NAME, ledger=self.ledger, metrics=self.metrics, limits=self.limits)
        self.guard = Guard(NAME, required=keys)
        self.feedback: list[FeedbackRecord] = []
        self.route: Route | None = None
        if model is not None:
            others = tuple(other.arm(version, 0.0) for version, other in (warm or {}).items())
            document = TrafficDocument(NAME, 1, model.arm("1", 1.0), warm=others)
            self.route, _ = load_route(document, {}, load=load_scorer)
            self.answerer.open(self.route)
        self.app = build_app(self)

    async def _keep(self, records: list[FeedbackRecord]) -> int:
        self.feedback += records
        return len(records)

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """One request below the endpoint's prefix, as Serve hands it on."""

        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, root_path=f"/{NAME}")
            async with httpx.AsyncClient(transport=transport, base_url="http://endpoint") as client:
                return await client.request(method, f"/{NAME}{path}", **options)

        return asyncio.run(send())

    def refused(self, status: int) -> float:
        """How many refusals have been counted."""
        return self.metrics.refused.labels(NAME, str(status))._value.get()
