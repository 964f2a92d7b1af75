"""All metrics of a plan, each by its own judge."""

from __future__ import annotations

from sluiceway.core.verdict import Verdict
from sluiceway.rollout.business import judge_business
from sluiceway.rollout.evidence import Observations, judge_pairs, judge_step
from sluiceway.rollout.paired_means import judge_loss, judge_score_shift
from sluiceway.rollout.plan import RolloutPlan

JUDGES = {"score_shift": judge_score_shift, "loss": judge_loss, "business": judge_business}
# What late outcomes still say something about.
LATE = ("accuracy", "loss", "business")


def judge(plan: RolloutPlan, observations: Observations) -> tuple[Verdict, ...]:
    """One verdict a metric, in the order of the plan's ``metrics``."""
    found = {verdict.measurement.name: verdict for verdict in judge_step(plan, observations)}
    return tuple(found[name] if name in found else JUDGES[name](plan, observations) for name in plan.metrics)


def judge_late(plan: RolloutPlan, observations: Observations) -> tuple[Verdict, ...]:
    """What is judged on all pairs and values of the rollout, whose outcomes may come long after the promotion."""
    late = [name for name in plan.metrics if name in LATE]
    return tuple(
        judge_pairs(plan, observations) if name == "accuracy" else JUDGES[name](plan, observations) for name in late
    )
