"""Metrics that are measured and told, and decide nothing."""

from __future__ import annotations

from dataclasses import replace

from sluiceway.core.verdict import Severity, Verdict
from sluiceway.rollout.plan import RolloutPlan


def softened(plan: RolloutPlan, verdict: Verdict) -> Verdict:
    """The verdict, for information only where the plan's ``dry_run`` names its metric."""
    return replace(verdict, severity=Severity.INFO) if verdict.measurement.name in plan.dry_run else verdict


def decides(verdict: Verdict) -> bool:
    """Whether anything comes of a verdict."""
    return verdict.severity is Severity.BLOCK
