"""Traffic on a real Serve, asked over real HTTP: keys, pinned versions, shadows, challengers that fail in every way."""

import concurrent.futures
import json
import math
import os
import signal
import time
import urllib.request
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime

import httpx
import numpy as np
import pytest
import xxhash

from command_line import sluiceway
from rollout_world import make_plan
from serve_processes import replica_pids
from serving_load import load
from serving_models import as_rows, examples, train_small
from sluiceway.catalog.stores import open_stores
from sluiceway.config.deployment import MarginsSection
from sluiceway.config.serving import BreakerSection, ServingSection
from sluiceway.config.stages import StepSection
from sluiceway.core.clock import SystemClock
from sluiceway.core.traffic import TrafficDocument
from sluiceway.registry.mlflow_registry import Registry, RunRecord
from sluiceway.rollout.controller import Doors, run
from sluiceway.rollout.decide import decide
from sluiceway.rollout.journal import Journal
from sluiceway.rollout.load import LoadGenerator
from sluiceway.rollout.observe import RecordObserver
from sluiceway.rollout.plan import RolloutPlan, plan_first
from sluiceway.rollout.state import Phase, RolloutState
from sluiceway.serving.scorer import BundleScorer
from sluiceway.serving.specs import ChallengerSpec, EndpointSpec

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`:DeprecationWarning"),
]

NAME = "flights-traffic"
IN_ROW = 3
LIMITS = {
    "challenger_timeout_seconds": 1.0,
    "request_timeout_seconds": 20.0,
    "breaker": BreakerSection(errors_in_row=IN_ROW, errors_total=1000, late_seconds=30, window=1000),
    "routing_field": "carrier",
}


class Endpoint:
    """A running endpoint with three versions, and what a test asks it."""

    def __init__(self, folder):
        from sluiceway.serving.deploy import deploy_endpoint  # noqa: PLC0415 (Ray has to be up)
        from sluiceway.serving.instance import start_serve  # noqa: PLC0415
        from sluiceway.serving.traffic import ServeTraffic  # noqa: PLC0415

        # Where the commands look: the state below the folder that they run in.
        self.folder, self.state = folder, folder / ".sluiceway"
        self.state.mkdir()
        url = f"sqlite:///{self.state / 'catalog.db'}"
        self.stores = open_stores(url)
        self.models = {version: train_small(self.state / "bundles", seed=int(version)) for version in "123"}
        self.scorers = {version: BundleScorer(model.bundle, threads=1) for version, model in self.models.items()}
        plan = plan_first("r0", endpoint=NAME, model="flights", arm=self.models["1"].arm("1", 1.0), now=time.time())
        self.stores.rollouts.create("r0", endpoint=NAME, plan=plan.to_json(), now=plan.created)
        self.stores.traffic.publish(plan.promoted_document(generation=1))
        self.serving = ServingSection(port=0, **LIMITS)
        self.address = start_serve(self.serving)
        deploy_endpoint(EndpointSpec(NAME, f"/{NAME}", url, self.serving))
        self.traffic = ServeTraffic(NAME, self.stores.traffic)
        self.url = f"{self.address.url}/{NAME}"
        self.client = httpx.Client(base_url=self.url, timeout=60)

    @property
    def newest(self):
        return self.stores.traffic.newest(NAME)

    def follow(self, document):
        """Publish and apply a document as the next generation."""
        document = replace(document, endpoint=NAME, generation=self.newest.generation + 1)
        self.stores.traffic.publish(document)
        self.traffic.apply(document)
        return document

    def canary(self, weight, application="", version="2", **more):
        """Version 1 with a challenger."""
        arm = self.models[version].arm(version, weight, application)
        return self.follow(TrafficDocument(NAME, 1, self.models["1"].arm("1", 1 - weight), (arm,), salt="r1", **more))

    def challenger(self, version="2", raise_every=None):
        """Deploy one; the name of its application."""
        from sluiceway.serving.deploy import deploy_challenger  # noqa: PLC0415

        model = self.models[version]
        return deploy_challenger(
            ChallengerSpec(NAME, version, str(model.folder), model.bundle.digest, raise_every, self.serving)
        )

    def process(self, application):
        """The process of an application's only replica."""
        (running,) = replica_pids(application)
        return running

    def send(self, row, **headers):
        """One row; its answer."""
        return self.client.post("/predict", json={"rows": [row]}, headers=headers)

    def score(self, version, matrix):
        return self.scorers[version].score_matrix(matrix)

    def is_right(self, answer, matrix):
        return answer["predictions"][0]["score"] == pytest.approx(self.score(answer["version"], matrix)[0], abs=1e-6)

    def counts(self, generation):
        """Requests and errors by arm and version, of those that were asked."""
        counts = self.stores.records.counts(NAME, [generation])
        return {(c.arm, c.version): (c.requests, c.errors) for c in counts if c.requests}

    def settled(self, check, seconds=20.0):
        """Wait for what replicas write four times a second."""
        deadline = time.monotonic() + seconds
        while not check() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert check()

    def scraped(self, name, **labels):
        """A series as Prometheus reads it."""
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        found = []
        for lease in self.stores.leases.list("metrics:", now=datetime.now(UTC)):
            text = urllib.request.urlopen(f"http://{json.loads(lease.body)['address']}/metrics").read().decode()
            lines = [line for line in text.splitlines() if line.startswith(name + "{")]
            found += [float(line.rsplit(" ", 1)[1]) for line in lines if all(one in line for one in wanted)]
        return found


@pytest.fixture(scope="module")
def endpoint(ray_cluster, tmp_path_factory):
    from sluiceway.serving.instance import stop_serve  # noqa: PLC0415

    running = Endpoint(tmp_path_factory.mktemp("traffic"))
    yield running
    running.client.close()
    stop_serve()


@pytest.mark.parametrize("n", [2_000, pytest.param(20_000, marks=pytest.mark.soak)])
def test_requests_by_key_are_where_the_documented_hash_says(endpoint, n):
    document = endpoint.canary(0.3, endpoint.challenger())
    matrix, _ = examples(n, seed=7)
    rows, keys = as_rows(matrix), [f"customer-{i}" for i in range(n)]

    def ask(part):
        with httpx.Client(base_url=endpoint.url, timeout=60) as client:
            return [
                client.post("/predict", json={"rows": [rows[i]]}, headers={"X-Routing-Key": keys[i]}).json()
                for i in range(part, n, 4)
            ]

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(ask, range(4)))
    answers = [parts[i % 4][i // 4] for i in range(n)]
    places = [(xxhash.xxh64_intdigest(f"r1\n{key}".encode()) >> 11) / 2**53 for key in keys]
    assert [answer["version"] for answer in answers] == ["2" if place < 0.3 else "1" for place in places]
    assert not any(answer.get("failover") for answer in answers)
    told = np.array([answer["predictions"][0]["score"] for answer in answers])
    wanted = np.where(np.array(places) < 0.3, endpoint.score("2", matrix), endpoint.score("1", matrix))
    np.testing.assert_allclose(told, wanted, atol=1e-6)
    asked = sum(place < 0.3 for place in places)
    expected = {("champion", "1"): (n - asked, 0), ("challenger", "2"): (asked, 0)}
    endpoint.settled(lambda: endpoint.counts(document.generation) == expected)


def test_a_field_of_the_first_row_is_a_key(endpoint):
    endpoint.canary(0.5)
    rows = as_rows(examples(60, seed=8)[0])
    versions = [endpoint.send(row).json()["version"] for row in rows]
    places = [xxhash.xxh64_intdigest(f"r1\n{row['carrier']}".encode()) / 2**64 for row in rows]
    assert versions == ["2" if place < 0.5 else "1" for place in places]
    header = {"X-Routing-Key": "somebody"}
    assert len({endpoint.send(row, **header).json()["version"] for row in rows}) == 1


def test_a_challenger_in_the_replicas_answers_without_a_deployment(endpoint):
    document = endpoint.canary(1.0)
    matrix, _ = examples(20, seed=9)
    answers = [endpoint.send(row).json() for row in as_rows(matrix)]
    assert {(answer["arm"], answer["version"]) for answer in answers} == {("challenger", "2")}
    assert all(endpoint.is_right(answer, matrix[i : i + 1]) for i, answer in enumerate(answers))
    endpoint.settled(lambda: endpoint.counts(document.generation) == {("challenger", "2"): (20, 0)})


def test_one_request_goes_to_the_version_that_it_names(endpoint):
    warm = (endpoint.models["3"].arm("3", 0.0),)
    document = endpoint.canary(0.0, endpoint.challenger(), warm=warm)
    matrix, _ = examples(3, seed=10)
    for version, row, i in zip("123", as_rows(matrix), range(3), strict=True):
        answer = endpoint.send(row, **{"X-Model-Version": version}).json()
        assert (answer["arm"], answer["version"]) == ("pinned", version)
        assert endpoint.is_right(answer, matrix[i : i + 1])
    refused = endpoint.send(row, **{"X-Model-Version": "9"})
    assert refused.status_code == 404
    assert refused.json()["hint"] == "there are 1 (champion), 2 (challenger), 3 (warm)"
    endpoint.settled(lambda: endpoint.counts(document.generation) == {("pinned", version): (1, 0) for version in "123"})


def opened(endpoint, generation):
    return endpoint.stores.breakers.opened(NAME, [generation])


def check_given_up(endpoint, document, *, least_errors):
    """The breaker is open, everybody knows, and the next request is the champion's."""
    endpoint.settled(lambda: bool(opened(endpoint, document.generation)))
    (breaker,) = opened(endpoint, document.generation)
    assert (breaker.version, breaker.reason) == ("2", f"{IN_ROW} errors in a row")
    matrix, _ = examples(1, seed=31)
    answer = endpoint.send(as_rows(matrix)[0]).json()
    assert (answer["arm"], answer.get("failover")) == ("champion", None)
    assert endpoint.is_right(answer, matrix)
    arms = {arm["arm"]: arm for arm in endpoint.client.get("/health").json()["arms"]}
    assert (arms["challenger"]["weight"], arms["challenger"]["breaker"]) == (0.0, breaker.reason)
    assert arms["champion"]["weight"] == 1.0
    assert endpoint.scraped("breaker_open", version="2") == [1.0]
    requests, errors = endpoint.counts(document.generation)["challenger", "2"]
    assert errors >= least_errors
    assert requests >= errors
    plan = make_plan(endpoint=NAME)
    state = RolloutState(Phase.STEP, 0, document.generation, since=time.time(), generations=(document.generation,))
    observe = RecordObserver(endpoint.stores.records, endpoint.stores.breakers, clock=SystemClock())
    action = decide(plan, state=state, observations=observe(plan, state), now=time.time()).action
    assert type(action).__name__ == "RollBack"
    assert action.cause in ("breaker", "error_rate")


def test_a_challenger_that_raises_is_asked_no_more_after_its_budget(endpoint):
    document = endpoint.canary(1.0, endpoint.challenger(raise_every=1))
    assert endpoint.scraped("breaker_open", version="2") == [0.0]
    matrix, _ = examples(IN_ROW + 3, seed=11)
    answers = [endpoint.send(row).json() for row in as_rows(matrix)]
    assert [answer.get("failover", False) for answer in answers] == [True] * IN_ROW + [False] * 3
    assert {answer["version"] for answer in answers} == {"1"}
    assert all(endpoint.is_right(answer, matrix[i : i + 1]) for i, answer in enumerate(answers))
    check_given_up(endpoint, document, least_errors=IN_ROW)
    assert endpoint.counts(document.generation)["challenger", "2"] == (IN_ROW, IN_ROW)
    again = endpoint.follow(document)
    assert endpoint.scraped("breaker_open", version="2") == [0.0]
    assert endpoint.send(as_rows(matrix)[0]).json()["failover"] is True
    assert opened(endpoint, again.generation) == []


def test_a_challenger_that_is_frozen_is_given_up_in_time(endpoint):
    application = endpoint.challenger()
    document = endpoint.canary(1.0, application)
    matrix, _ = examples(IN_ROW, seed=12)
    rows = as_rows(matrix)
    assert endpoint.send(rows[0]).json()["arm"] == "challenger"
    frozen = endpoint.process(application)
    os.kill(frozen, signal.SIGSTOP)
    try:
        for i, row in enumerate(rows):
            begun = time.perf_counter()
            answer = endpoint.send(row).json()
            assert time.perf_counter() - begun < LIMITS["request_timeout_seconds"]
            assert (answer["version"], answer["failover"]) == ("1", True)
            assert endpoint.is_right(answer, matrix[i : i + 1])
        check_given_up(endpoint, document, least_errors=IN_ROW)
    finally:
        os.kill(frozen, signal.SIGCONT)


def test_a_challenger_whose_process_is_killed_costs_no_answer(endpoint):
    application = endpoint.challenger()
    document = endpoint.canary(1.0, application)
    matrix, _ = examples(1, seed=13)
    with load(f"{endpoint.url}/predict", as_rows(matrix), clients=4) as users:
        users.wait(40)
        os.kill(endpoint.process(application), signal.SIGKILL)
        endpoint.settled(lambda: bool(opened(endpoint, document.generation)), seconds=60)
        users.wait(40)
    assert users.failed == []
    answers = [answer for _, answer in users.answers]
    assert all(endpoint.is_right(answer, matrix) for answer in answers)
    seen = Counter((answer["arm"], answer.get("failover", False)) for answer in answers)
    failed = seen["champion", True]
    assert failed >= IN_ROW
    check_given_up(endpoint, document, least_errors=IN_ROW)
    endpoint.settled(
        lambda: endpoint.counts(document.generation)["challenger", "2"] == (seen["challenger", False] + failed, failed)
    )


@pytest.mark.parametrize("beside", [True, False], ids=["in a deployment", "in the replicas"])
def test_a_shadow_is_compared_and_seen_by_nobody(endpoint, beside):
    arm = endpoint.models["3"].arm("3", 0.5, endpoint.challenger("3") if beside else "")
    document = endpoint.follow(TrafficDocument(NAME, 1, endpoint.models["1"].arm("1", 1.0), shadows=(arm,), salt="r1"))
    matrix, _ = examples(200, seed=14)
    keys = [f"customer-{i}" for i in range(200)]
    answers = [
        endpoint.send(row, **{"X-Routing-Key": key}).json() for row, key in zip(as_rows(matrix), keys, strict=True)
    ]
    assert {(answer["arm"], answer["version"]) for answer in answers} == {("champion", "1")}
    seen = [xxhash.xxh64_intdigest(f"r1/shadow/3\n{key}".encode()) / 2**64 < 0.5 for key in keys]
    expected = {("champion", "1"): (200, 0), ("shadow", "3"): (sum(seen), 0)}
    endpoint.settled(lambda: endpoint.counts(document.generation) == expected)

    def compared():
        found = endpoint.stores.shadows.compare(NAME, since_generation=document.generation)
        return [one for one in found if one.rows == sum(seen)]

    endpoint.settled(lambda: bool(compared()), seconds=60)
    (one,) = compared()
    champion, shadow = (endpoint.score(version, matrix[seen]) for version in "13")
    assert one.mean_difference == pytest.approx(np.abs(champion - shadow).mean(), abs=1e-5)
    assert one.other_decisions == pytest.approx(((champion >= 0.5) != (shadow >= 0.5)).mean())


# Four standard errors are missed once in 16,000 runs; of the short form, which runs more often, five.
@pytest.mark.parametrize(("n", "errors"), [(1_200, 5), pytest.param(20_000, 4, marks=pytest.mark.soak)])
def test_the_share_by_chance_is_the_weight(endpoint, n, errors):
    document = endpoint.canary(0.25)
    rows = as_rows(examples(1200, seed=15)[0])
    rows = [{**rows[i % 1200], "carrier": None} for i in range(n)]  # no key
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        versions = Counter(pool.map(lambda row: endpoint.send(row).json()["version"], rows))
    assert abs(versions["2"] / n - 0.25) < errors * math.sqrt(0.25 * 0.75 / n)
    endpoint.settled(lambda: sum(count for count, _ in endpoint.counts(document.generation).values()) == n)


class Effects:
    """What a rollout changes besides the traffic: here it is only told."""

    def __init__(self):
        self.told = []

    def started(self, plan):
        self.told.append("started")

    def paused(self, plan):
        self.told.append("paused")

    def promoted(self, plan):
        self.told.append("promoted")

    def rolled_back(self, plan, reason):
        self.told.append("rolled back")


def rolled_out(endpoint, rollout_id, application):
    """A rollout of version 2 with users who have keys; how it ended, and who they were told answered them."""
    plan = RolloutPlan(
        rollout_id,
        NAME,
        "flights",
        "2",
        *(str(endpoint.models["2"].folder), endpoint.models["2"].bundle.digest, application),
        champion=endpoint.newest.champion,
        steps=(StepSection(weight=0.5), StepSection(weight=1.0)),
        margins=MarginsSection(accuracy=0.3, error_rate=0.3, latency_p99_ratio=20, latency_p99_seconds=5),
        created=time.time(),
        isolation="process" if application else "replica",
        salt=rollout_id,
        keeps_warm=True,
    )
    stores, effects = endpoint.stores, Effects()
    doors = Doors(
        traffic=endpoint.traffic,
        documents=stores.traffic,
        rollouts=stores.rollouts,
        leases=stores.leases,
        observe=RecordObserver(stores.records, stores.breakers, clock=SystemClock()),
        effects=effects,
    )
    matrix, labels = examples(4000, seed=17)
    rows = [(row, int(label)) for row, label in zip(as_rows(matrix), labels, strict=True)]
    users = LoadGenerator(endpoint.url, rows=rows, connections=4, max_requests=40_000).start()
    try:
        return run(plan, doors, poll_seconds=0.2), users, effects.told
    finally:
        users.stop()


def test_a_rollout_in_the_replicas_is_promoted_and_the_old_champion_is_kept_warm(endpoint):
    endpoint.follow(TrafficDocument(NAME, 1, endpoint.models["1"].arm("1", 1.0)))
    first = endpoint.newest.generation
    outcome, users, told = rolled_out(endpoint, "in the replicas", "")
    assert (outcome.status, told) == ("promoted", ["started", "promoted"]), outcome
    report = users.report()
    assert (report.failed, report.failovers) == (0, 0), report
    assert (endpoint.newest.champion.version, [arm.version for arm in endpoint.newest.warm]) == ("2", ["1"])
    history = [one for one in endpoint.stores.traffic.history(NAME) if one.generation > first]
    assert {(one.rollout_id, one.salt) for one in history} == {("in the replicas", "in the replicas")}
    answer = endpoint.send(as_rows(examples(1, seed=18)[0])[0], **{"X-Model-Version": "1"}).json()
    assert (answer["arm"], answer["version"]) == ("pinned", "1")


def test_a_rollout_whose_challenger_a_replica_gives_up_is_rolled_back(endpoint):
    endpoint.follow(TrafficDocument(NAME, 1, endpoint.models["1"].arm("1", 1.0)))
    outcome, users, told = rolled_out(endpoint, "given up", endpoint.challenger(raise_every=1))
    # Three errors in a row are no evidence for a test, and the replica asks for no more.
    assert (outcome.status, outcome.cause, told) == ("rolled_back", "breaker", ["started", "rolled back"]), outcome
    assert f"{IN_ROW} errors in a row" in outcome.reason
    assert users.report().failed == 0
    assert (endpoint.newest.champion.version, endpoint.newest.challengers) == ("1", ())


CONFIG = """
experiment: {name: flights}
data: {path: data/flights, features: [delay, distance, carrier], target: late}
deployment: {environments: [staging, traffic]}
"""


def registered(endpoint):
    """The three versions in the registry that the commands find, the last one under an alias."""
    registry = Registry(f"sqlite:///{endpoint.state / 'mlflow.db'}", endpoint.state / "artifacts")
    for version in "123":
        run = registry.log_run(RunRecord(experiment="flights", name=f"run {version}"))
        assert registry.register("flights", endpoint.models[version].bundle, run) == version
    registry.set_alias("flights", "champion", "1")
    registry.set_alias("flights", "newest", "3")
    return registry


def test_the_command_moves_the_traffic_of_a_running_endpoint(endpoint):
    from ray import serve  # noqa: PLC0415

    (endpoint.folder / "flights.yaml").write_text(CONFIG)
    registry = registered(endpoint)
    for version in "121":
        endpoint.follow(TrafficDocument(NAME, 1, endpoint.models[version].arm(version, 1.0)))
    row = as_rows(examples(1, seed=16)[0])[0]

    def arms(*arguments, expect=0):
        told = sluiceway(endpoint.folder, "serve", "traffic", NAME, *arguments, expect=expect)
        return told if expect else [(arm["arm"], arm["version"], arm["weight"]) for arm in told["arms"]]

    assert arms() == [("champion", "1", 1.0)]
    assert arms("--weights", "1=0,2=1") == [("champion", "1", 0.0), ("challenger", "2", 1.0)]
    answer = endpoint.send(row).json()
    assert (answer["arm"], answer["version"]) == ("challenger", "2")
    application = endpoint.newest.challengers[0].application
    assert application in serve.status().applications
    switched = arms("--switch", "2", "--config", "flights.yaml")
    assert switched == [("champion", "2", 1.0), ("warm", "1", 0.0)]
    answer = endpoint.send(row).json()
    assert (answer["arm"], answer["version"]) == ("champion", "2")
    assert registry.alias("flights", "champion") == "2"
    endpoint.settled(lambda: application not in serve.status().applications, seconds=120)
    undone = sluiceway(endpoint.folder, "rollout", "undo", NAME, "--config", "flights.yaml")
    assert [(arm["arm"], arm["version"]) for arm in undone["arms"]] == [("champion", "1"), ("warm", "2")]
    assert endpoint.send(row).json()["version"] == "1"
    assert arms("--back") == [("champion", "2", 1.0), ("warm", "1", 0.0)]
    sluiceway(endpoint.folder, "rollout", "undo", NAME, "--to", "1", "--config", "flights.yaml")
    assert endpoint.send(row).json()["version"] == "1"
    assert registry.alias("flights", "champion") == "1"
    # As of a change that was not confirmed, whose repeat tells the registry.
    registry.set_alias("flights", "champion", "2")
    generation = endpoint.newest.generation
    again = sluiceway(endpoint.folder, "rollout", "undo", NAME, "--to", "1", "--config", "flights.yaml")
    assert any("nothing new was published" in note for note in again["notes"])
    assert (again["generation"], registry.alias("flights", "champion")) == (generation, "1")
    assert arms("--shadow", "newest=0.5") == [("champion", "1", 1.0), ("shadow", "3", 0.5), ("warm", "2", 0.0)]
    assert arms("--shadow", "3=0") == [("champion", "1", 1.0), ("warm", "2", 0.0)]


def test_a_rollout_that_nobody_runs_is_given_back_by_a_command(endpoint):
    from ray import serve  # noqa: PLC0415

    application = endpoint.challenger()
    document = endpoint.canary(0.5, application)
    plan = make_plan(
        rollout_id="left", endpoint=NAME, application=application, champion=endpoint.models["1"].arm("1", 1.0)
    )
    state = RolloutState(Phase.STEP, 0, document.generation, generations=(document.generation,))
    Journal.begin(endpoint.stores.rollouts, plan).append(state, action="as it was left", evidence={}, now=1.0)
    told = sluiceway(endpoint.folder, "rollout", "abort", NAME)
    assert (told["rollout"], told["obeyed"]) == ("left", True)
    assert [note for note in told["notes"] if "aliases" not in note] == []
    assert (endpoint.newest.generation, endpoint.newest.challengers) == (document.generation + 1, ())
    row = as_rows(examples(1, seed=16)[0])[0]
    assert {endpoint.send(row).json()["version"] for _ in range(20)} == {"1"}
    endpoint.settled(lambda: application not in serve.status().applications, seconds=120)


def test_the_command_refuses_what_it_must_and_changes_nothing(endpoint):
    endpoint.canary(0.1)
    before, leases = endpoint.newest, endpoint.stores.leases
    assert leases.acquire(f"rollout:{NAME}", owner="elsewhere:1:2", ttl=60, now=datetime.now(UTC))
    refused = sluiceway(endpoint.folder, "serve", "traffic", NAME, "--switch", "2", expect=2)
    assert "elsewhere" in refused["message"]
    leases.release(f"rollout:{NAME}", owner="elsewhere:1:2")
    for wrong in (("--weights", "2=1.5"), ("--weights", "1=0.5"), ("--weights", "1"), ("--switch", "2", "--back")):
        sluiceway(endpoint.folder, "serve", "traffic", NAME, *wrong, expect=2)
    sluiceway(endpoint.folder, "serve", "traffic", "nobody", "--switch", "2", expect=2)
    sluiceway(endpoint.folder, "serve", "traffic", "nobody", expect=2)
    assert endpoint.newest == before
