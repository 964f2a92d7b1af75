"""What answers were worth, compared between the arms: the ``value`` of feedback, of different requests.

As with the other means both tests may be looked at after every request. Certain, over the steps in which both arms
answered, that the challenger's mean falls short of the champion's by more than the margin sends back; each step is a
bet of its own, since values of a Monday and of a Sunday are no sample of one another. Certain in this step that it does
not lets go on. At full weight the champion answers nothing more: the values of the earlier steps are compared with, and
they can only let go on, since nothing tells a bad day from a bad version then.
"""

from __future__ import annotations

from sluiceway.config.deployment import BusinessSection
from sluiceway.core.moments import NOTHING, Moments
from sluiceway.core.verdict import Direction, Measurement, Status, Threshold, Verdict
from sluiceway.gates.statistics.bounded_means import difference_bounds, enough_log_e, short_of_log_e
from sluiceway.gates.statistics.sequential import crossed
from sluiceway.rollout.evidence import CHECK, Observations, lost_outcomes, rollback_alpha
from sluiceway.rollout.means_seen import ValuesSeen
from sluiceway.rollout.plan import RolloutPlan


def judge_business(plan: RolloutPlan, seen: Observations) -> Verdict:
    """By how much the challenger's answers are worth less."""
    section = plan.margins.business
    assert section is not None  # a plan's metrics are those that it has a margin for
    values = seen.business or ValuesSeen(section.low, section.high)
    champion, challenger, against = _compared(seen, values)
    bounds = difference_bounds(champion, challenger, low=values.low, high=values.high, alpha=plan.margins.alpha)
    threshold = Threshold(_limit(section, champion), Direction.AT_LEAST, n_needed=section.min_values, use_interval=True)
    measurement = _measured(champion, challenger, bounds, against, values.clipped)

    def verdict(status: Status, reason: str = "") -> Verdict:
        return Verdict(CHECK, status, measurement, threshold, reason)

    lost = lost_outcomes(seen)
    if lost:
        return verdict(Status.INCONCLUSIVE, lost)
    if crossed(_evidence_against(section, seen, values), rollback_alpha(plan)):
        return verdict(Status.FAIL, "the challenger's answers are worth less, beyond the margin")
    if min(champion.n, challenger.n) < section.min_values:
        return verdict(Status.INCONCLUSIVE, "too few values")
    slope, offset = _line(section)
    passed = enough_log_e(champion, challenger, slope=slope, offset=offset, low=values.low, high=values.high)
    if crossed(passed, plan.margins.alpha):
        return verdict(Status.PASS)
    return verdict(Status.INCONCLUSIVE, "the interval spans the margin")


def _compared(seen: Observations, values: ValuesSeen) -> tuple[Moments, Moments, str]:
    if not values.champion:
        return NOTHING, NOTHING, "in this step"
    if seen.steps[-1].weight < 1:
        return values.champion[-1], values.challenger[-1], "in this step"
    return sum(values.champion[:-1], NOTHING), values.challenger[-1], "in the earlier steps"


def _evidence_against(section: BusinessSection, seen: Observations, values: ValuesSeen) -> float:
    slope, offset = _line(section)
    shared = [pair for step, pair in zip(seen.steps, values.steps(), strict=False) if step.weight < 1]
    return sum(
        short_of_log_e(champion, challenger, slope=slope, offset=offset, low=values.low, high=values.high)
        for champion, challenger in shared
        if min(champion.n, challenger.n) >= section.min_values
    )


def _line(section: BusinessSection) -> tuple[float, float]:
    """What is still enough, as ``slope * (champion's mean) + offset``."""
    if section.relative is not None:
        return 1 - section.relative, 0.0
    assert section.absolute is not None  # one of the two is given
    return 1.0, -section.absolute


def _limit(section: BusinessSection, champion: Moments) -> float:
    if section.absolute is not None:
        return -section.absolute
    assert section.relative is not None
    return -section.relative * champion.mean if champion.n else 0.0


def _measured(
    champion: Moments, challenger: Moments, bounds: tuple[float, float, float], against: str, clipped: int
) -> Measurement:
    arms = [
        f"{name} {arm.mean:.4g} (n={arm.n:,})" if arm.n else f"{name} has no values"
        for name, arm in (("challenger", challenger), ("champion", champion))
    ]
    beyond = f", {clipped:,} values beyond the bounds" if clipped else ""
    detail = f"{', '.join(arms)} {against}{beyond}"
    if not champion.n or not challenger.n:
        return Measurement("business", None, challenger.n, detail=detail)
    return Measurement("business", bounds[0], challenger.n, bounds[1], bounds[2], detail=detail)
