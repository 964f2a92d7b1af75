"""The metric catalogue: every series that a process of ours exports, declared once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, start_http_server

from sluiceway.core.traffic import LATENCY_BOUNDS_SECONDS

if TYPE_CHECKING:
    import threading
    from wsgiref.simple_server import WSGIServer

# Every fourth bound of what a rollout reads from the catalog: steps of 75 %, 24 series a histogram and arm.
LATENCY_BUCKETS_SECONDS = LATENCY_BOUNDS_SECONDS[::4]
ARM_LABELS = ("model", "version", "arm")


@dataclass(frozen=True)
class ArmSeries:
    """The series of one arm; making them creates them at 0."""

    requests: Counter
    errors: Counter
    model_latency: Histogram
    prediction_latency: Histogram
    unseen_categories: Counter


class ServingMetrics:
    """What an endpoint's replica exports.

    Args:
        model: value of the label ``model``: the endpoint's name.
    """

    def __init__(self, model: str) -> None:
        self.registry = CollectorRegistry()
        self._model = model
        self._arms: dict[tuple[str, str], ArmSeries] = {}
        self._requests = self._counter("model_requests", "requests that an arm was asked to answer", ARM_LABELS)
        self._errors = self._counter("model_errors", "requests that an arm did not answer", ARM_LABELS)
        self._model_latency = self._histogram("model_latency_seconds", "time that an arm took for its scores")
        self._latency = self._histogram("prediction_latency_seconds", "time from a request to its answer")
        self._unseen = self._counter("unseen_categories", "categories that the model does not know", ARM_LABELS)
        self.refused = self._counter("requests_refused", "requests answered with 4xx", ("model", "status"))
        self.records_dropped = self._counter("prediction_records_dropped", "records lost", ("model",)).labels(model)

    def arm(self, *, version: str, arm: str) -> ArmSeries:
        """The series of an arm, at 0 the first time."""
        key = (version, arm)
        if key not in self._arms:
            labels = (self._model, version, arm)
            self._arms[key] = ArmSeries(
                self._requests.labels(*labels),
                self._errors.labels(*labels),
                self._model_latency.labels(*labels),
                self._latency.labels(*labels),
                self._unseen.labels(*labels),
            )
        return self._arms[key]

    def _counter(self, name: str, text: str, labels: tuple[str, ...]) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str) -> Histogram:
        return Histogram(name, text, ARM_LABELS, buckets=LATENCY_BUCKETS_SECONDS, registry=self.registry)


class MetricsServer:
    """Shows a registry to Prometheus, on a free port of its own.

    Args:
        registry: what to show.
        host: interface to listen on.
    """

    def __init__(self, registry: CollectorRegistry, *, host: str) -> None:
        self._server: WSGIServer
        self._thread: threading.Thread
        self._server, self._thread = start_http_server(0, addr=host, registry=registry)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_port)

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)
