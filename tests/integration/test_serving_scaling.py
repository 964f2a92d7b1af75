"""Endpoints that grow and shrink, shed, give up, are swapped and lose their controller, asked over HTTP all the while.

A replica of a test's own class is the real one with one method replaced: what it hangs or sleeps in.
"""

import asyncio
import os
import re
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest

from serve_processes import controller_pid, replica_pids, until
from serving_load import load
from serving_models import as_rows, examples, train_small
from sluiceway.catalog.engine import open_catalog
from sluiceway.catalog.leases import LeaseStore
from sluiceway.catalog.traffic import TrafficStore
from sluiceway.config.serving import BreakerSection, ScalingSection, ServingSection
from sluiceway.core.traffic import TrafficDocument
from sluiceway.serving.scorer import BundleScorer
from sluiceway.serving.specs import ChallengerSpec, EndpointSpec

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`:DeprecationWarning"),
]

# Of Serve's own 10 s and more: what a test waits for.
QUICK = {"upscale_delay_seconds": 0.0, "downscale_delay_seconds": 1.0, "look_back_seconds": 2.0}


class World:
    """A Serve, two models, and endpoints that a test makes for itself."""

    def __init__(self, folder):
        from sluiceway.serving.instance import start_serve  # noqa: PLC0415 (Ray has to be up)

        self.catalog = f"sqlite:///{folder / 'catalog.db'}"
        self.engine = open_catalog(self.catalog)
        self.traffic = TrafficStore(self.engine)
        self.models = {version: train_small(folder, seed=int(version)) for version in ("1", "2")}
        self.address = start_serve(ServingSection(port=0))
        self.matrix, _ = examples(2, seed=5)
        self.rows = as_rows(self.matrix)
        self.scores = {
            version: BundleScorer(model.bundle, threads=1).score_matrix(self.matrix)
            for version, model in self.models.items()
        }

    def spec(self, name, **serving):
        """An endpoint that is not deployed yet; version 1 is its champion."""
        self.publish(name, "1")
        return EndpointSpec(name, f"/{name}", self.catalog, ServingSection(port=0, **serving))

    def publish(self, name, champion, challenger=None, weight=0.0, application=""):
        """Write the next generation; replicas find it themselves."""
        newest = self.traffic.newest(name)
        document = TrafficDocument(
            name,
            newest.generation + 1 if newest else 1,
            self.models[champion].arm(champion, 1 - weight),
            (self.models[challenger].arm(challenger, weight, application),) if challenger else (),
        )
        self.traffic.publish(document)
        return document

    def url(self, name):
        """Where it is asked for predictions."""
        return f"{self.address.url}/{name}/predict"

    def ask(self, name):
        """One request."""
        return httpx.post(self.url(name), json={"rows": self.rows}, timeout=60)

    def right(self, answer):
        """Whether an answer's scores are those of the version that it names."""
        told = [one["score"] for one in answer["predictions"]]
        return np.allclose(told, self.scores[answer["version"]], atol=1e-6)

    def replicas(self, application):
        """How many of its replicas run, of its only deployment with replicas of ours."""
        from ray import serve  # noqa: PLC0415

        deployments = serve.status().applications[application].deployments
        found = deployments.get("Endpoint") or deployments["Challenger"]
        return found.replica_states.get("RUNNING", 0)

    def remove(self, name):
        """Take an endpoint away, with its challengers."""
        from sluiceway.serving.deploy import remove_endpoint  # noqa: PLC0415
        from sluiceway.serving.doors import JoinedServe  # noqa: PLC0415

        return remove_endpoint(JoinedServe(), name, leases=LeaseStore(self.engine))


@pytest.fixture(scope="module")
def world(ray_cluster, tmp_path_factory):
    """One Serve for the module."""
    from sluiceway.serving.instance import stop_serve  # noqa: PLC0415

    made = World(tmp_path_factory.mktemp("world"))
    yield made
    stop_serve()
    made.engine.dispose()


@pytest.fixture
def deployed(world):
    """Deploys endpoints and takes them away again."""
    from sluiceway.serving.deploy import deploy_endpoint  # noqa: PLC0415

    names = []

    def deploy(name, **serving):
        spec = world.spec(name, **serving)
        names.append(name)
        deploy_endpoint(spec)
        return spec

    yield deploy
    for name in names:
        world.remove(name)


@pytest.fixture
def doubled(world):
    """Deploys an endpoint whose replica awaits something of the test's own before each answer."""
    from ray import serve  # noqa: PLC0415

    from sluiceway.serving import applications  # noqa: PLC0415
    from sluiceway.serving.deploy import deploy_application  # noqa: PLC0415
    from sluiceway.serving.endpoint import EndpointReplica  # noqa: PLC0415

    names = []

    def deploy(name, before, **serving):
        class Double(EndpointReplica):
            def __init__(self, *arguments):
                super().__init__(*arguments)
                real = self.answerer.answer

                async def answer(*asked):
                    await before()
                    return await real(*asked)

                self.answerer.answer = answer

        spec = world.spec(name, **serving)
        names.append(name)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(applications, "EndpointReplica", Double)
            application = applications.endpoint_application(spec)
        deploy_application(application, name=name, route_prefix=spec.route_prefix)
        assert serve.status().applications[name].status == "RUNNING"
        return spec

    yield deploy
    for name in names:
        world.remove(name)


def test_an_endpoint_grows_under_load_and_shrinks_without_a_failed_request(world, deployed):
    deployed("grows", scaling=ScalingSection(max_replicas=2, target_ongoing_requests=0.2, **QUICK))
    assert world.replicas("grows") == 1
    with load(world.url("grows"), world.rows, clients=6) as busy:
        until(lambda: world.replicas("grows") == 2)
        busy.wait(200)
    assert busy.failed == []
    with load(world.url("grows"), world.rows, clients=1, pause=0.2) as quiet:
        until(lambda: world.replicas("grows") == 1)
        quiet.wait(5)
    assert quiet.failed == []
    assert all(world.right(body) for _, body in busy.answers + quiet.answers)


@pytest.mark.soak
def test_an_idle_challenger_goes_and_the_generation_that_asks_for_it_wakes_it(world, deployed):
    from sluiceway.serving.deploy import deploy_challenger  # noqa: PLC0415
    from sluiceway.serving.traffic import ServeTraffic  # noqa: PLC0415

    idle = ScalingSection(min_replicas=0, max_replicas=1, **QUICK | {"downscale_delay_seconds": 4.0})
    many = BreakerSection(errors_in_row=10_000, errors_total=10_000, late_share=1.0, late_seconds=60)
    spec = deployed("idle", challenger_scaling=idle, challenger_timeout_seconds=1.0, breaker=many)
    model = world.models["2"]
    application = deploy_challenger(
        ChallengerSpec("idle", "2", str(model.folder), model.bundle.digest, None, spec.serving)
    )
    assert world.replicas(application) == 1
    until(lambda: world.replicas(application) == 0)

    def answers():
        while True:
            yield world.ask("idle").json()

    # Who gives it a weight wakes it, also when it has been an arm without one.
    for parked in (False, True):
        if parked:
            ServeTraffic("idle", world.traffic).apply(world.publish("idle", "1", "2", 0.0, application))
            until(lambda: world.replicas(application) == 0)
        ServeTraffic("idle", world.traffic).apply(world.publish("idle", "1", "2", 0.5, application))
        until(lambda: world.replicas(application) == 1)
        drawn = next(answer for answer in answers() if answer["arm"] == "challenger" or answer.get("failover"))
        assert drawn["arm"] == "challenger"
        assert world.right(drawn)

    # One that has gone though it has a weight: the champion answers for it until it is back.
    until(lambda: world.replicas(application) == 0)
    with load(world.url("idle"), world.rows, clients=2) as users:
        until(lambda: any(body["arm"] == "challenger" for _, body in list(users.answers)))
    assert users.failed == []
    assert any(body.get("failover") for _, body in users.answers)
    assert all(world.right(body) for _, body in users.answers)


def test_who_is_too_many_is_told_when_to_come_back(world, deployed):
    shedding = {"ongoing_requests": 1, "queued_requests": 2, "shed_status": 429, "retry_after_seconds": 7}
    deployed("full", request_timeout_seconds=120, **shedding)
    assert world.ask("full").status_code == 200
    with ThreadPoolExecutor(12) as pool, _half_a_request(world, "full"):
        # It is the one that is worked on: two wait for it, the others are one too many each.
        futures = [pool.submit(world.ask, "full") for _ in range(12)]
        until(lambda: sum(future.done() for future in futures) == 10)
        shed = [future.result() for future in futures if future.done()]
    assert {(answer.status_code, answer.headers["retry-after"]) for answer in shed} == {(429, "7")}
    served = [future.result() for future in futures if future.result() not in shed]
    assert [answer.status_code for answer in served] == [200, 200]
    assert all(world.right(answer.json()) for answer in served)
    with load(world.url("full"), world.rows, clients=1) as after:
        after.wait(20)
    assert after.failed == []


class _half_a_request:
    """A client that has sent half of its body: its replica works on it. At the end it sends the rest."""

    def __init__(self, world, name, *, rest=True):
        self.world, self.name, self.rest = world, name, rest

    def __enter__(self):
        self.socket = socket.create_connection((self.world.address.host, self.world.address.port), timeout=30)
        head = f"POST /{self.name}/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 40\r\nX-Request-Id: half\r\n\r\n"
        self.socket.sendall(head.encode() + b'{"rows": ')
        time.sleep(0.5)  # until the replica has it
        return self

    def __exit__(self, *_):
        if self.rest:
            self.socket.sendall(b"[{}]}" + b" " * 26)
            assert self.answer().startswith("HTTP/1.1 422")
        self.socket.close()

    def answer(self):
        """What the client is told; head and body may come one after the other."""
        told = self.socket.recv(100_000).decode()
        length = int(re.search(r"content-length: (\d+)", told)[1])
        while len(told.partition("\r\n\r\n")[2]) < length:
            more = self.socket.recv(100_000).decode()
            assert more, told
            told += more
        return told


def test_a_request_that_is_not_answered_in_time_gets_an_answer(world, doubled):
    async def hang():
        await asyncio.Event().wait()

    doubled("hangs", hang, request_timeout_seconds=0.5)
    answer = httpx.post(world.url("hangs"), json={"rows": world.rows}, headers={"X-Request-Id": "mine-1"}, timeout=30)
    assert answer.status_code == 504
    assert answer.json() == {"error": "there was no answer within 0.5 s", "request_id": "mine-1"}
    with _half_a_request(world, "hangs", rest=False) as half:
        told = half.answer()
    assert told.startswith("HTTP/1.1 408")
    assert '"error":"the request was not complete within 0.5 s"' in told
    # Whoever gave up left nothing behind that the next ones would wait for.
    assert httpx.get(f"{world.address.url}/hangs/health", timeout=30).status_code == 200


def test_a_swap_of_the_champion_fails_no_request(world, deployed):
    from sluiceway.serving.traffic import ServeTraffic  # noqa: PLC0415

    deployed("swaps", replicas=2)
    with load(world.url("swaps"), world.rows, clients=4) as users:
        users.wait(20)
        for version in ("2", "1", "2"):
            ServeTraffic("swaps", world.traffic).apply(world.publish("swaps", version))
            assert world.ask("swaps").json()["version"] == version
            users.wait(20)
    assert users.failed == []
    assert {body["version"] for _, body in users.answers} == {"1", "2"}
    assert all(world.right(body) for _, body in users.answers)


@pytest.mark.soak
@pytest.mark.parametrize("replicas", [1, 2])
def test_another_deployment_of_an_endpoint_fails_no_request(world, deployed, replicas):
    from sluiceway.serving.deploy import deploy_endpoint  # noqa: PLC0415

    name = f"again{replicas}"
    before = deployed(name, replicas=replicas)
    after = EndpointSpec(name, f"/{name}", world.catalog, before.serving.model_copy(update={"max_rows": 1}))
    with load(world.url(name), world.rows[:1], clients=4) as users:
        users.wait(20)
        deploy_endpoint(after)
        until(lambda: world.replicas(name) == replicas)
        users.wait(20)
    assert users.failed == []
    assert world.ask(name).status_code == 413  # two rows: it is the other one


@pytest.mark.soak
def test_an_endpoint_goes_on_when_serve_s_controller_is_killed(world, deployed):
    from sluiceway.serving.traffic import ServeTraffic  # noqa: PLC0415

    deployed("headless", replicas=1)
    pid = controller_pid()
    with load(world.url("headless"), world.rows, clients=2) as users:
        users.wait(20)
        os.kill(pid, signal.SIGKILL)
        until(lambda: controller_pid() not in (None, pid))
        until(lambda: world.replicas("headless") == 1)
        ServeTraffic("headless", world.traffic).apply(world.publish("headless", "2"))
        users.wait(20)
    assert users.failed == []
    assert users.answers[-1][1]["version"] == "2"
    assert all(world.right(body) for _, body in users.answers)


@pytest.mark.soak
def test_a_replica_that_is_frozen_is_replaced_and_its_clients_do_not_wait_for_ever(world, deployed):
    deployed("frozen", replicas=2)
    frozen = replica_pids("frozen")[0]
    with load(world.url("frozen"), world.rows, clients=4) as users:
        users.wait(20)
        os.kill(frozen, signal.SIGSTOP)
        waking = threading.Timer(300, os.kill, (frozen, signal.SIGCONT))
        waking.start()
        until(lambda: not Path(f"/proc/{frozen}").exists(), seconds=120)
        waking.cancel()
        until(lambda: world.replicas("frozen") == 2)
        users.wait(20)
    # Each client has been lost to the frozen one at most once, and none waited in vain: where an answer had begun, or
    # on a connection that was used before, HAProxy says so by closing it, for the client to ask again.
    assert len(users.failed) <= 4
    assert {text.partition(":")[0] for text in users.broken} <= {"RemoteProtocolError"}
    assert set(users.statuses) <= {200, 502, 503}
    assert all(world.right(body) for status, body in users.answers if status == 200)
