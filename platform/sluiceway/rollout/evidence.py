"""What serving counted of a rollout, and what the verdicts on it have in common."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from sluiceway.core.verdict import Measurement, Status, Threshold, Verdict
from sluiceway.gates.statistics.proportions import Pairs
from sluiceway.rollout.means_seen import PairedMoments, ValuesSeen
from sluiceway.rollout.plan import RolloutPlan

if TYPE_CHECKING:
    from sluiceway.rollout.told import Told

CHECK = "canary"
QUANTILE = 0.99
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
    """

    requests: int = 0
    errors: int = 0
    latency: tuple[int, ...] = ()

    def __add__(self, other: ArmSeen) -> ArmSeen:
        longer, shorter = sorted((self.latency, other.latency), key=len, reverse=True)
        padded = shorter + (0,) * (len(longer) - len(shorter))
        latency = tuple(a + b for a, b in zip(longer, padded, strict=True))
        return ArmSeen(self.requests + other.requests, self.errors + other.errors, latency)


@dataclass(frozen=True)
class StepSeen:
    """Both arms during one step; ``weight`` is the challenger's share."""

    weight: float
    champion: ArmSeen = ArmSeen()
    challenger: ArmSeen = ArmSeen()


@dataclass(frozen=True)
class Observations:
    """Everything seen since the rollout began; all counts only grow.

    Attributes:
        steps: the steps so far, the last one is the present one.
        pairs_step: requests of the present step that the challenger answered and the champion scored, by who was right.
        pairs_rollout: the same of the whole rollout.
        outcomes: outcomes received, of the whole rollout.
        outcomes_lost: of these, how many found no prediction although it had time to be written.
        traffic_ended: True where nothing more will be seen: the replayed requests have run out.
        breakers: one line for each replica that asks the challenger no more in the present step.
        promoted: what the new version did since its promotion.
        score_shift: how far the scores of the pairs are apart; None where nobody asks.
        loss: the challenger's loss less the champion's on the pairs; None where nobody asks.
        business: what the answers were worth; None where nobody asks.
        told: what Prometheus told; None where it has not answered yet, or is not asked.
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

    def requests(self) -> dict[str, int]:
        """Requests of the whole rollout by arm."""
        return {
            "champion": sum(step.champion.requests for step in self.steps),
            "challenger": sum(step.challenger.requests for step in self.steps),
        }

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form, without the latency histograms of earlier steps' arms."""
        body = asdict(self)
        for step in (*body["steps"], *(body["told"] or {"steps": ()})["steps"]):
            for arm in ("champion", "challenger"):
                del step[arm]["latency"]
        del body["promoted"]["latency"]
        return body


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
