"""The head of a cluster is lost and comes back, with Redis as its memory; the endpoint answers all the while.

Two nodes on this machine: a head without CPUs, on which the controller of Serve is, and a worker with the replicas and
a load balancer of its own, which the clients ask. Everything on the head is killed with SIGKILL and started again
against the same Redis. What is shown:

- no request to the worker's load balancer fails, not while there is no head and not when it comes back;
- the weights stay: both versions get their shares before, meanwhile and after;
- nobody deploys anything again: Serve's controller finds the replicas, in the processes that they had, and gives the
  new head a load balancer that reaches them;
- the replicas follow the next generation when the head is back.

What is not shown: a load balancer on the lost node goes with it, and so do the requests that are under way there. The
nodes are processes here: no address changes, and Redis itself is not lost.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import psutil
import pytest

from ray_head import STARTED, belonging_to, clean_environment, free_ports
from serving_load import load
from serving_models import as_rows, examples, train_small
from sluiceway.catalog.traffic import TrafficStore
from sluiceway.core.traffic import TrafficDocument
from sluiceway.serving.environment import HAPROXY_FOLDER, free_port, haproxy_available, serve_environment
from sluiceway.serving.specs import ENDPOINT_IMPORT_PATH

REDIS = shutil.which("redis-server")

pytestmark = [
    pytest.mark.integration,
    pytest.mark.soak,
    pytest.mark.skipif(REDIS is None, reason="there is no redis-server here"),
    pytest.mark.skipif(not haproxy_available(), reason="there is no HAProxy on this platform"),
]

NAME = "flights"
STARTS = 3
# So many answers are looked at; a share of so many is that far from its weight once in a hundred thousand times.
REQUESTS = 200
CHANCE = 0.15
# A busy machine is late, and that is not what is tested.
SERVING = {
    "replica_cpus": 0.1,
    "log": {"enabled": False},
    "challenger_timeout_seconds": 20.0,
    "request_timeout_seconds": 30.0,
    "breaker": {"errors_in_row": 1000, "errors_total": 1000, "late_seconds": 60.0},
}

DEPLOY = """
import json, sys
import ray
from ray import serve
given = json.loads(sys.argv[1])
ray.init(given["address"], log_to_driver=False)
serve.start(proxy_location="EveryNode", http_options={"host": "127.0.0.1", "port": given["port"]})
from sluiceway.config.serving import ServingSection
from sluiceway.serving.deploy import deploy_challenger, deploy_endpoint
from sluiceway.serving.doors import JoinedServe
from sluiceway.serving.specs import ChallengerSpec, EndpointSpec
name, entry = given["entry"]["name"], given["entry"]
serving = ServingSection.model_validate(entry["args"]["serving"])
JoinedServe().write({"applications": [entry]})
print(deploy_challenger(ChallengerSpec(name, raise_every=None, serving=serving, **given["challenger"])))
deploy_endpoint(EndpointSpec(name, entry["route_prefix"], entry["args"]["catalog"], serving))
"""


class Node:
    """One `ray start`, and what it has started."""

    def __init__(self, process):
        self.process, self.known = process, set()

    def look(self):
        """Remember who is there: what it leaves behind when it gives up is no child of it any more."""
        with contextlib.suppress(psutil.NoSuchProcess):
            top = psutil.Process(self.process.pid)
            self.known |= {top, *top.children(recursive=True)}

    def came_up(self, log):
        """Wait for it; False where it has given up."""
        deadline = time.monotonic() + 120
        while self.process.poll() is None and time.monotonic() < deadline:
            if STARTED in log.read_bytes():
                return True
            self.look()
            time.sleep(0.2)
        return False

    def kill(self):
        """Kill -9, all of it at once."""
        self.look()
        kill(self.known)
        self.process.wait(timeout=30)


def kill(processes):
    """With SIGKILL; until they are gone."""
    for one in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    _, alive = psutil.wait_procs(processes, timeout=30)
    assert alive == []


class Cluster:
    """A head that can be killed and started again, a worker, and the Redis that remembers."""

    def __init__(self, scratch):
        self.scratch = scratch
        # Short: Ray's sockets live below it, and the path of a socket has at most 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="swl", dir="/tmp"))
        self.gcs, self.http, self.worker_http, redis = (free_port("127.0.0.1") for _ in range(4))
        token = scratch / "token"
        token.write_text(secrets.token_hex(32))
        self.environment = clean_environment() | {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_REDIS_ADDRESS": f"127.0.0.1:{redis}",
            "RAY_external_storage_namespace": "head-lost",
            # So long the worker waits for a head; Ray's own 60 s may be too few on a busy machine.
            "RAY_gcs_rpc_server_reconnect_timeout_s": "300",
            "RAY_SERVE_WORKER_PROXY_HTTP_PORT": str(self.worker_http),
            "OMP_NUM_THREADS": "1",
        }
        self.url = f"http://127.0.0.1:{self.worker_http}/{NAME}/predict"
        self.nodes = []
        self.redis = subprocess.Popen(
            [REDIS, "--port", str(redis), "--bind", "127.0.0.1", "--dir", str(scratch), "--save", ""],
            stdout=subprocess.DEVNULL,
        )

    def start_head(self):
        """A head at the ports that it always has, in a folder of its own: a new machine has nothing of the lost one."""
        (client,) = free_ports(1)
        self.head = self._start(
            "head",
            "--head",
            "--num-cpus=0",
            f"--port={self.gcs}",
            "--include-dashboard=false",
            "--no-monitor",
            f"--temp-dir={tempfile.mkdtemp(prefix='h', dir=self.folder)}",
            f"--ray-client-server-port={client}",
        )

    def start_worker(self):
        """The node of the replicas."""
        self.worker = self._start("worker", f"--address=127.0.0.1:{self.gcs}", "--num-cpus=2")

    def _start(self, name, *words):
        # Ray gives a node 15 to 30 s to come up, which a busy machine may miss.
        for attempt in range(STARTS):
            log = self.scratch / f"{name}-{attempt}.log"
            node = Node(self._launch(words, log))
            self.nodes.append(node)
            if node.came_up(log):
                return node
            node.kill()
        raise AssertionError(f"the {name} did not start:\n{log.read_text()[-3000:]}")

    def _launch(self, words, log):
        agent, agent_grpc, runtime_env, metrics, objects, manager = free_ports(6)
        command = [
            *(sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats", *words),
            "--node-ip-address=127.0.0.1",
            f"--object-store-memory={100 * 2**20}",
            "--include-log-monitor=false",
            f"--dashboard-agent-listen-port={agent}",
            f"--dashboard-agent-grpc-port={agent_grpc}",
            f"--runtime-env-agent-port={runtime_env}",
            f"--metrics-export-port={metrics}",
            f"--object-manager-port={objects}",
            f"--node-manager-port={manager}",
            "--min-worker-port=0",
            "--max-worker-port=0",
        ]
        # Each node its own ports; HAProxy's files below the cluster's folder, so that its processes are known by it.
        serving = {
            key: value.replace(str(HAPROXY_FOLDER), str(self.folder)) for key, value in serve_environment().items()
        }
        with log.open("wb") as output:
            return subprocess.Popen(
                command,
                env=self.environment | serving,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def deploy(self, model):
        """Put the endpoint there, as `serve deploy` does, and a model beside it; the name of that one's application."""
        entry = {
            "name": NAME,
            "route_prefix": f"/{NAME}",
            "import_path": ENDPOINT_IMPORT_PATH,
            "args": {"endpoint": NAME, "catalog": f"sqlite:///{self.scratch / 'catalog.db'}", "serving": SERVING},
        }
        arm = model.arm("2", 0.0)
        challenger = {"version": arm.version, "bundle_uri": arm.bundle, "digest": arm.digest}
        given = {"address": f"127.0.0.1:{self.gcs}", "port": self.http, "entry": entry, "challenger": challenger}
        program = subprocess.run(
            [sys.executable, "-c", DEPLOY, json.dumps(given)],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert program.returncode == 0, program.stderr[-3000:]
        return program.stdout.split()[-1]

    def replicas(self):
        """The processes of the replicas."""
        found = set()
        for process in psutil.Process(self.worker.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if any("ServeReplica:" in word for word in process.cmdline()):
                    found.add(process)
        return found

    def end(self):
        """All of it."""
        try:
            for node in self.nodes:
                node.kill()
            kill(belonging_to(self.folder))
        finally:
            self.redis.kill()
            self.redis.wait(timeout=30)
            shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture
def cluster(tmp_path):
    """Head, worker and Redis."""
    made = Cluster(tmp_path)
    try:
        made.start_head()
        made.start_worker()
        yield made
    finally:
        made.end()


def until(check, seconds=120.0):
    """Wait for what Serve does in its own time."""
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def generation(port):
    """What the replica behind a load balancer follows; None as long as nobody answers."""
    with contextlib.suppress(httpx.HTTPError, ValueError):
        return httpx.get(f"http://127.0.0.1:{port}/{NAME}/health", timeout=10).json().get("generation")
    return None


def share(users):
    """Of version 2, of the answers to come; none of them fails."""
    start = len(users.answers)
    users.wait(REQUESTS)
    assert users.failed == []
    versions = [body["version"] for _, body in users.answers[start : start + REQUESTS]]
    return pytest.approx(versions.count("2") / REQUESTS, abs=CHANCE)


@pytest.mark.timeout(540)
def test_an_endpoint_outlives_the_head_and_keeps_its_weights(cluster, catalog, tmp_path):
    traffic = TrafficStore(catalog)
    one, two = (train_small(tmp_path, seed=seed) for seed in (1, 2))
    traffic.publish(TrafficDocument(NAME, 1, one.arm("1", 1.0)))
    application = cluster.deploy(two)
    traffic.publish(TrafficDocument(NAME, 2, one.arm("1", 0.7), (two.arm("2", 0.3, application),)))
    until(lambda: generation(cluster.worker_http) == 2)
    replicas = cluster.replicas()
    assert len(replicas) >= 2

    with load(cluster.url, as_rows(examples(2, seed=1)[0]), clients=2, pause=0.03) as users:
        assert share(users) == 0.3
        cluster.head.kill()
        assert generation(cluster.http) is None
        assert share(users) == 0.3  # nobody keeps the books now
        cluster.start_head()
        # The new head has a load balancer as soon as Serve's controller is back, who has to remember what is behind it.
        until(lambda: generation(cluster.http) == 2)
        assert share(users) == 0.3
        assert cluster.replicas() == replicas
        traffic.publish(TrafficDocument(NAME, 3, one.arm("1", 0.2), (two.arm("2", 0.8, application),)))
        until(lambda: generation(cluster.worker_http) == 3)
        assert share(users) == 0.8
    assert users.failed == []
    assert not any(body.get("failover") for _, body in users.answers)
