"""Judges a past rollout again under another policy, on what it saw then.

What was seen is what the weights of then let happen. So each step is judged by itself, on its own looks: a policy that
would have gone back is believed, and ends it; one that would have gone on earlier is told so, and the next step is that
of then; one that would not have gone on when the rollout did still waits, and nobody knows how it would have ended.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from sluiceway.config.deployment import DeploymentSection
from sluiceway.core.verdict import Verdict
from sluiceway.rollout.decide import Advance, Confirm, Decision, Hold, Pause, Promote, RollBack, decide
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


def with_policy(plan: RolloutPlan, deployment: DeploymentSection) -> RolloutPlan:
    """The plan with another judgement; its weights stay, and with other numbers of steps their times, too."""
    given = deployment.planned_steps
    steps = plan.steps
    if len(given) == len(steps):
        steps = tuple(step.model_copy(update={"weight": old.weight}) for step, old in zip(given, steps, strict=True))
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
    )


def replay(plan: RolloutPlan, looks: Sequence[Look]) -> list[ReplayedStep]:
    """Every step that the rollout was in, until the policy ends it.

    Args:
        plan: with the policy to judge by.
        looks: of the rollout, in order.
    """
    found: list[ReplayedStep] = []
    for _, group in groupby(looks, key=lambda look: (look.state.phase, look.state.step, look.state.generation)):
        step = list(group)
        found.append(_replayed(plan, step))
        if found[-1].action not in ("advance", "promote"):
            break
    return found


def _replayed(plan: RolloutPlan, looks: Sequence[Look]) -> ReplayedStep:
    began = looks[0].state.since
    judged = list(_decisions(plan, looks))
    look, decision = next((one for one in judged if not isinstance(one[1].action, Hold)), judged[-1])
    state, action = look.state, decision.action
    on_probation = state.phase is Phase.PROBATION
    seen = look.seen.promoted if on_probation else look.seen.steps[-1].challenger
    name = "probation" if on_probation else f"{plan.steps[state.step].weight:.0%}"
    return ReplayedStep(name, NAMES[type(action)], look.time - began, seen.requests, action.reason, decision.verdicts)


def _decisions(plan: RolloutPlan, looks: Sequence[Look]) -> Iterator[tuple[Look, Decision]]:
    # A step that was resumed began anew: its deadline counts from the first of its looks.
    began = looks[0].state.since
    for look in looks:
        state = replace(look.state, since=began)
        yield look, decide(plan, state=state, observations=look.seen, now=look.time)
