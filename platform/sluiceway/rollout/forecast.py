"""What a rollout will need, said before it begins: how many requests, how long, and what it could find."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sluiceway.config.deployment import MarginsSection, StepSection
from sluiceway.gates.statistics.noninferiority import detectable_rise, planned_events, requests_needed
from sluiceway.rollout.evidence import QUANTILE
from sluiceway.rollout.margin import OWN_REQUESTS


@dataclass(frozen=True)
class Traffic:
    """What is known of an endpoint's traffic.

    Attributes:
        rate: requests a second, of all arms.
        error_rate: the champion's share of failed requests.
        discordance: share of requests on which exactly one of the two versions is right.
        outcomes: share of requests whose outcome comes soon.
    """

    rate: float
    error_rate: float = 0.0
    discordance: float = 0.05
    outcomes: float = 1.0


@dataclass(frozen=True)
class StepForecast:
    """One step.

    Attributes:
        weight: the challenger's share.
        needs: the challenger's requests in this step, by metric; of the accuracy with an outcome.
        seconds: until the slowest of them is there, or the step's own shortest time; infinite without traffic.
        max_seconds: what the step may take.
        finds: the smallest margin of the error rate that the longest step alone is enough for, in 80 % of all cases;
            infinite where for none.
    """

    weight: float
    needs: dict[str, int]
    seconds: float
    max_seconds: float
    finds: float

    @property
    def in_time(self) -> bool:
        """Whether the evidence can be there before the deadline."""
        return self.seconds <= self.max_seconds


def forecast(
    steps: Sequence[StepSection], margins: MarginsSection, traffic: Traffic, *, without: Sequence[str] = ()
) -> tuple[StepForecast, ...]:
    """Every step of a rollout to a version that is as good as the champion.

    With so many requests over the rollout each metric passes in about 80 % of all cases; the rest takes longer.

    Args:
        steps: of the plan.
        margins: how much worse it may be.
        traffic: as it is now.
        without: metrics that decide nothing.
    """
    compared = [step.weight for step in steps if step.weight < 1]
    # Of each step the same number of the challenger's requests, and the champion's that come with them.
    odds = len(compared) / sum((1 - weight) / weight for weight in compared)
    rates = {
        "error_rate": (traffic.error_rate, margins.error_rate, odds, OWN_REQUESTS),
        "latency_p99": (0.0, 1 - QUANTILE, 0.0, OWN_REQUESTS),
        "accuracy": (traffic.discordance / 2, margins.accuracy, 1.0, margins.min_pairs),
    }
    needs = {name: _needs(len(compared), *rates[name], margins.alpha) for name in rates if name not in without}
    found = []
    for i, step in enumerate(steps):
        own = {name: parts[min(i, len(compared))] for name, parts in needs.items()}
        found.append(_step(step, own, odds, margins, traffic))
    return tuple(found)


def _needs(compared: int, rate: float, margin: float, odds: float, fewest: int, alpha: float) -> list[int]:
    """Own requests of each step with a champion beside it, and of full weight: as ``rollout.margin`` asks for them."""
    whole = requests_needed(rate, margin, odds, alpha=alpha)
    share = math.ceil(planned_events(rate, margin, odds, alpha=alpha) / (rate + margin) / compared)
    parts: list[int] = []
    for _ in range(compared - 1):
        parts.append(max(fewest, min(share, whole - sum(parts))))
    parts.append(max(fewest, whole - sum(parts)))
    # At full weight latency is judged by itself, from the beginning.
    return [*parts, whole if odds == 0 else fewest]


def _step(
    step: StepSection, needs: dict[str, int], odds: float, margins: MarginsSection, traffic: Traffic
) -> StepForecast:
    own = traffic.rate * step.weight
    times = [_seconds(n, own * (traffic.outcomes if name == "accuracy" else 1)) for name, n in needs.items()]
    times += [_seconds(step.min_requests, own), step.min_seconds]
    finds = detectable_rise(traffic.error_rate, odds, int(own * step.max_seconds), alpha=margins.alpha)
    return StepForecast(step.weight, needs, max(times), step.max_seconds, finds)


def _seconds(n: int, rate: float) -> float:
    return n / rate if rate > 0 else (0.0 if n == 0 else math.inf)
