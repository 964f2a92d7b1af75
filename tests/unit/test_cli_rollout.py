"""``sluiceway rollout``: what is told reaches whoever runs the rollout, and what cannot be done says so."""

from __future__ import annotations

import io
import threading
import time
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import yaml

from command_line import sluiceway
from rollout_world import make_plan
from sluiceway.catalog.engine import open_catalog
from sluiceway.catalog.leases import LeaseStore
from sluiceway.catalog.records import RecordStore, ReplicaCounts
from sluiceway.catalog.rollouts import RolloutStore
from sluiceway.catalog.stores import stores_on
from sluiceway.catalog.traffic import TrafficStore
from sluiceway.cli.main import run_command
from sluiceway.cli.rollout_tell import found
from sluiceway.core.errors import InputError
from sluiceway.core.traffic import LATENCY_BOUNDS_SECONDS, TrafficDocument
from sluiceway.rollout.journal import Journal
from sluiceway.rollout.state import Phase, RolloutState


@pytest.fixture
def engine(tmp_path):
    (tmp_path / ".sluiceway").mkdir()
    engine = open_catalog(f"sqlite:///{tmp_path / '.sluiceway' / 'catalog.db'}")
    yield engine
    engine.dispose()


@pytest.fixture
def journal(engine):
    """A rollout in its first step."""
    found = Journal.begin(RolloutStore(engine), make_plan())
    state = RolloutState(Phase.STEP, 0, 2, since=1000.0, generations=(2,), reason="begin")
    found.append(state, action="advance to step 0", evidence={}, now=1000.0)
    return found


def said(folder, *arguments, expect=0):
    """What a person reads."""
    out = io.StringIO()
    with chdir(folder), redirect_stdout(out), redirect_stderr(out):
        assert run_command(["rollout", *arguments]) == expect, out.getvalue()
    return out.getvalue()


def test_what_is_under_way_is_listed_with_who_runs_it(tmp_path, engine, journal):
    (row,) = sluiceway(tmp_path, "rollout", "status")
    assert (row["rollout"], row["endpoint"], row["weight"], row["run by"]) == ("r1", "flights", "5%", "nobody")
    LeaseStore(engine).acquire("rollout:flights", owner="box:1:2", ttl=60, now=datetime.now(UTC))
    (row,) = sluiceway(tmp_path, "rollout", "status")
    assert (row["run by"], row["from"], row["to"], row["phase"]) == ("box:1:2", "1", "2", "step")


def test_a_command_waits_where_nobody_runs_the_rollout(tmp_path, engine, journal):
    assert "r1: nobody runs it" in said(tmp_path, "abort", "r1", "-m", "not today")
    command = RolloutStore(engine).next_command("r1", after=0)
    assert (command.order, command.reason) == ("abort", "not today")


@pytest.mark.parametrize(
    ("arguments", "order"),
    [(["pause"], "pause"), (["resume"], "resume"), (["promote"], "advance"), (["promote", "--full"], "promote")],
)
def test_a_command_is_told_by_id_or_endpoint_and_its_end_is_shown(tmp_path, engine, journal, arguments, order):
    LeaseStore(engine).acquire("rollout:flights", owner="box:1:2", ttl=60, now=datetime.now(UTC))

    def controller():
        store, ends = RolloutStore(engine), time.monotonic() + 20
        while (command := store.next_command("r1", after=0)) is None and time.monotonic() < ends:
            time.sleep(0.05)
        state = RolloutState(Phase.PAUSED, 0, 2, generations=(2,), commands=command.sequence)
        journal.append(state, action=f"obeyed {command.order}", evidence={}, now=2.0)

    thread = threading.Thread(target=controller)
    thread.start()
    told = said(tmp_path, *arguments, "flights")
    thread.join()
    assert told.strip() == f"r1: obeyed {order}"


@pytest.mark.parametrize(
    ("arguments", "order"),
    [
        (["pause", "flights"], "pause"),
        (["resume", "r1"], "resume"),
        (["promote", "r1"], "advance"),
        (["promote", "r1", "--full"], "promote"),
        (["abort", "r1"], "abort"),
        (["undo", "flights"], "abort"),
    ],
)
def test_a_program_reads_what_became_of_a_command(tmp_path, engine, journal, arguments, order):
    told = sluiceway(tmp_path, "rollout", *arguments)
    assert (told["rollout"], told["told"]) == ("r1", order)
    assert told["answer"].startswith("nobody runs it")


class Counting(RolloutStore):
    """Says whose journals were read."""

    def __init__(self, engine):
        super().__init__(engine)
        self.read = []

    def journal(self, rollout_id):
        self.read.append(rollout_id)
        return super().journal(rollout_id)


def test_who_looks_for_a_rollout_reads_each_journal_once(engine, journal):
    stores = replace(stores_on(engine, ""), rollouts=Counting(engine))
    assert found(stores, "flights") == "r1"
    assert stores.rollouts.read == ["r1"]
    journal.append(RolloutState(Phase.PROMOTED, 3, 6), action="promoted", evidence={}, now=3.0)
    stores.rollouts.read.clear()
    with pytest.raises(InputError, match="r1 has ended: promoted"):
        found(stores, "flights")
    assert stores.rollouts.read == ["r1"]


def test_who_does_not_obey_in_time_is_told_of(tmp_path, engine, journal):
    LeaseStore(engine).acquire("rollout:flights", owner="box:1:2", ttl=60, now=datetime.now(UTC))
    assert "has not obeyed yet" in said(tmp_path, "pause", "r1", "--wait", "0")


def test_to_undo_what_is_under_way_is_to_abort_it(tmp_path, engine, journal):
    told = sluiceway(tmp_path, "rollout", "undo", "flights", "--reason", "bad numbers")
    assert (told["rollout"], told["told"]) == ("r1", "abort")
    command = RolloutStore(engine).next_command("r1", after=0)
    assert (command.order, command.reason) == ("abort", "bad numbers")


def test_what_is_not_there_or_has_ended_is_refused(tmp_path, engine, journal):
    assert "there is no rollout r9" in said(tmp_path, "abort", "r9", expect=2)
    journal.append(RolloutState(Phase.PROMOTED, 3, 6), action="promoted", evidence={}, now=3.0)
    assert "has ended: promoted" in said(tmp_path, "abort", "flights", expect=2)
    assert RolloutStore(engine).next_command("r1", after=0) is None
    assert "no rollout is under way" in said(tmp_path, "status")


@pytest.fixture
def config(tmp_path):
    document = {
        "experiment": {"name": "flights"},
        "data": {"path": "t", "features": ["a"], "target": "b"},
        "deployment": {"strategy": "linear", "linear": {"start": 0.5, "increment": 0.5, "interval_seconds": 60}},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(document))
    return "config.yaml"


def test_a_plan_says_what_each_step_needs(tmp_path, config):
    first, second = sluiceway(tmp_path, "rollout", "plan", config, "--rate", "100")
    assert (first["weight"], second["weight"]) == ("50%", "100%")
    assert (first["at most"], first["in time"]) == ("180 s", "yes") or first["at most"] == "3 min"
    assert float(first["error_rate needs"].replace(",", "")) >= 100
    (slow, _) = sluiceway(tmp_path, "rollout", "plan", config, "--rate", "0.1", "--outcomes", "0.5")
    assert slow["in time"] == "no"
    told = said(tmp_path, "plan", config, "--rate", "100")
    assert "flights-production: 100.0 requests/s, 0.00% of them fail" in told
    assert "there is no endpoint flights-production yet" in said(tmp_path, "plan", config, expect=2)


def test_a_plan_of_a_regression_is_refused_by_accuracy_and_made_by_loss(tmp_path, config):
    plan = ("plan", config, "--rate", "100", "--set", "model.type=XGBRegressor")
    assert "have no accuracy to be judged by" in said(tmp_path, *plan, expect=2)
    by_loss = sluiceway(tmp_path, "rollout", *plan, "--set", "deployment.margins.loss=0.05")
    assert "loss needs" in by_loss[0]
    assert "accuracy needs" not in by_loss[0]


def test_a_plan_knows_the_failures_of_the_running_champion(tmp_path, engine, config):
    TrafficStore(engine).publish(TrafficDocument("flights-production", 1, make_plan().champion))
    histogram = (0,) * (len(LATENCY_BOUNDS_SECONDS) + 1)
    counts = ReplicaCounts("flights-production", 1, "a", "1", "champion", 1000, 50, histogram, 0.0)
    RecordStore(engine).put_counts([counts])
    assert "5.00% of them fail" in said(tmp_path, "plan", config, "--rate", "100")


@pytest.fixture
def counted(engine, journal):
    """A first step with some requests, of which some have failed."""
    histogram = [0] * (len(LATENCY_BOUNDS_SECONDS) + 1)
    histogram[20] = 400
    for arm, version, errors in (("champion", "1", 2), ("challenger", "2", 3)):
        counts = ReplicaCounts("flights", 2, "a", version, arm, 400, errors, tuple(histogram), 0.0)
        RecordStore(engine).put_counts([counts])


def test_a_rollout_is_drawn_with_its_evidence(tmp_path, engine, journal, counted):
    told = said(tmp_path, "watch", "flights", "--once")
    assert "flights  version 1 -> 2   step 1 of 4" in told
    assert " 5%   25%   50%   100% " in told
    assert [line.split() for line in told.splitlines() if line.startswith(("champion", "challenger"))] == [
        ["champion", "400", "2", "0.50%"],
        ["challenger", "400", "3", "0.75%"],
    ]
    (row,) = [line for line in told.splitlines() if line.startswith("error_rate")]
    assert "0.0025" in row
    assert "##########" in row
    assert "accuracy" in told
    looked = sluiceway(tmp_path, "rollout", "watch", "r1")
    assert (looked["phase"], looked["next"]) == ("step", "rollback")  # its deadline is long over, and nobody runs it
    assert [verdict["measurement"]["name"] for verdict in looked["verdicts"]] == [
        "error_rate",
        "latency_p99",
        "accuracy",
    ]


def test_it_is_drawn_until_it_has_ended(tmp_path, engine, journal, counted):
    def end():
        time.sleep(1.5)
        journal.append(RolloutState(Phase.PROMOTED, 3, 6, reason="all well"), action="promoted", evidence={}, now=3.0)

    thread = threading.Thread(target=end)
    thread.start()
    told = said(tmp_path, "watch", "r1")
    thread.join()
    assert "ended: all well" in told


def test_a_rollout_is_explained_by_id_or_endpoint(tmp_path, engine, journal, counted):
    told = said(tmp_path, "explain", "flights")
    assert "Version 2 of flights for flights in place of version 1 gets 5% of the requests" in told
    assert "It began with 5% of the requests." in told
    assert "Nothing has been seen since it began." in told
    assert "Nobody runs it, so nothing happens." in told
    document = sluiceway(tmp_path, "rollout", "explain", "r1")
    assert (document["rollout"], document["phase"]) == ("r1", "step")
    assert document["happened"][0]["told"] == "It began with 5% of the requests."
    assert "there is no rollout r9" in said(tmp_path, "explain", "r9", expect=2)
