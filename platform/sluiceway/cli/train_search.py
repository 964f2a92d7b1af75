"""``sluiceway train --search``."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from rich.console import Console

from sluiceway.cli.checked import check_version
from sluiceway.cli.output import print_json, print_rows, program
from sluiceway.cli.progress import progress_for
from sluiceway.config.load import ray_address
from sluiceway.config.settings import Settings
from sluiceway.lifecycle.search import SearchOutcome, search
from sluiceway.training.search_space import check_space
from sluiceway.training.trials import Trial, gain
from sluiceway.wiring.cluster import connect_ray, disconnect, is_connected
from sluiceway.wiring.context import build_context
from sluiceway.wiring.stores import catalog_url

SHOWN = 10


def train_search(
    settings: Settings, *, config: str, overrides: Sequence[str], version: str | None, as_json: bool
) -> None:
    """Search for better parameters, train the best, and tell.

    Args:
        settings: the configuration, checked.
        config: its file, for the command that is proposed.
        overrides: that are part of it, for the same.
        version: to train on; ``data.version`` where it is None.
        as_json: True prints one JSON document.

    Raises:
        ConfigError: there is no space to search in.
    """
    check_space(settings.search, settings.model, settings.training)
    console = Console(stderr=as_json)
    with progress_for(console) as progress:

        def connect() -> None:
            if is_connected():
                return
            progress.stage("start Ray", ray_address(settings.platform.ray) or "on this machine")
            connect_ray(settings.platform.ray, catalog=catalog_url(settings.platform))

        context = build_context(settings, progress=progress, connect=connect)
        pinned = context.version(version)
        check_version(settings, pinned)
        try:
            outcome = search(context, pinned, settings.search)
        finally:
            disconnect()
    if as_json:
        print_json(outcome.to_dict())
    else:
        _print(outcome, console, command=going_on(config, overrides, version=version, params=outcome.params))


def going_on(config: str, overrides: Sequence[str], *, version: str | None, params: Mapping[str, Any]) -> str:
    """The command that judges the candidate of a search: it finds it where rows and settings are those of the search.

    Args:
        config: the file of the configuration.
        overrides: of its keys, as they were given.
        version: that was searched on, where it was named.
        params: of the best model.

    Returns:
        as a shell takes it.
    """
    values = {} if version is None else {"data.version": version}
    own = [f"{key}={_yaml(value)}" for key, value in (values | {"model.params": dict(params)}).items()]
    return f"{program()} run {shlex.join([config, *(word for one in (*overrides, *own) for word in ('--set', one))])}"


def _yaml(value: Any) -> str:
    text: str = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000)
    return text.removesuffix("...\n").strip()


def _print(outcome: SearchOutcome, console: Console, *, command: str) -> None:
    configured = next((trial for trial in outcome.trials if trial.number == 0), None)
    rows = [_row(trial, configured, outcome.metric) for trial in outcome.trials[:SHOWN]]
    print_rows(rows, as_json=False, empty="no trials")
    told = f"{len(outcome.trials)} trials, {outcome.trained} of them trained now; MLflow run {outcome.run_id}"
    for line in (
        told,
        f"best parameters: {outcome.file}",
        f"bundle: {outcome.candidate.uri}",
        f"to go on with them: {command}",
    ):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _row(trial: Trial, configured: Trial | None, metric: str) -> dict[str, Any]:
    more = gain(trial, configured) if configured else math.nan
    return {
        "trial": f"{trial.number}{' (configured)' if trial.number == 0 else ''}",
        metric: f"{trial.score:.5f}" if trial.scores else "",
        "on the same folds": "" if trial.number == 0 or math.isnan(more) else f"{more:+.5f}",
        "folds": len(trial.scores),
        "status": trial.status,
        "seconds": f"{trial.seconds:.1f}",
        "parameters": ", ".join(f"{name} {_short(value)}" for name, value in trial.params.items()),
    }


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
