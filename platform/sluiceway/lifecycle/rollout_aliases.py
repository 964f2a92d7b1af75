"""What becomes of the registry's aliases when a rollout ends."""

from __future__ import annotations

from sluiceway.catalog.stores import Stores
from sluiceway.lifecycle.champion_before import champion_before
from sluiceway.registry.mlflow_registry import CHALLENGER, CHAMPION, Registry
from sluiceway.rollout.plan import RolloutPlan


def hand_over(registry: Registry, plan: RolloutPlan) -> None:
    """The plan's version is the champion, and the one that answered before it ``previous``; may be done again.

    Args:
        registry: that has the model.
        plan: of the rollout that has promoted its version.

    Raises:
        BackendError: MLflow refused or does not answer.
    """
    # Who the alias named before is not asked: an undo without the model's configuration leaves it where it was.
    registry.promote(plan.model, plan.version, plan.champion.version if plan.champion else None)
    end_challenger(registry, plan)


def end_challenger(registry: Registry, plan: RolloutPlan) -> None:
    """Nobody is the challenger any more; of a test another version may have won than the one that is called so.

    Raises:
        BackendError: MLflow refused or does not answer.
    """
    if registry.alias(plan.model, CHALLENGER) in plan.versions:
        registry.remove_alias(plan.model, CHALLENGER)


def give_back(registry: Registry, plan: RolloutPlan, stores: Stores) -> None:
    """The champion of before is it again, also after a promotion that is undone; may be done any number of times.

    Then ``previous`` is the champion before that one, not the version that was found bad.

    Args:
        registry: that has the model.
        plan: of the rollout that goes back.
        stores: the catalog's, which knows the champions that the endpoint has had.

    Raises:
        BackendError: MLflow refused or does not answer.
    """
    end_challenger(registry, plan)
    if plan.champion and registry.alias(plan.model, CHAMPION) == plan.version:
        champion = plan.champion.version
        before = champion_before(stores, plan.endpoint, version=champion)
        previous = before.version if before and before.version != plan.version else None
        registry.take_back(plan.model, champion, previous=previous)
