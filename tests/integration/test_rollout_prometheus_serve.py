"""``rollout start`` with Prometheus: refused before anything moves, and with a real endpoint judged by both sources."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import yaml

import prometheus_server
from command_line import sluiceway
from serving_models import as_rows, examples, train_small
from sluiceway.catalog.engine import open_catalog
from sluiceway.catalog.traffic import TrafficStore
from sluiceway.core.traffic import TrafficDocument
from sluiceway.data.commit import append
from sluiceway.registry.mlflow_registry import Registry, RunRecord

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),
]

REPOSITORY = Path(__file__).parents[2]
PROGRAM = [sys.executable, "-c", "from sluiceway.cli.main import main; main()"]
ENDPOINT = "flights-production"
SCRAPE = """
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: sluiceway
    http_sd_configs: [{{url: "{url}", refresh_interval: 1s}}]
"""
P99 = (
    "histogram_quantile(0.99, sum by (le) (increase(prediction_latency_seconds_bucket"
    '{model="$endpoint",version="$version",arm="$arm"}[$window])))'
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two registered versions, a table whose rows are sent, and a configuration."""
    folder = tmp_path_factory.mktemp("prometheus_start")
    matrix, labels = examples(4000, seed=9)
    columns = {name: [row.get(name) for row in as_rows(matrix)] for name in ("delay", "distance", "carrier")}
    append(str(folder / "table"), pa.table({**columns, "late": labels.astype(np.int64)}), message="x", source="test")
    state = folder / ".sluiceway"
    state.mkdir()
    registry = Registry(f"sqlite:///{state / 'mlflow.db'}", state / "artifacts")
    for seed in (1, 2):
        bundle = train_small(folder / "models", seed=seed).bundle
        run = registry.log_run(RunRecord("flights", f"run {seed}", {}, {}, (), {}, {}))
        registry.register("flights", bundle, run, tags={"gate_performance": "PASS"})
    document = {
        "experiment": {"name": "flights"},
        "data": {"path": str(folder / "table"), "features": ["delay", "distance", "carrier"], "target": "late"},
        "deployment": {
            "steps": [{"weight": 0.5, "max_seconds": 120}, {"weight": 1.0, "max_seconds": 120}],
            "margins": {"error_rate": 0.05, "accuracy": 0.05, "latency_p99_seconds": 5.0},
            "replay": {"path": str(folder / "table"), "connections": 4},
        },
        "platform": {"state": str(state), "serving": {"port": 0}, "ray": {"num_cpus": 2, "object_store_mb": 200}},
    }
    (folder / "flights.yaml").write_text(yaml.safe_dump(document))
    return folder


@pytest.fixture(scope="module")
def prometheus(folder):
    """A Prometheus that finds the endpoint through the platform's discovery."""
    for name in prometheus_server.PROGRAMS:
        prometheus_server.program(name)
    process = subprocess.Popen(
        [*PROGRAM, "monitor", "discovery", "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": str(REPOSITORY / "platform"),
            "SLUICEWAY_PLATFORM__CATALOG": f"sqlite:///{folder / '.sluiceway' / 'catalog.db'}",
        },
    )
    try:
        place = folder / "prometheus"
        place.mkdir()
        url = process.stdout.readline().split()[0]
        with prometheus_server.running(place, SCRAPE.format(url=url)) as prometheus:
            yield prometheus
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
        process.stdout.close()


@pytest.fixture
def start(folder, ray_cluster):
    """``rollout start`` on the test session's Ray, with a configuration of a source."""

    def run(model, *, expect=0, url=None, **section):
        given = {"url": url, **section}
        settings = [f"deployment.source={section.pop('source', 'counters')}"]
        given.pop("source", None)
        if url is not None:
            settings.append(f"deployment.prometheus={yaml.safe_dump(given, default_flow_style=True, width=10_000)}")
        sets = [part for one in settings for part in ("--set", one.strip())]
        return sluiceway(folder, "rollout", "start", model, "--config", "flights.yaml", *sets, expect=expect)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sluiceway.cli.rollout_start.disconnect", lambda: None)
        yield run


@pytest.mark.soak
def test_a_real_endpoint_is_judged_by_both(folder, prometheus, start):
    from sluiceway.serving.instance import stop_serve  # noqa: PLC0415 (Ray has to be up)

    try:
        (first,) = start("flights@1")
        assert first["rollout"]["status"] == "promoted", first
        slow = {"name": "own_p99", "query": P99, "compare": "difference", "at_most": 5, "min_samples": 100}
        timing = {"every_seconds": 1, "settle_seconds": 4}
        (second,) = start("flights@2", url=prometheus.url, source="both", queries=[slow], **timing)
        assert second["rollout"]["status"] == "promoted", second
        assert second["load"]["failed"] == 0
        for step in second["rollout"]["steps"]:
            assert {metric["metric"]: metric["status"] for metric in step["metrics"]}["own_p99"] == "PASS"
        shown = sluiceway(folder, "rollout", "show", second["rollout"]["rollout_id"])
        assert shown["source"] == "both"
        assert any("Prometheus: answers" in line for entry in shown["entries"] for line in entry["evidence"])
    finally:
        stop_serve()


def test_what_cannot_judge_is_refused_before_anything_moves(folder, prometheus, start, monkeypatch):
    engine = open_catalog(f"sqlite:///{folder / '.sluiceway' / 'catalog.db'}")
    documents = TrafficStore(engine)
    newest = documents.newest(ENDPOINT)
    if newest is None:
        model = train_small(folder / "models", seed=1)
        documents.publish(TrafficDocument(ENDPOINT, 1, model.arm("1", 1.0)))
        newest = documents.newest(ENDPOINT)
    version = "flights@2" if newest.champion.version == "1" else "flights@1"
    before = sluiceway(folder, "rollout", "history")

    odd = {"name": "odd", "query": "sum(rate(x[5m])", "at_most": 1}
    told = start(version, expect=2, url=prometheus.url, queries=[odd])
    assert "deployment.prometheus.queries, odd: query" in told["message"]
    assert "unclosed left parenthesis" in told["message"]
    monkeypatch.delenv("NO_SUCH_TOKEN", raising=False)
    told = start(version, expect=2, url=prometheus.url, source="both", settle_seconds=4, token_env="NO_SUCH_TOKEN")
    assert "NO_SUCH_TOKEN is not set" in told["message"]
    monkeypatch.setenv("ODD_TOKEN", "a secret\nof two lines")
    told = start(version, expect=2, url=prometheus.url, source="both", settle_seconds=4, token_env="ODD_TOKEN")
    assert "ODD_TOKEN holds what no header can" in told["message"]
    assert "secret" not in str(told)
    told = start(version, expect=4, url="http://127.0.0.1:9", source="prometheus")
    assert "Prometheus cannot be asked" in told["message"]
    start(version, expect=2, source="both")

    assert sluiceway(folder, "rollout", "history") == before
    assert documents.newest(ENDPOINT) == newest
    engine.dispose()
