"""What the handlers of requests need of the replica that they stand in."""

from __future__ import annotations

from typing import Protocol

from sluiceway.config.serving import ServingSection
from sluiceway.core.errors import NotReadyError
from sluiceway.serving.answering import Answerer
from sluiceway.serving.guard import Guard
from sluiceway.serving.ledger import Ledger
from sluiceway.serving.route import Route
from sluiceway.telemetry.metrics import ServingMetrics


class Replica(Protocol):
    """What the surface needs of a replica."""

    endpoint: str
    limits: ServingSection
    route: Route | None
    answerer: Answerer
    ledger: Ledger
    metrics: ServingMetrics
    guard: Guard


def present_route(replica: Replica) -> Route:
    """What the replica follows now.

    Raises:
        NotReadyError: nothing yet.
    """
    if replica.route is None:
        raise NotReadyError(f"endpoint {replica.endpoint} has no model yet")
    return replica.route
