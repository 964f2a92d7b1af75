"""From what serving counted to verdicts: two tests a metric, one that sends back and one that lets go on.

A metric FAILs when an anytime-valid test over the whole rollout is certain that the challenger is worse, and it is by
more than its margin: that may be looked at after every request. It PASSes when the step has its part of the evidence,
and before full weight when all of it shows, at ``margins.alpha`` over the whole rollout, that the challenger is no
worse by more than the margin (``rollout.margin``). Between the two it is INCONCLUSIVE and the rollout holds.

``margins.rollback_alpha`` is shared out evenly among the metrics, so that it bounds the chance that any of them sends
back a challenger that is no worse.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from sluiceway.core.traffic import LATENCY_QUANTILES
from sluiceway.core.verdict import Verdict
from sluiceway.rollout.accuracy import judge_accuracy
from sluiceway.rollout.business import judge_business
from sluiceway.rollout.error_rate import judge_error_rate
from sluiceway.rollout.evidence import Observations
from sluiceway.rollout.latency import judge_latency
from sluiceway.rollout.paired_means import judge_loss, judge_score_shift
from sluiceway.rollout.plan import RolloutPlan

JUDGES: dict[str, Callable[[RolloutPlan, Observations], Verdict]] = {
    "error_rate": judge_error_rate,
    **{name: partial(judge_latency, name) for name in LATENCY_QUANTILES},
    "accuracy": judge_accuracy,
    "score_shift": judge_score_shift,
    "loss": judge_loss,
    "business": judge_business,
}
# What outcomes say something about that come after the promotion.
LATE = ("accuracy", "loss", "business")
# What only answers have: what a shadow says is worth nothing to anybody.
ANSWERED = ("business",)


def judge_step(plan: RolloutPlan, observations: Observations) -> tuple[Verdict, ...]:
    """One verdict a metric, in the order of the plan's ``metrics``; of a shadow those that need no answers."""
    unasked = ANSWERED if observations.steps[-1].shadow else ()
    return tuple(JUDGES[name](plan, observations) for name in plan.metrics if name not in unasked)


def judge_late(plan: RolloutPlan, observations: Observations) -> tuple[Verdict, ...]:
    """What is judged on all pairs and values of the rollout, whose outcomes may come long after the promotion."""
    loss = observations.loss and replace(observations.loss, step=observations.loss.rollout)
    whole = replace(observations, pairs_step=observations.pairs_rollout, loss=loss)
    return tuple(JUDGES[name](plan, whole) for name in plan.metrics if name in LATE)
