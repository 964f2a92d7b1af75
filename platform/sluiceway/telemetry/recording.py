"""The metrics of an endpoint's recorder, declared once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric

from sluiceway.telemetry.metrics import ARM_LABELS, DROPPED, DROPPED_TEXT

# From a commit to a local disk to one to a store far away.
COMMIT_BUCKETS_SECONDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
# (version, arm) -> outcomes, and how many of these the decision equals; None: nothing is right or wrong (a regression).
Judged = Mapping[tuple[str, str], tuple[int, int] | None]


class RecorderMetrics:
    """What a recorder exports.

    Args:
        model: value of the label ``model``: the endpoint's name.
    """

    def __init__(self, model: str) -> None:
        self.registry = CollectorRegistry()
        self._model = model
        self._judged: Judged = {}
        of_model: dict[str, Any] = {"labelnames": ("model",), "registry": self.registry}
        self.written = Counter(
            "prediction_records_written", "rows of the prediction log that are in the table", **of_model
        ).labels(model)
        dropped = Counter(DROPPED, DROPPED_TEXT, ("model", "reason"), registry=self.registry)
        self.dropped = dropped.labels(model, "recorder_full")
        self.repeated = Counter(
            "prediction_records_repeated", "rows whose request id the endpoint had answered before", **of_model
        ).labels(model)
        self.unreadable = Counter(
            "prediction_batches_unreadable", "batches of a replica that no row could be read of", **of_model
        ).labels(model)
        self.waiting = Gauge(
            "prediction_records_waiting", "rows of the prediction log that are in no commit yet", **of_model
        ).labels(model)
        self.failed = Counter(
            "prediction_log_commits_failed", "commits to the prediction log that failed, to be tried again", **of_model
        ).labels(model)
        self.commit_seconds = Histogram(
            "prediction_log_commit_seconds", "time of a commit", buckets=COMMIT_BUCKETS_SECONDS, **of_model
        ).labels(model)
        self.registry.register(self)

    def judge(self, judged: Judged) -> None:
        """From now on show these.

        Args:
            judged: outcomes and right decisions by version and arm.
        """
        self._judged = dict(judged)

    def collect(self) -> Iterator[Metric]:
        """Accuracy as it was last told, as the client library asks its collectors."""
        accuracy = GaugeMetricFamily(
            "model_accuracy",
            "share of right decisions among those whose outcome came in the last hour",
            labels=ARM_LABELS,
        )
        outcomes = GaugeMetricFamily("model_outcomes", "outcomes that model_accuracy is taken over", labels=ARM_LABELS)
        for (version, arm), counts in sorted(self._judged.items()):
            if counts is None:
                continue
            labels = (self._model, version, arm)
            outcomes.add_metric(labels, counts[0])
            if counts[0]:  # nothing known is not "always wrong"
                accuracy.add_metric(labels, counts[1] / counts[0])
        yield accuracy
        yield outcomes
