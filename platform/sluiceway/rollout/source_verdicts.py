"""Verdicts by the source that the plan names; pure, as :mod:`sluiceway.rollout.decide` is.

Whatever the source, what the replicas' counters say is a FAIL is one: nothing that Prometheus tells, or does not tell,
keeps a version that fails.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sluiceway.core.verdict import Severity, Status, Verdict
from sluiceway.rollout.evidence import LATENCY, Observations, StepSeen
from sluiceway.rollout.judgement import judge_step
from sluiceway.rollout.limits import judge_limits
from sluiceway.rollout.own_queries import judge_queries
from sluiceway.rollout.plan import RolloutPlan
from sluiceway.rollout.source_comparison import compared_enough, disagreement
from sluiceway.rollout.told import Told

# The cause where a rollout ends or pauses because its source does not answer.
SOURCE = "prometheus"
# What requests, errors and latencies are judged by; each with the counts that it is made of.
MADE_OF = {
    "error_rate": ("requests", "errors"),
    "error_rate_limit": ("requests", "errors"),
    "total_errors": ("errors",),
    **dict.fromkeys(LATENCY, ("requests",)),
}
# A difference of so few between two sources is none.
SLACK = 3


def judge_by_source(plan: RolloutPlan, seen: Observations) -> tuple[Verdict, ...]:
    """The metrics, then the limits, then the queries of one's own."""
    return (*_metrics(plan, seen), *judge_queries(plan, seen))


def gives_up(plan: RolloutPlan, seen: Observations) -> str:
    """Why the source has failed too often, or ""."""
    told = seen.told
    if not _matters(plan) or told is None or told.errors < plan.prometheus.max_errors:
        return ""
    return f"Prometheus has not answered {told.errors:,} times in a row: {told.error}"


def cannot_tell(plan: RolloutPlan, seen: Observations, verdicts: Sequence[Verdict]) -> bool:
    """True where a plan that goes on without evidence must not: its source fails, or a query cannot be used."""
    failing = _unanswered(plan, seen)
    broken = any(v.status is Status.ERROR and v.severity is Severity.BLOCK for v in verdicts)
    return failing or broken


def only_unanswered(plan: RolloutPlan, seen: Observations, missing: Sequence[Verdict]) -> bool:
    """True where nothing but the source's answer is missing: by the counters alone it would go on.

    Args:
        plan: of the rollout.
        seen: in it.
        missing: the verdicts that decide and are no PASS.
    """
    if not missing or not _unanswered(plan, seen):
        return False
    own = {query.name for query in plan.prometheus.queries}
    passed = {one.measurement.name for one in _judged(plan, seen) if one.status is Status.PASS}
    return all(verdict.measurement.name in own | passed for verdict in missing)


def _unanswered(plan: RolloutPlan, seen: Observations) -> bool:
    """Whether the source, as far as anything depends on it, has no answer to the last question, or has had none yet."""
    return _matters(plan) and (seen.told is None or bool(seen.told.error))


def _matters(plan: RolloutPlan) -> bool:
    """False where all that Prometheus is asked for is a dry run."""
    return plan.source != "counters" or any(query.name not in plan.dry_run for query in plan.prometheus.queries)


def _metrics(plan: RolloutPlan, seen: Observations) -> tuple[Verdict, ...]:
    if plan.source == "counters":
        return _judged(plan, seen)
    told = seen.told or Told(error="Prometheus has not been asked yet")
    if plan.source == "both":
        return tuple(_compared(plan, told, verdict) for verdict in _judged(plan, seen))
    # Either source may send it back: each gets half of the chance to do so wrongly.
    margins = plan.margins.model_copy(update={"rollback_alpha": plan.margins.rollback_alpha / 2})
    careful = replace(plan, margins=margins)
    counted = _judged(careful, seen)
    # What was told of the steps before says nothing of this one.
    present = len(told.steps) == len(seen.steps)
    steps = told.steps if present else tuple(StepSeen(step.weight) for step in seen.steps)
    asked = _judged(careful, replace(seen, steps=steps))
    return tuple(_by_prometheus(told, one, other) for one, other in zip(asked, counted, strict=True))


def _judged(plan: RolloutPlan, seen: Observations) -> tuple[Verdict, ...]:
    return (*judge_step(plan, seen), *judge_limits(plan, seen))


def _by_prometheus(told: Told, verdict: Verdict, counted: Verdict) -> Verdict:
    if verdict.measurement.name not in MADE_OF:
        return counted
    if counted.status is Status.FAIL:
        return replace(counted, reason=_after(counted.reason, "by the replicas' counters"))
    why = told.error or told.stale
    if why and verdict.status is not Status.FAIL:
        return replace(verdict, status=Status.INCONCLUSIVE, reason=why)
    return replace(verdict, reason=_after(verdict.reason, "by Prometheus"))


def _compared(plan: RolloutPlan, told: Told, verdict: Verdict) -> Verdict:
    made_of = MADE_OF.get(verdict.measurement.name)
    if made_of is None or verdict.status is Status.FAIL:
        return verdict
    why = told.error or told.stale
    if why:
        return replace(verdict, status=Status.INCONCLUSIVE, reason=why)
    for what in made_of:
        why = disagreement(told.compared, what, tolerance=plan.prometheus.tolerance, slack=SLACK)
        if why:
            return replace(verdict, status=Status.INCONCLUSIVE, reason=why)
    if verdict.status is Status.PASS and not compared_enough(told.compared):
        return replace(verdict, status=Status.INCONCLUSIVE, reason="the two sources are not compared long enough yet")
    return verdict


def _after(reason: str, where: str) -> str:
    return f"{reason}, {where}" if reason else where
