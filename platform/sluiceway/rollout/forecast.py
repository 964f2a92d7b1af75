"""What a rollout will need, said before it begins: how many requests, how long, and what it could find."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sluiceway.config.deployment import BusinessSection, MarginsSection, StepSection
from sluiceway.core.pairs import BINARY, LARGEST_IN_SPREADS
from sluiceway.gates.statistics.bounded_means import values_needed
from sluiceway.gates.statistics.noninferiority import detectable_rise, planned_events, requests_needed
from sluiceway.rollout.evidence import QUANTILE
from sluiceway.rollout.margin import OWN_REQUESTS

# What waits for outcomes.
BY_OUTCOME = ("accuracy", "loss", "business")


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
        needs: the challenger's requests in this step, by metric; of ``BY_OUTCOME`` with an outcome.
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
        # At full weight the champion's requests are those of the earlier steps: only the challenger's are waited for.
        means = _means(margins, traffic, min(step.weight, 0.5))
        own |= {name: n for name, n in means.items() if name not in without}
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
    times = [_seconds(n, own * (traffic.outcomes if name in BY_OUTCOME else 1)) for name, n in needs.items()]
    times += [_seconds(step.min_requests, own), step.min_seconds]
    finds = detectable_rise(traffic.error_rate, odds, int(own * step.max_seconds), alpha=margins.alpha)
    return StepForecast(step.weight, needs, max(times), step.max_seconds, finds)


def _means(margins: MarginsSection, traffic: Traffic, weight: float) -> dict[str, int]:
    """What the means need of which nothing is known before.

    Scores are taken to move by half the margin, as unevenly as that is large; the losses to differ with a variance of
    ``discordance``; values to be spread evenly over their bounds.
    """
    needs: dict[str, int] = {}
    shift, loss = margins.score_shift, margins.loss
    if shift is not None:
        width = (1.0 if shift < 1 else LARGEST_IN_SPREADS) - shift
        needs["score_shift"] = values_needed(shift / 2, shift**2 / 4, width=width, alpha=margins.alpha)
    if loss is not None:
        width = BINARY.largest_loss - loss
        needs["loss"] = values_needed(loss, traffic.discordance, width=width, alpha=margins.alpha)
    needs = {name: max(margins.min_pairs, n) for name, n in needs.items()}
    if margins.business is not None:
        needs["business"] = _values(margins.business, weight, margins.alpha)
    return needs


def _values(section: BusinessSection, weight: float, alpha: float) -> int:
    width = section.high - section.low
    gap = section.absolute or (section.relative or 0.0) * (section.low + section.high) / 2
    # Of the difference of the arms' means, times the challenger's values.
    variance = width**2 / 12 * (1 + weight / (1 - weight))
    return max(section.min_values, values_needed(gap, variance, width=width, alpha=alpha))


def _seconds(n: int, rate: float) -> float:
    return n / rate if rate > 0 else (0.0 if n == 0 else math.inf)
