"""Quantiles of the challenger's latency against the champion's: one test, whichever quantile it is of."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sluiceway.core.traffic import LATENCY_QUANTILES, latency_bounds
from sluiceway.core.verdict import Direction, Status, Threshold, Verdict
from sluiceway.gates.statistics.intervals import quantile_from_counts, quantile_n_needed
from sluiceway.gates.statistics.noninferiority import Excess, Stratum
from sluiceway.gates.statistics.sequential import crossed, rate_above_log_e
from sluiceway.rollout.evidence import (
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
from sluiceway.rollout.margin import OWN_REQUESTS, Evidence, judge_margin
from sluiceway.rollout.plan import RolloutPlan


@dataclass(frozen=True)
class _Margin:
    """A quantile, and how far above the champion's it may be; ``alpha`` is of the test that lets go on."""

    quantile: float
    ratio: float
    seconds: float
    alpha: float

    @property
    def share(self) -> float:
        """Of answers that may be slower than what the margin allows."""
        return 1 - self.quantile

    def of(self, arm: ArmSeen, alpha: float) -> tuple[float, float, float]:
        """(value, low, high) of an arm's quantile; NaN without answers."""
        bounds = latency_bounds(arm.latency)
        return quantile_from_counts(arm.latency, bounds, self.quantile, alpha) if arm.latency else (math.nan,) * 3

    def limit(self, champion: ArmSeen) -> float:
        """By the champion's lower bound: neither few requests nor the slack of the buckets ever let a slow one pass."""
        base_low = self.of(champion, self.alpha)[1] if sum(champion.latency) else 0.0
        return self.ratio * base_low + self.seconds

    def slow(self, challenger: ArmSeen, champion: ArmSeen) -> Stratum:
        """The challenger's answers that may be slower than the limit."""
        limit, upper_edges = self.limit(champion), (*latency_bounds(challenger.latency), math.inf)
        slow = sum(count for count, edge in zip(challenger.latency, upper_edges, strict=False) if edge > limit)
        return Stratum(slow, sum(challenger.latency))


def judge_latency(metric: str, plan: RolloutPlan, seen: Observations) -> Verdict:
    """Within the ratio and the hop of ``margins``, slower for sure, or neither.

    Counted are answers slower than the champion's quantile of their step allows; more than its share (1 % at the p99,
    half at the median) is too slow. What only full load makes slow shows at full weight alone, so that is judged by
    itself.

    Args:
        metric: of ``LATENCY_QUANTILES``; the plan has a margin for it.
        plan: judges.
        seen: what serving counted.
    """
    margin = _margin(plan, metric)
    champion, against = compared_with(seen)
    steps = beside(seen)
    own = Excess([margin.slow(seen.steps[-1].challenger, champion)])
    at_full = seen.steps[-1].weight >= 1
    whole = own if at_full else Excess([margin.slow(step.challenger, step.champion) for step in steps])
    answer = judge_margin(plan, seen, Evidence(margin.share, whole, own, rate=0.0, odds=0.0))
    judged = total([seen.steps[-1].challenger] if at_full else [step.challenger for step in steps])
    value, low, high = margin.of(judged, margin.alpha)
    base = margin.of(champion, margin.alpha)[0]
    threshold = Threshold(margin.limit(champion), Direction.AT_MOST, n_needed=answer.needed, use_interval=True)
    told = f"champion {base:.4g}s" if champion.requests else "champion has no requests"
    detail = f"{told} {against}, n={sum(champion.latency):,}; {whole.events:,} slower than that allows"
    measurement = measured(metric, value, answer.n, (low, high), unit="s", detail=detail)

    if _too_slow(margin, seen, rollback_alpha(plan)):
        return verdict(Status.FAIL, measurement, threshold, "too many answers are slower than the margin allows")
    if not sum(champion.latency):
        return verdict(Status.INCONCLUSIVE, measurement, threshold, "no requests of the champion")
    return verdict(answer.status, measurement, threshold, answer.reason)


def _margin(plan: RolloutPlan, metric: str) -> _Margin:
    given = plan.margins.of_latency(metric)
    assert given is not None  # plan.metrics has it
    return _Margin(LATENCY_QUANTILES[metric], *given, plan.margins.alpha)


def _too_slow(margin: _Margin, seen: Observations, alpha: float) -> bool:
    """Whether more of the challenger's answers than the margin's share are surely slower than it allows.

    The champion's quantile enters by its upper bound. Before so many requests a cold start would decide, not the model.
    The present step has to look too slow as well: what is over is no reason to go back.
    """
    champion = total(step.champion for step in seen.steps)
    challenger = total(step.challenger for step in as_now(seen))
    n, needed = sum(challenger.latency), max(OWN_REQUESTS, quantile_n_needed(margin.quantile, margin.alpha))
    if n < needed or sum(champion.latency) < needed:
        return False
    limit = margin.ratio * margin.of(champion, alpha)[2] + margin.seconds
    if not math.isfinite(limit) or not margin.of(seen.steps[-1].challenger, margin.alpha)[0] > limit:
        return False
    lower_edges = (0.0, *latency_bounds(challenger.latency))
    slow = sum(count for count, edge in zip(challenger.latency, lower_edges, strict=False) if edge >= limit)
    return crossed(rate_above_log_e(slow, n, margin.share), alpha)
