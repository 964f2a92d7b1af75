"""The accuracy of the challenger against the champion's, on the same requests."""

from __future__ import annotations

from sluiceway.core.verdict import Direction, Status, Threshold, Verdict
from sluiceway.gates.statistics.noninferiority import Excess, Stratum
from sluiceway.gates.statistics.proportions import Pairs, paired_difference
from sluiceway.gates.statistics.sequential import crossed, sign_log_e
from sluiceway.rollout.evidence import Observations, lost_outcomes, measured, rollback_alpha, verdict
from sluiceway.rollout.margin import Evidence, judge_margin
from sluiceway.rollout.plan import RolloutPlan


def judge_accuracy(plan: RolloutPlan, seen: Observations) -> Verdict:
    """No worse by more than ``margins.accuracy``, worse for sure and by more than is allowed, or neither."""
    margins, whole = plan.margins, seen.pairs_rollout
    found = _evidence(plan, seen)
    answer = judge_margin(plan, seen, found)
    threshold = Threshold(-margins.accuracy, Direction.AT_LEAST, n_needed=answer.needed, use_interval=True)
    value, _, high = paired_difference(whole, alpha=margins.alpha)
    measurement = measured("accuracy", value, answer.n, (-answer.high, high), detail=_accuracies(whole))

    lost = lost_outcomes(seen)
    if lost:
        return verdict(Status.INCONCLUSIVE, measurement, threshold, lost)
    if _less_accurate(plan, whole):
        return verdict(Status.FAIL, measurement, threshold, "the challenger is less accurate, beyond the margin")
    if whole.n and whole.neither == whole.n:
        # Two that are never right do not differ: that is no evidence. Predicted numbers never equal their outcome.
        return verdict(Status.INCONCLUSIVE, measurement, threshold, "no decision of either equals its outcome")
    return verdict(answer.status, measurement, threshold, answer.reason)


def _evidence(plan: RolloutPlan, seen: Observations) -> Evidence:
    """Each pair is a request of both arms: the events are those on which only one of them is right."""
    whole = seen.pairs_rollout
    # At full weight the champion still scores what the challenger answers: the pairs add up there, too.
    return Evidence(
        margin=plan.margins.accuracy,
        whole=_excess(whole),
        own=_excess(seen.pairs_step),
        rate=(whole.discordant + 1) / (whole.n + 2) / 2,
        odds=1.0,
        fewest=plan.margins.min_pairs,
    )


def _excess(pairs: Pairs) -> Excess:
    return Excess([Stratum(pairs.only_champion, pairs.n, pairs.only_challenger, pairs.n)])


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
