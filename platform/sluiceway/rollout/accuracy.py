"""The accuracy of the challenger against the champion's, on the same requests."""

from __future__ import annotations

from sluiceway.core.verdict import Direction, Status, Threshold, Verdict
from sluiceway.gates.statistics.planning import pairs_needed
from sluiceway.gates.statistics.proportions import Pairs, paired_difference
from sluiceway.gates.statistics.sequential import crossed, sign_log_e
from sluiceway.rollout.evidence import Observations, lost_outcomes, measured, rollback_alpha, verdict
from sluiceway.rollout.plan import RolloutPlan


def judge_accuracy(plan: RolloutPlan, seen: Observations) -> Verdict:
    """No worse by more than ``margins.accuracy``, worse for sure and by more than is allowed, or neither."""
    margins, pairs, whole = plan.margins, seen.pairs_step, seen.pairs_rollout
    discordance = (whole.discordant + 1) / (whole.n + 2)
    needed = max(margins.min_pairs, pairs_needed(margins.accuracy, discordance, alpha=margins.alpha))
    threshold = Threshold(-margins.accuracy, Direction.AT_LEAST, n_needed=needed, use_interval=True)
    value, low, high = paired_difference(pairs, alpha=margins.alpha)
    measurement = measured("accuracy", value, pairs.n, (low, high), detail=_accuracies(whole))

    lost = lost_outcomes(seen)
    if lost:
        return verdict(Status.INCONCLUSIVE, measurement, threshold, lost)
    if _less_accurate(plan, whole):
        return verdict(Status.FAIL, measurement, threshold, "the challenger is less accurate, beyond the margin")
    if pairs.n < needed:
        return verdict(Status.INCONCLUSIVE, measurement, threshold, "too few pairs")
    if whole.neither == whole.n:
        # Two that are never right do not differ: that is no evidence. Predicted numbers never equal their outcome.
        return verdict(Status.INCONCLUSIVE, measurement, threshold, "no decision of either equals its outcome")
    if low > -margins.accuracy:
        return verdict(Status.PASS, measurement, threshold)
    return verdict(Status.INCONCLUSIVE, measurement, threshold, "the interval spans the margin")


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
    return too_much and crossed(sign_log_e(pairs), rollback_alpha(plan))


def _accuracies(pairs: Pairs) -> str:
    if not pairs.n:
        return "no pairs yet"
    champion, challenger = pairs.both + pairs.only_champion, pairs.both + pairs.only_challenger
    return (
        f"champion {champion / pairs.n:.4f}, challenger {challenger / pairs.n:.4f} on {pairs.n:,} pairs of the rollout"
    )
