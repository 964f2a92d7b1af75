"""A fresh baseline: the champion's version once more, begun with the challenger, which is judged against it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import ValidationError

from rollout_world import CHAMPION, Crash, World, pairs_of, plan_of, step_seen
from sluiceway.config.deployment import PolicySection
from sluiceway.config.stages import ShadowSection
from sluiceway.core.traffic import Arm
from sluiceway.rollout.controller import run
from sluiceway.rollout.evidence import ArmSeen, Observations
from sluiceway.rollout.plan import RolloutPlan, fresh_baseline, plan_canary

FRESH = replace(fresh_baseline(CHAMPION), application="flights-challenger-1-fresh")
STEPS = [{"weight": 0.1}, {"weight": 0.5}, {"weight": 0.8}, {"weight": 1.0}]


def make_canary(**changes):
    return plan_of({"steps": STEPS, "baseline": "fresh"}, others=(FRESH,), baseline=FRESH.version, **changes)


def shares(document):
    return {arm.version: arm.weight for arm in (document.champion, *document.challengers)}


def test_it_has_as_many_requests_as_the_challenger_while_there_are_as_many():
    plan = make_canary()
    documents = [plan.step_document(i, generation=i + 2) for i in range(4)]
    expected = [(0.8, 0.1, 0.1), (0.0, 0.5, 0.5), (0.0, 0.8, 0.2), (0.0, 1.0, 0.0)]
    for document, (champion, challenger, fresh) in zip(documents, expected, strict=True):
        assert shares(document) == pytest.approx({"1": champion, "2": challenger, "1-fresh": fresh})
        # One order, so that keys stay where they are when weights grow.
        assert [arm.version for arm in document.challengers] == ["2", "1-fresh"]
        assert document.challengers[1].digest == CHAMPION.digest
    assert plan.versions == ("2",)
    assert plan.applications == ("flights-challenger-2", "flights-challenger-1-fresh")
    assert shares(plan.promoted_document(generation=9)) == {"2": 1.0}
    assert RolloutPlan.from_json(plan.to_json()) == plan


class ColdChallengers(World):
    """Whatever is deployed now is slow at first, the champion's version too; the champion has been there for long."""

    def sleep(self, seconds):
        self.time += seconds
        if self.applied is None:
            return
        for arm in (self.applied.champion, *self.applied.challengers):
            n = int(self.random.poisson(self.rate * seconds * arm.weight))
            latency = self.latency[arm is not self.applied.champion]
            seen = ArmSeen(n, 0, tuple(self.random.multinomial(n, latency).tolist()))
            self.seen[self.applied.generation, arm.version] = (
                self.seen.get((self.applied.generation, arm.version), ArmSeen()) + seen
            )
            if arm.version == "2":
                self.came[self.applied.generation].append((self.time, self.random.multinomial(n, [0.85, 0, 0, 0.15])))

    def observe(self, plan, state):
        against = plan.baseline or "1"

        def of(generation, version):
            return self.seen.get((generation, version), ArmSeen())

        steps = tuple(
            step_seen(stage, of(g, against), of(g, "2"))
            for stage, g in zip(plan.steps, state.generations, strict=False)
        )
        known = [self._known(g) for g in state.generations]
        return Observations(steps, pairs_of(known[-1]), pairs_of(sum(known)), int(sum(known).sum()))

    def started(self, plan):
        with self.step():
            self.applications |= set(plan.applications)

    def promoted(self, plan):
        with self.step():
            self.applications -= set(plan.applications)

    def rolled_back(self, plan, reason):
        self.promoted(plan)


@pytest.mark.parametrize(("baseline", "status"), [("champion", "rolled_back"), ("fresh", "promoted")])
def test_what_is_new_is_not_held_against_the_version(baseline, status):
    world = ColdChallengers.served(slow=(0.005, 0.2))
    plan = make_canary() if baseline == "fresh" else plan_of({"steps": STEPS})
    outcome = run(plan, world.doors(), poll_seconds=2)
    assert (outcome.status, outcome.cause) == (status, None if status == "promoted" else "latency_p99")
    assert not world.applications


def test_a_crash_anywhere_ends_in_the_same_state():
    plan, undisturbed = make_canary(), ColdChallengers.served()
    run(plan, undisturbed.doors(), poll_seconds=20)
    for crash_at in range(1, undisturbed.operations + 1):
        world = ColdChallengers.served(seed=crash_at)
        world.crash_at = crash_at
        with pytest.raises(Crash):
            run(plan, world.doors(), poll_seconds=20)
        run(plan, world.doors(), poll_seconds=20)
        assert world.end_state() == undisturbed.end_state(), crash_at
        assert world.heard_of() == undisturbed.heard_of(), crash_at


def test_a_shadow_before_it_is_judged_against_the_champion():
    policy = {"shadow": {"share": 0.5}, "steps": STEPS, "baseline": "fresh"}
    plan = plan_of(policy, others=(FRESH,), baseline=FRESH.version)
    assert isinstance(plan.steps[0], ShadowSection)
    document = plan.step_document(0, generation=2)
    assert (shares(document), [arm.version for arm in document.shadows]) == ({"1": 1.0}, ["2"])


def test_it_is_planned_where_the_configuration_says_so():
    plan = plan_canary(
        "r7",
        endpoint="flights",
        model="flights",
        challengers=(Arm("2", 1.0, "bundles/two", "d2", "app"), FRESH),
        champion=CHAMPION,
        deployment=PolicySection(baseline="fresh"),
        now=0.0,
    )
    assert plan.baseline == "1-fresh"
    for strategy in ("blue_green", "ab"):
        with pytest.raises(ValidationError, match="stands beside the steps of canary and linear"):
            PolicySection.model_validate({"strategy": strategy, "baseline": "fresh", "ab": {"min_seconds": 5}})
