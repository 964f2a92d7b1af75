"""Judges a past rollout again under another policy, on what it saw then.

What was seen is what the weights of then let happen. So each step is judged by itself, on its own looks: a policy that
would have gone back is believed, and ends it; one that would have gone on earlier is told so, and the next step is that
of then; one that would not have gone on when the rollout did still waits, and nobody knows how it would have ended.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from sluiceway.config.deployment import PolicySection
from sluiceway.config.stages import ShadowSection, Stage
from sluiceway.core.verdict import Verdict
from sluiceway.rollout.decide import (
    Advance,
    Confirm,
    Decision,
    Hold,
    Miss,
    Pause,
    Promote,
    RollBack,
    Stop,
    decide,
    follow,
    resumed,
)
from sluiceway.rollout.looks import Look
from sluiceway.rollout.plan import RolloutPlan
from sluiceway.rollout.state import Phase

NAMES = {
    Advance: "advance",
    Promote: "promote",
    RollBack: "roll back",
    Pause: "pause",
    Confirm: "confirm",
    Hold: "still wait",
    Miss: "still wait",
    Stop: "stop a version",
}


@dataclass(frozen=True)
class ReplayedStep:
    """What a policy does in a step, or in the probation.

    Attributes:
        name: e.g. ``25%`` or ``probation``.
        action: e.g. ``roll back``; ``still wait`` where the rollout of then had moved on.
        seconds: after the step began.
        requests: of the challenger in the step until then.
        reason: one sentence.
        verdicts: behind it.
    """

    name: str
    action: str
    seconds: float
    requests: int
    reason: str
    verdicts: tuple[Verdict, ...]


def with_policy(plan: RolloutPlan, deployment: PolicySection) -> RolloutPlan:
    """The plan with another judgement; its weights stay, and with other numbers of steps their times, too."""
    given = deployment.planned_steps
    steps = plan.steps
    if [type(step) for step in given] == [type(step) for step in steps]:
        steps = tuple(_timed_as(step, old) for step, old in zip(given, steps, strict=True))
    return replace(
        plan,
        steps=steps,
        margins=deployment.margins,
        limits=deployment.limits,
        dry_run=deployment.dry_run,
        rollback=deployment.rollback,
        on_inconclusive=deployment.on_inconclusive,
        probation_seconds=deployment.probation.seconds or plan.probation_seconds,
        source=deployment.source,
        prometheus=deployment.prometheus.judging,
        max_failures=deployment.max_failures,
    )


def _timed_as(step: Stage, old: Stage) -> Stage:
    kept = {"share": old.share} if isinstance(old, ShadowSection) else {"weight": old.weight}
    return step.model_copy(update=kept)


def replay(plan: RolloutPlan, looks: Sequence[Look]) -> list[ReplayedStep]:
    """Every step that the rollout was in, until the policy ends it.

    Args:
        plan: with the policy to judge by.
        looks: of the rollout, in order.
    """
    found: list[ReplayedStep] = []
    failures = 0
    for _, group in groupby(looks, key=_step_of):
        step = list(group)
        done, failures = _replayed(plan, step, failures)
        found.append(done)
        if found[-1].action not in ("advance", "promote", NAMES[Stop]):
            break
    return found


def _step_of(look: Look) -> tuple[bool, int, int]:
    # A pause is part of its step.
    return look.state.phase is Phase.PROBATION, look.state.step, look.state.generation


def _replayed(plan: RolloutPlan, looks: Sequence[Look], failures: int) -> tuple[ReplayedStep, int]:
    """What becomes of a step, and how many intervals have failed until then."""
    began = looks[0].state.since
    judged = list(_decisions(plan, looks, failures))
    waits = (Hold, Miss)
    look, decision = next((one for one in judged if not isinstance(one[1].action, waits)), judged[-1])
    state, action = look.state, decision.action
    on_probation = state.phase is Phase.PROBATION
    seen = look.seen.promoted if on_probation else look.seen.steps[-1].challenger
    name = "probation" if on_probation else plan.steps[state.step].name
    done = ReplayedStep(name, NAMES[type(action)], look.time - began, seen.requests, action.reason, decision.verdicts)
    return done, state.failures


def _decisions(plan: RolloutPlan, looks: Sequence[Look], failures: int) -> Iterator[tuple[Look, Decision]]:
    began, checks = looks[0].state.since, 0
    for look in looks:
        state = replace(look.state, failures=failures, checks=checks)
        if state.waits and not state.by_person:
            # The plan of then has paused it; another one would have gone on judging the step.
            state = replace(resumed(state, "", now=began), checks=checks)
        elif not state.waits:
            began = state.since  # a step that was resumed began anew
        decision = decide(plan, state=state, observations=look.seen, now=look.time)
        if isinstance(decision.action, Miss):
            after = follow(state, decision.action, newest_generation=state.generation, now=look.time)
            failures, checks = after.failures, after.checks
        yield replace(look, state=state), decision
