"""``sluiceway rollout start --detach``: an actor of the cluster runs the rollout, and this command ends."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from rich.console import Console
from rich.markup import escape

from sluiceway.catalog.stores import Stores
from sluiceway.cli.output import print_json, program
from sluiceway.cli.progress import LogProgress
from sluiceway.cli.rollout_tell import runner
from sluiceway.config.settings import Settings
from sluiceway.core.errors import ConfigError, ConflictError
from sluiceway.core.traffic import endpoint_name
from sluiceway.lifecycle.start_rollout import end_others, name_rollout, startable, without_champion
from sluiceway.wiring.cluster import connect_ray, disconnect
from sluiceway.wiring.context import build_context
from sluiceway.wiring.rollout_actor import NAMESPACE, actor_name, begin_detached, running, start_for, wait_until_begun
from sluiceway.wiring.serving import known_ray
from sluiceway.wiring.stores import catalog_url, read_stores

# What cannot begin says so within them; what takes longer, as a large model or a slow hook does, is not waited for.
BEGIN_SECONDS = 30.0


def start_detached(
    settings: Settings, version: str, *, environments: Sequence[str], supersede: bool, ungated: bool, as_json: bool
) -> int:
    """Begin, and tell who runs it; the exit code is 0 once an actor does.

    Args:
        settings: the configuration.
        version: number or alias of the registered version.
        environments: in this order.
        supersede: abort another version's rollout that is under way first.
        ungated: although gates do not let it.
        as_json: print one JSON document.

    Raises:
        ConfigError: no cluster is known that outlives this command.
        SluicewayError: as for a start that stays.
    """
    settings = _on_known_cluster(settings)
    context = build_context(settings, progress=LogProgress(Console(stderr=True)))
    number = startable(context, version, environments=environments, ungated=ungated)
    wanted = without_champion(context, number, environments)
    left_out = [environment for environment in environments if environment not in wanted]
    rollout_id = name_rollout(context, number, wanted[0], supersede=supersede)
    endpoint = endpoint_name(settings.experiment.name, wanted[0])
    try:
        connect_ray(settings.platform.ray, catalog=catalog_url(settings.platform))
        _refuse_run_by_others(context.stores, endpoint, rollout_id)
        if supersede:
            end_others(context, number, wanted[0], but=rollout_id)
        start = start_for(
            settings,
            context,
            version=number,
            environments=wanted,
            rollout_id=rollout_id,
            supersede=supersede,
        )
        phase = wait_until_begun(begin_detached(start, context), seconds=BEGIN_SECONDS)
    finally:
        disconnect()
    told = {"rollout": rollout_id, "endpoint": endpoint, "actor": actor_name(endpoint), "namespace": NAMESPACE}
    if as_json:
        print_json({**told, "phase": phase, "left_out": left_out})
    else:
        for environment in left_out:
            Console().print(f"{environment}: left out: version {number} is its champion already", highlight=False)
        line = f"{rollout_id}: {phase}, run by the actor {told['actor']}; `{program()} rollout watch {endpoint}`"
        Console().print(escape(line), soft_wrap=True, highlight=False)
    return 0


def _on_known_cluster(settings: Settings) -> Settings:
    platform = settings.platform
    place = known_ray(None, platform, read_stores(platform).leases, now=datetime.now(UTC))
    if place is None:
        raise ConfigError(
            "no cluster is known that outlives this command",
            hint="set platform.ray.address or RAY_ADDRESS, or start one with `sluiceway serve up`",
        )
    section = platform.ray.model_copy(update={"address": place})
    return settings.model_copy(update={"platform": platform.model_copy(update={"ray": section})})


def _refuse_run_by_others(stores: Stores, endpoint: str, rollout_id: str) -> None:
    """A rollout that a process runs already is not an actor's to go on with."""
    who = runner(stores, endpoint, rollout_id)
    if who is None or stores.rollouts.get(rollout_id) is None:
        return
    actor = running(actor_name(endpoint))
    if actor is None or actor[1] != rollout_id:
        raise ConflictError(f"rollout {rollout_id} is being run by {who}", hint="wait for it, or end that process")
