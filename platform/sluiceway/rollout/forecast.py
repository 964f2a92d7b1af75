"""What a rollout will need, said before it begins: how many requests, how long, and what it could find."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sluiceway.config.deployment import MarginsSection
from sluiceway.config.stages import AbSection, ShadowSection, Stage
from sluiceway.gates.statistics.intervals import quantile_n_needed
from sluiceway.gates.statistics.planning import detectable_rise, pairs_needed, requests_needed
from sluiceway.rollout.baseline import champion_needs
from sluiceway.rollout.evidence import QUANTILE
from sluiceway.rollout.plan import baseline_weight


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
        name: of the stage, e.g. ``25%`` or ``shadow 20%``.
        needs: requests of the challenger, by metric, of the accuracy with an outcome; while it is only kept warm those
            of the champion.
        seconds: until the slowest of them is there, or the step's own shortest time; infinite without traffic.
        max_seconds: what the step may take.
        finds: the smallest rise of the error rate that the longest step finds in 80 % of all cases; infinite where it
            finds none.
    """

    name: str
    needs: dict[str, int]
    seconds: float
    max_seconds: float
    finds: float

    @property
    def in_time(self) -> bool:
        """Whether the evidence can be there before the deadline."""
        return self.seconds <= self.max_seconds


def forecast(
    steps: Sequence[Stage],
    margins: MarginsSection,
    traffic: Traffic,
    *,
    without: Sequence[str] = (),
    fresh_baseline: bool = False,
) -> tuple[StepForecast, ...]:
    """Every step of a rollout to a version that is as good as the champion.

    With so many requests each metric passes in about 80 % of all cases; the rest of them takes longer.

    Args:
        steps: of the plan.
        margins: how much worse it may be.
        traffic: as it is now.
        without: metrics that decide nothing.
        fresh_baseline: what it is compared with has as many requests as it has.
    """
    return tuple(_step(step, margins, traffic, frozenset(without), fresh=fresh_baseline) for step in steps)


def _step(
    step: Stage, margins: MarginsSection, traffic: Traffic, without: frozenset[str], *, fresh: bool
) -> StepForecast:
    own, others, compared = _shares(step, fresh=fresh)
    champion, requests = requests_needed(margins.error_rate, traffic.error_rate, compared, alpha=margins.alpha)
    pairs = max(margins.min_pairs, pairs_needed(margins.accuracy, traffic.discordance, alpha=margins.alpha))
    only_warm = isinstance(step, ShadowSection) and not step.share
    needs = {"error_rate": requests, "latency_p99": quantile_n_needed(QUANTILE, margins.alpha), "accuracy": pairs}
    if only_warm:
        needs = {**champion_needs(margins, traffic.error_rate), "accuracy": 0}
    needs = {name: n for name, n in needs.items() if name not in without}
    own, others = traffic.rate * own, traffic.rate * others
    times = [_seconds(n, own * (traffic.outcomes if name == "accuracy" else 1)) for name, n in needs.items()]
    times += [_seconds(step.min_requests, own), step.min_seconds]
    if others and "error_rate" in needs:
        times.append(_seconds(champion, others))
    asked = 0 if only_warm else int(own * step.max_seconds)
    finds = detectable_rise(traffic.error_rate, compared, asked, alpha=margins.alpha)
    return StepForecast(step.name, needs, max(times), step.max_seconds, finds)


def _shares(step: Stage, *, fresh: bool) -> tuple[float, float, float]:
    """Of the requests: those that are waited for, and the champion's beside them; and the first as a part of both.

    At full weight the champion's requests are those of the earlier steps, and while the challenger is only kept warm
    the champion's are all there are.
    """
    if isinstance(step, ShadowSection):
        return (step.share, 1.0, step.share / (1 + step.share)) if step.share else (1.0, 0.0, 0.5)
    if isinstance(step, AbSection):
        champion = 1 - step.weight * (1 + len(step.others))
        return step.weight, champion, min(0.5, step.weight / (step.weight + champion))
    others = baseline_weight(step.weight) if fresh else 1 - step.weight
    return step.weight, others, min(0.5, step.weight / (step.weight + others))


def _seconds(n: int, rate: float) -> float:
    return n / rate if rate > 0 else (0.0 if n == 0 else math.inf)
