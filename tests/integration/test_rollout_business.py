"""What answers were worth comes back as feedback, and a version whose answers are worth less goes back."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime

import httpx
import numpy as np
import pytest

from rollout_world import CHAMPION, FAST, make_plan
from serving_models import as_rows, examples, train_minutes, train_small
from sluiceway.catalog.records import FeedbackRecord, PredictionRecord, ReplicaCounts
from sluiceway.catalog.stores import open_stores
from sluiceway.config.deployment import MarginsSection
from sluiceway.config.serving import ServingSection
from sluiceway.core.clock import SystemClock
from sluiceway.core.pairs import Scores
from sluiceway.core.traffic import TrafficDocument
from sluiceway.rollout.controller import Doors, run
from sluiceway.rollout.looks import read
from sluiceway.rollout.observe import RecordObserver
from sluiceway.rollout.observe_means import WithMeans
from sluiceway.rollout.plan import RolloutPlan, plan_first
from sluiceway.rollout.replay import replay
from sluiceway.serving.specs import EndpointSpec

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`:DeprecationWarning"),
]

STEPS = ({"weight": 0.3, "max_seconds": 90}, {"weight": 1.0, "max_seconds": 90})
WORTH = {"low": 0.0, "high": 10.0, "relative": 0.2}


class Effects:
    """Nothing beside the traffic moves."""

    def started(self, plan):
        pass

    def paused(self, plan):
        pass

    def promoted(self, plan):
        pass

    def rolled_back(self, plan, reason):
        pass


class Users:
    """Requests, outcomes and values in a real catalog, while the clock of the rollout runs.

    Args:
        stores: of the catalog.
        worth: mean value of the (champion's, challenger's) answers.
        error: how far the (champion's, challenger's) scores are from the truth.
        rate: requests a second.
    """

    def __init__(self, stores, *, worth=(5.0, 5.0), error=(0.1, 0.1), rate=200):
        self.stores, self.worth, self.error, self.rate = stores, worth, error, rate
        self.random, self.time = np.random.default_rng(3), 2000.0
        self.applied, self.sent, self.asked = None, 0, {}

    def now(self):
        return datetime.fromtimestamp(self.time, UTC)

    def apply(self, document):
        self.applied = document

    def current(self):
        return self.applied

    def sleep(self, seconds):
        self.time += seconds
        weight = sum(arm.weight for arm in self.applied.challengers)
        records, outcomes = [], []
        for _ in range(int(self.rate * seconds)):
            arm = int(self.random.random() < weight)
            records.append(self._answer(arm))
            value = float(self.random.exponential(self.worth[arm]))
            truth = records[-1].score - self.error[arm]
            outcomes.append(FeedbackRecord(records[-1].request_id, truth, self.time, self.time, value))
        self.stores.records.add_predictions(records)
        self.stores.records.add_feedback("flights", outcomes)
        counts = [
            ReplicaCounts("flights", generation, "a", version, arm, n, 0, tuple(n * c for c in FAST), self.time)
            for (generation, arm, version), n in self.asked.items()
        ]
        self.stores.records.put_counts(counts)

    def _answer(self, arm):
        name, version = (("champion", "1"), ("challenger", "2"))[arm]
        key = (self.applied.generation, name, version)
        self.asked[key] = self.asked.get(key, 0) + 1
        self.sent += 1
        truth = float(self.random.normal(30, 10))
        given, theirs = truth + self.error[arm], truth + self.error[0]
        pair = ("1", theirs, theirs) if arm else (None, None, None)
        return PredictionRecord(f"r{self.sent}", self.time, "flights", key[0], name, version, given, given, "", *pair)


@pytest.fixture
def stores(tmp_path):
    opened = open_stores(f"sqlite:///{tmp_path / 'catalog.db'}")
    opened.traffic.publish(TrafficDocument("flights", 1, CHAMPION))
    return opened


def rolled_out(stores, users, **margins):
    """How a rollout of regressions ended."""
    plan = make_plan(steps=STEPS, margins=MarginsSection(**margins), scores=Scores("regression", 10.0))
    observe = WithMeans(RecordObserver(stores.records, stores.breakers, clock=users), stores.comparisons)
    doors = Doors(users, stores.traffic, stores.rollouts, stores.leases, observe, Effects(), clock=users)
    outcome = run(plan, doors, poll_seconds=2)
    # What was looked at is kept whole: the same policy comes to the same end.
    again = replay(plan, read(stores.rollouts, plan.rollout_id))
    assert again[-1].reason == outcome.reason
    return outcome


def test_answers_that_are_worth_as_much_let_a_version_go_on(stores):
    outcome = rolled_out(stores, Users(stores), loss=0.05, score_shift=0.1, business=WORTH)
    assert outcome.status == "promoted", outcome
    names = [metric.metric for metric in outcome.steps[-1].metrics]
    assert names == ["error_rate", "latency_p99", "score_shift", "loss", "business"]


@pytest.mark.parametrize(
    ("cause", "qualities"),
    [
        ("business", {"worth": (5.0, 2.5)}),
        ("loss", {"error": (0.1, 4.0)}),
        ("score_shift", {"error": (-2.0, 2.0)}),  # as wrong, on the other side
    ],
)
def test_what_is_worse_goes_back_by_its_own_metric(stores, cause, qualities):
    margins = {"score_shift": 0.1} if cause == "score_shift" else {}
    outcome = rolled_out(stores, Users(stores, **qualities), loss=0.05, business=WORTH, **margins)
    assert (outcome.status, outcome.cause) == ("rolled_back", cause), outcome


NAME = "fares"
SECONDS = 240


@pytest.fixture(scope="module")
def endpoint(ray_cluster, tmp_path_factory):
    """A running endpoint with one version, and the models by version."""
    from sluiceway.serving.deploy import deploy_endpoint  # noqa: PLC0415 (Ray has to be up)
    from sluiceway.serving.instance import start_serve, stop_serve  # noqa: PLC0415

    folder = tmp_path_factory.mktemp("worth")
    url = f"sqlite:///{folder / 'catalog.db'}"
    stores, serving = open_stores(url), ServingSection(port=0, request_timeout_seconds=20.0)
    models = {version: train_small(folder / "bundles", seed=int(version)) for version in "12"}
    plan = plan_first("r0", endpoint=NAME, model=NAME, arm=models["1"].arm("1", 1.0), now=time.time())
    stores.traffic.publish(plan.promoted_document(generation=1))
    address = start_serve(serving)
    deploy_endpoint(EndpointSpec(NAME, f"/{NAME}", url, serving))
    yield stores, models, f"{address.url}/{NAME}"
    stop_serve()


class Shoppers(threading.Thread):
    """Ask, and tell what became of it, until they are stopped; the challenger's answers are worth half."""

    def __init__(self, url):
        super().__init__(daemon=True)
        self.url, self.ended, self.failed = url, threading.Event(), []

    def run(self):
        rng = np.random.default_rng(5)
        matrix, labels = examples(4000, seed=21)
        rows = as_rows(matrix)
        with httpx.Client(base_url=self.url, timeout=30) as client:
            while not self.ended.is_set():
                told = []
                for at in rng.integers(0, len(rows), 20).tolist():
                    answer = client.post("/predict", json={"rows": [rows[at]]})
                    if answer.status_code != 200:
                        self.failed.append(answer.text)
                        continue
                    body = answer.json()
                    value = float(rng.exponential(2.5 if body["arm"] == "challenger" else 5.0))
                    told.append({"request_id": body["request_id"], "outcome": int(labels[at]), "value": value})
                taken = client.post("/feedback", json={"feedback": told})
                if taken.status_code != 200 or taken.json()["new"] != len(told):
                    self.failed.append(taken.text)
                assert client.post("/feedback", json={"feedback": told}).json()["new"] == 0


@pytest.mark.soak
def test_values_that_come_over_http_send_a_version_back(endpoint):
    from sluiceway.serving.traffic import ServeTraffic  # noqa: PLC0415 (Ray has to be up)

    stores, models, url = endpoint
    model, champion = models["2"], stores.traffic.newest(NAME).champion
    margins = MarginsSection(accuracy=0.3, error_rate=0.3, latency_p99_ratio=20, latency_p99_seconds=5, business=WORTH)
    steps = make_plan(steps=({"weight": 0.5, "max_seconds": SECONDS}, {"weight": 1.0})).steps
    plan = RolloutPlan(
        "worth less",
        NAME,
        NAME,
        "2",
        *(str(model.folder), model.bundle.digest),
        champion=champion,
        steps=steps,
        margins=margins,
        created=time.time(),
        isolation="replica",
        salt="worth less",
        keeps_warm=True,
    )
    clock = SystemClock()
    observe = WithMeans(RecordObserver(stores.records, stores.breakers, clock=clock), stores.comparisons)
    traffic = ServeTraffic(NAME, stores.traffic)
    users = Shoppers(url)
    users.start()
    try:
        doors = Doors(traffic, stores.traffic, stores.rollouts, stores.leases, observe, Effects(), clock=clock)
        outcome = run(plan, doors, poll_seconds=0.5)
    finally:
        users.ended.set()
        users.join(60)
    assert (outcome.status, outcome.cause) == ("rolled_back", "business"), outcome
    assert "worth less" in outcome.reason
    assert users.failed == []
    assert (stores.traffic.newest(NAME).champion.version, stores.traffic.newest(NAME).challengers) == ("1", ())


def test_a_regression_s_kind_and_spread_are_found_before_anything_moves(tmp_path):
    """By the lifecycle: of the bundles, and of what the champion has answered."""
    from types import SimpleNamespace  # noqa: PLC0415 (only here)

    from sluiceway.config.deployment import DeploymentSection  # noqa: PLC0415
    from sluiceway.core.errors import InputError  # noqa: PLC0415
    from sluiceway.lifecycle.rollout_scores import scores_of  # noqa: PLC0415
    from sluiceway.registry.store import BundleStore  # noqa: PLC0415

    stores = open_stores(f"sqlite:///{tmp_path / 'catalog.db'}")
    minutes = [train_minutes(tmp_path / "models", seed=seed).arm(str(seed), 1.0) for seed in (1, 2)]
    late = train_small(tmp_path / "models", seed=3).arm("3", 1.0)

    def scores(champion, challenger, *, dry_run=(), ab=None, **margins):
        section = DeploymentSection(margins=margins, dry_run=dry_run, **(ab or {}))
        context = SimpleNamespace(deployment=section, stores=stores, bundles=BundleStore(tmp_path / "bundles"))
        return scores_of(context, context.deployment, NAME, champion=champion, challengers=(challenger,))

    with pytest.raises(InputError, match="have no accuracy to be judged by") as caught:
        scores(*minutes)
    assert "deployment.margins.loss" in caught.value.hint
    with pytest.raises(InputError, match="have no accuracy to be better in"):
        scores(*minutes, ab={"strategy": "ab", "ab": {"min_seconds": 9}}, loss=0.1)
    assert scores(*minutes, dry_run=("accuracy",)) == scores(late, late) == Scores()  # nobody asks
    assert scores(*minutes, loss=0.1, scale=7.0) == Scores("regression", 7.0)
    with pytest.raises(InputError, match="cannot be told from 0 answers") as caught:
        scores(*minutes, loss=0.1)
    assert "deployment.margins.scale" in caught.value.hint
    with pytest.raises(InputError, match="is a regression model, version 3 a binary one"):
        scores(minutes[0], late, score_shift=0.1)
    answers = np.random.default_rng(1).normal(40, 6.0, 300)
    stores.records.add_predictions(
        PredictionRecord(f"r{i}", 1.0, NAME, 1, "champion", "1", score, score) for i, score in enumerate(answers)
    )
    assert scores(*minutes, loss=0.1).spread == pytest.approx(answers.std())
