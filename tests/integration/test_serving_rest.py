"""Endpoints on a cluster that others use too: put into its Serve config over REST, and taken out again."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
import yaml

from ray_head import free_ports, running_head
from serving_models import as_rows, examples, train_small
from sluiceway.catalog.engine import open_catalog
from sluiceway.catalog.traffic import TrafficStore
from sluiceway.core.traffic import TrafficDocument
from sluiceway.serving.environment import serve_environment

pytestmark = pytest.mark.integration

NEIGHBOUR = '''
"""Somebody else's application."""

from ray import serve


@serve.deployment(ray_actor_options={"num_cpus": 0.05})
class Shop:
    def __init__(self, greeting):
        self.greeting = greeting

    async def __call__(self, request):
        return self.greeting


def build(args):
    return Shop.bind(args["greeting"])
'''

BY_PROGRAM = """
import sys, ray
from ray import serve
import neighbour
ray.init(sys.argv[1], log_to_driver=False)
serve.run(neighbour.build({"greeting": "by a program"}), name="notebook", route_prefix="/notebook")
"""

# The program as it is installed.
SLUICEWAY = ("-c", "from sluiceway.cli.main import main; main()")

# With options of many kinds, of Serve's own and of no known release.
SHOP = {
    "name": "shop",
    "route_prefix": "/shop",
    "import_path": "neighbour:build",
    "runtime_env": {"env_vars": {"SHOP": "open"}},
    "args": {"greeting": "by REST", "nested": [1, 2.5, None, {"deep": True}]},
    "logging_config": {"log_level": "WARNING"},
    "deployments": [
        {
            "name": "Shop",
            "max_queued_requests": 7,
            "user_config": None,
            "autoscaling_config": {"min_replicas": 1, "max_replicas": 2, "target_ongoing_requests": 3.5},
            "health_check_period_s": 7.0,
        }
    ],
}


class Cluster:
    """A head with a dashboard, and programs that use it."""

    def __init__(self, head, scratch):
        self.head, self.scratch = head, scratch
        self.token = Path(head.environment["RAY_AUTH_TOKEN_PATH"]).read_text()
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"
        self.rows = as_rows(examples(2, seed=1)[0])

    def rest(self, method, **content):
        """Ask the dashboard, as anybody with the token would."""
        answer = httpx.request(
            method,
            f"{self.head.dashboard}/api/serve/applications/",
            headers={"Authorization": f"Bearer {self.token}"},
            timeout=120,
            **content,
        )
        assert answer.status_code == 200, answer.text
        return answer.json() if method == "GET" else None

    def configs(self):
        """The entries of the Serve config, as text."""
        told = self.rest("GET")["applications"]
        return {
            name: json.dumps(app["deployed_app_config"], sort_keys=True)
            for name, app in told.items()
            if app["source"] == "declarative" and app["status"] != "DELETING"
        }

    def start(self, *words, more=None):
        """A program with the cluster's token."""
        environment = self.head.environment | {"RAY_SERVE_ENABLE_HA_PROXY": "1", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"}
        return subprocess.Popen(
            [sys.executable, *words],
            cwd=self.scratch,
            env=environment | (more or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *words, expect=0, more=None):
        """The same, to its end; what it printed."""
        program = self.start(*words, more=more)
        text, _ = program.communicate(timeout=180)
        assert program.returncode == expect, text
        return text

    def sluiceway(self, *words, **options):
        """One of our commands."""
        return self.run(*SLUICEWAY, *words, **options)

    def status(self, config):
        """The row of its only arm."""
        words = ("serve", "status", "--json", "-c", config, "--address", self.head.dashboard)
        (row,) = json.loads(self.sluiceway(*words))
        return row

    def experiment(self, name, version="1"):
        """A configuration whose production endpoint has a model; a catalog of its own."""
        folder = self.scratch / name
        folder.mkdir()
        engine = open_catalog(f"sqlite:///{folder / 'catalog.db'}")
        model = train_small(folder, seed=int(version))
        TrafficStore(engine).publish(TrafficDocument(f"{name}-production", 1, model.arm(version, 1.0)))
        engine.dispose()
        config = folder / "config.yaml"
        document = {
            "experiment": {"name": name},
            "data": {"path": "not read", "features": ["delay", "distance", "carrier"], "target": "late"},
            "deployment": {"environments": ["production"]},
            "platform": {"state": str(folder), "serving": {"port": self.port, "replica_cpus": 0.05}},
        }
        config.write_text(yaml.safe_dump(document))
        return str(config)

    def version(self, name):
        """Which version answers at an experiment's production endpoint."""
        answer = httpx.post(f"{self.url}/{name}/production/predict", json={"rows": self.rows}, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.json()["version"]

    def greeting(self, path):
        """What a neighbour says."""
        return httpx.get(f"{self.url}/{path}", timeout=30).text


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A cluster with a neighbour in its Serve config, and one that a program has deployed."""
    scratch = tmp_path_factory.mktemp("cluster")
    (scratch / "neighbour.py").write_text(NEIGHBOUR)
    paths = [str(scratch), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    more = {**serve_environment(), "PYTHONPATH": os.pathsep.join(filter(None, paths)), "OMP_NUM_THREADS": "1"}
    with contextlib.chdir(scratch), running_head(scratch, dashboard=True, more=more) as head:
        made = Cluster(head, scratch)
        options = {"proxy_location": "EveryNode", "http_options": {"host": "127.0.0.1", "port": made.port}}
        made.rest("PUT", json={**options, "applications": [SHOP]})
        made.run("-c", BY_PROGRAM, head.client)
        deadline = time.monotonic() + 90
        while made.greeting("shop") != "by REST" and time.monotonic() < deadline:
            time.sleep(0.2)
        yield made


@pytest.mark.soak
def test_up_and_down_leave_the_applications_of_others_as_they_are(cluster):
    before, options = cluster.configs()["shop"], cluster.rest("GET")["http_options"]
    config = cluster.experiment("fraud", version="3")
    told = cluster.sluiceway("serve", "up", config, "--address", cluster.head.dashboard)
    assert f"fraud-production: POST {cluster.url}/fraud/production/predict" in told
    assert "serve down ENDPOINT" in told
    assert cluster.version("fraud") == "3"
    assert cluster.configs()["shop"] == before
    assert cluster.rest("GET")["http_options"] == options
    assert (cluster.greeting("shop"), cluster.greeting("notebook")) == ("by REST", "by a program")

    (row,) = json.loads(
        cluster.sluiceway("serve", "status", "--json", "-c", config, "--address", cluster.head.dashboard)
    )
    assert (row["endpoint"], row["version"], row["weight"]) == ("fraud-production", "3", 1.0)
    assert (row["status"], row["replicas"], row["url"]) == ("RUNNING", "1/1", f"{cluster.url}/fraud/production")

    down = ("serve", "down", "fraud-production", "-c", config, "--json", "--address", cluster.head.dashboard)
    assert json.loads(cluster.sluiceway(*down)) == {"endpoint": "fraud-production", "removed": ["fraud-production"]}
    assert json.loads(cluster.sluiceway(*down))["removed"] == []
    assert cluster.configs() == {"shop": before}
    assert (cluster.greeting("shop"), cluster.greeting("notebook")) == ("by REST", "by a program")
    (row,) = json.loads(
        cluster.sluiceway("serve", "status", "--json", "-c", config, "--address", cluster.head.dashboard)
    )
    assert (row["status"], row["replicas"], row["weight"]) == ("not deployed", None, 1.0)


@pytest.mark.soak
def test_two_who_deploy_at_once_are_both_there(cluster):
    before = cluster.configs()
    # Two catalogs: nothing that they could wait for each other by.
    configs = {name: cluster.experiment(name) for name in ("left", "right")}
    programs = [
        cluster.start(*SLUICEWAY, "serve", "up", config, "--address", cluster.head.dashboard)
        for config in configs.values()
    ]
    told = [program.communicate(timeout=180)[0] for program in programs]
    # One that was faster than the other could see is told by name; it has come back by itself.
    assert all(program.returncode == 0 or "deploy " in text for program, text in zip(programs, told, strict=True)), told
    assert [cluster.version(name) for name in configs] == ["1", "1"]
    assert {name: cluster.configs()[name] for name in before} == before
    for name, config in configs.items():
        cluster.sluiceway("serve", "down", f"{name}-production", "-c", config, "--address", cluster.head.dashboard)
    assert cluster.configs() == before


@pytest.mark.soak
def test_a_wrong_address_or_token_is_told(cluster):
    config = cluster.experiment("astray")
    (port,) = free_ports(1)
    told = cluster.sluiceway("serve", "up", config, "--address", f"http://127.0.0.1:{port}", expect=4)
    assert f"http://127.0.0.1:{port} does not answer" in told
    wrong = {"RAY_AUTH_TOKEN": "f" * 64}
    told = cluster.sluiceway("serve", "up", config, "--address", cluster.head.dashboard, expect=4, more=wrong)
    assert "does not know this token" in told
    told = cluster.sluiceway("serve", "down", "nobody", "-c", config, "--address", cluster.head.dashboard, expect=2)
    assert "there are astray-production" in told


@pytest.mark.soak
def test_the_local_config_is_deployed_by_serve_s_own_command(cluster, repository):
    document = yaml.safe_load((repository / "serve_configs" / "local.yaml").read_text())
    (application,) = document["applications"]
    catalog = cluster.scratch / application["args"]["catalog"].removeprefix("sqlite:///")
    catalog.parent.mkdir(parents=True)
    engine = open_catalog(f"sqlite:///{catalog}")
    model = train_small(cluster.scratch / "model", seed=7)
    TrafficStore(engine).publish(TrafficDocument(application["name"], 1, model.arm("7", 1.0)))
    engine.dispose()
    shutil.copy(repository / "serve_configs" / "local.yaml", cluster.scratch / "local.yaml")
    cluster.run("-m", "ray.serve.scripts", "deploy", "local.yaml", "--address", cluster.head.dashboard)
    deadline = time.monotonic() + 90
    while cluster.rest("GET")["applications"].get(application["name"], {}).get("status") != "RUNNING":
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert cluster.version("flights_late") == "7"
    log = cluster.scratch / application["args"]["predictions"] / application["name"] / "_delta_log"
    while not log.exists():
        assert time.monotonic() < deadline
        time.sleep(0.5)
    # As the file says of itself: what an earlier config has deployed and this one does not name goes, the rest stays.
    assert list(cluster.configs()) == [application["name"]]
    assert cluster.greeting("notebook") == "by a program"
