"""Reads from the catalog what a plan's means are judged on, and nothing where it judges none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from sluiceway.catalog.comparisons import ArmValues
from sluiceway.config.stages import ShadowSection
from sluiceway.core.moments import NOTHING, Moments
from sluiceway.core.pairs import Scores
from sluiceway.rollout.evidence import Observations
from sluiceway.rollout.means_seen import PairedMoments, ValuesSeen
from sluiceway.rollout.plan import RolloutPlan
from sluiceway.rollout.state import RolloutState

# Generations of the traffic documents by step, and what answers were worth by generation, arm and version.
Steps = Sequence[Sequence[int]]
Values = Mapping[tuple[int, str, str], ArmValues]


class Ask(Protocol):
    """One of the two questions below about pairs."""

    def __call__(
        self, endpoint: str, version: str, generations: Sequence[int], *, scores: Scores, shadow: bool = False
    ) -> dict[int, Moments]:
        """By generation."""


class Comparisons(Protocol):
    """What is needed of :class:`sluiceway.catalog.comparisons.ComparisonStore`."""

    def score_shift(
        self, endpoint: str, version: str, generations: Sequence[int], *, scores: Scores, shadow: bool = False
    ) -> dict[int, Moments]:
        """How far the scores of pairs are apart, by generation."""

    def loss(
        self, endpoint: str, version: str, generations: Sequence[int], *, scores: Scores, shadow: bool = False
    ) -> dict[int, Moments]:
        """The challenger's loss less the champion's on pairs, by generation."""

    def values(
        self, endpoint: str, generations: Sequence[int], *, low: float, high: float
    ) -> dict[tuple[int, str, str], ArmValues]:
        """What answers were worth, by generation, arm and version."""


class WithMeans:
    """Adds them to what another observer sees.

    Args:
        observe: sees the counts.
        comparisons: of the catalog.
    """

    def __init__(self, observe: Callable[[RolloutPlan, RolloutState], Observations], comparisons: Comparisons) -> None:
        self._observe, self._comparisons = observe, comparisons

    def __call__(self, plan: RolloutPlan, state: RolloutState) -> Observations:
        """What the other observer sees, and the means that the plan is judged by."""
        seen = self._observe(plan, state)
        if not state.generations:
            return seen
        # A version of a test that is stopped makes another generation, and no other step.
        steps = (state.generations,) if plan.is_test else tuple((one,) for one in state.generations)
        found = self._values(plan, state.generations)
        of = zip(plan.versions, (seen, *seen.others), strict=True)
        first, *others = (self._with(plan, version, steps, found, one) for version, one in of)
        return replace(first, others=tuple(others))

    def _with(self, plan: RolloutPlan, version: str, steps: Steps, values: Values, seen: Observations) -> Observations:
        if "score_shift" in plan.metrics:
            seen = replace(seen, score_shift=self._paired(self._comparisons.score_shift, plan, version, steps))
        if "loss" in plan.metrics:
            seen = replace(seen, loss=self._paired(self._comparisons.loss, plan, version, steps))
        section = plan.margins.business
        if section is None:
            return seen
        # A fresh baseline is a challenger to the replicas.
        beside = ("challenger", plan.baseline) if plan.baseline else ("champion", None)
        champion, challenger = _by_step(values, steps, *beside), _by_step(values, steps, "challenger", version)
        clipped = sum(one.clipped for one in values.values())
        return replace(seen, business=ValuesSeen(section.low, section.high, champion, challenger, clipped))

    def _paired(self, ask: Ask, plan: RolloutPlan, version: str, steps: Steps) -> PairedMoments:
        found: dict[int, Moments] = {}
        stages = zip(plan.steps, steps, strict=False)
        shown = [stage for stage in stages if isinstance(stage[0], ShadowSection) and stage[0].share]
        for _, generations in shown:
            found |= ask(plan.endpoint, version, generations, scores=plan.scores, shadow=True)
        others = [generation for step in steps[len(shown) :] for generation in step]
        if others:
            found |= ask(plan.endpoint, version, others, scores=plan.scores)
        return PairedMoments(
            sum((found.get(generation, NOTHING) for generation in steps[-1]), NOTHING), sum(found.values(), NOTHING)
        )

    def _values(self, plan: RolloutPlan, generations: Sequence[int]) -> Values:
        section = plan.margins.business
        if section is None:
            return {}
        return self._comparisons.values(plan.endpoint, generations, low=section.low, high=section.high)


def _by_step(values: Values, steps: Steps, arm: str, version: str | None) -> tuple[Moments, ...]:
    return tuple(
        sum((one.moments for key, one in values.items() if _is(key, step, arm, version)), NOTHING) for step in steps
    )


def _is(key: tuple[int, str, str], step: Sequence[int], arm: str, version: str | None) -> bool:
    return key[0] in step and key[1] == arm and version in (None, key[2])
