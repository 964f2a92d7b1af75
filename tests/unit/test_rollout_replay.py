"""A past rollout is judged again on what it saw: by its own policy as it was, by another one as that would have."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from command_line import sluiceway
from rollout_world import Commanded, World, make_plan
from sluiceway.catalog.engine import open_catalog
from sluiceway.catalog.rollouts import LookRow, RolloutStore
from sluiceway.config.deployment import DeploymentSection, RollbackSection
from sluiceway.core.command import Order
from sluiceway.core.moments import Moments
from sluiceway.gates.statistics.proportions import Pairs
from sluiceway.rollout.controller import run
from sluiceway.rollout.evidence import ArmSeen, Observations, StepSeen
from sluiceway.rollout.journal import Journal
from sluiceway.rollout.looks import from_text, read, to_text
from sluiceway.rollout.means_seen import PairedMoments, ValuesSeen
from sluiceway.rollout.replay import replay, with_policy
from sluiceway.rollout.state import Phase, RolloutState

counts = st.integers(0, 10**6)
arms = st.builds(ArmSeen, counts, counts, st.lists(counts, max_size=97).map(tuple))
pairs = st.builds(Pairs, counts, counts, counts, counts)
moments = st.builds(Moments, counts, st.floats(0, 1e9), st.floats(0, 1e9))
paired = st.none() | st.builds(PairedMoments, moments, moments)
values = st.lists(moments, max_size=3).map(tuple)
STEPS = ({"weight": 0.05}, {"weight": 0.25}, {"weight": 1.0})


@given(
    st.builds(
        Observations,
        st.lists(st.builds(StepSeen, st.floats(0, 1), arms, arms), max_size=3).map(tuple),
        pairs,
        pairs,
        counts,
        counts,
        st.booleans(),
        st.lists(st.text(max_size=9), max_size=2).map(tuple),
        arms,
        paired,
        paired,
        st.none() | st.builds(ValuesSeen, st.just(0.0), st.just(9.5), values, values, counts),
    )
)
@settings(max_examples=50)
def test_what_was_seen_survives_the_catalog(seen):
    assert from_text(to_text(seen)) == seen


def test_a_look_of_a_release_that_knew_no_means_is_read():
    body = json.loads(to_text(Observations((StepSeen(0.5),))))
    for name in ("score_shift", "loss", "business"):
        del body[name]
    assert from_text(json.dumps(body)) == Observations((StepSeen(0.5),))


def rolled_out(plan, *, poll_seconds=1, **qualities):
    world = World.served(**qualities)
    return world, run(plan, world.doors(), poll_seconds=poll_seconds)


@pytest.mark.parametrize(
    "qualities",
    [{}, {"errors": (0.0, 0.33)}, {"wrong": (0.08, 0.02)}, {"slow": (0.005, 0.2)}, {"delay": 60.0}],
    ids=["good", "errors", "wrong", "slow", "late outcomes"],
)
def test_its_own_policy_does_what_was_done(qualities):
    plan = make_plan(steps=STEPS, probation_seconds=300.0, on_inconclusive="continue")
    world, outcome = rolled_out(plan, **qualities)
    found = replay(plan, read(world.rollouts, "r1"))
    done = {"promoted": "confirm", "rolled_back": "roll back"}[outcome.status]
    assert found[-1].action == done
    assert [step.action for step in found[:-1]] == ["advance"] * min(2, len(found) - 1) + ["promote"] * (len(found) > 3)
    assert found[-1].reason == outcome.reason
    entries = [RolloutState.from_json(row.state) for row in world.rollouts.journal("r1")]
    begun = [entry.since for entry in entries if entry.phase in (Phase.STEP, Phase.PROBATION)]
    assert len(found) == len(begun)


def test_a_pause_of_its_plan_is_judged_on_by_another_one():
    plan = make_plan(steps=({"weight": 0.05, "max_seconds": 10}, {"weight": 1.0}), on_inconclusive="pause")
    world = Commanded.served(rate=100)
    world.said = ((2300, Order.ABORT),)
    assert run(plan, replace(world.doors(), stays=True), poll_seconds=1).status == "rolled_back"
    looks = read(world.rollouts, "r1")
    assert [step.action for step in replay(plan, looks)] == ["pause"]
    patient = with_policy(plan, DeploymentSection(steps=[{"weight": 0.05, "max_seconds": 900}, {"weight": 1.0}]))
    assert [step.action for step in replay(patient, looks)] == ["advance"]


def test_a_manual_stage_of_a_policy_is_not_passed_by_its_deadline():
    plan = make_plan(steps=({"weight": 0.5, "max_seconds": 60}, {"weight": 1.0}), on_inconclusive="continue")
    world = World.served(outcomes=False)
    run(plan, world.doors(), poll_seconds=1)
    looks = read(world.rollouts, "r1")
    assert replay(plan, looks)[0].action == "advance"
    steps = [{"weight": 0.5, "max_seconds": 60, "manual": True}, {"weight": 1.0}]
    manual = with_policy(plan, DeploymentSection(steps=steps, on_inconclusive="continue"))
    assert [step.action for step in replay(manual, looks)] == ["pause"]


def test_a_pause_of_a_person_is_no_time_of_the_step():
    plan = make_plan(steps=({"weight": 0.5, "max_seconds": 150}, {"weight": 1.0, "max_seconds": 900}))
    world = Commanded.served(rate=6)
    world.said = ((2003, Order.PAUSE), (2100, Order.RESUME))
    assert run(plan, replace(world.doors(), stays=True), poll_seconds=1).status == "promoted"
    assert [step.action for step in replay(plan, read(world.rollouts, "r1"))] == ["advance", "promote"]


def test_who_has_paused_is_recorded_and_journals_of_before_only_have_the_words():
    plan = make_plan(steps=({"weight": 0.5, "max_seconds": 150}, {"weight": 1.0}), on_inconclusive="pause")
    world = Commanded.served(rate=6)
    world.said = ((2003, Order.PAUSE), (2100, Order.RESUME), (2900, Order.ABORT))
    run(plan, replace(world.doors(), stays=True), poll_seconds=1)
    states = [json.loads(row.state) for row in world.rollouts.journal("r1")]
    assert {state["by_person"] for state in states if state["reason"] == "paused by ann"} == {True}
    assert not any(state["by_person"] for state in states if state["reason"] != "paused by ann")
    for state in states:
        old = {name: value for name, value in state.items() if name != "by_person"}
        assert RolloutState.from_json(json.dumps(old)) == RolloutState.from_json(json.dumps(state))
    worded = RolloutState(Phase.PAUSED, 0, reason="paused for lunch by its plan")
    assert RolloutState.from_json(worded.to_json()) == worded


def test_a_probation_that_may_not_be_undone_is_judged_on_by_another_policy():
    plan = make_plan(steps=STEPS, probation_seconds=300.0, on_inconclusive="continue")
    kept = replace(plan, rollback=RollbackSection(enabled=False))
    late = tuple(step.model_copy(update={"max_seconds": 20.0}) for step in kept.steps)
    world, outcome = rolled_out(replace(kept, steps=late), delay=120.0, wrong=(0.06, 0.02))
    looks = read(world.rollouts, "r1")
    assert (outcome.status, looks[-1].state.phase) == ("paused", Phase.PROBATION)
    assert replay(replace(kept, steps=late), looks)[-1].action == "pause"
    assert replay(replace(plan, steps=late), looks)[-1].action == "roll back"


def test_another_policy_would_have_gone_back_earlier_or_waited():
    plan = make_plan(steps=STEPS)
    world, outcome = rolled_out(plan, errors=(0.0, 0.012))
    assert outcome.status == "promoted"
    looks = read(world.rollouts, "r1")
    (strict,) = replay(with_policy(plan, DeploymentSection(limits={"error_rate": 0.001, "min_requests": 50})), looks)
    assert (strict.name, strict.action) == ("5%", "roll back")
    assert "error_rate_limit" in strict.reason
    assert 50 <= strict.requests < outcome.requests["challenger"]
    (patient,) = replay(with_policy(plan, DeploymentSection(margins={"accuracy": 0.001})), looks)
    assert patient.action == "still wait"
    assert patient.verdicts
    quick = replay(with_policy(plan, DeploymentSection(margins={"accuracy": 0.2, "error_rate": 0.2})), looks)
    assert [step.action for step in quick] == ["advance", "advance", "promote"]
    assert quick[0].seconds <= replay(plan, looks)[0].seconds


def test_few_looks_are_kept_of_a_long_time_and_none_twice():
    plan = make_plan(steps=({"weight": 0.5, "max_seconds": 86_400.0}, {"weight": 1.0}), on_inconclusive="pause")
    world, _ = rolled_out(plan, poll_seconds=30, rate=0.05, outcomes=False)
    looks = read(world.rollouts, "r1")
    assert len(looks) < 1200
    assert looks[-1].time - looks[0].time > 80_000
    world, _ = rolled_out(make_plan(steps=STEPS, on_inconclusive="pause"), rate=0)
    assert len(read(world.rollouts, "r1")) <= 4  # nothing was seen: the first looks, the one that paused it, the pause


def test_the_command_tells_what_a_policy_would_have_done(tmp_path):
    plan = make_plan(steps=STEPS)
    world, _ = rolled_out(plan, errors=(0.0, 0.012))
    (tmp_path / ".sluiceway").mkdir()
    engine = open_catalog(f"sqlite:///{tmp_path / '.sluiceway' / 'catalog.db'}")
    store = RolloutStore(engine)
    Journal.begin(store, plan)
    for row in world.rollouts.looks("r1"):
        store.look("r1", row)
        store.look("r1", LookRow(row.time, "another", "one"))  # of its time there is one
    engine.dispose()
    rows = sluiceway(tmp_path, "rollout", "replay", "r1")
    assert [row["would"] for row in rows] == ["advance", "advance", "promote"]
    assert sluiceway(tmp_path, "rollout", "replay", "flights") == rows
    assert [type(rows[0][name]) for name in ("step", "seconds", "requests")] == [str, float, int]
    document = {
        "experiment": {"name": "x"},
        "data": {"path": "t", "features": ["a"], "target": "b"},
        "deployment": {"limits": {"error_rate": 0.001, "min_requests": 50}},
    }
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(document))
    (row,) = sluiceway(tmp_path, "rollout", "replay", "r1", "--policy", "other.yaml")
    assert (row["step"], row["would"]) == ("5%", "roll back")
    sluiceway(tmp_path, "rollout", "replay", "r9", expect=2)
