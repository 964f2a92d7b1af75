"""What to do next: a pure function of the plan, the state, what was seen, and the time.

Level-triggered: the same inputs give the same answer, however often and from whichever process it is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sluiceway.core.errors import SluicewayError
from sluiceway.core.verdict import Status, Verdict
from sluiceway.rollout.evidence import Observations, judge_step
from sluiceway.rollout.plan import RolloutPlan
from sluiceway.rollout.state import Phase, RolloutState

# The cause of a rollback where a replica has given the challenger up before a metric could.
BREAKER = "breaker"


@dataclass(frozen=True)
class Advance:
    """Go to the given step."""

    step: int
    reason: str = ""


@dataclass(frozen=True)
class Hold:
    """Leave everything as it is and look again."""

    reason: str = ""


@dataclass(frozen=True)
class RollBack:
    """Give all traffic back to the champion; ``cause`` is the metric, ``breaker``, or "" for a deadline or a person."""

    cause: str
    reason: str


@dataclass(frozen=True)
class Promote:
    """Make the challenger the champion."""

    reason: str = ""


@dataclass(frozen=True)
class Pause:
    """Leave the weights and wait for a person; ``cause`` as in :class:`RollBack`."""

    cause: str
    reason: str


Action = Advance | Hold | RollBack | Promote | Pause


@dataclass(frozen=True)
class Decision:
    """An action and the verdicts that led to it."""

    action: Action
    verdicts: tuple[Verdict, ...] = ()


def decide(plan: RolloutPlan, *, state: RolloutState, observations: Observations | None, now: float) -> Decision:
    """Choose the next action.

    Args:
        plan: what the rollout wants.
        state: where it is.
        observations: what was seen in the steps so far; None where the phase needs none.
        now: UTC epoch seconds.
    """
    if state.phase is Phase.PENDING:
        return Decision(Promote("the first model of this endpoint") if plan.champion is None else Advance(0, "begin"))
    if state.phase is not Phase.STEP:
        return Decision(Hold(f"{state.phase}"))
    verdicts = judge_step(plan, observations) if observations is not None else ()
    seen = observations or Observations(())
    found = _failure(verdicts, seen)
    if found is None:
        return Decision(_action(plan, state, verdicts, now, traffic_ended=seen.traffic_ended), verdicts)
    cause, reason = found
    if plan.rollback.enabled:
        return Decision(RollBack(cause, reason), verdicts)
    return Decision(Pause(cause, f"rollback is disabled: {reason}"), verdicts)


def _failure(verdicts: Sequence[Verdict], seen: Observations) -> tuple[str, str] | None:
    """What the challenger goes back for, and the sentence with the numbers; None where nothing is wrong.

    A metric that has failed says more than a breaker that has opened for the same requests.
    """
    for verdict in verdicts:
        if verdict.status is Status.FAIL:
            return verdict.measurement.name, verdict.line()
    if seen.breakers:
        return BREAKER, f"endpoint replicas ask the challenger no more: {'; '.join(seen.breakers)}"
    return None


def _action(
    plan: RolloutPlan, state: RolloutState, verdicts: Sequence[Verdict], now: float, *, traffic_ended: bool
) -> Action:
    missing = [verdict for verdict in verdicts if verdict.status is not Status.PASS]
    if verdicts and not missing:
        last = state.step == len(plan.steps) - 1
        reason = f"every metric passed at {plan.steps[state.step].weight:.0%}"
        return Promote(reason) if last else Advance(state.step + 1, reason)
    waits = "; ".join(verdict.line() for verdict in missing) or "nothing was seen"
    limit = plan.steps[state.step].max_seconds
    late = now - state.since >= limit
    if not late and not traffic_ended:
        return Hold(waits)
    why = f"after {limit:g} s" if late else "when the replayed requests had run out,"
    reason = f"not enough evidence {why} at {plan.steps[state.step].weight:.0%}: {waits}"
    # A plan that forbids rolling back is never rolled back by a clock either.
    if plan.on_inconclusive == "rollback" and plan.rollback.enabled:
        return RollBack("", reason)
    return Pause("", reason)


def follow(state: RolloutState, action: Action, *, newest_generation: int, now: float) -> RolloutState:
    """The state after an action; the same object where nothing changes.

    Args:
        state: where the rollout is.
        action: what was decided.
        newest_generation: of the endpoint's traffic documents; a move of traffic takes the next one.
        now: UTC epoch seconds.

    Raises:
        SluicewayError: the action is not possible from this state.
    """
    if isinstance(action, Hold):
        return state
    _check_possible(state, action)
    if isinstance(action, Pause):
        return replace(state, phase=Phase.PAUSED, since=now, cause=action.cause, reason=action.reason)
    moved = replace(state, generation=newest_generation + 1, since=now, reason=action.reason)
    if isinstance(action, Advance):
        generations = (*state.generations, moved.generation)
        return replace(moved, phase=Phase.STEP, step=action.step, generations=generations)
    if isinstance(action, Promote):
        return replace(moved, phase=Phase.PROMOTING, cause="")
    return replace(moved, phase=Phase.ROLLING_BACK, cause=action.cause)


def _check_possible(state: RolloutState, action: Action) -> None:
    allowed = {
        Advance: {Phase.PENDING, Phase.STEP},
        Promote: {Phase.PENDING, Phase.STEP},
        Pause: {Phase.STEP},
        RollBack: {Phase.STEP, Phase.PAUSED},
    }[type(action)]
    skips = isinstance(action, Advance) and action.step != state.step + 1
    if state.phase not in allowed or skips:
        raise SluicewayError(f"a rollout in phase {state.phase}, step {state.step}, cannot {action}")
