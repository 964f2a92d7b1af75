"""Registered versions are rolled out by one command, judged on real requests, and back again by another one."""

from __future__ import annotations

import threading
import time

import pytest

from command_line import sluiceway
from rollout_project import make_project, starting
from sluiceway.catalog.engine import open_catalog
from sluiceway.catalog.rollouts import RolloutStore
from sluiceway.core.command import Order
from sluiceway.registry.mlflow_registry import Registry
from sluiceway.rollout.journal import Journal, unfinished
from sluiceway.rollout.state import Phase

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A project whose rollouts have two steps."""
    deployment = {"steps": [{"weight": 0.5, "max_seconds": 90}, {"weight": 1.0, "max_seconds": 90}]}
    return make_project(tmp_path_factory.mktemp("start"), deployment)


@pytest.fixture(scope="module")
def start(folder, ray_cluster):
    """``rollout start`` on the test session's Ray."""
    with starting(folder) as run:
        yield run


def test_what_cannot_be_rolled_out_is_refused_before_anything_runs(folder, start):
    assert "gates do not let version 3" in start("flights@3", expect=2)["message"]
    assert "is another model" in start("fares@1", expect=2)["message"]
    assert "no environment night" in start("flights@1", "--environment", "night", expect=2)["message"]
    start("flights@9", expect=2)
    assert sluiceway(folder, "rollout", "history") == []


@pytest.mark.soak
def test_versions_are_rolled_out_judged_and_undone(folder, start):
    (first,) = start("flights@1")
    assert (first["environment"], first["rollout"]["status"]) == ("production", "promoted")
    (second,) = start("flights@2")
    assert second["rollout"]["status"] == "promoted", second
    assert (second["load"]["failed"], second["load"]["feedback_failed"]) == (0, 0)
    assert "is the champion of flights-production already" in start("flights@2", expect=2)["message"]

    (third,) = start("flights@3", "--ungated", expect=1)
    assert (third["rollout"]["status"], third["rollout"]["cause"]) == ("rolled_back", "accuracy")
    undo = ("rollout", "undo", "flights-production", "--config", "flights.yaml")
    assert "has gone back to version 2 already" in sluiceway(folder, *undo, expect=2)["message"]
    undone = sluiceway(folder, *undo, "--to", "1")
    assert [(arm["arm"], arm["version"]) for arm in undone["arms"]] == [("champion", "1"), ("warm", "2")]
    registry = Registry(f"sqlite:///{folder / '.sluiceway' / 'mlflow.db'}", folder / ".sluiceway" / "artifacts")
    assert registry.alias("flights", "champion") == "1"


SLOW = ("--set", "deployment.steps=[{weight: 0.5, min_seconds: 80, max_seconds: 90}, {weight: 1.0}]")
SHORT = ("--set", "deployment.steps=[{weight: 0.5, min_seconds: 2, max_seconds: 2}, {weight: 1.0}]")
# More than so few requests can show.
STRICT = ("--set", "deployment.margins.accuracy=0.0001", "--set", "deployment.on_inconclusive=pause")


@pytest.mark.soak
def test_another_rollout_is_in_the_way_or_superseded_and_people_are_obeyed(folder, start):
    engine = open_catalog(f"sqlite:///{folder / '.sluiceway' / 'catalog.db'}")
    rollouts = RolloutStore(engine)

    def abort_when_it_runs():
        ends = time.monotonic() + 120
        while time.monotonic() < ends:
            for going in unfinished(rollouts, "flights-production"):
                if Journal.open(rollouts, going).state.phase is Phase.STEP:
                    rollouts.command(going, Order.ABORT, who="ann", reason="too early", now=time.time())
                    return
            time.sleep(0.2)

    thread = threading.Thread(target=abort_when_it_runs)
    thread.start()
    (aborted,) = start("flights@2", *SLOW, expect=1)
    thread.join()
    assert (aborted["rollout"]["status"], aborted["rollout"]["reason"]) == ("rolled_back", "by ann: too early")
    assert aborted["rollout"]["seconds"] < 70

    (paused,) = start("flights@2", *SHORT, *STRICT, expect=3)
    assert paused["rollout"]["status"] == "paused"
    assert "has not ended" in start("flights@3", "--ungated", expect=4)["message"]
    (third,) = start("flights@3", "--ungated", "--supersede", expect=1)
    assert third["rollout"]["cause"] == "accuracy"
    phases = {row["rollout"]: row["phase"] for row in sluiceway(folder, "rollout", "history")}
    assert phases[paused["rollout"]["rollout_id"]] == "rolled_back"
    engine.dispose()
