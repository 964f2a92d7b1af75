"""Rollouts that exist only as counts, decided by the real ``decide``: many of one kind, as fast as two cores go.

Users come in looks: at each the challenger gets ten requests more, and the champion as many as the router's draws leave
it. Time is what these requests would take. The steps that have a champion beside the challenger share a budget; full
weight has its own requests after it. What is not decided within the budget counts as not promoted.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from sluiceway.config.deployment import MarginsSection, StepSection
from sluiceway.core.traffic import LATENCY_BOUNDS_SECONDS, LATENCY_QUANTILES, Arm
from sluiceway.gates.statistics.proportions import Pairs
from sluiceway.rollout.decide import Pause, Promote, RollBack, decide, follow
from sluiceway.rollout.evidence import ArmSeen, Observations, StepSeen
from sluiceway.rollout.plan import RolloutPlan
from sluiceway.rollout.state import Phase, RolloutState

LOOK = 10  # the challenger's requests between two looks
BUDGET = 600  # of the challenger, in all steps that have a champion beside it
WEIGHTS = (0.05, 0.25, 0.5, 1.0)
PARTS = 16  # of the draws, each with a seed
RATE = 400.0  # requests a second
BUCKETS = len(LATENCY_BOUNDS_SECONDS) + 1
# What every plan is judged by; all but one of them are dry runs in a cell.
JUDGED = ("error_rate", "latency_p99", "accuracy")
FAST, LATE = 40, 90  # buckets of answers well within every limit, and well beyond


@dataclass(frozen=True)
class Cell:
    """One kind of rollout.

    Attributes:
        errors: shares of requests that fail: (champion's, challenger's).
        margin: of the metric; of the latency there is none.
        metric: the one that decides.
        bursts: chance of a look, while both arms run, to be in an outage in which ``outage`` of all requests fail.
        outage: share that fails then.
        burst_at_full: True for an outage at the first look of full weight.
        clump: so many errors come together, all to one arm, as from one client whose requests stay together.
        wrong: shares of pairs on which (only the champion, only the challenger) is right.
        noise: share of outcomes that are wrong.
        late: share of the challenger's answers that are slower than the limit.
        budget: the challenger's requests while both arms run, and as many at full weight.
    """

    errors: tuple[float, float] = (0.005, 0.005)
    margin: float = 0.02
    metric: str = "error_rate"
    bursts: float = 0.0
    outage: float = 0.3
    burst_at_full: bool = False
    clump: int = 1
    wrong: tuple[float, float] = (0.015, 0.015)
    noise: float = 0.0
    late: float = 0.0
    budget: int = BUDGET


@dataclass(frozen=True)
class Ended:
    """How a rollout ended: ``promoted``, ``back`` or ``undecided``; the challenger's requests; the highest weight."""

    how: str
    requests: int
    weight: float


def plan_of(cell: Cell) -> RolloutPlan:
    """The default steps, judged on one metric."""
    margins = {"error_rate": cell.margin} if cell.metric == "error_rate" else {}
    margins |= {"accuracy": cell.margin} if cell.metric == "accuracy" else {}
    margins |= {f"{cell.metric}_ratio": 1.5} if cell.metric in LATENCY_QUANTILES else {}
    return RolloutPlan(
        "r1",
        endpoint="simulated",
        model="simulated",
        version="2",
        bundle="b",
        digest="d",
        champion=Arm("1", 1.0, "a", "c"),
        steps=tuple(StepSection(weight=weight, max_seconds=1e9) for weight in WEIGHTS),
        margins=MarginsSection(**margins),
        dry_run=tuple(name for name in JUDGED if name != cell.metric),
        on_inconclusive="pause",
        isolation="replica",
    )


class Users:
    """Draws what a look adds to both arms."""

    def __init__(self, cell: Cell, random: np.random.Generator) -> None:
        self._cell, self._random = cell, random
        only_champion, only_challenger = cell.wrong
        both = 0.85 - only_champion
        shares = np.array([both, only_champion, only_challenger, 1 - both - only_champion - only_challenger])
        # A wrong outcome of two classes makes right wrong and wrong right, for both models.
        self._pairs = (1 - cell.noise) * shares + cell.noise * shares[::-1]

    def look(self, weight: float, *, first: bool) -> tuple[ArmSeen, ArmSeen]:
        """(champion's, challenger's) requests and errors."""
        cell, random = self._cell, self._random
        others = int(random.negative_binomial(LOOK, weight)) if weight < 1 else 0
        outage = random.random() < cell.bursts if weight < 1 else cell.burst_at_full and first
        p, q = (max(cell.outage, rate) for rate in cell.errors) if outage else cell.errors
        late = int(random.binomial(LOOK, cell.late)) if cell.late else 0
        timed = cell.metric in LATENCY_QUANTILES
        times = (_latency(others, 0), _latency(LOOK, late)) if timed else ((), ())
        return ArmSeen(others, self._errors(others, p), times[0]), ArmSeen(LOOK, self._errors(LOOK, q), times[1])

    def pairs(self) -> Pairs:
        """Those of a look."""
        return Pairs(*(int(n) for n in self._random.multinomial(LOOK, self._pairs)))

    def _errors(self, requests: int, rate: float) -> int:
        if not requests or not rate:
            return 0
        clump = self._cell.clump
        if clump == 1:
            return int(self._random.binomial(requests, rate))
        return min(requests, clump * int(self._random.poisson(requests * rate / clump)))


def _latency(requests: int, late: int) -> tuple[int, ...]:
    counts = [0] * BUCKETS
    counts[FAST], counts[LATE] = requests - late, late
    return tuple(counts)


def rolled_out(cell: Cell, random: np.random.Generator) -> Ended:
    """One rollout to its end, or to the end of its budget."""
    plan, users = plan_of(cell), Users(cell, random)
    state = RolloutState()
    steps: list[StepSeen] = []
    own, whole, now, asked = Pairs(0, 0, 0, 0), Pairs(0, 0, 0, 0), 0.0, [0, 0]
    while True:
        at_full = plan.steps[max(state.step, 0)].weight == 1
        spent = asked[at_full] >= cell.budget
        counted = Observations(tuple(steps), own, whole, outcomes=whole.n, traffic_ended=spent)
        seen = None if state.phase is Phase.PENDING else counted
        action = decide(plan, state=state, observations=seen, now=now).action
        requests = sum(step.challenger.requests for step in steps)
        if isinstance(action, Promote | RollBack | Pause):
            how = {Promote: "promoted", RollBack: "back", Pause: "undecided"}[type(action)]
            return Ended(how, requests, plan.steps[state.step].weight)
        state = follow(state, action, newest_generation=state.generation, now=now)
        weight = plan.steps[state.step].weight
        first = len(steps) <= state.step
        if first:
            steps.append(StepSeen(weight))
            own = Pairs(0, 0, 0, 0)
        champion, challenger = users.look(weight, first=first)
        steps[-1] = StepSeen(weight, steps[-1].champion + champion, steps[-1].challenger + challenger)
        if cell.metric == "accuracy":
            new = users.pairs()
            own, whole = _sum(own, new), _sum(whole, new)
        asked[weight == 1] += LOOK
        now += (champion.requests + challenger.requests) / RATE


def _sum(one: Pairs, other: Pairs) -> Pairs:
    return Pairs(
        one.both + other.both,
        one.only_champion + other.only_champion,
        one.only_challenger + other.only_challenger,
        one.neither + other.neither,
    )


def _some(rule: Callable[[Cell, np.random.Generator], Ended], cell: Cell, share: tuple[int, int]) -> list[Ended]:
    seed, count = share
    random = np.random.default_rng(seed)
    return [rule(cell, random) for _ in range(count)]


def simulate(
    cell: Cell,
    rollouts: int,
    *,
    rule: Callable[[Cell, np.random.Generator], Ended] = rolled_out,
    seed: int = 1,
    processes: int | None = None,
) -> list[Ended]:
    """Many rollouts of a kind: the same for the same seed, in however many processes.

    Args:
        cell: the kind.
        rollouts: how many.
        rule: decides one.
        seed: of the draws.
        processes: as many as cores where None.
    """
    shares = [(seed * 1000 + i, rollouts // PARTS + (i < rollouts % PARTS)) for i in range(PARTS)]
    if processes == 1:
        return [ended for share in shares for ended in _some(rule, cell, share)]
    with multiprocessing.get_context("fork").Pool(processes or len(os.sched_getaffinity(0))) as pool:
        return [ended for part in pool.map(partial(_some, rule, cell), shares, chunksize=1) for ended in part]


def share(ended: Sequence[Ended], how: str) -> float:
    """How many of them ended so."""
    return sum(one.how == how for one in ended) / len(ended)
