"""An A/B/n test: versions with fixed weights, the bad ones stopped, the best one promoted or nobody."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from rollout_world import CHAMPION, Crash, World, arm_seen, plan_of
from sluiceway.config.deployment import PolicySection, RollbackSection
from sluiceway.core.command import Command, Order
from sluiceway.core.errors import InputError
from sluiceway.core.traffic import Arm
from sluiceway.core.verdict import Status
from sluiceway.gates.statistics.proportions import Pairs
from sluiceway.rollout.controller import run
from sluiceway.rollout.decide import Hold, Pause, Promote, Stop, decide, follow
from sluiceway.rollout.evidence import ArmSeen, Observations, StepSeen
from sluiceway.rollout.looks import from_text, read, to_text
from sluiceway.rollout.plan import RolloutPlan
from sluiceway.rollout.replay import replay
from sluiceway.rollout.state import Phase, RolloutState

OTHERS = tuple(Arm(v, 0.0, f"bundles/{v}", f"d{v}", f"flights-challenger-{v}") for v in "34")
SAME, BETTER, WORSE = (0.02, 0.02), (0.01, 0.05), (0.08, 0.02)


def make_test(metric="accuracy", *, others=OTHERS, on_inconclusive="rollback", **changes):
    ab = {"weight": 0.2, "min_seconds": 60, "min_requests": 1000, "max_seconds": 300, "metric": metric}
    return plan_of({"strategy": "ab", "ab": ab, "on_inconclusive": on_inconclusive}, others=others, **changes)


class Versions(World):
    """A world with several challengers.

    Args:
        wrong: by version, shares of pairs on which (only the champion, only it) is right.
        errors: by version, shares of requests that fail.
    """

    def __init__(self, *, wrong=None, errors=None, rate=1000, seed=0):
        super().__init__(rate=rate, seed=seed)
        self.wrong_of, self.errors_of = wrong or {}, errors or {}
        self.arms = defaultdict(ArmSeen)  # by generation and version
        self.pairs = defaultdict(lambda: np.zeros(4, dtype=int))

    def sleep(self, seconds):
        self.time += seconds
        for arm in (self.applied.champion, *self.applied.challengers):
            n = int(self.random.poisson(self.rate * seconds * arm.weight))
            failed = int(self.random.binomial(n, self.errors_of.get(arm.version, 0.0)))
            latency = tuple(self.random.multinomial(n, self.latency[0]).tolist())
            self.arms[self.applied.generation, arm.version] += ArmSeen(n, failed, latency)
            lost, gained = self.wrong_of.get(arm.version, SAME)
            shares = [0.85 - lost, lost, gained, 0.15 - gained]
            self.pairs[arm.version] += self.random.multinomial(n - failed, shares)

    def observe(self, plan, state):
        seen = []
        for version in plan.versions:
            champion, challenger = (
                sum((self.arms[g, one] for g in state.generations), ArmSeen()) for one in ("1", version)
            )
            pairs = Pairs(*(int(n) for n in self.pairs[version]))
            weight = plan.steps[0].weight / (1 - plan.steps[0].weight * len(plan.others))
            seen.append(Observations((StepSeen(weight, champion, challenger),), pairs, pairs, pairs.n))
        return replace(seen[0], others=tuple(seen[1:]))

    def started(self, plan):
        with self.step():
            self.applications |= set(plan.applications)

    def promoted(self, plan):
        with self.step():
            self.aliases["champion"] = plan.version
            self.applications -= set(plan.applications)

    def rolled_back(self, plan, reason):
        with self.step():
            self.aliases["champion"] = plan.champion.version
            self.applications -= set(plan.applications)


def weights(world):
    return [
        {arm.version: round(arm.weight, 9) for arm in (document.champion, *document.challengers)}
        for document in world.moves
    ]


def test_the_best_version_wins_and_the_others_go():
    world = Versions.served(wrong={"2": SAME, "3": BETTER, "4": (0.01, 0.03)})
    outcome = run(make_test(probation_seconds=60.0), world.doors(), poll_seconds=1)
    assert outcome.status == "promoted"
    assert weights(world) == [{"1": 0.4, "2": 0.2, "3": 0.2, "4": 0.2}, {"3": 1.0}]
    assert world.applied.champion == Arm("3", 1.0, "bundles/3", "d3")
    assert world.applied.warm == (Arm("1", 0.0, "bundles/one", "d1"),)
    assert (world.aliases["champion"], world.applications) == ("3", set())
    states = [RolloutState.from_json(row.state) for row in world.rollouts.journal("r1")]
    assert [state.winner for state in states] == ["", "3", "3", "3"]
    assert states[1].reason.startswith("version 3 is better in accuracy")
    # Not before each version has had its time and its requests.
    assert outcome.steps[0].seconds >= 60
    assert outcome.requests["challenger"] >= 3000


def test_a_version_that_fails_is_stopped_at_once_and_the_others_go_on():
    world = Versions.served(errors={"2": 0.33}, wrong={"3": BETTER})
    outcome = run(make_test(), world.doors(), poll_seconds=0.5)
    assert outcome.status == "promoted"
    assert weights(world) == [
        {"1": 0.4, "2": 0.2, "3": 0.2, "4": 0.2},
        {"1": 0.6, "2": 0.0, "3": 0.2, "4": 0.2},
        {"3": 1.0},
    ]
    states = [RolloutState.from_json(row.state) for row in world.rollouts.journal("r1")]
    assert states[1].stopped == ("2",)
    assert states[1].since == states[0].since  # the test goes on, and its time with it
    assert "error_rate" in states[1].reason
    found = replay(make_test(), read(world.rollouts, "r1"))
    assert [step.action for step in found] == ["stop a version", "promote"]


class Paused(Versions):
    """Somebody pauses the rollout before it has seen anything, and aborts it after two minutes."""

    def sleep(self, seconds):
        super().sleep(seconds)
        if self.time == 2120:
            self.rollouts.command("r1", Order.ABORT)


def test_a_version_that_fails_in_a_pause_is_stopped():
    world = Paused.served(errors={"2": 0.33}, rate=20)
    world.rollouts.command("r1", Order.PAUSE)
    assert run(make_test(), replace(world.doors(), stays=True), poll_seconds=1).status == "rolled_back"
    assert weights(world) == [
        {"1": 0.4, "2": 0.2, "3": 0.2, "4": 0.2},
        {"1": 0.6, "2": 0.0, "3": 0.2, "4": 0.2},
        {"1": 1.0},
    ]
    states = [RolloutState.from_json(row.state) for row in world.rollouts.journal("r1")]
    assert [(state.phase, state.stopped) for state in states[1:3]] == [(Phase.PAUSED, ()), (Phase.PAUSED, ("2",))]


def test_with_nobody_left_the_champion_has_all():
    world = Versions.served(wrong={"2": WORSE, "3": WORSE, "4": WORSE})
    outcome = run(make_test(), world.doors(), poll_seconds=1)
    assert (outcome.status, outcome.cause) == ("rolled_back", "accuracy")
    assert outcome.reason.startswith("no version is left; version ")
    assert [sum(document.values()) for document in weights(world)] == pytest.approx([1.0] * 4)
    assert world.applied.champion == CHAMPION
    assert not world.applications


@pytest.mark.parametrize(("policy", "status"), [("rollback", "rolled_back"), ("pause", "paused")])
def test_where_no_version_is_better_the_champion_stays(policy, status):
    for seed in range(3):
        world = Versions.served(seed=seed)
        outcome = run(make_test(on_inconclusive=policy), world.doors(), poll_seconds=10)
        assert (outcome.status, outcome.cause) == (status, None)
        assert "no version is better than the champion after 300 s" in outcome.reason


def test_the_declared_metric_decides_and_the_others_must_not_be_worse():
    errors = {"1": 0.05, "2": 0.005, "3": 0.05, "4": 0.05}
    world = Versions.served(errors=errors)
    assert run(make_test("error_rate"), world.doors(), poll_seconds=1).status == "promoted"
    assert world.aliases["champion"] == "2"
    # Better in errors, worse in accuracy: it is stopped for that.
    world = Versions.served(errors=errors, wrong={"2": WORSE})
    assert run(make_test("error_rate"), world.doors(), poll_seconds=1).status == "rolled_back"


@pytest.mark.soak
def test_a_version_that_is_no_better_seldom_wins():
    won = 0
    for seed in range(200):
        world = Versions.served(seed=seed)
        won += run(make_test(), world.doors(), poll_seconds=5).status == "promoted"
    # margins.alpha is 0.05 for all three together; 20 of 200 would be beyond 99.9 % of that.
    assert won < 20


def test_a_person_may_abort_a_test_and_cannot_say_who_wins():
    plan, world = make_test(), Versions.served()
    world.rollouts.command("r1", Order.PROMOTE)
    sleep = world.sleep

    def slept(seconds):
        sleep(seconds)
        if world.time == 2002:
            world.rollouts.command("r1", Order.ABORT, reason="enough")

    world.sleep = slept
    outcome = run(plan, world.doors(), poll_seconds=1)
    assert (outcome.status, outcome.reason) == ("rolled_back", "by ann: enough")
    refused = [row.action for row in world.rollouts.journal("r1")][1]
    assert "promote by ann is refused: which version is the best only the test can say" in refused


@pytest.mark.parametrize(
    "qualities",
    [{"wrong": {"3": BETTER}}, {"errors": {"2": 0.33}, "wrong": {"4": BETTER}}, {"errors": dict.fromkeys("234", 0.33)}],
    ids=["won", "stopped and won", "nobody left"],
)
def test_a_crash_anywhere_ends_in_the_same_state(qualities):
    plan = make_test()
    undisturbed = Versions.served(**qualities)
    run(plan, undisturbed.doors(), poll_seconds=20)
    for crash_at in range(1, undisturbed.operations + 1):
        world = Versions.served(**qualities, seed=crash_at)
        world.crash_at = crash_at
        with pytest.raises(Crash):
            run(plan, world.doors(), poll_seconds=20)
        run(plan, world.doors(), poll_seconds=20)
        assert world.end_state() == undisturbed.end_state(), crash_at
        assert len(world.moves) == len(undisturbed.moves)


@st.composite
def observed(draw, plan):
    def one():
        requests = draw(st.sampled_from([0, 40, 3000]))
        errors = int(requests * draw(st.sampled_from([0, 0, 0.01, 0.3, 1])))
        lost, gained = (int(requests * draw(st.sampled_from([0.01, 0.05, 0.2]))) for _ in range(2))
        pairs = Pairs(max(0, requests - lost - gained), lost, gained, 0)
        breakers = draw(st.sampled_from([(), (), ("a: 5 errors in a row",)]))
        arms = (arm_seen(3000), arm_seen(requests, errors))
        return Observations((StepSeen(1 / 3, *arms),), pairs, pairs, pairs.n, breakers=breakers)

    seen = [one() for _ in plan.versions]
    return replace(seen[0], others=tuple(seen[1:]))


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_the_promises_hold_whatever_is_seen_and_said(data):
    plan = make_test(on_inconclusive=data.draw(st.sampled_from(["rollback", "pause", "hold"])))
    state, now = RolloutState(since=0.0), 0.0
    for number in range(1, 14):
        seen = data.draw(observed(plan)) if state.phase in (Phase.STEP, Phase.PAUSED) else None
        order = data.draw(st.sampled_from([None, None, None, *Order]))
        command = None if order is None else Command(number, order, "ann", "", 0.0)
        now += data.draw(st.sampled_from([1, 70, 200]))
        decision = decide(plan, state=state, observations=seen, now=now, command=command)
        assert decide(plan, state=state, observations=seen, now=now, command=command) == decision
        action = decision.action
        failed = {v.measurement.name.split()[0] for v in decision.verdicts if v.status is Status.FAIL}
        if isinstance(action, Stop):
            assert action.version not in state.stopped
        if isinstance(action, Promote):
            assert action.winner in plan.versions
            assert action.winner not in failed | set(state.stopped)
            assert not failed
            assert now - state.since >= 60
        after = follow(state, action, newest_generation=state.generation, now=now)
        assert set(after.stopped) >= set(state.stopped)
        assert len(after.stopped) < len(plan.versions)
        if after.phase is Phase.STEP:
            document = plan.step_document(0, generation=after.generation, stopped=after.stopped)
            shares = {arm.version: arm.weight for arm in document.challengers}
            assert shares == {v: 0.0 if v in after.stopped else 0.2 for v in plan.versions}
            assert document.champion.weight + sum(shares.values()) == pytest.approx(1)
            assert len(after.generations) == 1 + len(after.stopped)
        if isinstance(action, Hold | Pause):
            assert after.generation == state.generation
        if state.phase in (Phase.PROMOTING, Phase.ROLLING_BACK):
            assert after is state or (order is Order.ABORT and after.phase is Phase.ROLLING_BACK)
        state = after


def test_it_survives_the_catalog_and_the_looks():
    plan = make_test()
    assert RolloutPlan.from_json(plan.to_json()) == plan
    won = plan.won_by("4")
    assert (won.version, won.bundle, won.application) == ("4", "bundles/4", "flights-challenger-4")
    assert sorted(won.versions) == ["2", "3", "4"]
    assert plan.won_by("") is plan
    assert set(won.applications) == set(plan.applications)
    state = RolloutState(Phase.STEP, 0, 3, generations=(2, 3), stopped=("4",), winner="3")
    assert RolloutState.from_json(state.to_json()) == state
    step = StepSeen(0.5, arm_seen(5), arm_seen(3, 1))
    seen = Observations((step,), others=(Observations((step,)), Observations((step,), Pairs(1, 2, 3, 4))))
    assert from_text(to_text(seen)) == seen
    assert seen.requests() == {"champion": 5, "challenger": 9}


def test_with_rollback_disabled_a_version_that_fails_is_waited_with():
    world = Versions.served(errors={"3": 0.33})
    outcome = run(make_test(rollback=RollbackSection(enabled=False)), world.doors())
    assert (outcome.status, outcome.cause) == ("paused", "error_rate")
    assert len(world.moves) == 1


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"ab": {"weight": 0.5, "min_seconds": 9, "others": ["3"]}}, "the champion needs some"),
        ({"ab": {"weight": 0.1}}, "give one of them"),
        ({"ab": {"min_seconds": 9}, "shadow": {}}, "neither continue nor manual"),
        ({"ab": {"min_seconds": 9, "manual": True}}, "neither continue nor manual"),
        ({"ab": {"min_seconds": 9}, "on_inconclusive": "continue"}, "neither continue nor manual"),
    ],
)
def test_a_test_that_cannot_be_is_refused(wrong, told):
    with pytest.raises(ValidationError, match=told):
        PolicySection.model_validate({"strategy": "ab", **wrong})


@pytest.mark.parametrize(
    ("others", "told"),
    [
        ((OTHERS[0], OTHERS[0]), "version 3 is in it twice"),
        ((Arm("2", 0.0, "b", "d", "a"),), "version 2 is in it twice"),
    ],
)
def test_no_version_is_in_a_test_twice(others, told):
    with pytest.raises(InputError, match=told):
        make_test(others=others)
    with pytest.raises(InputError, match="champion"):
        make_test(others=(replace(CHAMPION, application="a"),))


def test_one_version_is_enough():
    world = Versions.served(wrong={"2": BETTER})
    assert run(make_test(others=()), world.doors(), poll_seconds=1).status == "promoted"
    assert weights(world) == [{"1": 0.8, "2": 0.2}, {"2": 1.0}]
    world = Versions.served(errors={"2": 0.33})
    outcome = run(make_test(others=()), world.doors())
    assert (outcome.status, outcome.cause) == ("rolled_back", "error_rate")
