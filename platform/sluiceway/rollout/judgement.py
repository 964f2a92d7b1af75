"""From what serving counted to verdicts: two tests a metric, one that sends back and one that lets go on.

A metric FAILs when an anytime-valid test over the whole rollout is certain that the challenger is worse, and it is by
more than its margin: that may be looked at after every request. It PASSes when the step has its part of the evidence,
and before full weight when all of it shows, at ``margins.alpha`` over the whole rollout, that the challenger is no
worse by more than the margin (``rollout.margin``). Between the two it is INCONCLUSIVE and the rollout holds.

``margins.rollback_alpha`` is shared out evenly among the metrics, so that it bounds the chance that any of them sends
back a challenger that is no worse.
"""

from __future__ import annotations

from dataclasses import replace

from sluiceway.core.verdict import Verdict
from sluiceway.rollout.accuracy import judge_accuracy
from sluiceway.rollout.error_rate import judge_error_rate
from sluiceway.rollout.evidence import Observations
from sluiceway.rollout.latency import judge_latency
from sluiceway.rollout.plan import RolloutPlan


def judge_step(plan: RolloutPlan, observations: Observations) -> tuple[Verdict, ...]:
    """One verdict a metric, in the order of ``METRICS``."""
    return judge_error_rate(plan, observations), judge_latency(plan, observations), judge_accuracy(plan, observations)


def judge_pairs(plan: RolloutPlan, observations: Observations) -> Verdict:
    """The accuracy on all pairs of the rollout, whose outcomes may come long after the promotion."""
    return judge_accuracy(plan, replace(observations, pairs_step=observations.pairs_rollout))
