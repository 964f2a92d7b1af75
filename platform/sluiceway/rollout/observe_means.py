"""Reads from the catalog what a plan's means are judged on, and nothing where it judges none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from sluiceway.catalog.comparisons import ArmValues
from sluiceway.core.moments import NOTHING, Moments
from sluiceway.core.pairs import Scores
from sluiceway.rollout.evidence import Observations
from sluiceway.rollout.means_seen import PairedMoments, ValuesSeen
from sluiceway.rollout.plan import RolloutPlan
from sluiceway.rollout.state import RolloutState


class Comparisons(Protocol):
    """What is needed of :class:`sluiceway.catalog.comparisons.ComparisonStore`."""

    def score_shift(
        self, endpoint: str, version: str, generations: Sequence[int], *, scores: Scores
    ) -> dict[int, Moments]:
        """How far the scores of pairs are apart, by generation."""

    def loss(self, endpoint: str, version: str, generations: Sequence[int], *, scores: Scores) -> dict[int, Moments]:
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
        seen, asked = self._observe(plan, state), (plan.endpoint, plan.version, state.generations)
        if not state.generations:
            return seen
        if "score_shift" in plan.metrics:
            found = self._comparisons.score_shift(*asked, scores=plan.scores)
            seen = replace(seen, score_shift=_paired(found, state.generations))
        if "loss" in plan.metrics:
            found = self._comparisons.loss(*asked, scores=plan.scores)
            seen = replace(seen, loss=_paired(found, state.generations))
        return replace(seen, business=self._values(plan, state.generations))

    def _values(self, plan: RolloutPlan, generations: Sequence[int]) -> ValuesSeen | None:
        section = plan.margins.business
        if section is None:
            return None
        found = self._comparisons.values(plan.endpoint, generations, low=section.low, high=section.high)

        def by_step(arm: str, version: str | None) -> tuple[Moments, ...]:
            return tuple(
                sum((one.moments for key, one in found.items() if _is(key, step, arm, version)), NOTHING)
                for step in generations
            )

        clipped = sum(one.clipped for one in found.values())
        champion, challenger = by_step("champion", None), by_step("challenger", plan.version)
        return ValuesSeen(section.low, section.high, champion, challenger, clipped)


def _is(key: tuple[int, str, str], generation: int, arm: str, version: str | None) -> bool:
    return key[:2] == (generation, arm) and version in (None, key[2])


def _paired(found: Mapping[int, Moments], generations: Sequence[int]) -> PairedMoments:
    return PairedMoments(found.get(generations[-1], NOTHING), sum(found.values(), NOTHING))
