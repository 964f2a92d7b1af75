"""A promotion is provisional: what turns out bad afterwards is undone by itself, or by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rollout_world import CHAMPION, Crash, World, make_plan
from sluiceway.config.deployment import LimitsSection, RollbackSection
from sluiceway.core.command import Command, Order
from sluiceway.core.traffic import Arm
from sluiceway.gates.statistics.proportions import Pairs
from sluiceway.rollout.controller import abort, run
from sluiceway.rollout.decide import Hold, RollBack, decide, follow
from sluiceway.rollout.evidence import Observations, StepSeen
from sluiceway.rollout.hooks import NoHooks
from sluiceway.rollout.plan import plan_first
from sluiceway.rollout.state import Phase, RolloutState

# Outcomes come two minutes late: the steps go on without them.
STEPS = tuple({"weight": weight, "max_seconds": 20} for weight in (0.1, 0.5, 1.0))


def plan(**changes):
    values = {"steps": STEPS, "on_inconclusive": "continue", "probation_seconds": 600.0, "keeps_warm": True}
    return make_plan(**(values | changes))


def phases(world):
    return [RolloutState.from_json(row.state).phase for row in world.rollouts.journal("r1")]


def test_a_good_version_is_confirmed_when_its_probation_is_over():
    world = World.served(delay=120.0)
    outcome = run(plan(), world.doors(), poll_seconds=1)
    assert outcome.status == "promoted"
    assert outcome.reason.startswith("after 600 s of probation: canary accuracy")
    assert phases(world)[-3:] == [Phase.PROMOTING, Phase.PROBATION, Phase.PROMOTED]
    assert world.applied.champion == Arm("2", 1.0, "bundles/two", "d2")
    assert world.applied.warm == (Arm("1", 0.0, "bundles/one", "d1"),)
    assert world.aliases == {"champion": "2"}


def test_a_version_that_late_outcomes_speak_against_is_undone():
    for seed in range(5):
        world = World.served(delay=120.0, wrong=(0.06, 0.02), seed=seed)
        outcome = run(plan(), world.doors(), poll_seconds=1)
        assert (outcome.status, outcome.cause) == ("rolled_back", "accuracy"), outcome
        assert outcome.reason.startswith("after the promotion: canary accuracy")
        assert world.applied.champion == CHAMPION
        assert world.aliases == {"champion": "1"}
        assert Phase.PROBATION in phases(world)
        assert outcome.seconds < 200


def test_without_probation_late_outcomes_change_nothing():
    world = World.served(delay=120.0, wrong=(0.06, 0.02))
    assert run(plan(probation_seconds=0.0), world.doors(), poll_seconds=1).status == "promoted"
    assert Phase.PROBATION not in phases(world)


class Ill(World):
    """A version that fails from some time on."""

    def sleep(self, seconds):
        if self.time > 2100:
            self.errors = (0.0, 0.5)
        super().sleep(seconds)


@pytest.mark.parametrize(("limit", "status"), [(0.1, "rolled_back"), (None, "promoted")])
def test_a_limit_holds_in_probation_too(limit, status):
    world = Ill.served(delay=0.0)
    outcome = run(plan(limits=LimitsSection(error_rate=limit)), world.doors(), poll_seconds=1)
    # Without a limit nothing says whose errors they are: the champion answers none any more.
    assert (outcome.status, outcome.cause) == (status, "error_rate_limit" if limit else None)


def test_what_decides_nothing_undoes_nothing():
    world = World.served(delay=120.0, wrong=(0.06, 0.02))
    outcome = run(plan(dry_run=("accuracy",)), world.doors(), poll_seconds=1)
    assert outcome.status == "promoted"
    assert "accuracy -0.0" in outcome.reason


KEPT = plan(rollback=RollbackSection(enabled=False))


def failed(**changes):
    """A probation in which the accuracy has failed, and that may not be undone by itself."""
    values = {"since": 0.0, "generations": (2, 3, 4), "cause": "accuracy", "reason": "rollback is disabled: it fails"}
    return RolloutState(Phase.PROBATION, 2, 5, **(values | changes))


class TalkingHooks(NoHooks):
    """Who is told writes it down."""

    def __init__(self):
        self.told = []

    def tell(self, event):
        self.told.append((event.moment, event.reason))


def test_what_fails_and_may_not_be_undone_waits_for_a_person_and_is_not_confirmed():
    world, hooks = World.served(delay=120.0, wrong=(0.06, 0.02)), TalkingHooks()
    outcome = run(KEPT, replace(world.doors(), hooks=hooks), poll_seconds=1)
    assert (outcome.status, outcome.cause) == ("paused", "accuracy")
    assert outcome.reason.startswith("rollback is disabled: after the promotion: canary accuracy")
    assert world.aliases == {"champion": "2"}
    assert [moment for moment, _ in hooks.told[-2:]] == ["promoted", "paused"]
    assert hooks.told[-1][1] == outcome.reason
    moves, began = list(world.moves), world.time
    # Gone on with, it is judged again, and nothing else.
    assert run(KEPT, world.doors(), poll_seconds=1).status == "paused"
    assert world.time - began < 600
    assert (world.moves, phases(world)[-3:]) == (moves, [Phase.PROBATION] * 3)
    assert abort("r1", world.doors(), reason="no").status == "rolled_back"
    assert (world.applied.champion, world.aliases) == (CHAMPION, {"champion": "1"})


@pytest.mark.parametrize(
    ("order", "ends"),
    [
        (None, None),
        (Order.PAUSE, None),
        (Order.RESUME, Phase.PROBATION),
        (Order.ABORT, Phase.ROLLING_BACK),
        (Order.ADVANCE, Phase.PROMOTED),
        (Order.PROMOTE, Phase.PROMOTED),
    ],
)
def test_only_a_person_ends_a_probation_in_which_something_has_failed(order, ends):
    told = None if order is None else Command(1, order, "ann", "", 5.0)
    for now in (6.0, 1e9):
        action = decide(KEPT, state=failed(), observations=Observations(()), now=now, command=told).action
        after = follow(failed(), action, newest_generation=5, now=now)
        assert (after.phase, after.cause) == ((Phase.PROBATION, "accuracy") if ends is None else (ends, ""))
    if ends is Phase.PROMOTED:
        assert after.reason == "confirmed by ann, although accuracy had failed"


def test_a_confirmation_of_before_the_failure_is_none():
    early = Command(1, Order.PROMOTE, "ann", "", 4.0)
    action = decide(KEPT, state=failed(since=5.0), observations=None, now=6.0, command=early).action
    assert action == Hold("accuracy has failed since it was told")


def left_failed():
    """A world in which a run in the foreground has ended with a probation that failed, and that nobody undoes."""
    world = World.served(delay=120.0, wrong=(0.08, 0.02))
    assert run(KEPT, world.doors(), poll_seconds=1).status == "paused"
    return world


def actions(world):
    return [row.action for row in world.rollouts.journal("r1")]


@pytest.mark.parametrize("order", [Order.PROMOTE, Order.ADVANCE])
def test_whoever_goes_on_with_it_in_the_foreground_confirms_what_a_person_has_confirmed(order):
    world = left_failed()
    world.rollouts.command("r1", Order.PAUSE, now=world.time + 1)
    world.rollouts.command("r1", order, now=world.time + 2)
    world.time += 30
    before, began = actions(world), world.time
    outcome = run(KEPT, world.doors(), poll_seconds=1)
    assert (outcome.status, outcome.cause, world.time) == ("promoted", None, began)
    assert outcome.reason == "confirmed by ann, although accuracy had failed"
    assert actions(world) == [*before, "pause by ann is refused: it is paused already", "confirm"]


def test_in_the_foreground_a_confirmation_of_before_the_failure_is_refused_and_it_is_judged_again():
    world = left_failed()
    world.rollouts.command("r1", Order.PROMOTE, now=world.time - 1)
    before = actions(world)
    assert run(KEPT, world.doors(), poll_seconds=1).status == "paused"
    refused = "promote by ann is refused: accuracy has failed since it was told"
    assert actions(world) == [*before, refused, "resume the probation", "pause"]


def test_in_the_foreground_a_resume_that_waits_is_obeyed_by_going_on():
    world = left_failed()
    world.rollouts.command("r1", Order.RESUME, now=world.time + 1)
    before = actions(world)
    assert run(KEPT, world.doors(), poll_seconds=1).status == "paused"
    assert actions(world) == [*before, "resume", "pause"]


def test_a_crash_anywhere_in_a_confirmation_ends_in_the_same_state():
    undisturbed = left_failed()
    before = undisturbed.operations
    for crash_at in range(before + 1, before + 100):
        world = left_failed()
        world.rollouts.command("r1", Order.PAUSE, now=world.time + 1)
        world.rollouts.command("r1", Order.PROMOTE, now=world.time + 2)
        world.crash_at = crash_at
        try:
            run(KEPT, world.doors(), poll_seconds=1)
            break
        except Crash:
            assert run(KEPT, world.doors(), poll_seconds=1).status == "promoted", crash_at
            assert actions(world)[-2:] == ["pause by ann is refused: it is paused already", "confirm"], crash_at
            assert world.end_state() == undisturbed.end_state(), crash_at
    assert crash_at > before + 4


@pytest.mark.parametrize("order", [Order.PROMOTE, Order.ADVANCE])
def test_nobody_confirms_what_has_failed(order):
    state = RolloutState(Phase.PROBATION, 2, 5, since=0.0, generations=(2, 3, 4))
    pairs = Pairs(900, 120, 20, 0)
    seen = Observations(steps=tuple(StepSeen(step["weight"]) for step in STEPS), pairs_rollout=pairs, outcomes=pairs.n)
    decision = decide(plan(), state=state, observations=seen, now=1.0, command=Command(1, order, "ann", "", 0.0))
    assert isinstance(decision.action, RollBack)
    assert decision.action.cause == "accuracy"


@pytest.mark.parametrize(
    ("order", "status", "reason"),
    [
        (Order.ABORT, "rolled_back", "undone by ann"),
        (Order.PROMOTE, "promoted", "confirmed by ann"),
        (Order.ADVANCE, "promoted", "confirmed by ann"),
    ],
)
def test_a_person_can_end_it(order, status, reason):
    world = World.served(delay=120.0)
    told = False

    def sleep(seconds, sleep=world.sleep):
        nonlocal told
        sleep(seconds)
        if not told and phases(world)[-1] is Phase.PROBATION:
            world.rollouts.command("r1", order)
            told = True

    world.sleep = sleep
    outcome = run(plan(), world.doors(), poll_seconds=1)
    assert (outcome.status, outcome.reason) == (status, reason)
    assert world.aliases == {"champion": "1" if status == "rolled_back" else "2"}


def test_a_probation_that_nobody_runs_is_aborted_at_once():
    world = World.served(delay=120.0)
    move = world.observe

    def die_in_probation(plan, state):
        if state.phase is Phase.PROBATION:
            raise Crash
        return move(plan, state)

    world.observe = die_in_probation
    with pytest.raises(Crash):
        run(plan(), world.doors(), poll_seconds=1)
    world.observe, began = move, world.time
    outcome = abort("r1", world.doors(), reason="superseded")
    assert (outcome.status, outcome.reason) == ("rolled_back", "superseded")
    assert world.time == began
    assert world.applied.champion == CHAMPION


def test_what_died_while_it_promoted_is_aborted_without_a_probation():
    for crash_at in range(1, 40):
        world = World.served(delay=120.0)
        world.crash_at = crash_at
        with pytest.raises(Crash):
            run(plan(probation_seconds=36000.0), world.doors(), poll_seconds=5)
        if phases(world)[-1:] == [Phase.PROMOTING]:
            break
    world.crash_at, began = None, world.time
    outcome = abort("r1", world.doors(), reason="superseded")
    assert (outcome.status, outcome.reason) == ("rolled_back", "superseded")
    assert (world.time, world.applied.champion, world.aliases) == (began, CHAMPION, {"champion": "1"})


def test_the_first_model_has_nothing_to_go_back_to_and_no_probation():
    world = World()
    first = plan_first("r0", endpoint="flights", model="flights", arm=CHAMPION, now=0.0)
    assert run(replace(first, probation_seconds=600.0), world.doors()).status == "promoted"
    assert world.time == 2000.0


@pytest.mark.parametrize("wrong", [(0.015, 0.015), (0.08, 0.02)], ids=["confirmed", "undone"])
def test_a_crash_anywhere_ends_in_the_same_state(wrong):
    undisturbed = World.served(delay=120.0, wrong=wrong)
    run(plan(), undisturbed.doors(), poll_seconds=20)
    for crash_at in range(1, undisturbed.operations + 1):
        world = World.served(delay=120.0, wrong=wrong, seed=crash_at)
        world.crash_at = crash_at
        with pytest.raises(Crash):
            run(plan(), world.doors(), poll_seconds=20)
        run(plan(), world.doors(), poll_seconds=20)
        assert world.end_state() == undisturbed.end_state(), crash_at
