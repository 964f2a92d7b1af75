"""The series that operators' queries need exist, at 0, before an arm has traffic."""

import urllib.request

import pytest

from sluiceway.telemetry.meters import Buckets, Window
from sluiceway.telemetry.metrics import LATENCY_BUCKETS_SECONDS, ServingMetrics
from sluiceway.telemetry.process import ProcessMetrics, network_bytes, resident_bytes
from sluiceway.telemetry.recording import RecorderMetrics
from sluiceway.telemetry.server import MetricsServer


class Clock:
    """Monotonic seconds that a test owns."""

    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def metrics(clock):
    return ServingMetrics("fraud", clock=clock)


def value(metrics, name, **labels):
    return metrics.registry.get_sample_value(name, {"model": "fraud", **labels})


CHALLENGER = {"version": "2", "arm": "challenger"}


def test_every_series_of_an_arm_starts_at_zero(metrics):
    assert value(metrics, "model_requests_total", **CHALLENGER) is None
    metrics.arm(**CHALLENGER)
    for name in ("model_requests_total", "model_errors_total", "unseen_categories_total"):
        assert value(metrics, name, **CHALLENGER) == 0
    for name in ("prediction_throughput_rps", "error_rate"):
        assert value(metrics, name, **CHALLENGER) == 0
    for name in ("model_latency_seconds", "prediction_latency_seconds"):
        assert value(metrics, f"{name}_count", **CHALLENGER) == 0
        assert value(metrics, f"{name}_bucket", le="+Inf", **CHALLENGER) == 0
    assert value(metrics, "prediction_records_dropped_total", reason="replica_full") == 0


def test_arms_are_counted_apart(metrics):
    metrics.arm(version="1", arm="champion").requests.inc()
    metrics.arm(version="1", arm="champion").model_latency.observe(0.002)
    metrics.arm(**CHALLENGER).errors.inc()
    assert value(metrics, "model_requests_total", version="1", arm="champion") == 1
    assert value(metrics, "model_requests_total", **CHALLENGER) == 0
    assert value(metrics, "model_errors_total", **CHALLENGER) == 1
    assert value(metrics, "model_latency_seconds_sum", version="1", arm="champion") == pytest.approx(0.002)


def test_buckets_are_cumulative_and_tell_half_a_millisecond_from_one(metrics):
    observed = (0.00005, 0.0004, 0.0008, 0.003, 100.0)
    for seconds in observed:
        metrics.arm(**CHALLENGER).prediction_latency.observe(seconds)
    for bound in LATENCY_BUCKETS_SECONDS:
        found = value(metrics, "prediction_latency_seconds_bucket", le=repr(float(bound)), **CHALLENGER)
        assert found == sum(seconds <= bound for seconds in observed)
    assert value(metrics, "prediction_latency_seconds_bucket", le="+Inf", **CHALLENGER) == 5
    assert value(metrics, "prediction_latency_seconds_count", **CHALLENGER) == 5
    places = [sum(bound < s for bound in LATENCY_BUCKETS_SECONDS) for s in (0.0004, 0.0008)]
    assert places[0] < places[1]
    assert LATENCY_BUCKETS_SECONDS[0] == pytest.approx(1e-4)


def test_a_value_on_a_bound_is_in_its_bucket():
    buckets = Buckets((1.0, 2.0))
    for number in (1.0, 2.0, 2.5):
        buckets.observe(number)
    assert buckets.cumulative() == [("1.0", 1), ("2.0", 2), ("+Inf", 3)]
    assert buckets.total == 5.5


def test_rates_look_back_on_a_minute(metrics, clock):
    series = metrics.arm(**CHALLENGER)
    for _ in range(300):  # ten requests a second, one of ten fails, for five minutes
        clock.now += 1
        series.requests.inc(10)
        series.errors.inc()
        metrics.tick()
    assert value(metrics, "prediction_throughput_rps", **CHALLENGER) == pytest.approx(10)
    assert value(metrics, "error_rate", **CHALLENGER) == pytest.approx(0.1)
    for _ in range(30):  # no errors any more, and half the requests
        clock.now += 1
        series.requests.inc(5)
        metrics.tick()
    assert value(metrics, "prediction_throughput_rps", **CHALLENGER) == pytest.approx(7.5)
    assert value(metrics, "error_rate", **CHALLENGER) == pytest.approx(30 / 450)
    clock.now += 61  # nothing
    metrics.tick()
    assert value(metrics, "prediction_throughput_rps", **CHALLENGER) == 0
    assert value(metrics, "error_rate", **CHALLENGER) == 0


def test_a_young_arms_rate_is_of_the_time_that_it_has_been_there(metrics, clock):
    series = metrics.arm(**CHALLENGER)
    series.requests.inc(8)
    assert value(metrics, "prediction_throughput_rps", **CHALLENGER) == 8  # of a second at least
    clock.now += 4
    assert value(metrics, "prediction_throughput_rps", **CHALLENGER) == 2


def test_a_window_keeps_a_bounded_number_of_snapshots():
    window = Window(0.0, size=1)
    for tick in range(100_000):
        window.remember(tick / 100, (tick,))
    assert len(window._snapshots) <= 62
    seconds, (grown,) = window.grown(1000.0, (100_000,))
    assert grown / seconds == pytest.approx(100, rel=0.02)


def test_accuracy_is_absent_without_outcomes_and_for_a_regression():
    recorder = RecorderMetrics("fraud")
    recorder.judge({("1", "champion"): (8, 6), ("2", "challenger"): (0, 0), ("3", "shadow"): None})
    assert value(recorder, "model_accuracy", version="1", arm="champion") == 0.75
    assert value(recorder, "model_outcomes", version="1", arm="champion") == 8
    assert value(recorder, "model_accuracy", **CHALLENGER) is None
    assert value(recorder, "model_outcomes", **CHALLENGER) == 0
    assert value(recorder, "model_outcomes", version="3", arm="shadow") is None
    for name in ("written_total", "waiting"):
        assert value(recorder, f"prediction_records_{name}") == 0
    assert value(recorder, "prediction_records_dropped_total", reason="recorder_full") == 0


def test_a_process_tells_what_it_takes(metrics, clock, tmp_path):
    (tmp_path / "net").mkdir()
    (tmp_path / "statm").write_text("900 250 30 1 0 99 0\n")
    (tmp_path / "net" / "dev").write_text(
        "Inter-|   Receive                                                |  Transmit\n"
        " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls\n"
        "    lo: 999 9 0 0 0 0 0 0 999 9 0 0 0 0\n"
        "  eth0: 1000 9 0 0 0 0 0 0 500 9 0 0 0 0\n"
        "  eth1:20 9 0 0 0 0 0 0 3 9 0 0 0 0\n"
    )
    ProcessMetrics(metrics.registry, model="fraud", component="replica", proc=tmp_path, clock=clock)
    of = {"component": "replica"}
    assert value(metrics, "memory_usage_bytes", **of) % 250 == 0
    assert value(metrics, "memory_usage_bytes", **of) > 0
    assert value(metrics, "network_io_bytes_total", direction="receive", **of) == 1020
    assert value(metrics, "network_io_bytes_total", direction="transmit", **of) == 503
    assert value(metrics, "cpu_utilization", **of) >= 0


def test_what_a_system_does_not_tell_is_absent(metrics, tmp_path):
    ProcessMetrics(metrics.registry, model="fraud", component="replica", proc=tmp_path / "none")
    for name in ("memory_usage_bytes", "network_io_bytes_total", "gpu_utilization"):
        assert value(metrics, name, component="replica") is None
    assert resident_bytes(tmp_path / "none") is None
    assert network_bytes(tmp_path / "none") is None


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
