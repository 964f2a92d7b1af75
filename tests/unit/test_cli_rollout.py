"""``sluiceway rollout``: what is told reaches whoever runs the rollout, and what cannot be done says so."""

from __future__ import annotations

import contextlib
import io
import json
import threading
import time
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import yaml

from command_line import sluiceway
from rollout_world import make_plan
from sluiceway.catalog import claim as claims
from sluiceway.catalog.engine import open_catalog
from sluiceway.catalog.leases import LeaseStore
from sluiceway.catalog.records import RecordStore, ReplicaCounts
from sluiceway.catalog.rollouts import RolloutStore
from sluiceway.catalog.stores import stores_on
from sluiceway.catalog.traffic import TrafficStore
from sluiceway.cli.main import run_command
from sluiceway.cli.rollout_detach import _refuse_run_by_others
from sluiceway.cli.rollout_tell import found
from sluiceway.core.errors import ConflictError, InputError
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
    assert (row["rollout"], row["endpoint"], row["step"], row["weight"]) == ("r1", "flights", "5%", 0.05)
    assert row["run_by"] is None
    heading, line = said(tmp_path, "status").splitlines()
    assert heading.split() == ["rollout", "endpoint", "from", "to", "phase", "weight", "since", "run", "by", "reason"]
    assert line.split()[:6] + line.split()[7:] == ["r1", "flights", "1", "2", "step", "5%", "nobody", "begin"]
    held(engine)
    (row,) = sluiceway(tmp_path, "rollout", "status")
    assert (row["run_by"], row["from"], row["to"], row["phase"]) == ("box:1:2", "1", "2", "step")


def test_a_probation_that_waits_for_a_person_is_listed_as_paused(tmp_path, engine, journal):
    on_probation = replace(journal.state, phase=Phase.PROBATION, step=3)
    for state, told, waits in (
        (on_probation, "probation", False),
        (replace(on_probation, cause="accuracy", reason="it fails"), "probation, paused", True),
    ):
        journal.append(state, action="as it is", evidence={}, now=1000.0)
        for command in ("status", "history"):
            (row,) = sluiceway(tmp_path, "rollout", command)
            assert (row["phase"], row["waits"]) == ("probation", waits)
            heading, line = said(tmp_path, command).splitlines()
            assert (", paused" in line) == waits
            assert told in line
            assert "waits" not in heading


def test_what_commands_do_on_probation_is_in_their_help(tmp_path):
    told = {name: " ".join(said(tmp_path, name, "--help").split()) for name in ("resume", "promote")}
    assert "begin a probation anew" in told["resume"]
    assert "On probation it lets the promotion stand" in told["promote"]


def test_a_command_waits_where_nobody_runs_the_rollout(tmp_path, engine, journal):
    told = said(tmp_path, "resume", "r1", "-m", "all clear", expect=1)
    assert "r1: nobody runs it" in told
    assert "rollout start flights@2 --config CONFIG" in told
    command = RolloutStore(engine).next_command("r1", after=0)
    assert (command.order, command.reason) == ("resume", "all clear")


@pytest.fixture
def traffic(engine):
    """The documents of that step: 5% of the requests are the version's."""
    store = TrafficStore(engine)
    store.publish(TrafficDocument("flights", 1, make_plan().champion))
    store.publish(make_plan().step_document(0, generation=2))
    return store


def held(engine, *, rollout="r1", owner="box:1:2"):
    """Somebody on another machine holds the traffic for a rollout; "": by hand."""
    body = json.dumps({"rollout": rollout})
    LeaseStore(engine).acquire("rollout:flights", owner=owner, ttl=60, now=datetime.now(UTC), body=body)


DEAD = f"{claims._place()}:999999999:1"


@pytest.mark.parametrize("words", [["abort", "r1"], ["abort", "flights"], ["undo", "flights"]])
@pytest.mark.parametrize("dead", [False, True])
def test_what_nobody_runs_goes_back_from_here(tmp_path, engine, journal, traffic, words, dead):
    if dead:  # whoever ran it was killed on this machine, and its lease is still there
        held(engine, owner=DEAD)
    told = said(tmp_path, *words, "-m", "it burns")
    assert "r1: rolled back; nobody ran it, so it was done from here. Version 1 answers all requests" in told
    assert "replicas that run follow within a second" in told
    assert "nobody asks flights-challenger-2 any more" in told
    assert "the registry's aliases are where they were" in told
    newest = traffic.newest("flights")
    assert (newest.generation, newest.champion, newest.challengers) == (3, make_plan().champion, ())
    ended = Journal.open(RolloutStore(engine), "r1")
    assert [entry.action for entry in ended.entries] == ["advance to step 0", "rollback", "rolled back"]
    assert ended.state.reason.endswith(": it burns")
    assert LeaseStore(engine).list("rollout:") == []
    assert "no rollout is under way" in said(tmp_path, "status")
    # Who types it a moment too late is not taken to the champion before that one.
    assert "flights has gone back to version 1 already" in said(tmp_path, "undo", "flights", expect=2)
    assert traffic.newest("flights") == newest


def test_what_goes_back_from_here_is_told_to_the_hooks_of_the_model_s_own_configuration(tmp_path, engine, monkeypatch):
    monkeypatch.setattr("sluiceway.cli.rollout_abort.build_registry", lambda platform: None)
    plan, store = make_plan(endpoint="flights-production"), TrafficStore(engine)
    store.publish(TrafficDocument(plan.endpoint, 1, plan.champion))
    store.publish(plan.step_document(0, generation=2))
    state = RolloutState(Phase.STEP, 0, 2, since=1000.0, generations=(2,), reason="begin")
    Journal.begin(RolloutStore(engine), plan).append(state, action="advance to step 0", evidence={}, now=1000.0)
    hook = {"on": ["rolled_back"], "command": "cat > told.json"}
    config = {"experiment": {"name": "flights"}, "data": {"path": "d", "features": ["x"], "target": "y"}}
    config["deployment"] = {"hooks": [hook]}
    (tmp_path / "flights.yaml").write_text(yaml.safe_dump(config))
    said(tmp_path, "undo", plan.endpoint, "-m", "it burns", "--config", "flights.yaml")
    told = json.loads((tmp_path / "told.json").read_text())
    assert (told["moment"], told["rollout"], told["sequence"], told["version"]) == ("rolled_back", "r1", 3, "2")


def test_nobody_is_said_to_run_what_a_dead_process_ran(tmp_path, engine, journal, traffic):
    held(engine, owner=DEAD)
    (row,) = sluiceway(tmp_path, "rollout", "status")
    assert row["run_by"] is None


def test_a_first_model_has_nothing_to_go_back_to(tmp_path, engine):
    journal = Journal.begin(RolloutStore(engine), make_plan(champion=None))
    journal.append(RolloutState(Phase.PROMOTING, 0, 1), action="promote", evidence={}, now=1.0)
    assert "no champion to go back to" in said(tmp_path, "abort", "r1", expect=2)
    assert len(Journal.open(RolloutStore(engine), "r1").entries) == 1


@pytest.mark.parametrize(
    ("arguments", "order"),
    [
        (["pause"], "pause"),
        (["resume"], "resume"),
        (["promote"], "advance"),
        (["promote", "--full"], "promote"),
        (["abort"], "abort"),
    ],
)
def test_a_command_is_told_by_id_or_endpoint_and_its_end_is_shown(tmp_path, engine, journal, arguments, order):
    phase = {"pause": Phase.PAUSED, "promote": Phase.PROMOTING, "abort": Phase.ROLLING_BACK}.get(order, Phase.STEP)
    with controller(engine, journal, lambda command: (f"obeyed {command.order}", {"phase": phase, "since": 2.0})):
        told = said(tmp_path, *arguments, "flights")
    assert told.splitlines()[0] == f"r1: obeyed {order}"
    assert ("only the replicas' breakers judge it" in told) == (order == "pause")


@contextlib.contextmanager
def controller(engine, journal, answers):
    """Somebody who runs the rollout on another machine, and writes one entry for the first command that comes."""
    held(engine)

    def obey():
        store, ends = RolloutStore(engine), time.monotonic() + 20
        while (command := store.next_command("r1", after=0)) is None and time.monotonic() < ends:
            time.sleep(0.05)
        action, changes = answers(command)
        changes = {"commands": command.sequence} | changes
        journal.append(replace(journal.state, **changes), action=action, evidence={}, now=2.0)

    thread = threading.Thread(target=obey)
    thread.start()
    yield
    thread.join()


@pytest.mark.parametrize(
    ("order", "action", "changes"),
    [
        ("resume", "resume by ann is refused: it runs already", {}),
        ("promote", "pause", {"phase": Phase.PAUSED, "since": 2.0, "reason": "hook x does not let it"}),
        ("pause", "rollback", {"phase": Phase.ROLLING_BACK, "commands": 2}),  # an abort that came later went first
        ("pause", "rollback", {"phase": Phase.ROLLED_BACK, "commands": 0}),  # it failed before anybody was obeyed
    ],
)
def test_a_command_that_is_not_obeyed_is_exit_code_1(tmp_path, engine, journal, order, action, changes):
    with controller(engine, journal, lambda command: (action, changes)):
        told = sluiceway(tmp_path, "rollout", order, "flights", expect=1)
    assert told["obeyed"] is False
    assert action in told["answer"] or "has ended meanwhile: rolled_back" in told["answer"]


@pytest.mark.parametrize(
    ("arguments", "order"),
    [
        (["pause", "flights"], "pause"),
        (["resume", "r1"], "resume"),
        (["promote", "r1"], "advance"),
        (["promote", "r1", "--full"], "promote"),
    ],
)
def test_a_program_reads_what_became_of_a_command(tmp_path, engine, journal, arguments, order):
    told = sluiceway(tmp_path, "rollout", *arguments, expect=1)
    assert (told["rollout"], told["told"]) == ("r1", order)
    assert told["answer"].startswith("nobody runs it")
    assert told["obeyed"] is False


class Counting(RolloutStore):
    """Says whose journals were read."""

    def __init__(self, engine):
        super().__init__(engine)
        self.read = []

    def journal(self, rollout_id):
        self.read.append(rollout_id)
        return super().journal(rollout_id)


def test_a_rollout_is_named_by_its_id_or_its_endpoint_under_way_or_else_the_newest(tmp_path, engine, journal):
    store = RolloutStore(engine)
    state = RolloutState(Phase.PROMOTED, 3, 6, reason="all well")
    for name, created in (("r0", 500.0), ("r2", 2000.0)):
        ended = Journal.begin(store, make_plan(rollout_id=name, created=created))
        ended.append(state, action="promoted", evidence={}, now=created)
    for command in ("show", "explain"):
        assert [sluiceway(tmp_path, "rollout", command, name)["rollout"] for name in ("flights", "r0")] == ["r1", "r0"]
    journal.append(state, action="promoted", evidence={}, now=3000.0)
    for command in ("show", "explain"):
        assert sluiceway(tmp_path, "rollout", command, "flights")["rollout"] == "r2"
    # Another endpoint's rollout may have an endpoint's name: an id goes first.
    Journal.begin(store, make_plan(rollout_id="flights", endpoint="trains", model="trains"))
    assert sluiceway(tmp_path, "rollout", "show", "flights")["rollout"] == "flights"
    for command in ("show", "explain", "replay", "watch", "pause", "resume", "promote", "abort"):
        told = said(tmp_path, command, "boats", expect=2)
        assert "there is no rollout boats, and no endpoint of this name has had one" in told


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
    held(engine)
    assert "has not obeyed yet" in said(tmp_path, "pause", "r1", "--wait", "0")
    assert "has not obeyed yet" in said(tmp_path, "abort", "r1", "--wait", "0.1", expect=1)


def test_to_undo_what_is_under_way_is_to_abort_it(tmp_path, engine, journal):
    told = sluiceway(tmp_path, "rollout", "undo", "flights", "--reason", "bad numbers")
    assert (told["rollout"], told["told"]) == ("r1", "abort")
    assert (told["obeyed"], told["answer"].split(";")[0]) == (True, "rolled back")


def test_what_hooks_have_not_let_begin_is_not_under_way(tmp_path, engine):
    Journal.begin(RolloutStore(engine), make_plan())
    assert "no rollout is under way" in said(tmp_path, "status")
    for words in (["abort", "flights"], ["pause", "r1"]):
        assert "rollout r1 has not begun, and nobody runs it" in said(tmp_path, *words, expect=2)
    # While hooks are asked somebody runs it.
    held(engine)
    (row,) = sluiceway(tmp_path, "rollout", "status")
    assert (row["rollout"], row["phase"], row["run_by"]) == ("r1", "pending", "box:1:2")
    assert "not obeyed yet" in said(tmp_path, "abort", "flights", "--wait", "0.1", expect=1)
    # What was not let begin before is nobody's, whoever runs another one.
    late = Journal.begin(RolloutStore(engine), make_plan(rollout_id="r2", created=2000.0))
    late.append(RolloutState(Phase.STEP, 0, 2, generations=(2,)), action="advance", evidence={}, now=2.0)
    assert [row["rollout"] for row in sluiceway(tmp_path, "rollout", "status")] == ["r2"]


def test_who_runs_it_by_a_former_release_does_not_say_for_which_rollout_and_runs_it(
    tmp_path, engine, journal, monkeypatch
):
    monkeypatch.setattr("sluiceway.cli.rollout_detach.running", lambda name: None)  # no actor does
    LeaseStore(engine).acquire("rollout:flights", owner="box:1:2", ttl=60, now=datetime.now(UTC), body="{}")
    (row,) = sluiceway(tmp_path, "rollout", "status")
    assert row["run_by"] == "box:1:2"
    assert "not obeyed yet" in said(tmp_path, "pause", "flights", "--wait", "0.1", expect=1)
    with pytest.raises(ConflictError, match="rollout r1 is being run by box:1:2"):
        _refuse_run_by_others(stores_on(engine, ""), "flights", "r1")


def test_who_deploys_another_rollout_or_moves_traffic_by_hand_runs_none(tmp_path, engine, traffic):
    Journal.begin(RolloutStore(engine), make_plan())  # a hook did not let it begin
    for rollout in ("flights@3/production/now", ""):
        held(engine, rollout=rollout)
        assert "no rollout is under way" in said(tmp_path, "status")
        assert "has not begun, and nobody runs it" in said(tmp_path, "abort", "flights", expect=2)
        told = said(tmp_path, "undo", "flights", "--wait", "0.1", expect=2)
        assert "the traffic of flights cannot be moved by hand now: rollout:flights is being run by box:1:2" in told
        assert RolloutStore(engine).next_command("r1", after=0) is None
    # Of two that have not begun it is the one that the lease names, the older one here.
    Journal.begin(RolloutStore(engine), make_plan(rollout_id="r2", created=2000.0))
    held(engine)
    for words in (["undo", "flights"], ["abort", "flights"], ["abort", "r1"]):
        assert said(tmp_path, *words, "--wait", "0.1", expect=1).startswith("r1: it has been told to abort")
    assert "r2 has not begun" in said(tmp_path, "abort", "r2", expect=2)


def test_an_abort_waits_for_who_moves_the_traffic_by_hand(tmp_path, engine, journal, traffic):
    held(engine, rollout="")
    (row,) = sluiceway(tmp_path, "rollout", "status")
    assert row["run_by"] is None
    assert "r1: nobody runs it" in said(tmp_path, "abort", "r1", "--wait", "0.1", expect=1)
    thread = threading.Timer(0.5, LeaseStore(engine).release, ["rollout:flights"], {"owner": "box:1:2"})
    thread.start()
    assert "r1: rolled back; nobody ran it, so it was done from here" in said(tmp_path, "abort", "r1")
    thread.join()


def test_to_undo_goes_only_to_a_champion_of_before(tmp_path, engine, traffic):
    told = said(tmp_path, "undo", "flights", "--to", "5", expect=2)
    assert "version 5 has never been the champion of flights" in told
    assert "it has had 1" in told
    assert traffic.newest("flights").generation == 2


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
    assert (first["step"], second["step"]) == ("50%", "100%")
    assert (first["max_seconds"], first["in_time"]) == (180.0, True)
    assert first["needs"]["error_rate"] >= 100
    assert {type(n) for n in first["needs"].values()} == {int}
    assert 60 <= first["seconds"] <= 180
    assert 0 < first["finds_error_rate"] < 1
    (slow, _) = sluiceway(tmp_path, "rollout", "plan", config, "--rate", "0.1", "--outcomes", "0.5")
    assert slow["in_time"] is False
    (never, _) = sluiceway(tmp_path, "rollout", "plan", config, "--rate", "0")
    assert (never["seconds"], never["finds_error_rate"], never["in_time"]) == (None, None, False)
    told = said(tmp_path, "plan", config, "--rate", "100")
    assert "flights-production: 100.0 requests/s, 0.00% of them fail" in told
    assert "error_rate needs" in told
    assert " 3 min " in told
    assert " yes " in told
    assert "there is no endpoint flights-production yet" in said(tmp_path, "plan", config, expect=2)


def test_an_environment_that_a_configuration_does_not_have_is_refused(tmp_path, engine, journal, config):
    for words in (("plan", config, "--rate", "100"), ("replay", "r1", "--policy", config)):
        told = said(tmp_path, *words, "--environment", "bogus", expect=2)
        assert "config.yaml has no environment bogus" in told
        assert "deployment.environments: production" in told
        said(tmp_path, *words, "--environment", "production")
    assert "give --policy, too" in said(tmp_path, "replay", "r1", "--environment", "production", expect=2)


def test_a_plan_of_a_regression_is_refused_by_accuracy_and_made_by_loss(tmp_path, config):
    plan = ("plan", config, "--rate", "100", "--set", "model.type=XGBRegressor")
    assert "have no accuracy to be judged by" in said(tmp_path, *plan, expect=2)
    by_loss = sluiceway(tmp_path, "rollout", *plan, "--set", "deployment.margins.loss=0.05")
    assert "loss" in by_loss[0]["needs"]
    assert "accuracy" not in by_loss[0]["needs"]


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


def test_a_pause_is_drawn_with_its_reason(tmp_path, engine, journal, counted):
    paused = replace(journal.state, phase=Phase.PAUSED, reason="hook x does not let it: status 500")
    journal.append(paused, action="pause", evidence={}, now=time.time())
    assert "next: paused: hook x does not let it: status 500" in said(tmp_path, "watch", "flights", "--once")
    looked = sluiceway(tmp_path, "rollout", "watch", "flights")
    assert (looked["next"], looked["reason"]) == ("hold", "paused: hook x does not let it: status 500")


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
