"""What to do next: a pure function of the plan, the state, what was seen, and the time.

Level-triggered: the same inputs give the same answer, however often and from whichever process it is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sluiceway.config.deployment import StepSection
from sluiceway.core.command import Command, Order
from sluiceway.core.errors import SluicewayError
from sluiceway.core.verdict import Severity, Status, Verdict
from sluiceway.rollout.evidence import Observations, StepSeen
from sluiceway.rollout.judgement import judge_late
from sluiceway.rollout.limits import judge_limits
from sluiceway.rollout.own_queries import judge_queries
from sluiceway.rollout.plan import RolloutPlan
from sluiceway.rollout.source_verdicts import SOURCE, cannot_tell, gives_up, judge_by_source
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
    """Give all traffic back to the champion; ``cause`` is the metric, ``breaker``, ``prometheus``, or ""."""

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


@dataclass(frozen=True)
class Resume:
    """Go on with the step that a pause has interrupted; its deadline begins anew."""

    reason: str


@dataclass(frozen=True)
class Confirm:
    """End the probation: the promotion stands."""

    reason: str


Action = Advance | Hold | RollBack | Promote | Pause | Resume | Confirm


@dataclass(frozen=True)
class Decision:
    """An action, the verdicts that led to it, and the command that was obeyed or refused by it."""

    action: Action
    verdicts: tuple[Verdict, ...] = ()
    command: Command | None = None


def decide(
    plan: RolloutPlan,
    *,
    state: RolloutState,
    observations: Observations | None,
    now: float,
    command: Command | None = None,
) -> Decision:
    """Choose the next action.

    Args:
        plan: what the rollout wants.
        state: where it is.
        observations: what was seen in the steps so far; None where the phase needs none.
        now: UTC epoch seconds.
        command: the oldest one that nobody has obeyed yet, or None.
    """
    if state.phase is Phase.PENDING:
        return Decision(Promote("the first model of this endpoint") if plan.champion is None else Advance(0, "begin"))
    if state.phase is Phase.PAUSED:
        return Decision(Hold("paused") if command is None else _in_pause(plan, state, command), command=command)
    if state.phase is Phase.PROBATION:
        return _in_probation(plan, state, observations, now, command)
    if state.phase is not Phase.STEP:
        return Decision(Hold(f"{state.phase}"))
    seen = observations or Observations(())
    verdicts = _verdicts(plan, observations)
    if command is not None and command.order is Order.ABORT:
        return Decision(RollBack("", command.told), verdicts, command)
    found = _failure([verdict for verdict in verdicts if _counts(verdict)], seen)
    if found is None:
        if command is not None:
            return Decision(_obeyed(plan, state, command), verdicts, command)
        return Decision(_action(plan, state, verdicts, now, seen), verdicts)
    cause, reason = found
    if plan.rollback.enabled:
        return Decision(RollBack(cause, reason), verdicts)
    return Decision(Pause(cause, f"rollback is disabled: {reason}"), verdicts)


def _verdicts(plan: RolloutPlan, observations: Observations | None) -> tuple[Verdict, ...]:
    judged = () if observations is None else judge_by_source(plan, observations)
    return tuple(_or_dry(plan, verdict) for verdict in judged)


def _or_dry(plan: RolloutPlan, verdict: Verdict) -> Verdict:
    return replace(verdict, severity=Severity.INFO) if verdict.measurement.name in plan.dry_run else verdict


def _counts(verdict: Verdict) -> bool:
    return verdict.severity is Severity.BLOCK


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


def _obeyed(plan: RolloutPlan, state: RolloutState, command: Command) -> Action:
    """What becomes of a command in a step that nothing is wrong with."""
    if command.order is Order.PAUSE:
        return Pause("", f"paused {command.told}")
    if command.order is Order.PROMOTE or (command.order is Order.ADVANCE and _is_last(plan, state)):
        return Promote(f"promoted {command.told}")
    if command.order is Order.ADVANCE:
        return Advance(state.step + 1, f"advanced {command.told}")
    return Hold(f"it runs already; nothing to {command.order}")


def _in_pause(plan: RolloutPlan, state: RolloutState, command: Command) -> Action:
    if command.order is Order.ABORT:
        return RollBack("", command.told)
    if command.order is Order.RESUME:
        return Resume(f"resumed {command.told}")
    if command.order is Order.PAUSE:
        return Hold("it is paused already")
    if state.cause and state.cause != SOURCE:
        return Hold(f"it waits because of {state.cause}: resume it to judge again, or abort it")
    return _obeyed(plan, state, command)


def _in_probation(
    plan: RolloutPlan, state: RolloutState, observations: Observations | None, now: float, command: Command | None
) -> Decision:
    """What outcomes that came late, and limits of the version alone, say of a promotion.

    Errors and latency are not held against the champion's of before: an outage now is not the new version's.
    """
    if command is not None and command.order is Order.ABORT:
        return Decision(RollBack("", f"undone {command.told}"), command=command)
    if command is not None and command.order in (Order.ADVANCE, Order.PROMOTE):
        return Decision(Confirm(f"confirmed {command.told}"), command=command)
    if command is not None:
        return Decision(Hold(f"it is promoted already; nothing to {command.order}"), command=command)
    verdicts: tuple[Verdict, ...] = ()
    if observations is not None:
        promoted = (StepSeen(1.0, challenger=observations.promoted),)
        alone = replace(observations, steps=promoted, pairs_step=observations.pairs_rollout)
        own = judge_queries(plan, observations, comparing=False)
        judged = (*judge_late(plan, observations), *judge_limits(plan, alone), *own)
        verdicts = tuple(_or_dry(plan, verdict) for verdict in judged)
    failed = [verdict for verdict in verdicts if _counts(verdict) and verdict.status is Status.FAIL]
    if failed and plan.rollback.enabled:
        return Decision(RollBack(failed[0].measurement.name, f"after the promotion: {failed[0].line()}"), verdicts)
    told = "; ".join(verdict.line() for verdict in failed or verdicts) or "nothing was seen"
    if now - state.since >= plan.probation_seconds:
        return Decision(Confirm(f"after {plan.probation_seconds:g} s of probation: {told}"), verdicts)
    return Decision(Hold(told), verdicts)


def _is_last(plan: RolloutPlan, state: RolloutState) -> bool:
    return state.step == len(plan.steps) - 1


def _onward(plan: RolloutPlan, state: RolloutState, reason: str) -> Action:
    return Promote(reason) if _is_last(plan, state) else Advance(state.step + 1, reason)


def _action(
    plan: RolloutPlan, state: RolloutState, verdicts: Sequence[Verdict], now: float, seen: Observations
) -> Action:
    failing = gives_up(plan, seen)
    if failing:
        back = plan.on_inconclusive == "rollback" and plan.rollback.enabled
        return RollBack(SOURCE, failing) if back else Pause(SOURCE, failing)
    step, asked = plan.steps[state.step], seen.steps[-1].challenger.requests if seen.steps else 0
    judged = [verdict for verdict in verdicts if _counts(verdict)]
    missing = [verdict for verdict in judged if verdict.status is not Status.PASS]
    passed = bool(judged) and not missing
    share = f"{step.weight:.0%}"
    if passed and asked >= step.min_requests and now - state.since >= step.min_seconds:
        reason = f"every metric passed at {share}"
        if step.manual:
            return Hold(f"{reason}; it waits for `sluiceway rollout promote {plan.rollout_id}`")
        return _onward(plan, state, reason)
    waits = "; ".join(verdict.line() for verdict in missing) or _unspent(step, asked, passed=passed)
    late = now - state.since >= step.max_seconds
    if not late and not seen.traffic_ended:
        return Hold(waits)
    why = f"after {step.max_seconds:g} s" if late else "when the replayed requests had run out,"
    told = asked and not cannot_tell(plan, seen, verdicts)
    return _without_evidence(plan, state, f"not enough evidence {why} at {share}: {waits}", bool(told), late=late)


def _unspent(step: StepSection, asked: int, *, passed: bool) -> str:
    """What a step waits for that no verdict speaks of."""
    if not passed:
        return "nothing was seen"
    few = f"{asked:,} of {step.min_requests:,} requests" if asked < step.min_requests else ""
    return few or f"it takes {step.min_seconds:g} s at least"


def _without_evidence(plan: RolloutPlan, state: RolloutState, reason: str, told: bool, *, late: bool) -> Action:
    """What a deadline leads to; ``told`` where there is something to go on with, though it is not enough."""
    wanted = plan.on_inconclusive
    # A plan that forbids rolling back is never rolled back by a clock either.
    if wanted == "rollback" and plan.rollback.enabled:
        return RollBack("", reason)
    if wanted == "hold" and late:
        return Hold(reason)
    # Without a single request, or a source that answers, there is nothing to go on with, whatever the plan says.
    if wanted == "continue" and told:
        return _onward(plan, state, f"{reason}; it goes on as planned")
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
    if isinstance(action, Confirm):
        return replace(state, phase=Phase.PROMOTED, since=now, reason=action.reason)
    if isinstance(action, Resume):
        return replace(state, phase=Phase.STEP, since=now, cause="", reason=action.reason)
    moved = replace(state, generation=newest_generation + 1, since=now, reason=action.reason)
    if isinstance(action, Advance):
        generations = (*state.generations, moved.generation)
        return replace(moved, phase=Phase.STEP, step=action.step, generations=generations, cause="")
    if isinstance(action, Promote):
        return replace(moved, phase=Phase.PROMOTING, cause="")
    return replace(moved, phase=Phase.ROLLING_BACK, cause=action.cause)


def _check_possible(state: RolloutState, action: Action) -> None:
    allowed = {
        Advance: {Phase.PENDING, Phase.STEP, Phase.PAUSED},
        Promote: {Phase.PENDING, Phase.STEP, Phase.PAUSED},
        Pause: {Phase.STEP},
        Resume: {Phase.PAUSED},
        RollBack: {Phase.STEP, Phase.PAUSED, Phase.PROBATION},
        Confirm: {Phase.PROBATION},
    }[type(action)]
    skips = isinstance(action, Advance) and action.step != state.step + 1
    if state.phase not in allowed or skips:
        raise SluicewayError(f"a rollout in phase {state.phase}, step {state.step}, cannot {action}")
