"""A version's story is told by the journal alone: by whoever tells it, and however often a crash has it told again."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest

from rollout_world import Crash, World, make_plan, plan_of
from sluiceway.core.traffic import Arm
from sluiceway.lifecycle.rollout_story import story_of
from sluiceway.rollout.controller import abort, run
from sluiceway.rollout.journal import Journal
from sluiceway.rollout.state import Phase, RolloutState

STEPS = tuple({"weight": weight, "max_seconds": 20} for weight in (0.1, 0.5, 1.0))


class Told(World):
    """A world whose effects tell the story, as those of a real rollout do."""

    def __init__(self, **qualities):
        super().__init__(**qualities)
        self.tags, self.told = {}, []

    def _tell(self):
        with self.step():
            story = story_of(Journal.open(self.rollouts, "r1"))
            self.told.append(story)
            self.tags.update(story)

    def started(self, plan):
        super().started(plan)
        self._tell()

    def paused(self, plan):
        self._tell()

    def promoted(self, plan):
        super().promoted(plan)
        self._tell()

    def rolled_back(self, plan, reason):
        super().rolled_back(plan, reason)
        self._tell()

    def said(self, part):
        return self.tags[f"rollout.flights.{part}"]


def outcomes(world):
    return [story["rollout.flights.outcome"] for story in world.told]


def test_a_promotion_is_told_with_its_time():
    world = Told.served()
    run(make_plan(), world.doors(), poll_seconds=5)
    assert outcomes(world) == ["started", "promoted"]
    assert (world.said("id"), world.said("cause")) == ("r1", "")
    promoting = next(e for e in Journal.open(world.rollouts, "r1").entries if e.state.phase == "promoting")
    assert datetime.fromisoformat(world.said("time")).timestamp() == int(promoting.time)


def test_a_rollback_is_told_with_its_cause():
    world = Told.served(errors=(0.0, 0.33))
    outcome = run(make_plan(), world.doors(), poll_seconds=5)
    assert outcomes(world) == ["started", "rolled_back"]
    assert (world.said("cause"), world.said("reason")) == ("error_rate", outcome.reason)


def test_a_pause_is_told_with_its_reason_and_that_it_went_on_after_it():
    world = Told.served(rate=0)
    plan = make_plan(on_inconclusive="pause")
    assert run(plan, world.doors(), poll_seconds=60).status == "paused"
    assert outcomes(world) == ["started", "paused"]
    assert world.said("reason").startswith("not enough evidence after 600 s at 5%")
    world.rate = 400
    assert run(plan, world.doors(), poll_seconds=5).status == "promoted"
    assert outcomes(world)[2:] == ["started", "started", "promoted"]  # the first step, and that it went on
    assert world.told[3]["rollout.flights.reason"] == "resumed"


@pytest.mark.parametrize("stays", [False, True])
@pytest.mark.parametrize("phase", [Phase.STEP, Phase.PROBATION])
def test_that_it_went_on_is_told_by_the_next_one_where_whoever_had_it_go_on_died(phase, stays):
    world, plan = Told.served(), make_plan(steps=STEPS, probation_seconds=600.0)
    journal = Journal.begin(world.rollouts, plan)
    went_on = RolloutState(phase, 1, 2, since=2000.0, generations=(2, 2), reason="resumed by ann")
    waits = Phase.PAUSED if phase is Phase.STEP else phase
    for state in (went_on, replace(went_on, phase=waits, cause="accuracy", reason="it fails"), went_on):
        journal.append(state, action="as it was left", evidence={}, now=2000.0)
    in_step = phase is Phase.STEP
    world.documents.publish(plan.step_document(1, generation=2) if in_step else plan.promoted_document(generation=2))

    def dies(plan, state):
        raise Crash

    world.observe = dies
    with pytest.raises(Crash):
        run(plan, replace(world.doors(), stays=stays), poll_seconds=1)
    assert world.tags, "nothing was told"
    assert (world.said("outcome"), world.said("reason")) == ("started", "resumed by ann")


def test_a_new_reason_of_a_pause_is_told_and_a_refusal_in_it_is_not():
    journal = Journal.begin(World().rollouts, make_plan())

    def go(now, phase=Phase.PAUSED, **state):
        journal.append(RolloutState(phase, 0, **state), action=str(phase), evidence={}, now=now)
        story = story_of(journal)
        return [story[f"rollout.flights.{part}"] for part in ("outcome", "cause", "reason", "time")]

    assert go(0.0, Phase.STEP)[:3] == ["started", "", ""]
    paused = go(1.0, reason="paused by ann", by_person=True)
    assert paused == ["paused", "", "paused by ann", "1970-01-01T00:00:01+00:00"]
    assert go(2.0, reason="paused by ann", by_person=True, commands=2) == paused
    failed = go(3.0, reason="rollback is disabled: it fails", cause="error_rate")
    assert failed == ["paused", "error_rate", "rollback is disabled: it fails", "1970-01-01T00:00:03+00:00"]
    assert go(4.0, Phase.STEP, reason="resumed by ann")[:3] == ["started", "", "resumed by ann"]
    assert go(5.0, Phase.ROLLING_BACK, reason="it fails")[0] == "rolled_back"
    assert go(6.0, Phase.ROLLED_BACK, reason="it fails")[3] == "1970-01-01T00:00:05+00:00"


def test_a_promotion_that_is_taken_back_is_undone():
    world = Told.served(delay=120.0, wrong=(0.06, 0.02))
    plan = make_plan(steps=STEPS, on_inconclusive="continue", probation_seconds=600.0, keeps_warm=True)
    run(plan, world.doors(), poll_seconds=1)
    assert outcomes(world) == ["started", "promoted", "undone"]
    assert world.said("cause") == "accuracy"
    assert world.said("reason").startswith("after the promotion")


@pytest.mark.parametrize(
    ("qualities", "ends"), [({}, "promoted"), ({"errors": (0.0, 0.33)}, "rolled_back")], ids=["promoted", "rolled back"]
)
def test_told_again_after_a_crash_anywhere_it_is_the_same_story(qualities, ends):
    undisturbed = Told.served(**qualities)
    run(make_plan(), undisturbed.doors(), poll_seconds=20)
    for crash_at in range(1, undisturbed.operations + 1):
        world = Told.served(**qualities)
        world.crash_at = crash_at
        with pytest.raises(Crash):
            run(make_plan(), world.doors(), poll_seconds=20)
        run(make_plan(), world.doors(), poll_seconds=20)
        assert world.said("outcome") == ends
        for outcome in set(outcomes(world)):  # each one is told in the same words, however often
            assert len({tuple(s.items()) for s in world.told if s["rollout.flights.outcome"] == outcome}) == 1, crash_at


def test_what_a_person_aborts_is_told_with_the_reason():
    world = Told.served()
    world.crash_at = 12
    with pytest.raises(Crash):
        run(make_plan(), world.doors(), poll_seconds=20)
    abort("r1", world.doors(), reason="too early")
    assert (world.said("outcome"), world.said("cause"), world.said("reason")) == ("rolled_back", "", "too early")


def test_of_a_test_the_winner_is_promoted_and_each_version_is_told_what_became_of_it():
    others = tuple(Arm(version, 0.0, f"bundles/{version}", f"d{version}", f"a{version}") for version in "34")
    plan = plan_of({"strategy": "ab", "ab": {"weight": 0.2, "min_seconds": 60}}, others=others)
    journal = Journal.begin(World().rollouts, plan)

    def told(part):
        return [story_of(journal, version)[f"rollout.flights.{part}"] for version in "234"]

    def go(phase, now, **state):
        journal.append(RolloutState(phase=phase, step=0, **state), action=str(phase), evidence={}, now=now)

    go(Phase.STEP, 1000.0)
    assert told("outcome") == ["started"] * 3
    go(Phase.STEP, 1100.0, stopped=("4",), reason="version 4: it fails")
    go(Phase.PROMOTING, 1200.0, stopped=("4",), winner="3", reason="version 3 is better")
    assert told("outcome") == ["rolled_back", "promoted", "rolled_back"]
    assert told("reason") == ["version 3 has won the test", "version 3 is better", "version 4: it fails"]
    go(Phase.PROBATION, 1200.0, stopped=("4",), winner="3")
    go(Phase.ROLLING_BACK, 1300.0, stopped=("4",), winner="3", cause="accuracy", reason="worse")
    assert told("outcome") == ["rolled_back", "undone", "rolled_back"]
    assert told("cause") == ["", "accuracy", ""]
