"""``sluiceway rollout start``: rolls a registered version out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape

from sluiceway.cli.environments import refuse_unknown
from sluiceway.cli.output import print_json
from sluiceway.cli.progress import progress_for
from sluiceway.cli.rollout_detach import start_detached
from sluiceway.cli.run import connect
from sluiceway.config.load import load_settings
from sluiceway.core.errors import InputError
from sluiceway.core.references import ModelReference
from sluiceway.core.verdict import EXIT_CODES, Status
from sluiceway.lifecycle.start_rollout import Started, start_rollout
from sluiceway.wiring.cluster import disconnect
from sluiceway.wiring.context import build_context

STATUSES = {"promoted": Status.PASS, "skipped": Status.PASS, "paused": Status.INCONCLUSIVE, "rolled_back": Status.FAIL}


def start(
    model: str,
    config: str,
    *,
    overrides: Sequence[str],
    environments: Sequence[str],
    supersede: bool,
    ungated: bool,
    detach: bool,
    as_json: bool,
) -> int:
    """Roll out, tell how it ended, and give the exit code: 0 promoted, 1 rolled back, 3 paused."""
    reference = ModelReference.parse(model)
    settings = load_settings(config, overrides=tuple(overrides))
    if reference.name != settings.experiment.name:
        raise InputError(
            f"{config} is of {settings.experiment.name}, and {model} is another model", hint="name its configuration"
        )
    refuse_unknown(settings.deployment, environments, config=config)
    chosen = tuple(environments) or settings.deployment.environments
    if detach:
        return start_detached(
            settings,
            reference.version,
            environments=chosen,
            supersede=supersede,
            ungated=ungated,
            as_json=as_json,
        )
    console = Console(stderr=as_json)
    with progress_for(console) as progress:
        context = build_context(settings, progress=progress, connect=lambda: connect(settings.platform, progress))
        try:
            done = start_rollout(
                context,
                reference.version,
                environments=chosen,
                supersede=supersede,
                ungated=ungated,
            )
        finally:
            disconnect()
    if as_json:
        print_json([{"environment": one.environment, **one.result} for one in done])
    else:
        for one in done:
            console.print(escape(_line(one)), soft_wrap=True, highlight=False)
    return EXIT_CODES[STATUSES[done[-1].status]]


def _line(one: Started) -> str:
    rollout: dict[str, Any] = one.result["rollout"]
    if one.status == "skipped":
        return f"{one.environment}: left out: {rollout['reason']}"
    told = f"{one.environment}: {one.status.replace('_', ' ')} after {rollout['seconds']:.0f} s"
    return f"{told}: {rollout['reason']}" if rollout["reason"] else told
