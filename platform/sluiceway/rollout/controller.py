"""The loop: look, decide, write it down, then do it.

Every effect is idempotent and follows its journal entry, so a controller that dies anywhere is continued by the next
one: it does the newest entry's effect again and looks on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from sluiceway.catalog.claim import Claim
from sluiceway.catalog.leases import LeaseStore
from sluiceway.config.deployment import Moment
from sluiceway.core.clock import Clock, SystemClock
from sluiceway.core.command import Order
from sluiceway.core.doors import Progress, SilentProgress, Traffic
from sluiceway.core.errors import ChampionChangedError, ConflictError, HookRefusedError
from sluiceway.core.traffic import Arm, TrafficDocument
from sluiceway.rollout.asking import Asking
from sluiceway.rollout.decide import (
    Advance,
    Decision,
    Hold,
    Pause,
    Promote,
    RollBack,
    decide,
    follow,
    going_back,
    resumed,
)
from sluiceway.rollout.evidence import Observations
from sluiceway.rollout.hooks import Hooks, NoHooks, RolloutEvent
from sluiceway.rollout.journal import Journal, Rollouts, unfinished
from sluiceway.rollout.lease import hold_traffic
from sluiceway.rollout.looks import Look, LookKeeper
from sluiceway.rollout.outcome import RolloutOutcome, evidence_of, outcome_of, weight_in
from sluiceway.rollout.plan import RolloutPlan
from sluiceway.rollout.state import Phase, RolloutState


class Documents(Protocol):
    """What is needed of :class:`sluiceway.catalog.traffic.TrafficStore`."""

    def newest(self, endpoint: str) -> TrafficDocument | None:
        """The document with the highest generation."""

    def publish(self, document: TrafficDocument) -> None:
        """Write the next generation; ConflictError where it is not the next one."""


class Effects(Protocol):
    """What a rollout changes besides the traffic; each may be called again and has to give the same result."""

    def started(self, plan: RolloutPlan) -> None:
        """Before the challenger gets its first request: it runs, and the registry calls it so."""

    def paused(self, plan: RolloutPlan) -> None:
        """It waits for a person, for a reason that may be another one than before, or goes on after that."""

    def promoted(self, plan: RolloutPlan) -> None:
        """All traffic is the new version's: move the aliases, remove the challenger's application."""

    def rolled_back(self, plan: RolloutPlan, reason: str) -> None:
        """All traffic is the champion's again: take the aliases back, remove the challenger's application.

        Also after a promotion that is undone: the champion's alias is its again.
        """


@dataclass(frozen=True)
class Doors:
    """Everything outside that a rollout touches.

    Attributes:
        traffic: makes the replicas follow a document.
        documents: the catalog's traffic documents.
        rollouts: the catalog's rollouts.
        leases: the catalog's leases; one controller an endpoint.
        observe: counts what was seen in the steps that a state has been through.
        effects: what else changes.
        clock: the time.
        progress: shows it.
        hooks: asked before it moves, told after it has.
        stays: True: a pause is waited out for a command; False: whoever runs it ends with the pause, and going on with
            the rollout later resumes it.
    """

    traffic: Traffic
    documents: Documents
    rollouts: Rollouts
    leases: LeaseStore
    observe: Callable[[RolloutPlan, RolloutState], Observations]
    effects: Effects
    clock: Clock = field(default_factory=SystemClock)
    progress: Progress = field(default_factory=SilentProgress)
    stays: bool = False
    hooks: Hooks = field(default_factory=NoHooks)


def run(plan: RolloutPlan, doors: Doors, *, poll_seconds: float = 0.5) -> RolloutOutcome:
    """Roll a version out, to the end or to a pause.

    Args:
        plan: what to do; where a rollout of this id has begun, that one's plan is gone on with.
        doors: what it touches.
        poll_seconds: between two looks.

    Raises:
        ChampionChangedError: it has not begun, and another version has become the champion since it was planned.
        ConflictError: another controller works on this endpoint or has taken the lease, another rollout of it has not
            ended, or somebody else moved its traffic.
    """
    with hold_traffic(doors.leases, plan.endpoint, clock=doors.clock, rollout_id=plan.rollout_id) as held:
        others = [name for name in unfinished(doors.rollouts, plan.endpoint) if name != plan.rollout_id]
        if others:
            raise ConflictError(
                f"rollout {others[0]} of endpoint {plan.endpoint} has not ended",
                hint="resume it or roll it back before another one begins",
            )
        _refuse_another_champion(plan, doors)
        return _Controller(Journal.begin(doors.rollouts, plan), doors, held, poll_seconds).run()


def _refuse_another_champion(plan: RolloutPlan, doors: Doors) -> None:
    """A plan is made before the claim, and kept while hooks are asked: meanwhile others may have promoted theirs."""
    known = doors.rollouts.get(plan.rollout_id)
    if known is not None:
        if doors.rollouts.journal(plan.rollout_id):
            return
        plan = RolloutPlan.from_json(known.plan)
    newest = doors.documents.newest(plan.endpoint)
    present = newest.champion if newest else None
    if _bundle(present) == _bundle(plan.champion):
        return
    then, now = (f"version {arm.version}" if arm else "none" for arm in (plan.champion, present))
    raise ChampionChangedError(
        f"the champion of {plan.endpoint} was {then} when rollout {plan.rollout_id} was planned, and is {now} now",
        hint=f"plan it anew: `sluiceway rollout start {plan.model}@{plan.version} --config CONFIG`",
    )


def _bundle(arm: Arm | None) -> tuple[str, str] | None:
    return None if arm is None else (arm.version, arm.digest)


def resume(rollout_id: str, doors: Doors, *, poll_seconds: float = 0.5) -> RolloutOutcome:
    """Go on with a rollout that was interrupted or paused; of one that has ended, say how.

    Args:
        rollout_id: its name.
        doors: what it touches.
        poll_seconds: between two looks.

    Raises:
        InputError: there is no such rollout.
        ConflictError: as in :func:`run`.
    """
    return run(Journal.open(doors.rollouts, rollout_id).plan, doors, poll_seconds=poll_seconds)


def abort(rollout_id: str, doors: Doors, *, reason: str = "by hand") -> RolloutOutcome:
    """Roll an interrupted or paused rollout back now, or undo a promotion that is under way or on probation.

    One that has not begun ends without any traffic moved. An endpoint's first model is promoted: there is nothing to go
    back to.

    Args:
        rollout_id: its name.
        doors: what it touches; whoever runs the rollout has to have ended.
        reason: why, for the journal.

    Raises:
        InputError: there is no such rollout.
        ConflictError: another controller still works on it.
    """
    journal = Journal.open(doors.rollouts, rollout_id)
    endpoint = journal.plan.endpoint
    with hold_traffic(doors.leases, endpoint, clock=doors.clock, rollout_id=rollout_id) as held:
        return _Controller(journal, doors, held, 0.5).abort(reason)


class _Controller:
    def __init__(self, journal: Journal, doors: Doors, held: Claim, poll_seconds: float) -> None:
        self.journal = journal
        self.held = held
        self.plan = journal.plan
        self.doors = doors
        self.poll_seconds = poll_seconds
        self.looks = LookKeeper(doors.rollouts, journal.plan.rollout_id)
        self.asking = Asking(doors.hooks)

    def run(self) -> RolloutOutcome:
        self._obey_an_abort()
        self._obey_on_probation()
        self._go_on()
        while not self._ended():
            if self.held.lost:
                self.held.check()
            state = self.journal.state
            # After a test the rollout is that of the version that has won it.
            seen = self.doors.observe(self.plan.won_by(state.winner), state) if state.judged else None
            command = self.journal.next_command(first=self._first())
            decision = self._allowed(
                decide(self.plan, state=state, observations=seen, now=self._now(), command=command)
            )
            if seen is not None:
                self.looks.keep(Look(self._now(), state, seen), decided=not isinstance(decision.action, Hold))
            self._show(decision, seen)
            if not self.take(decision, seen):
                self.doors.clock.sleep(self.poll_seconds)
        if self.journal.state.waits:
            self.looks.keep_end(self.journal.state)  # by which whoever goes on sees that the pause was told
        return outcome_of(self.plan, self.journal.entries)

    def abort(self, reason: str) -> RolloutOutcome:
        """Go back from wherever it was left."""
        action = going_back(self.plan, self.journal.state, reason)
        if isinstance(action, RollBack):
            self.take(Decision(action), None)
        else:
            self._perform()
        return outcome_of(self.plan, self.journal.entries)

    def _first(self) -> tuple[Order, ...]:
        """What is obeyed although a hook is still asked about what was told before; a paused one is paused already."""
        if not self.asking.open:
            return ()
        return (Order.ABORT, Order.PAUSE) if self.journal.state.phase is Phase.STEP else (Order.ABORT,)

    def _obey_an_abort(self) -> None:
        """Before anything is done again: where somebody else has moved the traffic meanwhile, nothing else can be."""
        command = self.journal.next_command(first=(Order.ABORT,))
        if command is None or command.order is not Order.ABORT:
            return
        decision = decide(self.plan, state=self.journal.state, observations=None, now=self._now(), command=command)
        if isinstance(decision.action, RollBack):
            self.take(decision, None)

    def _obey_on_probation(self) -> None:
        """What a person says of a failure, before it is judged again: it would only fail again, and wait again."""
        while self.journal.state.phase is Phase.PROBATION and self._is_resumed_by_going_on():
            command = self.journal.next_command()
            if command is None:
                return
            state = self.journal.state
            self.take(decide(self.plan, state=state, observations=None, now=self._now(), command=command), None)

    def _go_on(self) -> None:
        """Do the newest entry's effects; from a pause that nobody waits out, go on."""
        # Before another entry: what the newest one is about, be it a resume, has to have been told.
        goes_on = self._is_resumed_by_going_on()
        # One that was looked at was told before that.
        told = self.looks.has_kept(self.journal.state)
        if not goes_on:
            self._perform()
        if not told:
            self._tell_of_the_newest()
        # A step's deadline counts time in which it was watched: a dead controller costs time, not the rollout.
        state = self.journal.state
        if goes_on or state.phase is Phase.STEP:
            what = "the probation" if state.phase is Phase.PROBATION else f"step {state.step}"
            self._write(resumed(state, "resumed", now=self._now()), f"resume {what}", {})
        if goes_on:
            self._perform()
            self._tell_of_the_newest()

    def _is_resumed_by_going_on(self) -> bool:
        return self.journal.state.waits and not self.doors.stays

    def _ended(self) -> bool:
        state = self.journal.state
        return state.terminal or self._is_resumed_by_going_on()

    def take(self, decision: Decision, seen: Observations | None) -> bool:
        """Write a decision down and do it; False where it is to hold.

        Raises:
            ConflictError: the lease was lost, or somebody else moved the traffic, of which only going back is possible.
        """
        newest = self.doors.documents.newest(self.plan.endpoint)
        before = self.journal.state
        generation = newest.generation if newest else 0
        after = follow(before, decision.action, newest_generation=generation, now=self._now())
        if decision.command is not None:
            after = replace(after, commands=decision.command.sequence)
        if after is before:
            return False
        own = before.generation or generation
        if newest is not None and generation > own and not isinstance(decision.action, RollBack):
            self.held.check()  # who has the lease says more
            raise self._moved_by(newest)
        self._write(after, _describe(decision), evidence_of(decision, seen))
        self._perform()
        self._tell_of_the_newest()
        return not isinstance(decision.action, Hold)

    def _allowed(self, decision: Decision) -> Decision:
        """The decision; held while hooks are asked about it, and a pause where one does not let it.

        Raises:
            HookRefusedError: a hook does not let the rollout begin.
        """
        action = decision.action
        if isinstance(action, Advance):
            moment: Moment = "before_increase" if action.step else "before_start"
            weight = self.plan.steps[action.step].weight
        elif isinstance(action, Promote):
            moment, weight = "before_promotion", 1.0
        else:
            self.asking.put_off()
            return decision
        winner = action.winner if isinstance(action, Promote) else ""
        event = self._event(moment, weight, action.reason, sequence=1, winner=winner)
        refused = self.asking.refusal(event, seconds=self.poll_seconds)
        if refused is None:
            # The command that it obeys, if any, is obeyed once it is let.
            return Decision(Hold(f"hooks are asked: {event.line}"), decision.verdicts)
        if not refused:
            return decision
        if self.journal.state.phase is Phase.PENDING:
            raise HookRefusedError(
                f"rollout {self.plan.rollout_id} has not begun: {refused}", hint="see deployment.hooks"
            )
        if self.journal.state.phase is Phase.PAUSED:
            return replace(decision, action=Hold(refused))
        return replace(decision, action=Pause("", refused))

    def _tell_of_the_newest(self) -> None:
        """Tell of the newest entry where it begins a step or a pause; an end is told by :meth:`_end`."""
        entries = self.journal.entries
        if not entries:
            return
        state = entries[-1].state
        before = entries[-2].state if len(entries) > 1 else RolloutState()
        moved = state.phase is not before.phase or state.step != before.step or state.waits_otherwise(before)
        if moved and (state.waits or state.phase is Phase.STEP):
            self._tell("paused" if state.waits else "step", state, sequence=0)

    def _tell(self, moment: Moment, state: RolloutState, *, sequence: int) -> None:
        weight = weight_in(self.plan, state) or 0.0
        self.doors.hooks.tell(self._event(moment, weight, state.reason, sequence=sequence))

    def _event(self, moment: Moment, weight: float, reason: str, *, sequence: int, winner: str = "") -> RolloutEvent:
        plan = self.plan.won_by(winner or self.journal.state.winner)
        champion = plan.champion.version if plan.champion else ""
        number = len(self.journal.entries) + sequence
        return RolloutEvent(
            moment, plan.rollout_id, number, plan.endpoint, plan.model, plan.version, champion, weight, reason
        )

    def _perform(self) -> None:
        """Make the world what the newest entry says; may be done any number of times."""
        state, plan = self.journal.state, self.plan.won_by(self.journal.state.winner)
        if state.phase is Phase.STEP:
            if state.step == 0:
                self.held.check()
                self.doors.effects.started(plan)
            self._move(plan.step_document(state.step, generation=state.generation, stopped=state.stopped))
        elif state.phase is Phase.PAUSED and state.stopped:
            # A version of a test may fail in a pause.
            self._move(plan.step_document(state.step, generation=state.generation, stopped=state.stopped))
        elif state.phase is Phase.PROMOTING:
            self._move(plan.promoted_document(generation=state.generation))
            self.held.check()
            self.doors.effects.promoted(plan)
            watched = plan.probation_seconds > 0 and plan.champion is not None
            after = Phase.PROBATION if watched else Phase.PROMOTED
            self._end("promoted", after, "on probation" if watched else "promoted")
        elif state.phase is Phase.PROBATION:
            self._move(plan.promoted_document(generation=state.generation))
        elif state.phase is Phase.ROLLING_BACK:
            if state.generation:  # else it was aborted before it began
                self._move(plan.rolled_back_document(generation=state.generation))
            self.held.check()
            self.doors.effects.rolled_back(plan, state.reason)
            self._end("rolled_back", Phase.ROLLED_BACK, "rolled back")
        if self._is_about_a_pause():
            self.doors.effects.paused(plan)

    def _end(self, moment: Moment, phase: Phase, action: str) -> None:
        """Tell of a promotion or rollback that is done, then write so: nobody goes on with one that has ended."""
        after = replace(self.journal.state, phase=phase, since=self._now())
        self._tell(moment, after, sequence=1)
        self._write(after, action, {})

    def _is_about_a_pause(self) -> bool:
        """Whether the newest entry is of a pause, or ends one without any other effect that tells of it."""
        entries = self.journal.entries
        if not entries or entries[-1].state.waits:
            return bool(entries)
        ended = entries[-1].state.phase in (Phase.STEP, Phase.PROBATION, Phase.PROMOTED)
        return ended and len(entries) > 1 and entries[-2].state.waits

    def _move(self, document: TrafficDocument) -> None:
        self.held.check()
        newest = self.doors.documents.newest(document.endpoint)
        if newest is None or newest.generation < document.generation:
            self.doors.documents.publish(document)
        elif newest != document:
            raise self._moved_by(newest)
        self.doors.traffic.apply(document)

    def _moved_by(self, newest: TrafficDocument) -> ConflictError:
        return ConflictError(
            f"the traffic of endpoint {newest.endpoint} was moved to generation {newest.generation} by "
            f"{newest.rollout_id or 'somebody else'} during rollout {self.plan.rollout_id}",
            hint="look at the endpoint, then resume the rollout or begin another one",
        )

    def _write(self, state: RolloutState, action: str, evidence: dict[str, object]) -> None:
        self.held.check()
        self.journal.append(state, action=action, evidence=evidence, now=self._now())

    def _now(self) -> float:
        return self.doors.clock.now().timestamp()

    def _show(self, decision: Decision, seen: Observations | None) -> None:
        state = self.journal.state
        if seen is None or not seen.steps or state.waits:
            return
        if state.phase is Phase.PROBATION:
            left = max(0.0, self.plan.probation_seconds - (self._now() - state.since))
            self.doors.progress.advance(f"probation, {left:,.0f} s left", 1 - left / self.plan.probation_seconds)
            return
        passed = sum(verdict.status == "PASS" for verdict in decision.verdicts)
        used = ", ".join(
            f"{v.measurement.name} {v.status} {v.measurement.n:,}/{v.threshold.n_needed if v.threshold else 0:,}"
            for v in decision.verdicts
        )
        share = (state.step + passed / max(1, len(decision.verdicts))) / len(self.plan.steps)
        self.doors.progress.advance(f"{self.plan.strategy} {self.plan.steps[state.step].name}: {used}", share)


def _describe(decision: Decision) -> str:
    action, command = decision.action, decision.command
    if command is not None and isinstance(action, Hold):
        return f"{command.order} {command.told} is refused: {action.reason}"
    step = getattr(action, "step", None)
    name = type(action).__name__.lower()
    return name if step is None else f"{name} to step {step}"
