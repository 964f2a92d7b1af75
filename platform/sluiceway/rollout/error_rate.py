"""The error rate of the challenger against the champion's."""

from __future__ import annotations

from sluiceway.core.verdict import Direction, Status, Threshold, Verdict
from sluiceway.gates.statistics.planning import requests_needed
from sluiceway.gates.statistics.proportions import independent_difference
from sluiceway.gates.statistics.sequential import StepCounts, challenger_errors_log_e, crossed
from sluiceway.rollout.evidence import ArmSeen, Observations, compared_with, measured, rollback_alpha, total, verdict
from sluiceway.rollout.plan import RolloutPlan

# The hard limit: a challenger that has answered none of so many requests of a step goes back without a test.
ALL_FAILED = 10


def judge_error_rate(plan: RolloutPlan, seen: Observations) -> Verdict:
    """No worse by more than ``margins.error_rate``, worse by more for sure, or neither."""
    margins, step = plan.margins, seen.steps[-1]
    champion, against = compared_with(seen)
    challenger = step.challenger
    needed = requests_needed(margins.error_rate, _rate(champion), min(step.weight, 0.5), alpha=margins.alpha)[1]
    threshold = Threshold(margins.error_rate, Direction.AT_MOST, n_needed=needed, use_interval=True)
    value, low, high = independent_difference(
        (champion.errors, champion.requests), (challenger.errors, challenger.requests), alpha=margins.alpha
    )
    detail = f"challenger {_share(challenger)}, champion {_share(champion)} {against}"
    measurement = measured("error_rate", value, challenger.requests, (low, high), detail=detail)

    if challenger.requests >= ALL_FAILED and challenger.errors == challenger.requests:
        return verdict(
            Status.FAIL, measurement, threshold, f"all {challenger.requests} requests of the challenger failed"
        )
    if _fails_more(plan, seen):
        return verdict(Status.FAIL, measurement, threshold, "the challenger fails more often, beyond the margin")
    if challenger.requests < needed or not champion.requests:
        return verdict(Status.INCONCLUSIVE, measurement, threshold, "too few requests")
    if high < margins.error_rate:
        return verdict(Status.PASS, measurement, threshold)
    return verdict(Status.INCONCLUSIVE, measurement, threshold, "the interval spans the margin")


def _fails_more(plan: RolloutPlan, seen: Observations) -> bool:
    """Certain that it fails more often by more than the margin, and looks so now or over the whole rollout."""
    margin = plan.margins.error_rate
    whole = _rate(total(s.challenger for s in seen.steps)) - _rate(total(s.champion for s in seen.steps))
    now = _rate(seen.steps[-1].challenger) - _rate(compared_with(seen)[0])
    if max(whole, now) <= margin:
        return False
    counts = [
        StepCounts(s.weight, s.champion.requests, s.champion.errors, s.challenger.requests, s.challenger.errors)
        for s in seen.steps
    ]
    return crossed(challenger_errors_log_e(counts, margin=margin), rollback_alpha(plan))


def _rate(arm: ArmSeen) -> float:
    return arm.errors / arm.requests if arm.requests else 0.0


def _share(arm: ArmSeen) -> str:
    return f"{arm.errors:,}/{arm.requests:,}"
