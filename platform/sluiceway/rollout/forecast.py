"""What a rollout will need, said before it begins: how many requests, how long, and what it could find."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sluiceway.config.deployment import BusinessSection, MarginsSection
from sluiceway.config.stages import AbSection, ShadowSection, Stage, StepSection
from sluiceway.core.pairs import BINARY, LARGEST_IN_SPREADS, Scores
from sluiceway.core.traffic import LATENCY_QUANTILES
from sluiceway.gates.statistics.bounded_means import values_needed
from sluiceway.gates.statistics.noninferiority import detectable_rise, planned_events, requests_needed
from sluiceway.rollout.ab import shared_out
from sluiceway.rollout.baseline import champion_needs
from sluiceway.rollout.judgement import ANSWERED
from sluiceway.rollout.margin import OWN_REQUESTS
from sluiceway.rollout.plan import baseline_weight, metrics_of

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
        name: of the stage, e.g. ``25%`` or ``shadow 20%``.
        needs: the challenger's requests in this step, by metric; of ``BY_OUTCOME`` with an outcome. While it is only
            kept warm those of the champion.
        seconds: until the slowest of them is there, or the step's own shortest time; infinite without traffic.
        max_seconds: what the step may take.
        finds: the smallest margin of the error rate that the longest step alone is enough for, in 80 % of all cases;
            infinite where for none.
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
    scores: Scores = BINARY,
) -> tuple[StepForecast, ...]:
    """Every step of a rollout to a version that is as good as the champion.

    With so many requests over the rollout each metric passes in about 80 % of all cases; the rest takes longer.

    Args:
        steps: of the plan.
        margins: how much worse it may be.
        traffic: as it is now.
        without: metrics that decide nothing.
        fresh_baseline: what it is compared with has as many requests as it has.
        scores: of the two models; a regression has no accuracy.
    """
    without = (*without, "accuracy") if scores.kind == "regression" else without
    answering = [step for step in steps if isinstance(step, StepSection)]
    compared = [step for step in answering if step.weight < 1]
    odds = _odds(compared, fresh=fresh_baseline)
    shown = any(isinstance(step, ShadowSection) and step.share for step in steps)
    parts = {
        name: _parts(len(compared), whole, margins.alpha, passed=shown and name == "accuracy")
        for name, whole in _wholes(margins, traffic, odds).items()
    }
    found = []
    for i, step in enumerate(steps):
        if not isinstance(step, StepSection):
            switches = i + 1 < len(steps) and steps[i + 1].weight == 1
            found.append(_aside(step, margins, traffic, frozenset(without), scores, switches=switches))
            continue
        place = answering.index(step)
        needs = {name: part[min(place, len(compared))] for name, part in parts.items()}
        # At full weight the champion's requests are those of the earlier steps: only the challenger's are waited for.
        share = step.weight / (step.weight + _others(step.weight, fresh=fresh_baseline))
        needs |= _means(margins, traffic, min(share, 0.5), scores)
        needs = {name: n for name, n in needs.items() if name not in without}
        found.append(_forecast(step, step.weight, needs, odds, margins, traffic))
    return tuple(found)


@dataclass(frozen=True)
class _Whole:
    """The whole test of a metric: the rate of its events, its margin, the arms' requests, and the fewest of a step."""

    rate: float
    margin: float
    odds: float
    fewest: int

    def requests(self, alpha: float) -> int:
        return requests_needed(self.rate, self.margin, self.odds, alpha=alpha)

    def share(self, alpha: float, steps: int) -> int:
        planned = planned_events(self.rate, self.margin, self.odds, alpha=alpha)
        return math.ceil(planned / (self.rate + self.margin) / steps)


def _wholes(margins: MarginsSection, traffic: Traffic, odds: float) -> dict[str, _Whole]:
    latencies = {name: q for name, q in LATENCY_QUANTILES.items() if margins.of_latency(name)}
    return {
        "error_rate": _Whole(traffic.error_rate, margins.error_rate, odds, OWN_REQUESTS),
        **{name: _Whole(0.0, 1 - q, 0.0, OWN_REQUESTS) for name, q in latencies.items()},
        "accuracy": _Whole(traffic.discordance / 2, margins.accuracy, 1.0, margins.min_pairs),
    }


def _parts(compared: int, whole: _Whole, alpha: float, *, passed: bool) -> list[int]:
    """Own requests of each step with a champion beside it, and of full weight: as ``rollout.margin`` asks for them."""
    fewest = whole.fewest
    if passed:
        return [fewest] * (compared + 1)
    needed = whole.requests(alpha)
    if not compared:
        return [max(fewest, needed)]
    parts: list[int] = []
    for _ in range(compared - 1):
        parts.append(max(fewest, min(whole.share(alpha, compared), needed - sum(parts))))
    parts.append(max(fewest, needed - sum(parts)))
    # At full weight latency is judged by itself, from the beginning.
    return [*parts, max(fewest, needed) if whole.odds == 0 else fewest]


def _aside(
    stage: ShadowSection | AbSection,
    margins: MarginsSection,
    traffic: Traffic,
    without: frozenset[str],
    scores: Scores,
    *,
    switches: bool,
) -> StepForecast:
    """A stage that has the whole test for itself: a shadow's, an A/B/n test's, or one in which it is only kept warm."""
    champions = champion_needs(margins, traffic.error_rate, metrics=len(metrics_of(margins, scores)), without=without)
    if isinstance(stage, ShadowSection) and not stage.share:
        needs = champions | ({} if "accuracy" in without else {"accuracy": 0})
        return _forecast(stage, 1.0, needs, 0.0, margins, traffic)
    if isinstance(stage, AbSection):
        champion = 1 - stage.weight * (1 + len(stage.others))
        margins = shared_out(margins, 1 + len(stage.others))
        own, odds, unasked = stage.weight, stage.weight / champion, frozenset[str]()
    else:
        own, odds, unasked = stage.share, stage.share, frozenset(ANSWERED)
    wholes = _wholes(margins, traffic, odds)
    needs = {name: max(whole.fewest, whole.requests(margins.alpha)) for name, whole in wholes.items()}
    needs |= _means(margins, traffic, min(0.5, odds / (1 + odds)), scores)
    needs = {name: n for name, n in needs.items() if name not in without | unasked}
    found = _forecast(stage, own, needs, odds, margins, traffic)
    if not switches:
        return found
    return replace(found, seconds=max(found.seconds, _seconds(max(champions.values(), default=0), traffic.rate)))


def _forecast(
    step: Stage, share: float, needs: dict[str, int], odds: float, margins: MarginsSection, traffic: Traffic
) -> StepForecast:
    own = traffic.rate * share
    times = [_seconds(n, own * (traffic.outcomes if name in BY_OUTCOME else 1)) for name, n in needs.items()]
    times += [_seconds(step.min_requests, own), step.min_seconds]
    finds = detectable_rise(traffic.error_rate, odds, int(own * step.max_seconds), alpha=margins.alpha)
    return StepForecast(step.name, needs, max(times), step.max_seconds, finds if odds else math.inf)


def _odds(compared: Sequence[StepSection], *, fresh: bool) -> float:
    """Of each step the same number of the challenger's requests, and those that it is held against beside them."""
    if not compared:
        return 1.0
    return len(compared) / sum(_others(step.weight, fresh=fresh) / step.weight for step in compared)


def _others(weight: float, *, fresh: bool) -> float:
    return baseline_weight(weight) if fresh else 1 - weight


def _means(margins: MarginsSection, traffic: Traffic, weight: float, scores: Scores) -> dict[str, int]:
    """What the means need of which nothing is known before.

    Scores are taken to move by half the margin, as unevenly as that is large; the losses to differ with a variance of
    ``discordance``; values to be spread evenly over their bounds.
    """
    needs: dict[str, int] = {}
    shift, loss = margins.score_shift, margins.loss
    if shift is not None:
        width = max(scores.largest_distance, 1.0 if shift < 1 else LARGEST_IN_SPREADS) - shift
        needs["score_shift"] = values_needed(shift / 2, shift**2 / 4, width=width, alpha=margins.alpha)
    if loss is not None:
        width = scores.largest_loss - loss
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
