"""``sluiceway train``."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from sluiceway.cli.checked import check_version, checked_settings
from sluiceway.cli.output import Json, Set, print_json, print_rows
from sluiceway.cli.progress import progress_for
from sluiceway.cli.train_reproduce import train_reproduce
from sluiceway.cli.train_search import train_search
from sluiceway.core.errors import ConfigError
from sluiceway.lifecycle.candidate import build_candidate
from sluiceway.wiring.cluster import connect_ray, disconnect
from sluiceway.wiring.context import build_context


def train(
    config: Annotated[
        str | None, typer.Argument(metavar="CONFIG", help="YAML file, e.g. jobs/configs/flights.yaml.")
    ] = None,
    overrides: Set = None,
    version: Annotated[
        str | None, typer.Option("--version", help="Version to train on; data.version otherwise.")
    ] = None,
    search: Annotated[
        bool, typer.Option("--search", help="Search over search.space first, and train the best of what was tried.")
    ] = False,
    reproduce: Annotated[
        str | None,
        typer.Option(
            "--reproduce",
            metavar="RUN",
            help="Do an MLflow run (its id, or MODEL@VERSION) again and compare; CONFIG only says where things live.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Train a candidate with cross-validation and store its bundle; nothing is registered or rolled out."""
    if reproduce is not None:
        if version is not None or search:
            raise ConfigError("--reproduce takes the version and the parameters from the run", hint="give it alone")
        train_reproduce(reproduce, config=config, overrides=overrides or (), as_json=as_json)
        return
    if config is None:
        raise ConfigError("a configuration is needed", hint="sluiceway train CONFIG, e.g. jobs/configs/flights.yaml")
    settings = checked_settings(config, overrides or ())
    if search:
        train_search(settings, config=config, overrides=overrides or (), version=version, as_json=as_json)
        return
    console = Console(stderr=as_json)
    with progress_for(console) as progress:
        context = build_context(settings, progress=progress)
        pinned = context.version(version)
        check_version(settings, pinned)
        connect_ray(settings.platform.ray, catalog=context.stores.url)
        try:
            with context.reading(pinned):
                candidate = build_candidate(context, pinned)
        finally:
            disconnect()
    if as_json:
        print_json(candidate.to_dict())
        return
    print_rows(candidate.training["folds"], as_json=False, empty="no folds")
    console.print(f"{candidate.training['rounds']} rounds; {candidate.training['why']}", highlight=False)
    console.print(f"bundle: {candidate.uri}", highlight=False, soft_wrap=True)
    console.print(f"plots: {candidate.training['plots']}", highlight=False, soft_wrap=True)
