"""What becomes of the registry's aliases when a rollout ends."""

from __future__ import annotations

from sluiceway.registry.mlflow_registry import CHALLENGER, CHAMPION, Registry
from sluiceway.rollout.plan import RolloutPlan


def end_challenger(registry: Registry, plan: RolloutPlan) -> None:
    """Nobody is the challenger any more; of a test another version may have won than the one that is called so.

    Raises:
        BackendError: MLflow refused or does not answer.
    """
    if registry.alias(plan.model, CHALLENGER) in plan.versions:
        registry.remove_alias(plan.model, CHALLENGER)


def give_back(registry: Registry, plan: RolloutPlan) -> None:
    """The champion of before is it again, also after a promotion that is undone; may be done any number of times.

    Raises:
        BackendError: MLflow refused or does not answer.
    """
    end_challenger(registry, plan)
    if plan.champion and registry.alias(plan.model, CHAMPION) == plan.version:
        registry.promote(plan.model, plan.champion.version)
