"""``sluiceway rollout abort`` and ``undo`` of a rollout that nobody runs: there is nobody to be told, so it is done."""

from __future__ import annotations

from sluiceway.catalog.stores import Stores
from sluiceway.cli.serve_traffic import running_endpoint
from sluiceway.config.load import load_platform, load_settings
from sluiceway.core.clock import SystemClock
from sluiceway.core.traffic import endpoint_name
from sluiceway.lifecycle.abort_by_hand import Aborted, abort_by_hand
from sluiceway.registry.mlflow_registry import Registry
from sluiceway.rollout.plan import RolloutPlan
from sluiceway.wiring.context import build_registry


def abort_here(plan: RolloutPlan, stores: Stores, *, config: str | None, address: str | None, reason: str) -> Aborted:
    """Give the traffic of a rollout back to its champion.

    Args:
        plan: of the rollout.
        stores: the catalog's.
        config: the configuration that was named; where it is the model's own, the registry's aliases go back, too.
        address: of the Serve, where somebody gave one.
        reason: why, for the journal.

    Raises:
        InputError: there is no champion to go back to.
        ConflictError: somebody runs it.
    """
    platform = load_platform(config)
    registry, moves_aliases = _registry(plan, config)
    return abort_by_hand(
        plan.rollout_id,
        stores=stores,
        serve=lambda: running_endpoint(plan.endpoint, address, platform, stores),
        registry=registry,
        moves_aliases=moves_aliases,
        clock=SystemClock(),
        reason=reason,
    )


def _registry(plan: RolloutPlan, config: str | None) -> tuple[Registry | None, bool]:
    """The registry, and whether the endpoint is the one whose champion it tells: only the model's own file says so."""
    settings = None if config is None else load_settings(config)
    if settings is None or settings.experiment.name != plan.model:
        return None, False
    last = endpoint_name(plan.model, settings.deployment.environments[-1])
    return build_registry(settings.platform), plan.endpoint == last
