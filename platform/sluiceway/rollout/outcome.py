"""What became of a rollout, read from its journal."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sluiceway.rollout.decide import Decision
from sluiceway.rollout.evidence import Observations
from sluiceway.rollout.journal import Entry
from sluiceway.rollout.plan import RolloutPlan
from sluiceway.rollout.state import Phase, RolloutState

STATUSES = {Phase.PROMOTED: "promoted", Phase.ROLLED_BACK: "rolled_back"}


@dataclass(frozen=True)
class MetricReport:
    """One metric at the end of one step.

    Attributes:
        metric: its name.
        status: PASS, FAIL or INCONCLUSIVE.
        n: requests or pairs used.
        n_needed: requests or pairs needed.
        line: the verdict in one line.
    """

    metric: str
    status: str
    n: int
    n_needed: int
    line: str


@dataclass(frozen=True)
class StepReport:
    """One step: the challenger's share of the requests, how long it took in seconds, what was found; and its name."""

    weight: float
    seconds: float
    metrics: tuple[MetricReport, ...]
    name: str


@dataclass(frozen=True)
class RolloutOutcome:
    """How a rollout ended.

    Attributes:
        rollout_id: its name.
        status: ``promoted``, ``rolled_back`` or ``paused``.
        cause: the metric that sent it back or made it pause, ``breaker``, or ``prometheus``; None for a deadline, a
            person, or a promotion.
        reason: one sentence with the numbers.
        requests: requests used for the decision by arm.
        seconds: from the plan's first entry to the last.
        steps: what each step found when it ended.
    """

    rollout_id: str
    status: str
    cause: str | None
    reason: str
    requests: dict[str, int]
    seconds: float
    steps: tuple[StepReport, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return asdict(self)


def evidence_of(decision: Decision, observations: Observations | None) -> dict[str, Any]:
    """What is written next to a transition: the verdicts and the counts behind them, JSON-ready."""
    return {
        "verdicts": [verdict.to_dict() for verdict in decision.verdicts],
        "seen": None if observations is None else observations.to_dict(),
        "requests": None if observations is None else observations.requests(),
    }


def weight_in(plan: RolloutPlan, state: RolloutState) -> float | None:
    """The version's share of the requests in a state; None before the first."""
    if state.phase in (Phase.ROLLING_BACK, Phase.ROLLED_BACK):
        return 0.0
    if state.phase in (Phase.STEP, Phase.PAUSED):
        return plan.steps[state.step].weight
    return None if state.phase is Phase.PENDING else 1.0


def outcome_of(plan: RolloutPlan, entries: Sequence[Entry]) -> RolloutOutcome:
    """Read the outcome from a journal whose last entry is an ended or paused one."""
    state = entries[-1].state
    counted = [entry.evidence["requests"] for entry in entries if entry.evidence.get("requests")]
    return RolloutOutcome(
        rollout_id=plan.rollout_id,
        status="paused" if state.waits else STATUSES[state.phase],
        cause=state.cause or None,
        reason=state.reason,
        requests=dict(counted[-1]) if counted else {"champion": 0, "challenger": 0},
        seconds=entries[-1].time - entries[0].time,
        steps=tuple(_steps(plan, entries)),
    )


def _steps(plan: RolloutPlan, entries: Sequence[Entry]) -> list[StepReport]:
    reports: dict[int, StepReport] = {}
    entered: dict[int, float] = {}
    for before, after in itertools.pairwise(entries):
        if before.state.phase is Phase.STEP:
            step = before.state.step
            start = entered.setdefault(step, before.time)
            if after.evidence.get("verdicts"):
                metrics = tuple(_metric(verdict) for verdict in after.evidence["verdicts"])
                stage = plan.steps[step]
                reports[step] = StepReport(stage.weight, after.time - start, metrics, stage.name)
    return [reports[step] for step in sorted(reports)]


def _metric(verdict: dict[str, Any]) -> MetricReport:
    measurement, threshold = verdict["measurement"], verdict["threshold"]
    return MetricReport(
        measurement["name"], verdict["status"], measurement["n"], threshold["n_needed"], verdict["line"]
    )
