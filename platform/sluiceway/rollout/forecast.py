"""What a rollout will need, said before it begins: how many requests, how long, and what it could find."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sluiceway.config.deployment import BusinessSection, MarginsSection, StepSection
from sluiceway.core.pairs import BINARY, LARGEST_IN_SPREADS
from sluiceway.gates.statistics.bounded_means import values_needed
from sluiceway.gates.statistics.intervals import quantile_n_needed
from sluiceway.gates.statistics.planning import detectable_rise, pairs_needed, requests_needed
from sluiceway.rollout.evidence import QUANTILE

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
        needs: requests of the challenger, by metric; of ``BY_OUTCOME`` with an outcome.
        seconds: until the slowest of them is there, or the step's own shortest time; infinite without traffic.
        max_seconds: what the step may take.
        finds: the smallest rise of the error rate that the longest step finds in 80 % of all cases; infinite where it
            finds none.
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

    With so many requests each metric passes in about 80 % of all cases; the rest of them takes longer.

    Args:
        steps: of the plan.
        margins: how much worse it may be.
        traffic: as it is now.
        without: metrics that decide nothing.
    """
    return tuple(_step(step, margins, traffic, frozenset(without)) for step in steps)


def _step(step: StepSection, margins: MarginsSection, traffic: Traffic, without: frozenset[str]) -> StepForecast:
    # At full weight the champion's requests are those of the earlier steps: only the challenger's are waited for.
    compared = min(step.weight, 0.5)
    champion, requests = requests_needed(margins.error_rate, traffic.error_rate, compared, alpha=margins.alpha)
    pairs = max(margins.min_pairs, pairs_needed(margins.accuracy, traffic.discordance, alpha=margins.alpha))
    needs = {"error_rate": requests, "latency_p99": quantile_n_needed(QUANTILE, margins.alpha), "accuracy": pairs}
    needs |= _means(margins, traffic, compared)
    needs = {name: n for name, n in needs.items() if name not in without}
    own, others = traffic.rate * step.weight, traffic.rate * (1 - step.weight)
    times = [_seconds(n, own * (traffic.outcomes if name in BY_OUTCOME else 1)) for name, n in needs.items()]
    times += [_seconds(step.min_requests, own), step.min_seconds]
    if step.weight < 1 and "error_rate" in needs:
        times.append(_seconds(champion, others))
    finds = detectable_rise(traffic.error_rate, compared, int(own * step.max_seconds), alpha=margins.alpha)
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
