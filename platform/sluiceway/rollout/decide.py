"""What to do next: a pure function of the plan, the state, what was seen, and the time.

Level-triggered: the same inputs give the same answer, however often and from whichever process it is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sluiceway.config.stages import AbSection, ShadowSection, Stage
from sluiceway.core.command import Command, Order
from sluiceway.core.errors import SluicewayError
from sluiceway.core.verdict import Status, Verdict
from sluiceway.rollout.ab import look_at
from sluiceway.rollout.baseline import judge_baseline
from sluiceway.rollout.dry_run import decides, softened
from sluiceway.rollout.evidence import Observations, StepSeen
from sluiceway.rollout.judgement import judge_late
from sluiceway.rollout.limits import judge_limits
from sluiceway.rollout.own_queries import judge_queries
from sluiceway.rollout.plan import RolloutPlan
from sluiceway.rollout.source_verdicts import SOURCE, cannot_tell, gives_up, judge_by_source, only_unanswered
from sluiceway.rollout.state import TERMINAL, Phase, RolloutState

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
class Miss:
    """An interval of the step has ended without its evidence: the step goes on, and it is counted."""

    reason: str


@dataclass(frozen=True)
class Stop:
    """Give a version of an A/B/n test no more requests; the others go on."""

    version: str
    reason: str


@dataclass(frozen=True)
class RollBack:
    """Give all traffic back to the champion; ``cause`` is the metric, ``breaker``, ``prometheus``, or ""."""

    cause: str
    reason: str


@dataclass(frozen=True)
class Promote:
    """Make the challenger the champion, or the ``winner`` of an A/B/n test."""

    reason: str = ""
    winner: str = ""


@dataclass(frozen=True)
class Pause:
    """Leave the weights and wait for a person; ``cause`` as in :class:`RollBack`, ``by_person``: one told it to."""

    cause: str
    reason: str
    by_person: bool = False


@dataclass(frozen=True)
class Resume:
    """Go on with the step, or the probation, that a pause has interrupted; its deadline begins anew."""

    reason: str


@dataclass(frozen=True)
class Confirm:
    """End the probation: the promotion stands."""

    reason: str


Action = Advance | Hold | Miss | Stop | RollBack | Promote | Pause | Resume | Confirm


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
    if command is not None and command.order is Order.ABORT and not (state.judged or state.terminal):
        return Decision(going_back(plan, state, command.told), command=command)
    if state.phase is Phase.PENDING:
        return Decision(Promote("the first model of this endpoint") if plan.champion is None else Advance(0, "begin"))
    if state.phase is Phase.PAUSED:
        return _in_pause(plan, state, observations, now, command)
    if state.phase is Phase.PROBATION:
        return _in_probation(plan.won_by(state.winner), state, observations, now, command)
    if state.phase is not Phase.STEP:
        return Decision(Hold(f"{state.phase}"))
    seen = observations or Observations(())
    stage = plan.steps[state.step]
    if isinstance(stage, AbSection) and seen.steps:
        return _in_test(plan, state, stage, seen, now, command)
    verdicts = _verdicts(plan, state, observations)
    if command is not None and command.order is Order.ABORT:
        return Decision(RollBack("", command.told), verdicts, command)
    failed = _sent_back(plan, verdicts, seen)
    if failed is not None:
        return Decision(failed, verdicts)
    if command is not None:
        return Decision(_obeyed(plan, state, command), verdicts, command)
    return Decision(_action(plan, state, verdicts, now, seen), verdicts)


def going_back(plan: RolloutPlan, state: RolloutState, reason: str) -> RollBack | Hold:
    """What an abort leads to that no look comes before: whoever ran the rollout may have died anywhere.

    Args:
        plan: of the rollout.
        state: where it is.
        reason: why it is aborted.
    """
    first = state.phase is Phase.PROMOTING and plan.champion is None
    if state.terminal or first:
        return Hold(f"{state.phase}")
    if state.phase is Phase.ROLLING_BACK:
        # It goes back already, for a reason of its own; once more, whoever has moved the traffic since.
        return RollBack(state.cause, state.reason)
    return RollBack("", reason)


def _verdicts(plan: RolloutPlan, state: RolloutState, observations: Observations | None) -> tuple[Verdict, ...]:
    if observations is None:
        return ()
    # A version that is only warm has done nothing; before all requests are switched the champion's have to be enough.
    only_warm = _only_warm(plan.steps[state.step])
    baseline = (judge_baseline(plan, observations),) if only_warm or _switches_next(plan, state) else ()
    if only_warm:
        return baseline
    return (*(softened(plan, verdict) for verdict in judge_by_source(plan, observations)), *baseline)


def _in_test(
    plan: RolloutPlan, state: RolloutState, stage: AbSection, seen: Observations, now: float, command: Command | None
) -> Decision:
    """What the versions of an A/B/n test have come to: one is stopped, one has won, or it goes on."""
    found = look_at(plan, state, stage, seen, now)
    if command is not None and command.order is Order.ABORT:
        return Decision(RollBack("", command.told), found.verdicts, command)
    if found.failed is not None:
        return Decision(_stopped(plan, *found.failed, last=len(found.living) == 1), found.verdicts)
    if command is not None:
        return Decision(_obeyed(plan, state, command), found.verdicts, command)
    if found.winner:
        told = f"version {found.winner} is better in {stage.metric}: {found.reason}"
        return Decision(Promote(told, found.winner), found.verdicts)
    late = now - state.since >= stage.max_seconds
    if not late and not seen.traffic_ended:
        return Decision(Hold(found.reason), found.verdicts)
    why = f"after {stage.max_seconds:g} s" if late else "when the replayed requests had run out"
    told = f"no version is better than the champion {why}: {found.reason}"
    return Decision(_without_evidence(plan, state, told, found.fewest > 0, late=late), found.verdicts)


def _stopped(plan: RolloutPlan, version: str, cause: str, reason: str, *, last: bool) -> Action:
    told = f"version {version}: {reason}"
    if not plan.rollback.enabled:
        return Pause(cause, f"rollback is disabled: {told}")
    return RollBack(cause, f"no version is left; {told}") if last else Stop(version, told)


def _sent_back(plan: RolloutPlan, verdicts: Sequence[Verdict], seen: Observations) -> RollBack | Pause | None:
    """What becomes of a challenger that something is wrong with; None where nothing is.

    A metric that has failed says more than a breaker that has opened for the same requests.
    """
    failed = next((one for one in verdicts if decides(one) and one.status is Status.FAIL), None)
    if failed is not None:
        cause, reason = failed.measurement.name, failed.line()
    elif seen.breakers:
        cause, reason = BREAKER, f"endpoint replicas ask the challenger no more: {'; '.join(seen.breakers)}"
    else:
        return None
    return _fallen(plan, cause, reason)


def _fallen(plan: RolloutPlan, cause: str, reason: str) -> RollBack | Pause:
    """What failed goes back, or waits for a person where it may not by itself."""
    return RollBack(cause, reason) if plan.rollback.enabled else Pause(cause, f"rollback is disabled: {reason}")


def _obeyed(plan: RolloutPlan, state: RolloutState, command: Command) -> Action:
    """What becomes of a command in a step that nothing is wrong with."""
    if plan.is_test and command.order in (Order.PROMOTE, Order.ADVANCE):
        return Hold("which version is the best only the test can say; abort it, and roll one of them out")
    if command.order is Order.PAUSE:
        return Pause("", f"paused {command.told}", by_person=True)
    if command.order is Order.PROMOTE or (command.order is Order.ADVANCE and _is_last(plan, state)):
        return Promote(f"promoted {command.told}")
    if command.order is Order.ADVANCE:
        return Advance(state.step + 1, f"advanced {command.told}")
    return Hold(f"it runs already; nothing to {command.order}")


def _in_pause(
    plan: RolloutPlan, state: RolloutState, observations: Observations | None, now: float, command: Command | None
) -> Decision:
    """What a pause waits for; the version goes on to answer its share in it, and goes back where that fails."""
    verdicts, failed = _judged_in_pause(plan, state, observations, now)
    if command is not None and command.order is Order.ABORT:
        return Decision(RollBack("", command.told), verdicts, command)
    if failed is not None:
        return Decision(failed, verdicts)
    return Decision(Hold("paused") if command is None else _told_in_pause(plan, state, command), verdicts, command)


def _judged_in_pause(
    plan: RolloutPlan, state: RolloutState, observations: Observations | None, now: float
) -> tuple[tuple[Verdict, ...], Action | None]:
    if observations is None or _waits_for_a_metric(state):
        return (), None
    stage = plan.steps[state.step]
    if isinstance(stage, AbSection) and observations.steps:
        found = look_at(plan, state, stage, observations, now)
        last = len(found.living) == 1
        return found.verdicts, None if found.failed is None else _stopped(plan, *found.failed, last=last)
    verdicts = _verdicts(plan, state, observations)
    return verdicts, _sent_back(plan, verdicts, observations)


def _waits_for_a_metric(state: RolloutState) -> bool:
    """True where it paused because something has failed, and may not go back by itself."""
    return state.cause not in ("", SOURCE)


def _told_in_pause(plan: RolloutPlan, state: RolloutState, command: Command) -> Action:
    if command.order is Order.RESUME:
        return Resume(f"resumed {command.told}")
    if command.order is Order.PAUSE:
        return Hold("it is paused already")
    if _waits_for_a_metric(state):
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
    if state.waits:
        return Decision(_told_on_probation(state, command), command=command)
    verdicts = _late_verdicts(plan, observations)
    failed = [verdict for verdict in verdicts if decides(verdict) and verdict.status is Status.FAIL]
    if failed:
        return Decision(_fallen(plan, failed[0].measurement.name, f"after the promotion: {failed[0].line()}"), verdicts)
    if command is not None and command.order in (Order.ADVANCE, Order.PROMOTE):
        return Decision(Confirm(f"confirmed {command.told}"), verdicts, command)
    if command is not None:
        return Decision(Hold(f"it is promoted already; nothing to {command.order}"), verdicts, command)
    told = "; ".join(verdict.line() for verdict in verdicts) or "nothing was seen"
    if now - state.since >= plan.probation_seconds:
        return Decision(Confirm(f"after {plan.probation_seconds:g} s of probation: {told}"), verdicts)
    return Decision(Hold(told), verdicts)


def _told_on_probation(state: RolloutState, command: Command | None) -> Action:
    """What a person makes of a promotion that something has failed in, and that may not be undone by itself."""
    if command is None:
        return Hold("paused")
    if command.order is Order.RESUME:
        return Resume(f"resumed {command.told}")
    if command.order is Order.PAUSE:
        return Hold("it is paused already")
    if command.created < state.since:
        return Hold(f"{state.cause} has failed since it was told")
    return Confirm(f"confirmed {command.told}, although {state.cause} had failed")


def _late_verdicts(plan: RolloutPlan, observations: Observations | None) -> tuple[Verdict, ...]:
    if observations is None:
        return ()
    promoted = (StepSeen(1.0, challenger=observations.promoted),)
    alone = replace(observations, steps=promoted, pairs_step=observations.pairs_rollout)
    own = judge_queries(plan, observations, comparing=False)
    judged = (*judge_late(plan, observations), *judge_limits(plan, alone), *own)
    return tuple(softened(plan, verdict) for verdict in judged)


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
    step, asked = plan.steps[state.step], _asked(plan.steps[state.step], seen)
    judged = [verdict for verdict in verdicts if decides(verdict)]
    missing = [verdict for verdict in judged if verdict.status is not Status.PASS]
    passed = bool(judged) and not missing
    by_interval = plan.max_failures is not None and not isinstance(step, ShadowSection)
    shortest = step.min_seconds * (state.checks + 1 if by_interval else 1)
    if passed and asked >= step.min_requests and now - state.since >= shortest:
        reason = f"every metric passed at {step.name}"
        if step.manual:
            return Hold(f"{reason}; it waits for `sluiceway rollout promote {plan.rollout_id}`")
        return _onward(plan, state, reason)
    waits = "; ".join(verdict.line() for verdict in missing) or _unspent(step, asked, passed=passed)
    if asked >= step.min_requests and only_unanswered(plan, seen, missing):
        # Whether it has passed nobody knows yet: neither a miss nor a deadline comes of that.
        return Hold(waits)
    if by_interval and now - state.since >= shortest and state.failures < (plan.max_failures or 0):
        told = f"interval {state.checks + 1} at {step.name} has failed, {state.failures + 1} of {plan.max_failures}"
        return Miss(f"{told}: {waits}")
    late = now - state.since >= (shortest if by_interval else step.max_seconds)
    if not late and not seen.traffic_ended:
        return Hold(waits)
    why = f"after {step.max_seconds:g} s" if late else "when the replayed requests had run out,"
    if late and by_interval:
        why = f"after {state.failures + 1} intervals that failed"
    something = asked > 0 and not cannot_tell(plan, seen, verdicts)
    reason = f"not enough evidence {why} at {step.name}: {waits}"
    return _without_evidence(plan, state, reason, something, late=late)


def _switches_next(plan: RolloutPlan, state: RolloutState) -> bool:
    stage = plan.steps[state.step]
    return isinstance(stage, ShadowSection) and not _is_last(plan, state) and plan.steps[state.step + 1].weight == 1


def _only_warm(step: Stage) -> bool:
    return isinstance(step, ShadowSection) and not step.share


def _asked(step: Stage, seen: Observations) -> int:
    """Requests of the step that count: the challenger's, or the champion's while that one is only kept warm."""
    if not seen.steps:
        return 0
    arms = seen.steps[-1]
    return (arms.champion if _only_warm(step) else arms.challenger).requests


def _unspent(step: Stage, asked: int, *, passed: bool) -> str:
    """What a step waits for that no verdict speaks of."""
    if not passed:
        return "nothing was seen"
    few = f"{asked:,} of {step.min_requests:,} requests" if asked < step.min_requests else ""
    return few or f"it takes {step.min_seconds:g} s at least"


def _without_evidence(plan: RolloutPlan, state: RolloutState, reason: str, told: bool, *, late: bool) -> Action:
    """What a deadline leads to; ``told`` where there is something to go on with, though it is not enough."""
    wanted = plan.on_inconclusive
    if wanted == "hold" and late:
        return Hold(reason)
    # A gate of a person's: the evidence may have been there all day and be short for this look only.
    if plan.steps[state.step].manual:
        return Pause("", reason)
    # A plan that forbids rolling back is never rolled back by a clock either.
    if wanted == "rollback" and plan.rollback.enabled:
        return RollBack("", reason)
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
    promoted = state.phase is Phase.PROBATION
    if isinstance(action, Pause):
        phase = state.phase if promoted else Phase.PAUSED
        paused = replace(state, phase=phase, since=now, cause=action.cause, reason=action.reason)
        return replace(paused, by_person=action.by_person)
    if isinstance(action, Confirm):
        return replace(state, phase=Phase.PROMOTED, since=now, cause="", reason=action.reason)
    if isinstance(action, Resume):
        return resumed(state, action.reason, now=now)
    if isinstance(action, Stop):
        generation = newest_generation + 1
        return replace(
            state,
            generation=generation,
            generations=(*state.generations, generation),
            stopped=(*state.stopped, action.version),
            reason=action.reason,
        )
    if isinstance(action, Miss):
        return replace(state, failures=state.failures + 1, checks=state.checks + 1, reason=action.reason)
    moved = replace(state, generation=newest_generation + 1, since=now, reason=action.reason, by_person=False)
    if isinstance(action, RollBack) and not state.generation:
        moved = replace(moved, generation=0)  # it has not begun: there is no traffic to give back
    if isinstance(action, Advance):
        generations = (*state.generations, moved.generation)
        return replace(moved, phase=Phase.STEP, step=action.step, generations=generations, cause="", checks=0)
    if isinstance(action, Promote):
        return replace(moved, phase=Phase.PROMOTING, cause="", winner=action.winner)
    return replace(moved, phase=Phase.ROLLING_BACK, cause=action.cause)


def resumed(state: RolloutState, reason: str, *, now: float) -> RolloutState:
    """The state in which a step, or a probation that waits, is judged again; its deadline begins anew.

    Args:
        state: where the rollout is.
        reason: one sentence.
        now: UTC epoch seconds.
    """
    phase = state.phase if state.phase is Phase.PROBATION else Phase.STEP
    return replace(state, phase=phase, since=now, cause="", reason=reason, checks=0, by_person=False)


def _check_possible(state: RolloutState, action: Action) -> None:
    allowed = {
        Advance: {Phase.PENDING, Phase.STEP, Phase.PAUSED},
        Promote: {Phase.PENDING, Phase.STEP, Phase.PAUSED},
        Pause: {Phase.STEP, Phase.PAUSED, Phase.PROBATION},
        Miss: {Phase.STEP},
        Stop: {Phase.STEP, Phase.PAUSED},
        Resume: {Phase.PAUSED, Phase.PROBATION},
        RollBack: set(Phase) - TERMINAL,
        Confirm: {Phase.PROBATION},
    }[type(action)]
    skips = isinstance(action, Advance) and action.step != state.step + 1
    if state.phase not in allowed or skips:
        raise SluicewayError(f"a rollout in phase {state.phase}, step {state.step}, cannot {action}")
