"""Before a switch of all requests at once: whether the champion's own numbers are enough to judge against later."""

from __future__ import annotations

from collections.abc import Collection

from sluiceway.config.deployment import MarginsSection
from sluiceway.core.traffic import LATENCY_QUANTILES
from sluiceway.core.verdict import Direction, Measurement, Threshold, Verdict, judge
from sluiceway.gates.statistics.intervals import quantile_n_needed
from sluiceway.gates.statistics.noninferiority import requests_needed
from sluiceway.rollout.evidence import CHECK, Observations
from sluiceway.rollout.plan import RolloutPlan


def champion_needs(
    margins: MarginsSection, error_rate: float, *, metrics: int, without: Collection[str] = ()
) -> dict[str, int]:
    """Requests of the champion, by metric: with fewer its latency has no bound that a slow version could be beyond.

    Args:
        margins: how much worse a version may be, and at which certainty.
        error_rate: the champion's.
        metrics: how many share ``margins.rollback_alpha``.
        without: metrics that decide nothing.
    """
    errors = requests_needed(error_rate, margins.error_rate, 1.0, alpha=margins.alpha)
    surest = min(margins.alpha, margins.rollback_alpha / metrics)
    judged = {name: q for name, q in LATENCY_QUANTILES.items() if margins.of_latency(name)}
    needs = {"error_rate": errors, **{name: quantile_n_needed(q, surest) for name, q in judged.items()}}
    return {name: n for name, n in needs.items() if name not in without}


def judge_baseline(plan: RolloutPlan, seen: Observations) -> Verdict:
    """Of the stage before such a switch: whether the champion was asked often enough."""
    champion = seen.steps[-1].champion
    share = champion.errors / champion.requests if champion.requests else 0.0
    needs = champion_needs(plan.margins, share, metrics=len(plan.metrics), without=plan.dry_run)
    needed = max(needs.values(), default=0)
    measured = Measurement(
        "champion_requests", champion.requests, champion.requests, detail=f"{champion.errors:,} failed"
    )
    return judge(CHECK, measured, Threshold(needed, Direction.AT_LEAST, n_needed=needed))
