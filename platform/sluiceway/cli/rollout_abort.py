"""``sluiceway rollout abort`` and ``undo`` of a rollout that nobody runs: there is nobody to be told, so it is done."""

from __future__ import annotations

from sluiceway.catalog.stores import Stores
from sluiceway.cli.serve_traffic import running_endpoint
from sluiceway.config.load import load_platform, load_settings
from sluiceway.config.settings import Settings
from sluiceway.core.clock import SystemClock
from sluiceway.core.traffic import endpoint_name
from sluiceway.lifecycle.abort_by_hand import Aborted, abort_by_hand
from sluiceway.rollout.hooks import ConfiguredHooks
from sluiceway.rollout.plan import RolloutPlan
from sluiceway.wiring.context import build_registry


def abort_here(plan: RolloutPlan, stores: Stores, *, config: str | None, address: str | None, reason: str) -> Aborted:
    """Give the traffic of a rollout back to its champion.

    Args:
        plan: of the rollout.
        stores: the catalog's.
        config: the configuration that was named; where it is the model's own, the registry's aliases go back, too, and
            its hooks are told.
        address: of the Serve, where somebody gave one.
        reason: why, for the journal.

    Raises:
        InputError: there is no champion to go back to.
        ConflictError: somebody runs it.
    """
    platform, settings = load_platform(config), _own(plan, config)
    environments = settings.deployment.environments if settings else ()
    environment = next((one for one in environments if endpoint_name(plan.model, one) == plan.endpoint), None)
    policy = settings.deployment.of(environment) if settings and environment else None
    with ConfiguredHooks(policy.hooks if policy else (), policy.notify if policy else ()) as hooks:
        return abort_by_hand(
            plan.rollout_id,
            stores=stores,
            serve=lambda: running_endpoint(plan.endpoint, address, platform, stores),
            registry=build_registry(settings.platform) if settings else None,
            moves_aliases=environment is not None and environment == environments[-1],
            clock=SystemClock(),
            reason=reason,
            hooks=hooks,
        )


def _own(plan: RolloutPlan, config: str | None) -> Settings | None:
    """The configuration where it is the model's own: only that says which registry, environments and hooks it has."""
    settings = None if config is None else load_settings(config)
    return settings if settings is not None and settings.experiment.name == plan.model else None
