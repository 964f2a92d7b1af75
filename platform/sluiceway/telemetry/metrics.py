"""The metrics of an endpoint's replica, declared once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from sluiceway.core.traffic import EXPORTED_LATENCY_BOUNDS_SECONDS as LATENCY_BUCKETS_SECONDS
from sluiceway.telemetry.meters import Buckets, Count, Window

ARM_LABELS = ("model", "version", "arm")
DROPPED = "prediction_records_dropped"
DROPPED_TEXT = "rows of the prediction log that were lost, by where"


@dataclass(frozen=True, slots=True)
class ArmSeries:
    """The series of one arm; making them creates them at 0."""

    window: Window
    requests: Count = field(default_factory=Count)
    errors: Count = field(default_factory=Count)
    unseen_categories: Count = field(default_factory=Count)
    model_latency: Buckets = field(default_factory=lambda: Buckets(LATENCY_BUCKETS_SECONDS))
    prediction_latency: Buckets = field(default_factory=lambda: Buckets(LATENCY_BUCKETS_SECONDS))

    @property
    def counts(self) -> tuple[int, int]:
        """Requests and errors."""
        return self.requests.value, self.errors.value


class ServingMetrics:
    """What an endpoint's replica exports.

    Args:
        model: value of the label ``model``: the endpoint's name.
        clock: monotonic seconds.
    """

    def __init__(self, model: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.registry = CollectorRegistry()
        self._model, self._clock = model, clock
        self._arms: dict[tuple[str, str], ArmSeries] = {}
        self.refused = Counter(
            "requests_refused", "requests answered with 4xx", ("model", "status"), registry=self.registry
        )
        dropped = Counter(DROPPED, DROPPED_TEXT, ("model", "reason"), registry=self.registry)
        self.records_dropped = dropped.labels(model, "replica_full")
        self.registry.register(self)

    def arm(self, *, version: str, arm: str) -> ArmSeries:
        """The series of an arm, at 0 the first time."""
        series = self._arms.get((version, arm))
        if series is None:
            series = self._arms[version, arm] = ArmSeries(Window(self._clock(), size=2))
        return series

    def tick(self) -> None:
        """Remember what is counted by now, for the rates; call it about once a second."""
        now = self._clock()
        for series in list(self._arms.values()):
            series.window.remember(now, series.counts)

    def collect(self) -> Iterator[Metric]:
        """What is counted by now, as the client library asks its collectors."""
        arms = [((self._model, *key), series) for key, series in list(self._arms.items())]
        for name, text, counted in (
            ("model_requests", "requests that an arm was asked to answer", attrgetter("requests")),
            ("model_errors", "requests that an arm did not answer", attrgetter("errors")),
            ("unseen_categories", "categories that the model does not know", attrgetter("unseen_categories")),
        ):
            counter = CounterMetricFamily(name, text, labels=ARM_LABELS)
            for labels, series in arms:
                counter.add_metric(labels, counted(series).value)
            yield counter
        for name, text, observed in (
            ("model_latency_seconds", "time that an arm took for its scores", attrgetter("model_latency")),
            ("prediction_latency_seconds", "time from a request to its answer", attrgetter("prediction_latency")),
        ):
            histogram = HistogramMetricFamily(name, text, labels=ARM_LABELS)
            for labels, series in arms:
                histogram.add_metric(labels, observed(series).cumulative(), observed(series).total)
            yield histogram
        yield from self._rates(arms)

    def _rates(self, arms: Sequence[tuple[tuple[str, ...], ArmSeries]]) -> Iterator[Metric]:
        now = self._clock()
        throughput = GaugeMetricFamily(
            "prediction_throughput_rps", "requests a second that an arm was asked, over 60 s", labels=ARM_LABELS
        )
        share = GaugeMetricFamily(
            "error_rate", "share of an arm's requests that it did not answer, over 60 s", labels=ARM_LABELS
        )
        for labels, series in arms:
            seconds, (requests, errors) = series.window.grown(now, series.counts)
            throughput.add_metric(labels, requests / seconds)
            share.add_metric(labels, errors / requests if requests else 0.0)
        yield throughput
        yield share
