"""A detached actor runs a rollout: it outlives who began it, goes on after it was killed, and ends itself."""

from __future__ import annotations

import os
import signal
import time
from datetime import UTC, datetime

import pytest
import ray
from deltalake import DeltaTable

from command_line import sluiceway
from rollout_project import make_project
from sluiceway.catalog.claim import holder
from sluiceway.catalog.engine import open_catalog
from sluiceway.catalog.stores import stores_on
from sluiceway.rollout.journal import Journal
from sluiceway.rollout.state import Phase
from sluiceway.wiring.rollout_actor import NAMESPACE, actor_name

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),
]
ENDPOINT = "flights-production"
DETACHED = ("--detach", "--set", "platform.ray.address=auto")
SLOW = ("--set", "deployment.steps=[{weight: 0.5, min_seconds: 25, max_seconds: 120}, {weight: 1.0, max_seconds: 120}]")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    deployment = {"steps": [{"weight": 0.5, "max_seconds": 90}, {"weight": 1.0, "max_seconds": 90}]}
    return make_project(tmp_path_factory.mktemp("detached"), deployment)


@pytest.fixture(scope="module")
def start(folder, ray_cluster):
    """``rollout start`` on the test session's Ray, which the command only joins."""
    from sluiceway.serving.instance import stop_serve  # noqa: PLC0415 (Ray has to be up)

    def run(model, *arguments, expect=0):
        return sluiceway(folder, "rollout", "start", model, "--config", "flights.yaml", *arguments, expect=expect)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sluiceway.cli.rollout_start.disconnect", lambda: None)
        patch.setattr("sluiceway.cli.rollout_detach.disconnect", lambda: None)
        yield run
    stop_serve()


@pytest.fixture(scope="module")
def stores(folder):
    engine = open_catalog(f"sqlite:///{folder / '.sluiceway' / 'catalog.db'}")
    yield stores_on(engine, "")
    engine.dispose()


def until(holds, what, seconds=120):
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if found := holds():
            return found
        time.sleep(0.2)
    raise AssertionError(f"not within {seconds} s: {what}")


def is_gone():
    try:
        ray.get_actor(actor_name(ENDPOINT), namespace=NAMESPACE)
    except ValueError:
        return True
    return False


def phase_of(stores, rollout_id):
    return Journal.open(stores.rollouts, rollout_id).state.phase


def process_of(stores):
    """Number of the process that runs the endpoint's rollout, as its lease says."""
    owner = holder(stores.leases, f"rollout:{ENDPOINT}", now=datetime.now(UTC))
    return int(owner.split(":")[1]) if owner else None


def kill_it(stores):
    pid = until(lambda: process_of(stores), "nobody runs it")
    assert pid != os.getpid()
    os.kill(pid, signal.SIGKILL)
    return pid


def test_without_a_cluster_that_outlives_the_command_it_is_refused(folder, start, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert "no cluster is known that outlives this command" in start("flights@1", "--detach", expect=2)["message"]
    assert sluiceway(folder, "rollout", "history") == []


@pytest.fixture(scope="module")
def first(start, stores):
    """What was said of the first version's rollout; its actor has done it, and has ended."""
    told = start("flights@1", *DETACHED)
    until(lambda: phase_of(stores, told["rollout"]) is Phase.PROMOTED, "it is not promoted")
    until(is_gone, "the actor is still there", seconds=40)
    return told


def test_an_actor_rolls_the_first_version_out_and_ends_itself(folder, start, stores, first):
    assert (first["endpoint"], first["actor"], first["namespace"]) == (ENDPOINT, f"rollout:{ENDPOINT}", "sluiceway")
    assert stores.traffic.newest(ENDPOINT).champion.version == "1"
    assert "is the champion of flights-production already" in start("flights@1", *DETACHED, expect=2)["message"]
    assert "gates do not let version 3" in start("flights@3", *DETACHED, expect=2)["message"]
    assert is_gone()
    history = DeltaTable(str(folder / ".sluiceway" / "rollout_history")).to_pyarrow_table()
    assert set(history["rollout"].to_pylist()) == {first["rollout"]}


@pytest.mark.soak
@pytest.mark.timeout(500)
def test_killed_it_goes_on_where_it_was_and_people_reach_it_through_the_catalog(folder, start, stores, first):
    rollout_id = start("flights@2", *DETACHED, *SLOW)["rollout"]
    until(lambda: phase_of(stores, rollout_id) is Phase.STEP, "it gets no requests")
    assert "has not ended" in start("flights@3", "--ungated", *DETACHED, expect=4)["message"]
    assert start("flights@2", *DETACHED, *SLOW)["rollout"] == rollout_id  # the same one, which goes on

    killed = kill_it(stores)
    second = until(lambda: (pid := process_of(stores)) not in (None, killed) and pid, "nobody goes on with it")
    until(lambda: "resume step 0" in [e.action for e in Journal.open(stores.rollouts, rollout_id).entries], "no resume")
    actor = ray.get_actor(actor_name(ENDPOINT), namespace=NAMESPACE)
    assert ray.get(actor.rollout.remote()) == rollout_id
    (row,) = sluiceway(folder, "rollout", "status")
    assert (row["phase"], f":{second}:" in row["run_by"]) == ("step", True)

    assert sluiceway(folder, "rollout", "pause", ENDPOINT, "--wait", "60")["answer"] == "pause"
    kill_it(stores)  # a pause outlives whoever was told of it
    until(lambda: process_of(stores) not in (None, second), "nobody goes on with the pause")
    time.sleep(3)
    assert phase_of(stores, rollout_id) is Phase.PAUSED
    assert sluiceway(folder, "rollout", "resume", ENDPOINT, "--wait", "60")["answer"] == "resume"

    until(lambda: phase_of(stores, rollout_id) is Phase.PROMOTED, "it is not promoted", seconds=240)
    until(is_gone, "the actor is still there", seconds=40)
    assert stores.traffic.newest(ENDPOINT).champion.version == "2"


TWO = (*DETACHED, "--set", "deployment.environments=[east, west]", "--set", "platform.serving.isolation=replica")
# It is worse, and goes back by no verdict, so that it is in the way for as long as it is let.
IN_THE_WAY = (
    "--ungated",
    *("--set", "deployment.dry_run=[accuracy]"),
    *("--set", "deployment.steps=[{weight: 0.5, min_seconds: 140, max_seconds: 150}, {weight: 1.0}]"),
)


@pytest.mark.soak
@pytest.mark.timeout(400)
def test_environments_that_have_the_version_are_left_out_and_each_one_is_superseded(start, stores):
    def ended(endpoint, version):
        newest = stores.traffic.newest(endpoint)
        going = holder(stores.leases, f"rollout:{endpoint}", now=datetime.now(UTC))
        return newest is not None and newest.champion.version == version and not going

    alone = start("flights@1", *TWO, "--environment", "east")
    assert (alone["endpoint"], alone["left_out"]) == ("flights-east", [])
    until(lambda: ended("flights-east", "1"), "it is not promoted in the east")
    rest = start("flights@1", *TWO)
    assert (rest["endpoint"], rest["left_out"]) == ("flights-west", ["east"])
    until(lambda: ended("flights-west", "1"), "it is not promoted in the west")
    assert [row.endpoint for row in stores.rollouts.list("flights-east")] == ["flights-east"]

    obstacle = start("flights@3", *TWO, *IN_THE_WAY, "--environment", "west")["rollout"]
    until(lambda: phase_of(stores, obstacle) is Phase.STEP, "it gets no requests")
    both = start("flights@2", *TWO, "--supersede")
    assert (both["endpoint"], both["left_out"]) == ("flights-east", [])
    assert phase_of(stores, obstacle) is Phase.STEP  # it is only in the way once the west's turn has come
    until(lambda: ended("flights-east", "2"), "it is not promoted in the east")
    until(lambda: ended("flights-west", "2"), "it is not promoted in the west")
    gone = Journal.open(stores.rollouts, obstacle).state
    assert (gone.phase, gone.reason) == (Phase.ROLLED_BACK, "by sluiceway: superseded")
    newest = stores.rollouts.list("flights-west")[0].rollout_id
    assert phase_of(stores, newest) is Phase.PROMOTED
    assert Journal.open(stores.rollouts, newest).plan.champion.version == "1"
