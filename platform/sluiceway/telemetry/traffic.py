"""The metrics of how an endpoint's replica shares its requests out, declared once."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge

LABELS = ("model", "version")


class TrafficMetrics:
    """Breakers, and what shadows had no room for.

    Args:
        model: value of the label ``model``: the endpoint's name.
        registry: of the replica.
    """

    def __init__(self, model: str, *, registry: CollectorRegistry) -> None:
        self._model = model
        self._challengers: set[str] = set()
        self._breakers = Gauge("breaker_open", "1 while a challenger is asked no more", LABELS, registry=registry)
        self._dropped = Counter(
            "shadow_requests_dropped", "requests that a shadow had no room for", LABELS, registry=registry
        )

    def follow(self, challengers: Iterable[str]) -> None:
        """A new generation: its challengers' breakers are shown, at 0, and those of earlier ones are closed."""
        self._challengers.update(challengers)
        for version in self._challengers:
            self._breakers.labels(self._model, version).set(0)

    def opened(self, version: str) -> None:
        """A challenger is asked no more."""
        self._breakers.labels(self._model, version).set(1)

    def shadow(self, version: str) -> None:
        """Show a shadow's series, at 0 the first time."""
        self._dropped.labels(self._model, version)

    def dropped(self, version: str) -> None:
        """A shadow had no room for a request."""
        self._dropped.labels(self._model, version).inc()
