"""What happened in a rollout and why, in sentences; from its journal and its looks, and nothing else."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from sluiceway.config.stages import AbSection, ShadowSection, Stage, StepSection
from sluiceway.core.verdict import Verdict
from sluiceway.rollout.decide import Hold, decide
from sluiceway.rollout.evidence import CHECK
from sluiceway.rollout.explain_metric import MetricStory, story_of
from sluiceway.rollout.journal import Entry
from sluiceway.rollout.looks import Look
from sluiceway.rollout.plan import RolloutPlan
from sluiceway.rollout.state import Phase, RolloutState
from sluiceway.rollout.what_next import what_next

AT_A_DEADLINE = {
    "rollback": "the champion takes over again",
    "pause": "it pauses for a person",
    "hold": "it waits on",
    "continue": "it goes on all the same",
}


@dataclass(frozen=True)
class Happening:
    """One decision.

    Attributes:
        sequence: of the journal's entry.
        time: UTC epoch seconds.
        told: what was done and why, one sentence.
        metrics: what it was decided on.
    """

    sequence: int
    time: float
    told: str
    metrics: tuple[MetricStory, ...]


@dataclass(frozen=True)
class Explanation:
    """A rollout in sentences.

    Attributes:
        rollout: its id.
        phase: where it is.
        headline: what is rolled out to where, and how it ended or stands.
        happened: its decisions, in order.
        waits: what it waits for, empty where it has ended.
        metrics: how the present step stands, by the newest look.
        next: what a person can do.
    """

    rollout: str
    phase: str
    headline: str
    happened: tuple[Happening, ...]
    waits: tuple[str, ...]
    metrics: tuple[MetricStory, ...]
    next: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return asdict(self)


def explain(
    plan: RolloutPlan, entries: Sequence[Entry], looks: Sequence[Look], *, now: float, runner: str | None
) -> Explanation:
    """Tell a rollout.

    Args:
        plan: of it.
        entries: its journal.
        looks: what was seen, in order.
        now: UTC epoch seconds.
        runner: who runs it, or None.
    """
    state = entries[-1].state if entries else RolloutState(since=plan.created)
    happened = tuple(_happenings(plan, entries, looks))
    waits, metrics = _present(plan, state, entries, looks, now)
    return Explanation(
        rollout=plan.rollout_id,
        phase=str(state.phase),
        headline=_headline(plan, state),
        happened=happened,
        waits=waits,
        metrics=metrics,
        next=what_next(plan, state, runner=runner),
    )


def _headline(plan: RolloutPlan, state: RolloutState) -> str:
    instead = f" in place of version {plan.champion.version}" if plan.champion else ", its first model"
    stage = plan.steps[max(0, state.step)]
    weight, is_warm = _share(stage), isinstance(stage, ShadowSection) and not stage.share
    where = {
        Phase.PENDING: "has not begun",
        Phase.STEP: f"gets {weight}{'' if is_warm else ' and is judged on them'}",
        Phase.PAUSED: f"is paused at {weight}",
        Phase.PROMOTING: "is being promoted",
        Phase.PROBATION: "is promoted, on probation" + (", and waits for a person" if state.waits else ""),
        Phase.PROMOTED: "is promoted",
        Phase.ROLLING_BACK: "is being rolled back",
        Phase.ROLLED_BACK: "is rolled back" + (f" because of {state.cause}" if state.cause else ""),
    }[state.phase]
    versions = f"Version {plan.won_by(state.winner).version}"
    if plan.is_test and not state.winner:
        versions = f"The A/B test of version{'s' * (len(plan.versions) > 1)} {', '.join(plan.versions)}"
    return f"{versions} of {plan.model} for {plan.endpoint}{instead} {where}."


def _share(stage: Stage) -> str:
    """What a version gets of the requests."""
    if isinstance(stage, AbSection):
        return f"{stage.weight:.0%} of the requests for each version"
    if isinstance(stage, ShadowSection):
        return f"a copy of {stage.share:.0%} of the requests" if stage.share else "no requests and is kept warm"
    return f"{stage.weight:.0%} of the requests"


def _happenings(plan: RolloutPlan, entries: Sequence[Entry], looks: Sequence[Look]) -> Iterator[Happening]:
    pending = Entry(0, RolloutState(since=plan.created), "", {}, plan.created)
    for before, entry in itertools.pairwise([pending, *entries]):
        verdicts = [Verdict.from_dict(body) for body in entry.evidence.get("verdicts", ())]
        look = _look_of(before.state, entry, looks)
        on_probation = before.state.phase is Phase.PROBATION
        seen = None if look is None or on_probation else look.seen
        metrics = tuple(story_of(plan, verdict, seen) for verdict in verdicts)
        yield Happening(entry.sequence, entry.time, _told(plan, before, entry), metrics)


def _look_of(state: RolloutState, entry: Entry, looks: Sequence[Look]) -> Look | None:
    """The look that an entry was decided on."""
    return next((one for one in reversed(looks) if one.time <= entry.time and one.state == state), None)


def _told(plan: RolloutPlan, before: Entry, entry: Entry) -> str:
    old, new, reason = before.state, entry.state, _why(entry)
    weight = _share(plan.steps[max(0, new.step)])
    after = f"After {entry.time - old.since:,.0f} s"
    if new.phase is old.phase and new.step == old.step and "refused" in entry.action:
        return f"What it was told was refused: {entry.action}."
    if new.waits and new.phase is Phase.PROBATION:
        return f"{after} its probation was paused: {reason}."
    if old.waits and new.phase is Phase.PROBATION:
        return f"Its probation began anew: {reason}."
    if new.phase is Phase.STEP and old.phase is Phase.PENDING:
        return f"It began with {weight}."
    if len(new.stopped) > len(old.stopped):
        return f"{after} a version got no more requests: {reason}."
    if new.failures > old.failures:
        return f"{after} it waited on: {reason}."
    if new.phase is Phase.STEP and new.step == old.step:
        return f"It went on at {weight}, and the step's deadline began anew: {reason}."
    return {
        Phase.STEP: f"{after} it went on to {weight}: {reason}.",
        Phase.PAUSED: f"{after} it paused at {weight}: {reason}.",
        Phase.PROMOTING: f"{after} it was promoted: {reason}.",
        Phase.PROBATION: f"All requests are its own, on probation for {plan.probation_seconds:,.0f} s.",
        Phase.PROMOTED: f"The promotion stands: {reason}." if old.phase is Phase.PROBATION else "All requests are its.",
        Phase.ROLLING_BACK: f"{after} it was sent back: {reason}.",
        Phase.ROLLED_BACK: "The champion answers all requests again.",
        Phase.PENDING: "It was written down.",
    }[new.phase]


def _why(entry: Entry) -> str:
    """The reason without the lines of the verdicts, which are told one by one."""
    short = _short(entry.state.reason)
    return short or (f"because of {entry.state.cause}" if entry.state.cause else entry.state.reason)


def _short(reason: str) -> str:
    return reason.partition(f"{CHECK} ")[0].rstrip(": ")


def _present(
    plan: RolloutPlan, state: RolloutState, entries: Sequence[Entry], looks: Sequence[Look], now: float
) -> tuple[tuple[str, ...], tuple[MetricStory, ...]]:
    """What it waits for, and how its metrics stand."""
    if state.waits:
        return (f"It waits for a person since {clock(state.since)}: {state.reason}.",), ()
    if state.phase is Phase.PENDING:
        return ("It waits to begin: a hook may be asked, or nobody runs it.",), ()
    if not state.judged:
        return (), ()
    newest = next((look for look in reversed(looks) if look.state == state), None)
    waits: list[str] = []
    metrics: tuple[MetricStory, ...] = ()
    if newest is None:
        waits.append("Nothing has been seen since it began.")
    else:
        decision = decide(plan, state=state, observations=newest.seen, now=newest.time)
        on_probation = state.phase is Phase.PROBATION
        began = _began(state, entries)
        seconds = newest.time - began
        seen = None if on_probation else newest.seen
        metrics = tuple(story_of(plan, verdict, seen, seconds=seconds) for verdict in decision.verdicts)
        waits.append(f"Seen at {clock(newest.time)}, {max(0.0, now - newest.time):,.0f} s ago:")
        told = _short(decision.action.reason)
        moves = "" if isinstance(decision.action, Hold) else "; that is next, unless a hook that is asked says no"
        if told:
            waits.append(f"{told[0].upper()}{told[1:]}{moves}.")
    waits.append(_deadline(plan, state, now))
    return tuple(waits), metrics


def _began(state: RolloutState, entries: Sequence[Entry]) -> float:
    """When the present weights began; a resumed step has them from before."""
    return next((entry.time for entry in entries if entry.state.generation == state.generation), state.since)


def _deadline(plan: RolloutPlan, state: RolloutState, now: float) -> str:
    on_probation = state.phase is Phase.PROBATION
    if not on_probation and plan.max_failures is not None and isinstance(plan.steps[state.step], StepSection):
        ends = state.since + plan.steps[state.step].min_seconds * (state.checks + 1)
        failed = f"{state.failures} of the {plan.max_failures} intervals that may fail have failed"
        return f"It goes on at the end of an interval only, the next one ends at {clock(ends)}; {failed}."
    ends = state.since + (plan.probation_seconds if on_probation else plan.steps[state.step].max_seconds)
    left = f"in {ends - now:,.0f} s" if ends > now else "which is over"
    if on_probation:
        return f"The probation ends at {clock(ends)}, {left}; then the promotion stands."
    policy = plan.on_inconclusive
    manual = plan.steps[state.step].manual and policy != "hold"
    pauses = manual or (policy == "rollback" and not plan.rollback.enabled)
    then = AT_A_DEADLINE["pause" if pauses else policy]
    return f"Without enough evidence by {clock(ends)}, {left}, {then}."


def clock(seconds: float) -> str:
    """A moment for people, UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
