"""A real Prometheus finds a real endpoint through the discovery, and the operators' rollback queries return data."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import httpx
import pytest

import prometheus_server
from serving_models import as_rows, examples, train_small
from sluiceway.catalog.engine import open_catalog
from sluiceway.catalog.leases import METRICS_LEASES, LeaseStore
from sluiceway.catalog.traffic import TrafficStore
from sluiceway.config.serving import ServingSection
from sluiceway.core.traffic import TrafficDocument
from sluiceway.serving.route import PINNED
from sluiceway.serving.specs import ChallengerSpec, EndpointSpec

pytestmark = [
    pytest.mark.integration,
    # Ray's own schema, when ray.serve is imported for the first time.
    pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`:DeprecationWarning"),
]

MODEL = "flights_seen"
REPOSITORY = Path(__file__).parents[2]
PROGRAM = [sys.executable, "-c", "from sluiceway.cli.main import main; main()"]
ARMS = {("1", "champion"), ("2", "challenger"), ("3", "shadow")}
LATENCY = f'histogram_quantile(0.99, rate(model_latency_seconds_bucket{{model="{MODEL}"}}[5m]))'
ERRORS = (
    f'sum(rate(model_errors_total{{model="{MODEL}"}}[5m])) / sum(rate(model_requests_total{{model="{MODEL}"}}[5m]))'
)
ACCURACY = f'avg(avg_over_time(model_accuracy{{model="{MODEL}"}}[5m]))'
CONFIG = """
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: sluiceway
    http_sd_configs: [{{url: "{url}", refresh_interval: 1s}}]
"""


class World:
    """An endpoint with three arms, the platform's discovery, and a Prometheus that asks it."""

    def __init__(self, folder, discovery, prometheus):
        self.discovery, self.prometheus = discovery, prometheus
        self.engine = open_catalog(f"sqlite:///{folder / 'catalog.db'}")
        self.leases, self.store = LeaseStore(self.engine), TrafficStore(self.engine)

    def deploy(self, folder):
        from sluiceway.serving.deploy import deploy_challenger, deploy_endpoint  # noqa: PLC0415 (Ray has to be up)
        from sluiceway.serving.instance import start_serve  # noqa: PLC0415

        models = {version: train_small(folder, seed=int(version)) for version in ("1", "2", "3")}
        serving, url = ServingSection(port=0), f"sqlite:///{folder / 'catalog.db'}"
        address = start_serve(serving)
        spec = ChallengerSpec(MODEL, "2", str(models["2"].folder), models["2"].bundle.digest, None, serving)
        self.store.publish(
            TrafficDocument(
                MODEL,
                1,
                models["1"].arm("1", 0.6),
                (models["2"].arm("2", 0.4, deploy_challenger(spec)),),
                shadows=(models["3"].arm("3", 1.0),),
            )
        )
        deploy_endpoint(EndpointSpec(MODEL, f"/{MODEL}", url, serving, str(folder / "predictions")))
        self.client = httpx.Client(base_url=f"{address.url}/{MODEL}", timeout=30)

    def settled(self, check, seconds=60.0):
        """Wait for what becomes true soon."""
        deadline = time.monotonic() + seconds
        while not (found := check()) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert found
        return found

    def values(self, query):
        """Values by version and arm, without those of requests that name the version that they are for."""
        return {
            (one["metric"].get("version"), one["metric"].get("arm")): float(one["value"][1])
            for one in self.prometheus.query(query)
            if one["metric"].get("arm") != PINNED
        }


@pytest.fixture(scope="module")
def world(ray_cluster, tmp_path_factory):
    for name in prometheus_server.PROGRAMS:
        prometheus_server.program(name)
    from sluiceway.serving.instance import stop_serve  # noqa: PLC0415

    folder = tmp_path_factory.mktemp("prometheus")
    catalog = f"sqlite:///{folder / 'catalog.db'}"
    process = subprocess.Popen(
        [*PROGRAM, "monitor", "discovery", "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "platform"), "SLUICEWAY_PLATFORM__CATALOG": catalog},
    )
    try:
        url = process.stdout.readline().split()[0]
        with prometheus_server.running(folder, CONFIG.format(url=url)) as prometheus:
            running = World(folder, url, prometheus)
            running.deploy(folder)
            yield running
            running.client.close()
            running.engine.dispose()
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
        process.stdout.close()
        stop_serve()


def test_every_arm_has_its_series_before_any_traffic(world):
    def there():
        return {one["labels"]["component"] for one in world.prometheus.targets() if one["health"] == "up"}

    world.settled(lambda: there() == {"replica", "recorder"})
    for name in ("model_requests_total", "model_errors_total", "model_latency_seconds_count", "error_rate"):
        found = world.settled(lambda n=name: world.values(f'{n}{{model="{MODEL}"}}'))
        assert found == dict.fromkeys(ARMS, 0.0)
    assert world.settled(lambda: world.values(f'model_outcomes{{model="{MODEL}"}}')) == dict.fromkeys(ARMS, 0.0)
    # No outcome is no accuracy, and not one of 0.
    assert world.prometheus.query(ACCURACY) == []
    assert world.settled(lambda: world.prometheus.query(ERRORS))[0]["value"][1] == "NaN"  # 0 of 0


def test_the_exposition_is_as_promtool_wants_it(world):
    checked = 0
    for lease in world.leases.list(METRICS_LEASES):
        body = json.loads(lease.body)
        text = urllib.request.urlopen(f"http://{body['address']}/metrics", timeout=5).read()
        done = subprocess.run(
            [prometheus_server.program("promtool"), "check", "metrics"],
            input=text,
            capture_output=True,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b""), body["component"]
        checked += 1
    assert checked == 2


def test_the_rollback_queries_return_what_happened(world):
    matrix, labels = examples(200, seed=7)
    answers = [world.client.post("/predict", json={"rows": [row]}).json() for row in as_rows(matrix)]
    entries = [{"request_id": a["request_id"], "outcome": int(label)} for a, label in zip(answers, labels, strict=True)]
    assert world.client.post("/feedback", json={"feedback": entries}).json()["new"] == 200
    served = {arm: sum(answer["arm"] == arm for answer in answers) for arm in ("champion", "challenger")}
    counted = {("1", "champion"): served["champion"], ("2", "challenger"): served["challenger"], ("3", "shadow"): 200}
    world.settled(lambda: world.values(f'model_requests_total{{model="{MODEL}"}}') == counted)
    latency = world.settled(lambda: {k: v for k, v in world.values(LATENCY).items() if v == v})
    assert set(latency) == ARMS
    assert all(0 < seconds < 30 for seconds in latency.values())
    (errors,) = world.settled(lambda: [one for one in world.prometheus.query(ERRORS) if one["value"][1] != "NaN"])
    assert float(errors["value"][1]) == 0
    hits = {"champion": [], "challenger": []}
    for answer, label in zip(answers, labels, strict=True):
        hits[answer["arm"]].append(answer["predictions"][0]["decision"] == label)
    world.settled(lambda: sum(world.values(f'model_outcomes{{model="{MODEL}"}}').values()) == 400)
    found = world.values(f'model_accuracy{{model="{MODEL}"}}')
    for version, arm in ARMS - {("3", "shadow")}:
        assert found[version, arm] == pytest.approx(sum(hits[arm]) / len(hits[arm]))
    assert 0 < found["3", "shadow"] <= 1
    (mean,) = world.settled(lambda: world.prometheus.query(ACCURACY))
    assert 0 < float(mean["value"][1]) <= 1
    throughput = world.values(f'prediction_throughput_rps{{model="{MODEL}"}}')
    assert throughput["1", "champion"] > 0
    for name in ("memory_usage_bytes", "cpu_utilization", "network_io_bytes_total"):
        components = {one["metric"]["component"] for one in world.prometheus.query(f'{name}{{model="{MODEL}"}}')}
        assert components == {"replica", "recorder"}


def test_a_process_that_is_gone_disappears_with_its_lease(world):
    def told():
        return [group["targets"][0] for group in json.load(urllib.request.urlopen(world.discovery, timeout=10))]

    (lease,) = [one for one in world.leases.list(METRICS_LEASES) if '"recorder"' in one.body]
    address = json.loads(lease.body)["address"]
    assert address in told()
    # What is left of a process that was killed: a lease that nobody renews.
    assert world.leases.release(lease.name, owner=lease.owner)
    assert address not in told()
    # The recorder lives: it takes its lease again.
    world.settled(lambda: address in told())
