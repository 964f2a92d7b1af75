"""The 99th percentile of the challenger's latency against the champion's."""

from __future__ import annotations

import math

from sluiceway.core.traffic import latency_bounds
from sluiceway.core.verdict import Direction, Status, Threshold, Verdict
from sluiceway.gates.statistics.intervals import quantile_from_counts, quantile_n_needed
from sluiceway.gates.statistics.noninferiority import Excess, Stratum
from sluiceway.gates.statistics.sequential import crossed, rate_above_log_e
from sluiceway.rollout.evidence import (
    QUANTILE,
    ArmSeen,
    Observations,
    as_now,
    beside,
    compared_with,
    measured,
    rollback_alpha,
    total,
    verdict,
)
from sluiceway.rollout.margin import Evidence, judge_margin
from sluiceway.rollout.plan import RolloutPlan


def judge_latency(plan: RolloutPlan, seen: Observations) -> Verdict:
    """Within the ratio and the hop of ``margins``, slower for sure, or neither.

    Counted are answers slower than the champion's p99 of their step allows; more than 1 % of them is too slow. What
    only full load makes slow shows at full weight alone, so that is judged by itself.
    """
    margins = plan.margins
    champion, against = compared_with(seen)
    steps = beside(seen)
    own = Excess([_slow(plan, seen.steps[-1].challenger, champion)])
    at_full = seen.steps[-1].weight >= 1
    whole = own if at_full else Excess([_slow(plan, step.challenger, step.champion) for step in steps])
    found = Evidence(1 - QUANTILE, whole, own, rate=0.0, odds=0.0)
    answer = judge_margin(plan, seen, found)
    judged = total([seen.steps[-1].challenger] if at_full else [step.challenger for step in steps])
    value, low, high = _p99(judged, margins.alpha)
    base = _p99(champion, margins.alpha)[0]
    threshold = Threshold(_limit(plan, champion), Direction.AT_MOST, n_needed=answer.needed, use_interval=True)
    told = f"champion {base:.4g}s" if champion.requests else "champion has no requests"
    detail = f"{told} {against}, n={sum(champion.latency):,}; {whole.events:,} slower than that allows"
    measurement = measured("latency_p99", value, answer.n, (low, high), unit="s", detail=detail)

    if _too_slow(plan, seen, quantile_n_needed(QUANTILE, margins.alpha)):
        return verdict(Status.FAIL, measurement, threshold, "too many answers are slower than the margin allows")
    if not sum(champion.latency):
        return verdict(Status.INCONCLUSIVE, measurement, threshold, "no requests of the champion")
    return verdict(answer.status, measurement, threshold, answer.reason)


def _limit(plan: RolloutPlan, champion: ArmSeen) -> float:
    """By the champion's lower bound: neither few requests nor the slack of the buckets ever let a slow one pass."""
    base_low = _p99(champion, plan.margins.alpha)[1] if sum(champion.latency) else 0.0
    return plan.margins.latency_p99_ratio * base_low + plan.margins.latency_p99_seconds


def _slow(plan: RolloutPlan, challenger: ArmSeen, champion: ArmSeen) -> Stratum:
    limit = _limit(plan, champion)
    upper_edges = (*latency_bounds(challenger.latency), math.inf)
    slow = sum(count for count, edge in zip(challenger.latency, upper_edges, strict=False) if edge > limit)
    return Stratum(slow, sum(challenger.latency))


def _too_slow(plan: RolloutPlan, seen: Observations, needed: int) -> bool:
    """Whether more than 1 % of the challenger's answers are surely slower than the champion's p99 and the margin.

    The champion's p99 enters by its upper bound. Before ``needed`` requests a cold start would decide, not the model.
    The present step has to look too slow as well: what is over is no reason to go back.
    """
    champion = total(step.champion for step in seen.steps)
    challenger = total(step.challenger for step in as_now(seen))
    n = sum(challenger.latency)
    if n < needed or sum(champion.latency) < needed:
        return False
    margins = plan.margins
    limit = margins.latency_p99_ratio * _p99(champion, rollback_alpha(plan))[2] + margins.latency_p99_seconds
    if not math.isfinite(limit) or not _p99(seen.steps[-1].challenger, margins.alpha)[0] > limit:
        return False
    lower_edges = (0.0, *latency_bounds(challenger.latency))
    slow = sum(count for count, edge in zip(challenger.latency, lower_edges, strict=False) if edge >= limit)
    return crossed(rate_above_log_e(slow, n, 1 - QUANTILE), rollback_alpha(plan))


def _p99(arm: ArmSeen, alpha: float) -> tuple[float, float, float]:
    bounds = latency_bounds(arm.latency)
    return quantile_from_counts(arm.latency, bounds, QUANTILE, alpha) if arm.latency else (math.nan,) * 3
