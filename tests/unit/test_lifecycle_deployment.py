"""An environment's rollout that does not begin leaves nothing that is in the way, and takes nothing that is in use."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import ANY

import pytest

from rollout_world import CHAMPION, World
from sluiceway.config.deployment import DeploymentSection
from sluiceway.config.lifecycle import ReleaseStep
from sluiceway.config.serving import ServingSection
from sluiceway.core.doors import SilentProgress
from sluiceway.core.errors import BackendError, ConflictError, HookRefusedError, InputError, ModelError
from sluiceway.core.pairs import BINARY
from sluiceway.core.traffic import Arm, TrafficDocument
from sluiceway.lifecycle import deployment as module
from sluiceway.lifecycle.deployment import EnvironmentRollout
from sluiceway.rollout.hooks import NoHooks
from sluiceway.rollout.journal import Journal
from sluiceway.rollout.lease import run_now
from sluiceway.rollout.plan import RolloutPlan

NAME = "flights-production"
RUN = "run-1/01 flights: production"


class Place:
    """A world with Serve's applications, in which versions are rolled out to production."""

    def __init__(self, monkeypatch):
        self.world, self.running, self.says = World(), set(), ""
        self.features = {}  # by the place of a bundle, where others than all have
        self.lost = None
        self.world.documents.publish(TrafficDocument(NAME, 1, CHAMPION))
        self.world.applied = self.world.documents.newest(NAME)
        monkeypatch.setattr(module, "start_serve", lambda serving: SimpleNamespace(url="http://here"))
        self.deployed = []
        monkeypatch.setattr(module, "deploy_endpoint", self._deploy)
        monkeypatch.setattr(module, "deploy_challenger", lambda spec: self.running.add(spec.application))
        monkeypatch.setattr(module, "remove_unasked", lambda endpoint, asked: self.running.intersection_update(asked))
        monkeypatch.setattr(module, "refuse_retired", lambda *_: None)
        monkeypatch.setattr(module, "check_source", lambda *_: None)
        monkeypatch.setattr(module, "scores_of", lambda *_, **__: BINARY)
        monkeypatch.setattr(module, "observed", lambda *_: contextlib.nullcontext())
        monkeypatch.setattr(module, "ConfiguredHooks", lambda *_: contextlib.nullcontext(self))
        monkeypatch.setattr(module, "keep_history", lambda context: None)
        monkeypatch.setattr(module, "tell", lambda *_: None)
        monkeypatch.setattr(EnvironmentRollout, "_counted", lambda rollout: None)
        monkeypatch.setattr(EnvironmentRollout, "_archive", lambda rollout: None)
        monkeypatch.setattr(
            EnvironmentRollout, "_doors", lambda rollout, *given, **more: self._doors(rollout, *given, **more)
        )

    def _doors(self, rollout, observe, load, hooks, *, stays=False):
        effects = SimpleNamespace(
            started=rollout.started, paused=rollout.paused, promoted=rollout.promoted, rolled_back=rollout.rolled_back
        )
        return replace(self.world.doors(), effects=effects, hooks=hooks)

    def _deploy(self, spec):
        self.deployed.append(spec.name)
        self.held_while_deployed = run_now(self.world.leases, NAME, now=self.world.now())

    def _bundle(self, place, digest):
        if place == self.lost:
            raise ModelError(f"{place} is gone")
        names = self.features.get(place, ["distance", "carrier"])
        return SimpleNamespace(schema={"features": [{"name": name} for name in names]})

    # The hooks.
    def refusal(self, event):
        return self.says if event.moment == "before_start" else ""

    tell = NoHooks.tell

    def rollout(self, version):
        world = self.world
        context = SimpleNamespace(
            experiment=SimpleNamespace(name="flights"),
            deployment=DeploymentSection(steps=[{"weight": 0.5, "max_seconds": 600}, {"weight": 1.0}]),
            serving=ServingSection(isolation="process"),
            stores=SimpleNamespace(
                traffic=world.documents, rollouts=world.rollouts, leases=world.leases, url="sqlite://"
            ),
            folders=SimpleNamespace(state=Path("/nowhere")),
            bundles=SimpleNamespace(get=self._bundle),
            registry=SimpleNamespace(
                set_alias=lambda *_: None, promote=lambda *_: None, alias=lambda *_: None, remove_alias=lambda *_: None
            ),
            progress=SilentProgress(),
            clock=world,
            now=lambda: world.time,
        )
        candidate = SimpleNamespace(uri=f"b{version}", digest=f"d{version}" * 8)
        return EnvironmentRollout(
            context, ReleaseStep(step="release", name="flights"), candidate, version, "production"
        )

    def refused(self, version, rollout_id):
        self.says = "the bank says no"
        with pytest.raises(HookRefusedError, match="the bank says no"):
            self.rollout(version).run(rollout_id)
        self.says = ""


@pytest.fixture
def place(monkeypatch):
    return Place(monkeypatch)


def test_one_that_was_refused_is_planned_anew_against_the_champion_of_then(place):
    place.refused("3", RUN)
    kept = RolloutPlan.from_json(place.world.rollouts.get(RUN).plan)
    assert kept.champion.version == "1"
    assert place.rollout("2").run("r2")["rollout"]["status"] == "promoted"
    place.world.time += 10
    assert place.rollout("3").run(RUN)["rollout"]["status"] == "promoted"
    plan = Journal.open(place.world.rollouts, RUN).plan
    assert (plan.champion.version, plan.created > kept.created) == ("2", True)
    assert place.world.leases.leases == {}


@pytest.mark.parametrize("as_what", ["challengers", "shadows"])
def test_one_that_was_refused_leaves_a_version_that_was_put_there_by_hand(place, as_what):
    application = place.rollout("2").challenger.application
    champion = replace(CHAMPION, weight=0.5) if as_what == "challengers" else CHAMPION
    by_hand = Arm("2", 0.5, "b2", "d2" * 8, application)
    place.world.documents.publish(TrafficDocument(NAME, 2, champion, **{as_what: (by_hand,)}))
    place.running.add(application)
    place.refused("2", RUN)
    place.refused("3", "r3")
    assert place.running == {application}
    assert place.rollout("2").run("r2")["rollout"]["status"] == "promoted"  # its traffic has moved: nobody asks it
    assert place.running == set()


@pytest.mark.parametrize("as_what", ["challengers", "shadows"])
@pytest.mark.parametrize("status", ["promoted", "rolled_back"])
def test_what_a_person_has_put_there_and_a_rollout_replaces_goes_with_it(place, as_what, status):
    application = place.rollout("3").challenger.application
    champion = replace(CHAMPION, weight=0.5) if as_what == "challengers" else CHAMPION
    by_hand = Arm("3", 0.5, "b3", "d3" * 8, application)
    place.world.documents.publish(TrafficDocument(NAME, 2, champion, **{as_what: (by_hand,)}))
    place.running.add(application)
    place.world.errors = (0.0, 0.0 if status == "promoted" else 0.5)
    assert place.rollout("2").run("r2")["rollout"]["status"] == status
    assert place.running == set()


ENDS = [KeyboardInterrupt(), BackendError("it does not come up")]


@pytest.mark.parametrize("error", ENDS, ids=["ctrl-C", "error"])
@pytest.mark.parametrize("where", ["deploy_endpoint", "observed", "run"])
def test_one_that_ends_before_it_has_begun_leaves_nothing_that_runs(place, monkeypatch, where, error):
    def fails(*_, **__):
        assert place.running == {place.rollout("2").challenger.application}
        raise error

    monkeypatch.setattr(module, where, fails)
    with pytest.raises(type(error)):
        place.rollout("2").run("r2")
    assert place.running == set()
    assert place.world.leases.leases == {}


def test_of_several_versions_the_first_goes_where_the_second_does_not_come_up(place, monkeypatch):
    def deploy(spec):
        if place.running:
            raise BackendError("it does not come up")
        place.running.add(spec.application)

    monkeypatch.setattr(module, "deploy_challenger", deploy)
    monkeypatch.setattr(module, "further_arms", lambda *_, **__: (Arm("3", 0.0, "b3", "d3" * 8, "a3"),))
    monkeypatch.setattr(module, "spec_of", lambda *_: None)
    with pytest.raises(BackendError, match="does not come up"):
        place.rollout("2").run("r2")
    assert place.running == set()


@pytest.mark.parametrize("error", ENDS, ids=["ctrl-C", "error"])
def test_one_that_has_begun_keeps_its_challenger_whatever_ends_the_command(place, monkeypatch, error):
    def fails(seconds):
        raise error

    monkeypatch.setattr(place.world, "sleep", fails)
    with pytest.raises(type(error)):
        place.rollout("2").run("r2")
    assert place.running == {place.rollout("2").challenger.application}
    assert Journal.open(place.world.rollouts, "r2").state.phase == "step"


def test_what_cannot_be_taken_away_does_not_hide_why_it_did_not_begin(place, monkeypatch, caplog):
    def silent(*_, **__):
        raise BackendError("Serve does not answer")

    monkeypatch.setattr(module, "remove_unasked", silent)
    place.says = "the bank says no"
    with pytest.raises(HookRefusedError, match="the bank says no"):
        place.rollout("2").run("r2")
    assert "what was deployed for rollout r2 may run on: Serve does not answer" in caplog.text


def test_a_second_ctrl_c_ends_the_taking_away_and_gives_the_endpoint_back(place, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "deploy_endpoint", interrupted)
    monkeypatch.setattr(module, "remove_unasked", interrupted)
    with pytest.raises(KeyboardInterrupt):
        place.rollout("2").run("r2")
    assert place.world.leases.leases == {}


def test_what_somebody_else_has_taken_over_is_not_taken_away(place, monkeypatch):
    def lost(spec):
        lease = place.world.leases.leases[f"rollout:{NAME}"]
        place.world.leases.leases[lease.name] = replace(lease, owner="elsewhere:1:0")
        raise BackendError("it does not come up")

    monkeypatch.setattr(module, "deploy_endpoint", lost)
    with pytest.raises(BackendError):
        place.rollout("2").run("r2")
    assert place.running == {place.rollout("2").challenger.application}


def test_what_is_aborted_to_make_room_is_told(place):
    told = []
    place.tell = told.append
    place.world.rate = 0
    before = place.rollout("2")
    before.policy = before.policy.model_copy(update={"on_inconclusive": "pause"})
    before.run(RUN)
    place.rollout("2").abort(RUN, reason="superseded")
    assert [(event.moment, event.reason) for event in told][-1] == ("rolled_back", "superseded")


def test_what_has_begun_is_never_planned_anew(place):
    place.world.rate = 0
    before = place.rollout("2")
    before.policy = before.policy.model_copy(update={"on_inconclusive": "pause"})
    assert before.run(RUN)["rollout"]["status"] == "paused"
    plan = place.world.rollouts.get(RUN)
    place.world.time += 10
    place.world.rate = 400
    assert place.rollout("2").run(RUN)["rollout"]["status"] == "promoted"
    assert place.world.rollouts.get(RUN) == plan


def test_a_kept_plan_stays_while_somebody_else_asks_its_hooks(place):
    place.refused("3", RUN)
    kept = place.world.rollouts.get(RUN)
    place.world.time += 10
    place.world.leases.acquire(f"rollout:{NAME}", owner="elsewhere:1:0", ttl=60, now=place.world.now())
    with pytest.raises(ConflictError, match="is being run by elsewhere"):
        place.rollout("3").run(RUN)
    assert place.world.rollouts.get(RUN) == kept
    assert place.running == set()


def test_nothing_is_changed_before_it_is_sure_that_nobody_else_runs_the_endpoint(place, monkeypatch):
    keys = []
    monkeypatch.setattr(EnvironmentRollout, "_key", lambda *_: keys.append("made") or contextlib.nullcontext({}))
    place.world.leases.acquire(f"rollout:{NAME}", owner="elsewhere:1:0", ttl=60, now=place.world.now())
    for wants in (lambda one: one.run("r2"), lambda one: one.abort("r2", reason="superseded")):
        with pytest.raises(ConflictError, match="is being run by elsewhere"):
            wants(place.rollout("2"))
    assert (place.deployed, place.running, keys) == ([], set(), [])
    place.world.leases.release(f"rollout:{NAME}", owner="elsewhere:1:0")
    assert place.rollout("2").run("r2")["rollout"]["status"] == "promoted"
    assert (place.deployed, place.held_while_deployed, len(keys)) == ([NAME], ("r2", ANY), 1)
    assert place.world.leases.leases == {}


def test_nothing_is_changed_while_another_versions_rollout_has_not_ended(place):
    place.world.rate = 0
    before = place.rollout("2")
    before.policy = before.policy.model_copy(update={"on_inconclusive": "pause"})
    assert before.run("r2")["rollout"]["status"] == "paused"
    running, deployed = set(place.running), list(place.deployed)
    with pytest.raises(ConflictError, match=f"rollout r2 of endpoint {NAME} has not ended"):
        place.rollout("3").run("r3")
    assert (place.running, place.deployed) == (running, deployed)
    assert place.world.rollouts.get("r3") is None


def test_one_with_other_features_is_refused_before_anything_is_deployed(place):
    place.features["b2"] = ["distance", "carrier", "wind"]
    with pytest.raises(InputError, match="version 2 has other features than the champion, version 1: wind") as refused:
        place.rollout("2").run("r2")
    assert f"`sluiceway serve traffic {NAME} --switch 2`" in refused.value.hint
    assert (place.deployed, place.running, place.world.rollouts.rows) == ([], set(), {})
    assert place.world.leases.leases == {}


def test_a_feature_that_clients_send_already_is_no_other_one(place):
    place.features["b2"] = ["distance", "carrier", "wind"]
    rollout = place.rollout("2")
    rollout.context.serving = ServingSection(isolation="process", input={"extra": ["wind"]})
    assert rollout.run("r2")["rollout"]["status"] == "promoted"


def test_a_champion_whose_bundle_is_lost_can_be_replaced(place, caplog):
    place.lost = CHAMPION.bundle
    assert place.rollout("2").run("r2")["rollout"]["status"] == "promoted"
    assert "are not compared with the champion's" in caplog.text


def test_one_that_has_become_the_champion_otherwise_is_not_rolled_out_against_itself(place):
    place.refused("2", RUN)
    assert place.rollout("2").run("r2")["rollout"]["status"] == "promoted"
    with pytest.raises(InputError, match="version 2 is the champion of flights-production already"):
        place.rollout("2").run(RUN)
    assert place.world.rollouts.journal(RUN) == []
