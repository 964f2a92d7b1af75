"""Metrics that are means over the pairs: how far the scores are apart, and by how much one loss is larger.

Both tests are the same one at two levels (:mod:`sluiceway.gates.statistics.bounded_means`): certain, over the whole
rollout, that the mean is above the margin sends back; certain, in this step, that it is below lets go on. Either may be
looked at after every request. What the numbers are says :mod:`sluiceway.core.pairs`.
"""

from __future__ import annotations

from collections.abc import Sequence

from sluiceway.core.verdict import Direction, Measurement, Status, Threshold, Verdict
from sluiceway.gates.statistics.bounded_means import (
    NEVER,
    mean_above_log_e,
    mean_below_log_e,
    mean_bounds,
    values_needed,
)
from sluiceway.gates.statistics.sequential import crossed
from sluiceway.rollout.evidence import CHECK, Observations, lost_outcomes, rollback_alpha
from sluiceway.rollout.means_seen import PairedMoments
from sluiceway.rollout.plan import RolloutPlan


def judge_score_shift(plan: RolloutPlan, seen: Observations) -> Verdict:
    """How far the challenger's scores are from the champion's; needs no outcome."""
    margin = plan.margins.score_shift
    assert margin is not None  # a plan's metrics are those that it has a margin for
    moments = seen.score_shift or PairedMoments()
    return _judged(plan, "score_shift", moments, margin, (0.0, plan.scores.largest_distance))


def judge_loss(plan: RolloutPlan, seen: Observations) -> Verdict:
    """By how much the challenger's loss is larger than the champion's."""
    margin = plan.margins.loss
    assert margin is not None
    largest = plan.scores.largest_loss
    moments = seen.loss or PairedMoments()
    return _judged(plan, "loss", moments, margin, (-largest, largest), why_not=lost_outcomes(seen))


def _judged(
    plan: RolloutPlan, name: str, moments: PairedMoments, margin: float, ends: Sequence[float], *, why_not: str = ""
) -> Verdict:
    (low, high), margins, step, whole = ends, plan.margins, moments.step, moments.rollout
    threshold = Threshold(margin, Direction.AT_MOST, n_needed=margins.min_pairs, use_interval=True)
    measurement = _measured(plan, name, moments, mean_bounds(step, low=low, high=high, alpha=margins.alpha))

    def verdict(status: Status, reason: str = "", enough: int | None = None) -> Verdict:
        return Verdict(CHECK, status, measurement, threshold, reason, enough)

    if why_not:
        return verdict(Status.INCONCLUSIVE, why_not)
    if whole.n >= margins.min_pairs and crossed(
        float(mean_above_log_e(whole, margin, width=margin - low)), rollback_alpha(plan)
    ):
        return verdict(Status.FAIL, "the mean is beyond the margin")
    if step.n < margins.min_pairs:
        return verdict(Status.INCONCLUSIVE, "too few pairs")
    if crossed(float(mean_below_log_e(step, margin, width=high - margin)), margins.alpha):
        return verdict(Status.PASS)
    enough = values_needed(margin - step.mean, step.variance, width=high - margin, alpha=margins.alpha)
    return verdict(Status.INCONCLUSIVE, "the interval spans the margin", enough if enough < NEVER else None)


def _measured(plan: RolloutPlan, name: str, moments: PairedMoments, bounds: tuple[float, float, float]) -> Measurement:
    step, whole = moments.step, moments.rollout
    told = f"{whole.mean:.4g} on {whole.n:,} pairs of the rollout" if whole.n else "no pairs yet"
    scale = f", 1 is {plan.scores.spread:.4g}" if plan.scores.kind == "regression" else ""
    if not step.n:
        return Measurement(name, None, 0, detail=told + scale)
    return Measurement(name, bounds[0], step.n, bounds[1], bounds[2], detail=told + scale)
