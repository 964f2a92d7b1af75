"""The error rate of the challenger against the champion's."""

from __future__ import annotations

from sluiceway.core.verdict import Direction, Status, Threshold, Verdict
from sluiceway.gates.statistics.noninferiority import Excess, Stratum
from sluiceway.gates.statistics.proportions import independent_difference
from sluiceway.gates.statistics.sequential import StepCounts, challenger_errors_log_e, crossed
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
from sluiceway.rollout.margin import Evidence, judge_margin
from sluiceway.rollout.plan import RolloutPlan

# The hard limit: a challenger that has answered none of so many requests of a step goes back without a test.
ALL_FAILED = 10


def judge_error_rate(plan: RolloutPlan, seen: Observations) -> Verdict:
    """No worse by more than ``margins.error_rate``, worse for sure and beyond the margin, or neither."""
    margin, challenger = plan.margins.error_rate, seen.steps[-1].challenger
    champion, against = compared_with(seen)
    found = _evidence(margin, seen)
    answer = judge_margin(plan, seen, found)
    threshold = Threshold(margin, Direction.AT_MOST, n_needed=answer.needed, use_interval=True)
    judged = found.with_full_weight or found.whole
    low = independent_difference(*(_pair(arm) for arm in _arms(seen)), alpha=plan.margins.alpha)[1]
    detail = f"challenger {_share(challenger)}, champion {_share(champion)} {against}"
    bounds = min(low, judged.value), answer.high
    measurement = measured("error_rate", judged.value, answer.n, bounds, detail=detail)

    if challenger.requests >= ALL_FAILED and challenger.errors == challenger.requests:
        return verdict(
            Status.FAIL, measurement, threshold, f"all {challenger.requests} requests of the challenger failed"
        )
    if _fails_more(plan, seen):
        return verdict(Status.FAIL, measurement, threshold, "the challenger fails more often, beyond the margin")
    if not champion.requests:
        return verdict(Status.INCONCLUSIVE, measurement, threshold, "too few requests of the champion")
    return verdict(answer.status, measurement, threshold, answer.reason)


def _evidence(margin: float, seen: Observations) -> Evidence:
    compared = beside(seen)
    champion, challenger = _arms(seen)
    arms = [total(getattr(step, arm) for step in compared).requests for arm in ("champion", "challenger")]
    return Evidence(
        margin=margin,
        whole=Excess([_stratum(step.champion, step.challenger) for step in compared]),
        own=Excess([_stratum(compared_with(seen)[0], seen.steps[-1].challenger)]),
        rate=_rate(champion),
        # All requests at once: what will be asked of the challenger then is not known before.
        odds=_odds(*arms) if compared else 1.0,
        with_full_weight=Excess([_stratum(champion, challenger)]) if seen.steps[-1].weight >= 1 else None,
    )


def _fails_more(plan: RolloutPlan, seen: Observations) -> bool:
    """Certain that it fails more often, and by more than the margin, now or over the whole rollout.

    That it fails more often at all is what the anytime-valid test answers. By how much is read from an interval: to ask
    that test for a rise beyond the margin itself would take three times the requests to find a plain fault.
    """
    now = compared_with(seen)[0], seen.steps[-1].challenger
    beyond = [arms for arms in (_arms(seen), now) if _rate(arms[1]) - _rate(arms[0]) > plan.margins.error_rate]
    if not beyond:
        return False
    counts = [
        StepCounts(s.weight, s.champion.requests, s.champion.errors, s.challenger.requests, s.challenger.errors)
        for s in as_now(seen)
    ]
    if not crossed(challenger_errors_log_e(counts), rollback_alpha(plan)):
        return False
    lows = (independent_difference(*map(_pair, arms), alpha=plan.margins.rollback_alpha)[1] for arms in beyond)
    return any(low > plan.margins.error_rate for low in lows)


def _arms(seen: Observations) -> tuple[ArmSeen, ArmSeen]:
    """(champion, challenger) of the whole rollout, the latter asked as it is now."""
    steps = as_now(seen)
    return total(step.champion for step in steps), total(step.challenger for step in steps)


def _odds(champion: int, challenger: int) -> float:
    return challenger / champion if champion else 0.0


def _stratum(champion: ArmSeen, challenger: ArmSeen) -> Stratum:
    return Stratum(challenger.errors, challenger.requests, champion.errors, champion.requests)


def _pair(arm: ArmSeen) -> tuple[int, int]:
    return arm.errors, arm.requests


def _rate(arm: ArmSeen) -> float:
    return arm.errors / arm.requests if arm.requests else 0.0


def _share(arm: ArmSeen) -> str:
    return f"{arm.errors:,}/{arm.requests:,}"
