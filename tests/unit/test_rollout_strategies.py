"""Shadow first, blue/green, and at most so many failures: whole rollouts in a world without Ray."""

from __future__ import annotations

import json

import pytest

from rollout_world import CHAMPION, STRATEGIES, Crash, World, arm_seen, make_plan, plan_of, step_seen
from sluiceway.config.deployment import LimitsSection, RollbackSection
from sluiceway.config.stages import ShadowSection, StepSection
from sluiceway.core.command import Order
from sluiceway.core.errors import InputError
from sluiceway.core.traffic import Arm
from sluiceway.rollout.controller import resume, run
from sluiceway.rollout.decide import Advance, Hold, RollBack, decide
from sluiceway.rollout.evidence import Observations
from sluiceway.rollout.looks import read
from sluiceway.rollout.plan import RolloutPlan
from sluiceway.rollout.replay import replay
from sluiceway.rollout.state import Phase, RolloutState

TWO = Arm("2", 1.0, "bundles/two", "d2")


def moves(world):
    """Of each document: (weight of the new version as challenger, its share as shadow, who is kept warm)."""
    return [
        (
            sum(arm.weight for arm in document.challengers),
            sum(arm.weight for arm in document.shadows),
            [arm.version for arm in document.warm],
        )
        for document in world.moves
    ]


def states(world):
    return [RolloutState.from_json(row.state) for row in world.rollouts.journal("r1")]


def test_a_shadow_is_judged_before_anybody_is_answered_by_it():
    world = World.served()
    outcome = run(plan_of(STRATEGIES["shadow, canary"]), world.doors(), poll_seconds=1)
    assert outcome.status == "promoted"
    assert moves(world) == [(0, 0.2, []), (0.25, 0, []), (1.0, 0, []), (0, 0, ["1"])]
    assert [step.name for step in outcome.steps] == ["shadow 20%", "25%", "100%"]
    first = {metric.metric: metric for metric in outcome.steps[0].metrics}
    assert set(first) == {"error_rate", "latency_p99", "accuracy"}
    assert all(metric.status == "PASS" and metric.n >= metric.n_needed for metric in first.values())
    assert world.moves[0].shadows == (Arm("2", 0.2, "bundles/two", "d2", "flights-challenger-2"),)


@pytest.mark.parametrize(
    ("qualities", "cause"),
    [
        ({"errors": (0.0, 0.33)}, "error_rate"),
        ({"slow": (0.005, 0.2)}, "latency_p99"),
        ({"wrong": (0.08, 0.02)}, "accuracy"),
    ],
    ids=["fails", "slow", "wrong"],
)
@pytest.mark.parametrize("strategy", ["shadow, canary", "shadow, blue/green"])
def test_a_bad_shadow_answers_nobody(strategy, qualities, cause):
    world = World.served(**qualities)
    outcome = run(plan_of(STRATEGIES[strategy]), world.doors(), poll_seconds=1)
    assert (outcome.status, outcome.cause) == ("rolled_back", cause)
    assert not any(document.challengers for document in world.moves)
    assert (world.applied.champion, world.applied.shadows) == (CHAMPION, ())
    assert not world.applications


def test_without_outcomes_a_shadow_stays_one_until_its_deadline():
    world = World.served(outcomes=False)
    outcome = run(plan_of(STRATEGIES["shadow, canary"]), world.doors(), poll_seconds=60)
    assert (outcome.status, outcome.cause) == ("rolled_back", None)
    assert "not enough evidence after 600 s at shadow 20%" in outcome.reason
    assert [weight for weight, _, _ in moves(world)] == [0, 0]


def test_blue_green_switches_all_requests_at_once_and_keeps_the_old_one_warm():
    world = World.served()
    outcome = run(plan_of(STRATEGIES["blue/green"], probation_seconds=300.0), world.doors(), poll_seconds=1)
    assert outcome.status == "promoted"
    assert moves(world) == [(0, 0, ["2"]), (1.0, 0, []), (0, 0, ["1"])]
    assert [step.name for step in outcome.steps] == ["warm", "100%"]
    # In between the champion has no requests and is scored in the replicas still: going back loads nothing.
    assert world.moves[1].champion == Arm("1", 0.0, "bundles/one", "d1")
    # Before the switch as many of its requests are seen as the judgement after it takes.
    (needed,) = outcome.steps[0].metrics
    assert (needed.metric, needed.n >= needed.n_needed >= 568) == ("champion_requests", True)
    assert "in the earlier steps" in outcome.steps[1].metrics[0].line
    assert world.applied.champion == TWO
    assert Phase.PROBATION in [state.phase for state in states(world)]


@pytest.mark.parametrize(
    ("qualities", "cause"),
    [
        ({"errors": (0.01, 0.2)}, "error_rate"),
        ({"slow": (0.005, 0.2)}, "latency_p99"),
        ({"wrong": (0.08, 0.02)}, "accuracy"),
    ],
    ids=["fails", "slow", "wrong"],
)
def test_after_the_switch_it_is_judged_against_the_earlier_numbers_and_goes_back_at_once(qualities, cause):
    for seed in range(3):
        world = World.served(**qualities, seed=seed)
        outcome = run(plan_of(STRATEGIES["blue/green"]), world.doors(), poll_seconds=0.5)
        assert (outcome.status, outcome.cause) == ("rolled_back", cause), outcome
        assert moves(world) == [(0, 0, ["2"]), (1.0, 0, []), (0, 0, [])]
        assert world.applied.champion == CHAMPION
        assert outcome.steps[1].seconds < 20


def test_nothing_is_switched_without_the_champions_own_numbers():
    world = World.served(rate=0)
    outcome = run(plan_of(STRATEGIES["blue/green"] | {"on_inconclusive": "continue"}), world.doors(), poll_seconds=60)
    # Not even where it is told to go on: there is nothing to judge by afterwards.
    assert (outcome.status, [weight for weight, _, _ in moves(world)]) == ("paused", [0])
    assert "champion_requests" in outcome.reason


def test_a_person_may_be_waited_for_before_the_switch():
    plan = plan_of({"strategy": "blue_green", "shadow": {"share": 0, "manual": True}})
    world = World.served()
    told = False

    def sleep(seconds, sleep=world.sleep):
        nonlocal told
        sleep(seconds)
        if not told and world.time > 2100:
            assert moves(world) == [(0, 0, ["2"])]
            world.rollouts.command("r1", Order.ADVANCE)
            told = True

    world.sleep = sleep
    assert run(plan, world.doors(), poll_seconds=1).status == "promoted"
    assert states(world)[1].reason == "advanced by ann"


def test_metrics_that_decide_nothing_need_no_numbers_of_the_champion():
    plan = plan_of(STRATEGIES["blue/green"], dry_run=("error_rate", "latency_p99"))
    state = RolloutState(Phase.STEP, 0, 2, since=0.0, generations=(2,))
    seen = Observations((step_seen(plan.steps[0], arm_seen(0), arm_seen(0)),))
    decision = decide(plan, state=state, observations=seen, now=1.0)
    assert isinstance(decision.action, Advance)
    wanted = plan_of(STRATEGIES["blue/green"], limits=LimitsSection(error_rate=0.01))
    decision = decide(wanted, state=state, observations=seen, now=1.0)
    # A version that is only warm has done nothing that a limit could be held against.
    assert [verdict.measurement.name for verdict in decision.verdicts] == ["champion_requests"]
    assert isinstance(decision.action, Hold)


def test_how_fast_a_shadow_scores_does_not_hide_slow_answers():
    plan = plan_of(STRATEGIES["shadow, canary"])
    world = World.served(slow=(0.005, 0.005))
    world.rate = 4000
    observe = world.observe

    def slow_once_it_answers(plan, state):
        if state.step == 1:
            world.latency[1] = World(slow=(0.005, 0.2)).latency[1]
        return observe(plan, state)

    world.observe = slow_once_it_answers
    outcome = run(plan, world.doors(), poll_seconds=2)
    assert (outcome.status, outcome.cause) == ("rolled_back", "latency_p99")
    assert len(outcome.steps) == 2


def test_intervals_without_evidence_are_counted_and_one_too_many_goes_back():
    plan = plan_of(STRATEGIES["at most 2 failures"])
    world = World.served(outcomes=False)
    outcome = run(plan, world.doors(), poll_seconds=7)
    assert (outcome.status, outcome.cause) == ("rolled_back", None)
    assert "after 3 intervals that failed at 50%" in outcome.reason
    found = states(world)
    assert [(state.failures, state.checks) for state in found] == [(0, 0), (1, 1), (2, 2), (2, 2), (2, 2)]
    assert "interval 1 at 50% has failed, 1 of 2: canary accuracy" in found[1].reason
    assert found[0].generation == found[2].generation
    assert 300 <= outcome.seconds < 330


class Waiting(World):
    """Outcomes that are known from some time on."""

    def sleep(self, seconds):
        self.outcomes = self.time >= 2000.0 + self.waits
        super().sleep(seconds)


@pytest.mark.parametrize(("waits", "seconds"), [(0, 200), (150, 300), (210, 400)])
def test_a_step_goes_on_at_the_end_of_an_interval_only(waits, seconds):
    world = Waiting.served()
    world.waits = waits
    plan = plan_of(STRATEGIES["at most 2 failures"])
    outcome = run(plan, world.doors(), poll_seconds=5)
    assert outcome.status == "promoted"
    assert seconds <= outcome.seconds <= seconds + 25
    # By its own policy the replay does what was done, failed intervals and all.
    assert [step.action for step in replay(plan, read(world.rollouts, "r1"))] == ["advance", "promote"]


def test_failures_are_those_of_the_whole_rollout_and_a_pause_begins_the_interval_anew():
    plan = plan_of(STRATEGIES["at most 2 failures"] | {"on_inconclusive": "pause"})
    world = World.served(outcomes=False)
    assert run(plan, world.doors(), poll_seconds=10).status == "paused"
    assert resume("r1", world.doors(), poll_seconds=10).status == "paused"
    assert states(world)[-1].failures == 2
    began = world.time
    world.outcomes = True
    assert resume("r1", world.doors(), poll_seconds=10).status == "promoted"
    assert world.time - began >= 200


def test_a_metric_that_fails_is_not_waited_for():
    world = World.served(errors=(0.0, 0.33))
    outcome = run(plan_of(STRATEGIES["at most 2 failures"]), world.doors())
    assert (outcome.status, outcome.cause) == ("rolled_back", "error_rate")
    assert outcome.seconds < 10


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("qualities", [{}, {"errors": (0.0, 0.33)}], ids=["promoted", "rolled back"])
def test_a_crash_anywhere_ends_in_the_same_state(name, qualities):
    plan = plan_of(STRATEGIES[name])
    undisturbed = World.served(**qualities)
    status = run(plan, undisturbed.doors(), poll_seconds=20).status
    assert status == ("rolled_back" if qualities else "promoted")
    for crash_at in range(1, undisturbed.operations + 1):
        world = World.served(**qualities, seed=crash_at)
        world.crash_at = crash_at
        with pytest.raises(Crash):
            run(plan, world.doors(), poll_seconds=20)
        run(plan, world.doors(), poll_seconds=20)
        assert world.end_state() == undisturbed.end_state(), crash_at
        assert moves(world) == moves(undisturbed), crash_at


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_plan_survives_the_catalog_and_its_replay_does_what_was_done(name):
    plan = plan_of(STRATEGIES[name], rollback=RollbackSection(enabled=False))
    assert RolloutPlan.from_json(plan.to_json()) == plan
    world = World.served()
    assert run(plan, world.doors(), poll_seconds=1).status == "promoted"
    found = replay(plan, read(world.rollouts, "r1"))
    assert [step.name for step in found] == [step.name for step in plan.steps]
    assert [step.action for step in found] == ["advance"] * (len(plan.steps) - 1) + ["promote"]


def test_a_plan_of_an_earlier_release_is_a_canary():
    body = json.loads(make_plan().to_json())
    for new in ("strategy", "max_failures"):
        del body[new]
    plan = RolloutPlan.from_json(json.dumps(body))
    assert plan == make_plan()
    assert (plan.strategy, plan.max_failures) == ("canary", None)


def test_only_the_first_stage_answers_nobody():
    with pytest.raises(InputError, match="have to rise"):
        make_plan(steps=(StepSection(weight=0.5), ShadowSection(), StepSection(weight=1.0)))
    with pytest.raises(InputError, match="have to rise"):
        make_plan(steps=(ShadowSection(), ShadowSection(share=0.5), StepSection(weight=1.0)))


def test_a_failure_in_the_stage_before_stays_one():
    plan = plan_of(STRATEGIES["shadow, canary"])
    bad = step_seen(plan.steps[0], arm_seen(2000), arm_seen(400, 400))
    state = RolloutState(Phase.STEP, 0, 2, since=0.0, generations=(2,))
    decision = decide(plan, state=state, observations=Observations((bad,)), now=1.0)
    assert isinstance(decision.action, RollBack)
