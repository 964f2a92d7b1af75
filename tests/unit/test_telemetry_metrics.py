"""The series that operators' queries need exist, at 0, before an arm has traffic."""

import urllib.request

import pytest

from sluiceway.telemetry.metrics import MetricsServer, ServingMetrics


@pytest.fixture
def metrics():
    return ServingMetrics("fraud")


def value(metrics, name, **labels):
    return metrics.registry.get_sample_value(name, {"model": "fraud", **labels})


def test_every_series_of_an_arm_starts_at_zero(metrics):
    labels = {"version": "2", "arm": "challenger"}
    assert value(metrics, "model_requests_total", **labels) is None
    metrics.arm(**labels)
    for name in ("model_requests_total", "model_errors_total", "unseen_categories_total"):
        assert value(metrics, name, **labels) == 0
    for name in ("model_latency_seconds", "prediction_latency_seconds"):
        assert value(metrics, f"{name}_count", **labels) == 0
        assert value(metrics, f"{name}_bucket", le="+Inf", **labels) == 0


def test_arms_are_counted_apart(metrics):
    metrics.arm(version="1", arm="champion").requests.inc()
    metrics.arm(version="1", arm="champion").model_latency.observe(0.002)
    metrics.arm(version="2", arm="challenger").errors.inc()
    assert value(metrics, "model_requests_total", version="1", arm="champion") == 1
    assert value(metrics, "model_requests_total", version="2", arm="challenger") == 0
    assert value(metrics, "model_errors_total", version="2", arm="challenger") == 1
    assert value(metrics, "model_latency_seconds_sum", version="1", arm="champion") == pytest.approx(0.002)


def test_prometheus_can_read_them(metrics):
    metrics.arm(version="1", arm="champion").requests.inc()
    server = MetricsServer(metrics.registry, host="127.0.0.1")
    try:
        text = urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics").read().decode()
    finally:
        server.close()
    assert 'model_requests_total{arm="champion",model="fraud",version="1"} 1.0' in text
    with pytest.raises(OSError):
        urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=2)
