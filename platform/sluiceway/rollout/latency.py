"""The 99th percentile of the challenger's latency against the champion's."""

from __future__ import annotations

import math

from sluiceway.core.traffic import latency_bounds
from sluiceway.core.verdict import Direction, Status, Threshold, Verdict
from sluiceway.gates.statistics.intervals import quantile_from_counts, quantile_n_needed
from sluiceway.gates.statistics.sequential import crossed, rate_above_log_e
from sluiceway.rollout.evidence import (
    QUANTILE,
    ArmSeen,
    Observations,
    compared_with,
    measured,
    rollback_alpha,
    total,
    verdict,
)
from sluiceway.rollout.plan import RolloutPlan


def judge_latency(plan: RolloutPlan, seen: Observations) -> Verdict:
    """Within the ratio and the hop of ``margins``, slower for sure, or neither."""
    margins = plan.margins
    champion, against = compared_with(seen)
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
    measurement = measured("latency_p99", value, n, (low, high), unit="s", detail=detail)

    if _too_slow(plan, seen, needed):
        return verdict(Status.FAIL, measurement, threshold, "too many answers are slower than the margin allows")
    if n < needed or sum(champion.latency) < needed:
        return verdict(Status.INCONCLUSIVE, measurement, threshold, "too few requests")
    if high <= limit:
        return verdict(Status.PASS, measurement, threshold)
    return verdict(Status.INCONCLUSIVE, measurement, threshold, "the interval spans the limit")


def _too_slow(plan: RolloutPlan, seen: Observations, needed: int) -> bool:
    """Whether more than 1 % of the challenger's answers are surely slower than the champion's p99 and the margin.

    The champion's p99 enters by its upper bound. Before ``needed`` requests a cold start would decide, not the model.
    The present step has to look too slow as well: what is over is no reason to go back.
    """
    champion = total(step.champion for step in seen.steps)
    challenger = total(step.challenger for step in seen.steps)
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
