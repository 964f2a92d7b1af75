"""What serving counted of a rollout, and what the verdicts on it have in common."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from sluiceway.core.traffic import LATENCY_QUANTILES
from sluiceway.core.verdict import Measurement, Status, Threshold, Verdict
from sluiceway.gates.statistics.proportions import Pairs
from sluiceway.rollout.means_seen import PairedMoments, ValuesSeen
from sluiceway.rollout.plan import RolloutPlan

if TYPE_CHECKING:
    from sluiceway.rollout.told import Told

CHECK = "canary"
# Verdicts on latency: of the tests, and of the fixed limits.
LATENCY = (*LATENCY_QUANTILES, *(f"{name}_limit" for name in LATENCY_QUANTILES))
# More outcomes than this share without a prediction, and those that have one may be a biased choice.
LOST_PREDICTIONS = 0.01
NO_PAIRS = Pairs(0, 0, 0, 0)


@dataclass(frozen=True)
class ArmSeen:
    """What one arm did.

    Attributes:
        requests: requests that were drawn for it.
        errors: of these, how many it did not answer.
        latency: counts per bucket of ``core.traffic.LATENCY_BOUNDS_SECONDS`` plus the open one, or () for none; where
            Prometheus tells them, of ``EXPORTED_LATENCY_BOUNDS_SECONDS``.
        errors_in_row: the longest row of failures of any replica.
    """

    requests: int = 0
    errors: int = 0
    latency: tuple[int, ...] = ()
    errors_in_row: int = 0

    def __add__(self, other: ArmSeen) -> ArmSeen:
        longer, shorter = sorted((self.latency, other.latency), key=len, reverse=True)
        padded = shorter + (0,) * (len(longer) - len(shorter))
        latency = tuple(a + b for a, b in zip(longer, padded, strict=True))
        in_row = max(self.errors_in_row, other.errors_in_row)
        return ArmSeen(self.requests + other.requests, self.errors + other.errors, latency, in_row)


@dataclass(frozen=True)
class StepSeen:
    """Both arms during one step.

    Attributes:
        weight: the challenger's share of what both were asked.
        champion: what it did.
        challenger: what it did; a shadow was asked beside the champion.
        shadow: it was one.
    """

    weight: float
    champion: ArmSeen = ArmSeen()
    challenger: ArmSeen = ArmSeen()
    shadow: bool = False


@dataclass(frozen=True)
class Observations:
    """Everything seen since the rollout began; all counts only grow.

    Attributes:
        steps: the steps so far, the last one is the present one.
        pairs_step: requests of the present step that the challenger answered and the champion scored, by who was right.
        pairs_rollout: the same of the whole rollout.
        outcomes: outcomes received, of the whole rollout, as far as their predictions have had time to be written.
        outcomes_lost: of these, how many found no prediction.
        traffic_ended: True where nothing more will be seen: the replayed requests have run out.
        breakers: one line for each replica that asks the challenger no more in the present step.
        promoted: what the new version did since its promotion.
        score_shift: how far the scores of the pairs are apart; None where nobody asks.
        loss: the challenger's loss less the champion's on the pairs; None where nobody asks.
        business: what the answers were worth; None where nobody asks.
        told: what Prometheus told; None where it has not answered yet, or is not asked.
        others: of the further versions of an A/B/n test, as if each were alone beside the champion.
    """

    steps: tuple[StepSeen, ...]
    pairs_step: Pairs = NO_PAIRS
    pairs_rollout: Pairs = NO_PAIRS
    outcomes: int = 0
    outcomes_lost: int = 0
    traffic_ended: bool = False
    breakers: tuple[str, ...] = ()
    promoted: ArmSeen = ArmSeen()
    score_shift: PairedMoments | None = None
    loss: PairedMoments | None = None
    business: ValuesSeen | None = None
    told: Told | None = None
    others: tuple[Observations, ...] = ()

    def requests(self) -> dict[str, int]:
        """Requests of the whole rollout by arm."""
        return {
            "champion": sum(step.champion.requests for step in self.steps),
            "challenger": sum(step.challenger.requests for one in (self, *self.others) for step in one.steps),
        }

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form, without the latency histograms of earlier steps' arms."""
        body = asdict(replace(self, others=()))
        for step in (*body["steps"], *(body["told"] or {"steps": ()})["steps"]):
            for arm in ("champion", "challenger"):
                del step[arm]["latency"]
        del body["promoted"]["latency"]
        return {**body, "others": [other.to_dict() for other in self.others]}


def as_now(seen: Observations) -> tuple[StepSeen, ...]:
    """The steps, without what the challenger did as a shadow where it answers by now.

    How a shadow scores says nothing of how requests are answered: of its stage the champion's counts are left.
    """
    shadow = seen.steps[-1].shadow
    return tuple(s if s.shadow == shadow else replace(s, weight=0.0, challenger=ArmSeen()) for s in seen.steps)


def beside(seen: Observations) -> tuple[StepSeen, ...]:
    """The steps in which the challenger was asked as it is now, and had a champion beside it."""
    return tuple(step for step in as_now(seen) if 0 < step.weight < 1)


def compared_with(seen: Observations) -> tuple[ArmSeen, str]:
    """The champion's counts of this step; at full weight it answers nothing, so those of the earlier steps."""
    if seen.steps[-1].weight < 1:
        return seen.steps[-1].champion, "in this step"
    return total(step.champion for step in seen.steps[:-1]), "in the earlier steps"


def total(arms: Iterable[ArmSeen]) -> ArmSeen:
    """All of them together."""
    return sum(arms, ArmSeen())


def rollback_alpha(plan: RolloutPlan) -> float:
    """The error of one metric's test that sends back: they share ``margins.rollback_alpha`` evenly."""
    return plan.margins.rollback_alpha / len(plan.metrics)


def lost_outcomes(seen: Observations) -> str:
    """Why outcomes are no evidence; "" where they are."""
    if seen.outcomes_lost <= LOST_PREDICTIONS * seen.outcomes:
        return ""
    return f"{seen.outcomes_lost:,} of {seen.outcomes:,} outcomes find no prediction"


def measured(
    name: str, value: float, n: int, bounds: tuple[float, float], *, unit: str = "", detail: str = ""
) -> Measurement:
    """A metric's number; NaN becomes None."""
    low, high = (None if math.isnan(bound) else bound for bound in bounds)
    return Measurement(name, None if math.isnan(value) else value, n, low, high, unit, detail)


def verdict(status: Status, measurement: Measurement, threshold: Threshold, reason: str = "") -> Verdict:
    """What is said of a metric."""
    return Verdict(CHECK, status, measurement, threshold, reason)
