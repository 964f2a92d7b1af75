"""From what serving counted to verdicts: two tests a metric, one that sends back and one that lets go on.

A metric FAILs when an anytime-valid test over the whole rollout is certain that the challenger is worse by more than
its margin: it may be looked at after every request. It PASSes when this step's evidence shows, at ``margins.alpha``,
that the challenger is no worse by more than the margin. Between the two it is INCONCLUSIVE and the rollout holds.

``margins.rollback_alpha`` is shared out evenly among the metrics, so that it bounds the chance that any of them sends
back a challenger that is no worse.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from sluiceway.core.traffic import LATENCY_BOUNDS_SECONDS
from sluiceway.core.verdict import Direction, Measurement, Status, Threshold, Verdict
from sluiceway.gates.statistics.intervals import quantile_from_counts, quantile_n_needed
from sluiceway.gates.statistics.planning import pairs_needed, requests_needed
from sluiceway.gates.statistics.proportions import Pairs, independent_difference, paired_difference
from sluiceway.gates.statistics.sequential import (
    StepCounts,
    challenger_errors_log_e,
    crossed,
    rate_above_log_e,
    sign_log_e,
)
from sluiceway.rollout.plan import RolloutPlan

CHECK = "canary"
METRICS = ("error_rate", "latency_p99", "accuracy")
QUANTILE = 0.99
# The hard limit: a challenger that has answered none of so many requests of a step goes back without a test.
ALL_FAILED = 10
# More outcomes than this share without a prediction, and the pairs may be a biased choice.
LOST_PREDICTIONS = 0.01
NO_PAIRS = Pairs(0, 0, 0, 0)


@dataclass(frozen=True)
class ArmSeen:
    """What one arm did.

    Attributes:
        requests: requests that were drawn for it.
        errors: of these, how many it did not answer.
        latency: counts per bucket of ``core.traffic.LATENCY_BOUNDS_SECONDS`` plus the open one, or () for none.
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
        outcomes: outcomes received, of the whole rollout.
        outcomes_lost: of these, how many found no prediction although it had time to be written.
        traffic_ended: True where nothing more will be seen: the replayed requests have run out.
        breakers: one line for each replica that asks the challenger no more in the present step.
        promoted: what the new version did since its promotion.
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
        for step in body["steps"]:
            for arm in ("champion", "challenger"):
                del step[arm]["latency"]
        del body["promoted"]["latency"]
        return {**body, "others": [other.to_dict() for other in self.others]}


def judge_step(plan: RolloutPlan, observations: Observations) -> tuple[Verdict, ...]:
    """One verdict a metric, in the order of ``METRICS``."""
    return _error_rate(plan, observations), _latency(plan, observations), _accuracy(plan, observations)


def judge_pairs(plan: RolloutPlan, observations: Observations) -> Verdict:
    """The accuracy on all pairs of the rollout, whose outcomes may come long after the promotion."""
    return _accuracy(plan, replace(observations, pairs_step=observations.pairs_rollout))


def _error_rate(plan: RolloutPlan, seen: Observations) -> Verdict:
    margins, step = plan.margins, seen.steps[-1]
    champion, against = _compared_with(seen)
    challenger = step.challenger
    needed = requests_needed(margins.error_rate, _rate(champion), min(step.weight, 0.5), alpha=margins.alpha)[1]
    threshold = Threshold(margins.error_rate, Direction.AT_MOST, n_needed=needed, use_interval=True)
    value, low, high = independent_difference(
        (champion.errors, champion.requests), (challenger.errors, challenger.requests), alpha=margins.alpha
    )
    detail = f"challenger {_share(challenger)}, champion {_share(champion)} {against}"
    measurement = _measured("error_rate", value, challenger.requests, (low, high), detail=detail)

    if challenger.requests >= ALL_FAILED and challenger.errors == challenger.requests:
        return _verdict(
            Status.FAIL, measurement, threshold, f"all {challenger.requests} requests of the challenger failed"
        )
    if _fails_more(plan, seen):
        return _verdict(Status.FAIL, measurement, threshold, "the challenger fails more often, beyond the margin")
    if challenger.requests < needed or not champion.requests:
        return _verdict(Status.INCONCLUSIVE, measurement, threshold, "too few requests")
    if high < margins.error_rate:
        return _verdict(Status.PASS, measurement, threshold)
    return _verdict(Status.INCONCLUSIVE, measurement, threshold, "the interval spans the margin")


def _fails_more(plan: RolloutPlan, seen: Observations) -> bool:
    """Certain that it fails more often by more than the margin, and looks so now or over the whole rollout."""
    margin = plan.margins.error_rate
    whole = _rate(_sum(s.challenger for s in seen.steps)) - _rate(_sum(s.champion for s in seen.steps))
    now = _rate(seen.steps[-1].challenger) - _rate(_compared_with(seen)[0])
    if max(whole, now) <= margin:
        return False
    counts = [
        StepCounts(s.weight, s.champion.requests, s.champion.errors, s.challenger.requests, s.challenger.errors)
        for s in seen.steps
    ]
    return crossed(challenger_errors_log_e(counts, margin=margin), _alpha(plan))


def _latency(plan: RolloutPlan, seen: Observations) -> Verdict:
    margins = plan.margins
    champion, against = _compared_with(seen)
    challenger = seen.steps[-1].challenger
    needed = quantile_n_needed(QUANTILE, margins.alpha)
    value, low, high = _p99(challenger, margins.alpha)
    base, base_low, _ = _p99(champion, margins.alpha)
    # Both sides give way by their own bound, so that the slack of the histogram's buckets never lets a slow one pass.
    limit = margins.latency_p99_ratio * (base_low if champion.requests else 0.0) + margins.latency_p99_seconds
    threshold = Threshold(limit, Direction.AT_MOST, n_needed=needed, use_interval=True)
    found = f"{base:.4g}s" if champion.requests else "has no requests"
    detail = f"champion {found} {against}, n={sum(champion.latency):,}"
    n = sum(challenger.latency)
    measurement = _measured("latency_p99", value, n, (low, high), unit="s", detail=detail)

    if _too_slow(plan, seen, needed):
        return _verdict(Status.FAIL, measurement, threshold, "too many answers are slower than the margin allows")
    if n < needed or sum(champion.latency) < needed:
        return _verdict(Status.INCONCLUSIVE, measurement, threshold, "too few requests")
    if high <= limit:
        return _verdict(Status.PASS, measurement, threshold)
    return _verdict(Status.INCONCLUSIVE, measurement, threshold, "the interval spans the limit")


def _too_slow(plan: RolloutPlan, seen: Observations, needed: int) -> bool:
    """Whether more than 1 % of the challenger's answers are surely slower than the champion's p99 and the margin.

    The champion's p99 enters by its upper bound. Before ``needed`` requests a cold start would decide, not the model.
    The present step has to look too slow as well: what is over is no reason to go back.
    """
    champion = _sum(step.champion for step in seen.steps)
    # How long a shadow takes to score says nothing of how long a request takes.
    challenger = _sum(step.challenger for step in seen.steps if step.shadow == seen.steps[-1].shadow)
    n = sum(challenger.latency)
    if n < needed or sum(champion.latency) < needed:
        return False
    margins = plan.margins
    limit = margins.latency_p99_ratio * _p99(champion, _alpha(plan))[2] + margins.latency_p99_seconds
    if not math.isfinite(limit) or not _p99(seen.steps[-1].challenger, margins.alpha)[0] > limit:
        return False
    lower_edges = (0.0, *LATENCY_BOUNDS_SECONDS)
    slow = sum(count for count, edge in zip(challenger.latency, lower_edges, strict=False) if edge >= limit)
    return crossed(rate_above_log_e(slow, n, 1 - QUANTILE), _alpha(plan))


def _accuracy(plan: RolloutPlan, seen: Observations) -> Verdict:
    margins, pairs, whole = plan.margins, seen.pairs_step, seen.pairs_rollout
    discordance = (whole.discordant + 1) / (whole.n + 2)
    needed = max(margins.min_pairs, pairs_needed(margins.accuracy, discordance, alpha=margins.alpha))
    threshold = Threshold(-margins.accuracy, Direction.AT_LEAST, n_needed=needed, use_interval=True)
    value, low, high = paired_difference(pairs, alpha=margins.alpha)
    measurement = _measured("accuracy", value, pairs.n, (low, high), detail=_accuracies(whole))

    if seen.outcomes_lost > LOST_PREDICTIONS * seen.outcomes:
        lost = f"{seen.outcomes_lost:,} of {seen.outcomes:,} outcomes find no prediction"
        return _verdict(Status.INCONCLUSIVE, measurement, threshold, lost)
    if _less_accurate(plan, whole):
        return _verdict(Status.FAIL, measurement, threshold, "the challenger is less accurate, beyond the margin")
    if pairs.n < needed:
        return _verdict(Status.INCONCLUSIVE, measurement, threshold, "too few pairs")
    if whole.neither == whole.n:
        # Two that are never right do not differ: that is no evidence. Predicted numbers never equal their outcome.
        return _verdict(Status.INCONCLUSIVE, measurement, threshold, "no decision of either equals its outcome")
    if low > -margins.accuracy:
        return _verdict(Status.PASS, measurement, threshold)
    return _verdict(Status.INCONCLUSIVE, measurement, threshold, "the interval spans the margin")


def _less_accurate(plan: RolloutPlan, pairs: Pairs) -> bool:
    """Certain that it is worse, and worse by more than is allowed.

    That it is worse at all is what the anytime-valid test answers. By how much is read from the estimate: above the
    margin it could not be promoted, above the configured trigger the user wants it back. To ask the test for a fall
    beyond the trigger itself would need several times the requests and send back nothing that is good.
    """
    champion_right = pairs.both + pairs.only_champion
    if pairs.n < plan.margins.min_pairs or not champion_right:
        return False
    lost = pairs.only_champion - pairs.only_challenger
    too_much = lost / pairs.n > plan.margins.accuracy or lost / champion_right > plan.rollback.accuracy_drop
    return too_much and crossed(sign_log_e(pairs), _alpha(plan))


def _compared_with(seen: Observations) -> tuple[ArmSeen, str]:
    """The champion's counts of this step; at full weight it answers nothing, so those of the earlier steps."""
    if seen.steps[-1].weight < 1:
        return seen.steps[-1].champion, "in this step"
    return _sum(step.champion for step in seen.steps[:-1]), "in the earlier steps"


def _rate(arm: ArmSeen) -> float:
    return arm.errors / arm.requests if arm.requests else 0.0


def _share(arm: ArmSeen) -> str:
    return f"{arm.errors:,}/{arm.requests:,}"


def _accuracies(pairs: Pairs) -> str:
    if not pairs.n:
        return "no pairs yet"
    champion, challenger = pairs.both + pairs.only_champion, pairs.both + pairs.only_challenger
    return (
        f"champion {champion / pairs.n:.4f}, challenger {challenger / pairs.n:.4f} on {pairs.n:,} pairs of the rollout"
    )


def _alpha(plan: RolloutPlan) -> float:
    return plan.margins.rollback_alpha / len(METRICS)


def _p99(arm: ArmSeen, alpha: float) -> tuple[float, float, float]:
    return (
        quantile_from_counts(arm.latency, LATENCY_BOUNDS_SECONDS, QUANTILE, alpha) if arm.latency else (math.nan,) * 3
    )


def _sum(arms: Iterable[ArmSeen]) -> ArmSeen:
    return sum(arms, ArmSeen())


def _measured(
    name: str, value: float, n: int, bounds: tuple[float, float], *, unit: str = "", detail: str = ""
) -> Measurement:
    low, high = (None if math.isnan(bound) else bound for bound in bounds)
    return Measurement(name, None if math.isnan(value) else value, n, low, high, unit, detail)


def _verdict(status: Status, measurement: Measurement, threshold: Threshold, reason: str = "") -> Verdict:
    return Verdict(CHECK, status, measurement, threshold, reason)
