"""``sluiceway rollout watch``: a rollout as it is now, drawn anew every second."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from sluiceway.catalog.stores import Stores
from sluiceway.core.clock import Clock
from sluiceway.core.verdict import Severity, Status, Verdict
from sluiceway.rollout.decide import Decision, Hold, decide
from sluiceway.rollout.evidence import Observations
from sluiceway.rollout.journal import Journal
from sluiceway.rollout.looks import newest_told
from sluiceway.rollout.observe import RecordObserver
from sluiceway.rollout.observe_means import WithMeans
from sluiceway.rollout.plan import RolloutPlan
from sluiceway.rollout.state import Phase, RolloutState

COLOURS = {Status.PASS: "green", Status.FAIL: "red", Status.INCONCLUSIVE: "yellow", Status.ERROR: "red"}
BAR = 30


@dataclass(frozen=True)
class Look:
    """A rollout at one moment.

    Attributes:
        plan: of it.
        state: where it is.
        seen: what was counted; None where nothing is judged.
        decision: what would be done now, if whoever runs it looked.
        now: UTC epoch seconds.
        runner: who runs it, or None.
    """

    plan: RolloutPlan
    state: RolloutState
    seen: Observations | None
    decision: Decision
    now: float
    runner: str | None


class Watcher:
    """Looks at one rollout, and changes nothing.

    Args:
        stores: of the catalog.
        rollout_id: its name.
        clock: the time.
        runner: says who runs an endpoint's rollout, or None.
    """

    def __init__(self, stores: Stores, rollout_id: str, *, clock: Clock, runner: Callable[[str], str | None]) -> None:
        self._stores, self._id, self._clock, self._runner = stores, rollout_id, clock, runner
        counts = RecordObserver(stores.records, stores.breakers, clock=clock)
        self._observe = WithMeans(counts, stores.comparisons)

    def look(self) -> Look:
        """As it is now."""
        journal = Journal.open(self._stores.rollouts, self._id)
        plan, state, now = journal.plan, journal.state, self._clock.now().timestamp()
        seen = self._observe(plan.won_by(state.winner), state) if state.judged else None
        if seen is not None and plan.asks_prometheus:
            # Whoever runs the rollout asks Prometheus; the secrets for that need not be here.
            seen = replace(seen, told=newest_told(self._stores.rollouts, self._id, generation=state.generation))
        decision = decide(plan, state=state, observations=seen, now=now)
        return Look(plan, state, seen, decision, now, self._runner(plan.endpoint))


def watch(watcher: Watcher, console: Console, *, seconds: float) -> Look:
    """Draw until the rollout has ended; gives the last look."""
    look = watcher.look()
    with Live(drawn(look), console=console, refresh_per_second=4) as live:
        while not look.state.terminal:
            time.sleep(seconds)
            look = watcher.look()
            live.update(drawn(look))
    return look


def drawn(look: Look) -> Group:
    """For a person."""
    plan, state = look.plan, look.state
    champion = plan.champion.version if plan.champion else "none"
    head = Text.from_markup(
        f"[bold]{escape(plan.endpoint)}[/]  version {escape(champion)} -> {escape(', '.join(plan.versions))}   "
        f"{escape(_where(look))}   run by {escape(look.runner or 'nobody')}"
    )
    parts: list[Any] = [head, _steps(plan, state)]
    if look.seen is not None:
        parts += [_arms(plan, look.seen), _metrics(look.decision.verdicts)]
        if look.plan.asks_prometheus:
            told = look.seen.told.line if look.seen.told else "has not been asked yet"
            parts.append(Text(f"source: {plan.source}; Prometheus: {told}", overflow="fold"))
    told = state.reason if state.terminal else _next(look)
    parts.append(Text(f"{'ended' if state.terminal else 'next'}: {told}", overflow="fold"))
    return Group(*parts)


def as_json(look: Look) -> dict[str, Any]:
    """For a program."""
    return {
        "rollout": look.plan.rollout_id,
        "endpoint": look.plan.endpoint,
        "phase": str(look.state.phase),
        "step": look.state.step,
        "run_by": look.runner,
        "source": look.plan.source,
        "seen": None if look.seen is None else look.seen.to_dict(),
        "verdicts": [verdict.to_dict() for verdict in look.decision.verdicts],
        "next": type(look.decision.action).__name__.lower(),
        "reason": _reason(look),
    }


def _next(look: Look) -> str:
    action = look.decision.action
    return _reason(look) if isinstance(action, Hold) else f"{type(action).__name__.lower()}: {action.reason}"


def _reason(look: Look) -> str:
    """Why; of a pause, why it is one."""
    reason, state = look.decision.action.reason, look.state
    waits = state.waits and isinstance(look.decision.action, Hold) and state.reason
    return f"{reason}: {state.reason}" if waits else reason


def _where(look: Look) -> str:
    state = look.state
    passed = look.now - state.since
    if state.phase is Phase.STEP:
        return f"step {state.step + 1} of {len(look.plan.steps)}, {passed:,.0f} of {_limit(look):,.0f} s"
    if state.phase is Phase.PROBATION and state.waits:
        return "on probation, paused"
    if state.phase is Phase.PROBATION:
        return f"on probation, {passed:,.0f} of {_limit(look):,.0f} s"
    return str(state.phase).replace("_", " ")


def _limit(look: Look) -> float:
    on_probation = look.state.phase is Phase.PROBATION
    return look.plan.probation_seconds if on_probation else look.plan.steps[look.state.step].max_seconds


def _steps(plan: RolloutPlan, state: RolloutState) -> Text:
    line = Text()
    for i, step in enumerate(plan.steps):
        done = i < state.step or state.phase in (Phase.PROMOTING, Phase.PROBATION, Phase.PROMOTED)
        style = "green" if done else "bold reverse" if i == state.step else "dim"
        line.append(f" {step.name} ", style=style)
        line.append(" ")
    return line


def _arms(plan: RolloutPlan, seen: Observations) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("arm", "requests", "errors", "share"):
        table.add_column(name, justify="left" if name == "arm" else "right")
    step = seen.steps[-1]
    rows = [("champion", step.champion), ("challenger", step.challenger)]
    rows += [
        (f"challenger {arm.version}", other.steps[-1].challenger)
        for arm, other in zip(plan.others, seen.others, strict=False)
    ]
    if seen.promoted.requests:
        rows.append(("since the promotion", seen.promoted))
    for name, arm in rows:
        share = f"{arm.errors / arm.requests:.2%}" if arm.requests else ""
        table.add_row(name, f"{arm.requests:,}", f"{arm.errors:,}", share)
    return table


def _metrics(verdicts: tuple[Verdict, ...]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name, align in (("metric", "left"), ("value", "right"), ("interval", "right"), ("limit", "right")):
        table.add_column(name, justify=align)  # type: ignore[arg-type]  # rich's literals
    table.add_column("evidence")
    table.add_column("says")
    for verdict in verdicts:
        table.add_row(*_row(verdict))
    return table


def _row(verdict: Verdict) -> tuple[str, str, str, str, Text, Text]:
    m, t = verdict.measurement, verdict.threshold
    value = "" if m.value is None else f"{m.value:.4g}{m.unit}"
    interval = f"{m.low:.4g} .. {m.high:.4g}" if m.low is not None and m.high is not None else ""
    limit = f"{t.direction} {t.limit:.4g}{m.unit}" if t else ""
    needed = t.n_needed if t else 1
    full = min(BAR, int(BAR * m.n / needed)) if needed else BAR
    bar = Text("#" * full, style="green" if full == BAR else "yellow") + Text("." * (BAR - full), style="dim")
    bar.append(f" {m.n:,} of {needed:,}")
    said = Text(str(verdict.status), style=COLOURS[verdict.status])
    if verdict.severity is not Severity.BLOCK:
        said.append(" (dry run)", style="dim")
    return m.name, value, interval, limit, bar, said
