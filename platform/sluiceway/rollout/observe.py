"""Reads from the catalog what serving counted for a rollout."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Protocol

from sluiceway.catalog.breakers import OpenBreaker
from sluiceway.catalog.records import ArmCounts, PairCounts
from sluiceway.config.stages import AbSection, ShadowSection, Stage, StepSection
from sluiceway.core.clock import Clock
from sluiceway.gates.statistics.proportions import Pairs
from sluiceway.rollout.evidence import NO_PAIRS, ArmSeen, Observations, StepSeen
from sluiceway.rollout.plan import RolloutPlan, baseline_weight
from sluiceway.rollout.state import Phase, RolloutState

# A prediction is written a moment after its answer is out; an outcome may be faster. Outcomes younger than this are
# not called lost.
SETTLE_SECONDS = 5.0


class Records(Protocol):
    """What is needed of :class:`sluiceway.catalog.records.RecordStore`."""

    def counts(self, endpoint: str, generations: Sequence[int]) -> list[ArmCounts]:
        """Counts of every arm in the given generations."""

    def pairs(
        self,
        endpoint: str,
        version: str,
        generations: Sequence[int],
        *,
        shadow: bool = False,
        settled: float = math.inf,
    ) -> PairCounts:
        """The challenger's records, or the shadow's, joined with the outcomes."""


class Breakers(Protocol):
    """What is needed of :class:`sluiceway.catalog.breakers.BreakerStore`."""

    def opened(self, endpoint: str, generations: Sequence[int]) -> list[OpenBreaker]:
        """The open breakers of the given generations."""


class RecordObserver:
    """Gives the controller its :class:`Observations`; each step of a rollout is one generation."""

    def __init__(self, records: Records, breakers: Breakers, *, clock: Clock) -> None:
        self._records = records
        self._breakers = breakers
        self._clock = clock

    def __call__(self, plan: RolloutPlan, state: RolloutState) -> Observations:
        """Everything seen in the steps that the state has been through."""
        generations = state.generations
        if not generations:
            return Observations(())
        stage = plan.steps[0]
        if isinstance(stage, AbSection):
            return replace(self._test(plan, stage, generations), promoted=self._promoted(plan, state))
        # Before the counts: a replica writes those that have opened a breaker before it writes the breaker.
        breakers = self._breakers.opened(plan.endpoint, generations[-1:])
        counts = self._records.counts(plan.endpoint, generations)
        steps = tuple(_step(plan, stage, counts, g) for stage, g in zip(plan.steps, generations, strict=False))
        whole = self._whole(plan, plan.version, generations)
        shadow = self._shadow_pairs(plan, generations)
        now = shadow
        if not steps[-1].shadow:
            only = len(generations) == 1
            now = _pairs(whole if only else self._records.pairs(plan.endpoint, plan.version, generations[-1:]))
        return Observations(
            steps=steps,
            pairs_step=now,
            pairs_rollout=_added(_pairs(whole), shadow),
            outcomes=whole.outcomes,
            outcomes_lost=whole.outcomes_without_prediction,
            breakers=tuple(f"{b.replica}: {b.reason}" for b in breakers if b.version == plan.version),
            promoted=self._promoted(plan, state),
        )

    def _promoted(self, plan: RolloutPlan, state: RolloutState) -> ArmSeen:
        if state.phase is not Phase.PROBATION:
            return ArmSeen()
        alone = self._records.counts(plan.endpoint, (state.generation,))
        return _arm(alone, state.generation, "champion", plan.version)

    def _test(self, plan: RolloutPlan, stage: AbSection, generations: Sequence[int]) -> Observations:
        """Every version of a test, each as if it were alone beside the champion; the weights do not change."""
        breakers = self._breakers.opened(plan.endpoint, generations[-1:])
        counts = self._records.counts(plan.endpoint, generations)
        champion = sum((_arm(counts, g, "champion", None) for g in generations), ArmSeen())
        # The champion gets what a stopped version had: its smallest share is that of the beginning.
        weight = stage.weight / (1 - stage.weight * len(plan.others))
        seen: list[Observations] = []
        for version in plan.versions:
            pairs = self._whole(plan, version, generations)
            challenger = sum((_arm(counts, g, "challenger", version) for g in generations), ArmSeen())
            seen.append(
                Observations(
                    (StepSeen(weight, champion, challenger),),
                    _pairs(pairs),
                    _pairs(pairs),
                    pairs.outcomes,
                    pairs.outcomes_without_prediction,
                    breakers=tuple(f"{b.replica}: {b.reason}" for b in breakers if b.version == version),
                )
            )
        return replace(seen[0], others=tuple(seen[1:]))

    def _shadow_pairs(self, plan: RolloutPlan, generations: Sequence[int]) -> Pairs:
        """Of the stage before the first step, where the version was a shadow."""
        stage = plan.steps[0]
        if not (isinstance(stage, ShadowSection) and stage.share):
            return NO_PAIRS
        return _pairs(self._records.pairs(plan.endpoint, plan.version, generations[:1], shadow=True))

    def _whole(self, plan: RolloutPlan, version: str, generations: Sequence[int]) -> PairCounts:
        """Of all steps; by the times in the catalog, so that whoever looks for the first time knows what is lost."""
        settled = self._clock.now().timestamp() - SETTLE_SECONDS
        return self._records.pairs(plan.endpoint, version, generations, settled=settled)


class UntilTrafficEnds:
    """Says, too, when nothing more is to come: a while after the load generator has sent its last request."""

    def __init__(
        self,
        observe: Callable[[RolloutPlan, RolloutState], Observations],
        running: Callable[[], bool],
        *,
        clock: Clock,
        settle_seconds: float = SETTLE_SECONDS,
    ) -> None:
        """Look over the shoulder of another observer.

        Args:
            observe: sees the counts.
            running: False once the last request is answered.
            clock: for the while.
            settle_seconds: what records and outcomes take, or a slower source.
        """
        self._observe = observe
        self._running = running
        self._clock = clock
        self._settle = settle_seconds
        self._ended: float | None = None

    def __call__(self, plan: RolloutPlan, state: RolloutState) -> Observations:
        """What the other observer sees, and whether it will ever see more."""
        now = self._clock.now().timestamp()
        if self._ended is None and not self._running():
            self._ended = now
        over = self._ended is not None and now - self._ended >= self._settle
        return replace(self._observe(plan, state), traffic_ended=over)


def _step(plan: RolloutPlan, stage: Stage, counts: Sequence[ArmCounts], generation: int) -> StepSeen:
    champion = _arm(counts, generation, "champion", None)
    if isinstance(stage, StepSection):
        challenger = _arm(counts, generation, "challenger", plan.version)
        if not plan.baseline:
            return StepSeen(stage.weight, champion, challenger)
        fresh = _arm(counts, generation, "challenger", plan.baseline)
        return StepSeen(stage.weight / (stage.weight + baseline_weight(stage.weight)), fresh, challenger)
    # The champion was asked every request, and the shadow a share of them once more.
    share = stage.share if isinstance(stage, ShadowSection) else 0.0
    weight = share / (1 + share)
    return StepSeen(weight, champion, _arm(counts, generation, "shadow", plan.version), shadow=True)


def _added(one: Pairs, other: Pairs) -> Pairs:
    return Pairs(
        one.both + other.both,
        one.only_champion + other.only_champion,
        one.only_challenger + other.only_challenger,
        one.neither + other.neither,
    )


def _arm(counts: Iterable[ArmCounts], generation: int, arm: str, version: str | None) -> ArmSeen:
    matching = (c for c in counts if c.generation == generation and c.arm == arm and version in (None, c.version))
    return sum((ArmSeen(c.requests, c.errors, c.latency, c.errors_in_row) for c in matching), ArmSeen())


def _pairs(counts: PairCounts) -> Pairs:
    return Pairs(counts.both_right, counts.only_champion_right, counts.only_challenger_right, counts.both_wrong)
