"""Fixed limits of the challenger's own numbers: what is too bad whatever the champion does.

They are judged by the number itself, as operators write alerts, once there are ``min_requests``. On small counts such a
limit sends back good versions and lets bad ones pass (docs/decisions/0008); the two tests stand beside it for that.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from sluiceway.core.traffic import LATENCY_QUANTILES, latency_bounds
from sluiceway.core.verdict import Direction, Measurement, Status, Threshold, Verdict, judge
from sluiceway.gates.statistics.intervals import quantile_from_counts
from sluiceway.rollout.evidence import CHECK, Observations, as_now, lost_outcomes, total
from sluiceway.rollout.plan import RolloutPlan


def judge_limits(plan: RolloutPlan, seen: Observations) -> tuple[Verdict, ...]:
    """One verdict for each limit that the plan has, none without any."""
    needed, lost = plan.limits.min_requests, lost_outcomes(seen)
    return tuple(
        _judged(measurement, Threshold(limit, direction, n_needed=1 if at_once else needed), lost)
        for measurement, limit, direction, at_once in _held(plan, seen)
    )


def _judged(measurement: Measurement, threshold: Threshold, lost: str) -> Verdict:
    found = judge(CHECK, measurement, threshold)
    if lost and measurement.name == "accuracy_limit":
        return replace(found, status=Status.INCONCLUSIVE, reason=lost)
    return found


def _held(plan: RolloutPlan, seen: Observations) -> Iterator[tuple[Measurement, float, Direction, bool]]:
    limits, challenger, pairs = plan.limits, seen.steps[-1].challenger, seen.pairs_step
    if limits.error_rate is not None:
        share = challenger.errors / challenger.requests if challenger.requests else None
        told = f"{challenger.errors:,} failed"
        measured = Measurement("error_rate_limit", share, challenger.requests, detail=told)
        yield measured, limits.error_rate, Direction.AT_MOST, False
    for name, q in LATENCY_QUANTILES.items():
        if getattr(limits, name) is not None:
            n, bounds = sum(challenger.latency), latency_bounds(challenger.latency)
            value = quantile_from_counts(challenger.latency, bounds, q, 0.05)[0] if n else None
            yield Measurement(f"{name}_limit", value, n, unit="s"), getattr(limits, name), Direction.AT_MOST, False
    if limits.accuracy is not None:
        right = pairs.both + pairs.only_challenger
        measured = Measurement(
            "accuracy_limit", right / pairs.n if pairs.n else None, pairs.n, detail=f"{right:,} right"
        )
        yield measured, limits.accuracy, Direction.AT_LEAST, False
    if limits.total_errors is not None:
        whole = total(step.challenger for step in as_now(seen))
        yield Measurement("total_errors", whole.errors, whole.requests), limits.total_errors, Direction.AT_MOST, True
    if limits.consecutive_errors is not None:
        measured = Measurement("consecutive_errors", challenger.errors_in_row, challenger.requests)
        yield measured, limits.consecutive_errors, Direction.AT_MOST, True
