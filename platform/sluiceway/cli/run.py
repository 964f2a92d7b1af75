"""``sluiceway run``."""

from __future__ import annotations

import shutil
from typing import Annotated

import typer
from rich.console import Console

from sluiceway.cli.checked import checked_settings
from sluiceway.cli.output import Config, Json, Set, print_json
from sluiceway.cli.plan import plan, print_plan
from sluiceway.cli.progress import progress_for
from sluiceway.cli.summary import completed, print_summary
from sluiceway.config.load import ray_address
from sluiceway.config.platform import PlatformSection
from sluiceway.config.settings import Settings
from sluiceway.core.doors import Progress
from sluiceway.core.errors import ConflictError
from sluiceway.lifecycle.run import run_lifecycle
from sluiceway.serving.ports import check_port
from sluiceway.wiring.cluster import clear_machine, connect_ray, disconnect
from sluiceway.wiring.context import build_context
from sluiceway.wiring.stores import catalog_url, state_folder


def run(
    config: Config,
    overrides: Set = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check and print what would be done; touch nothing.")
    ] = False,
    fresh: Annotated[
        bool,
        typer.Option("--fresh", help="Where the last run has ended, delete its state folder and begin anew."),
    ] = False,
    as_json: Json = False,
) -> int:
    """Run a configuration: ingest, train, judge, register, roll out, as its lifecycle says.

    Interrupt it whenever you like: the same command goes on where it stopped.
    """
    settings = checked_settings(config, overrides or ())
    planned = plan(settings)  # what can be seen is said before anything is made
    if dry_run:
        print_plan(planned, as_json=as_json)
        return 0
    if fresh:
        _begin_anew(settings)
    console = Console(stderr=as_json)
    with progress_for(console) as progress:
        context = build_context(settings, progress=progress, connect=lambda: connect(settings.platform, progress))
        try:
            summary = completed(run_lifecycle(context), settings, config=config)
        finally:
            disconnect()
    if as_json:
        print_json(summary.to_dict())
    else:
        print_summary(summary, settings, console=console)
    return summary.exit_code


def connect(platform: PlatformSection, progress: Progress) -> None:
    """Start or join Ray for words that serve, and say so.

    Raises:
        BackendError: somebody else has the port, or Ray is not reachable.
    """
    # A port that is taken is said before Ray takes its seconds to start.
    if clear_machine(platform.ray) and platform.serving.port:
        check_port(platform.serving.host, platform.serving.port)
    progress.stage("start Ray", ray_address(platform.ray) or "on this machine")
    connect_ray(platform.ray, catalog=catalog_url(platform))


def _begin_anew(settings: Settings) -> None:
    folder = state_folder(settings.platform)
    if not folder.exists():
        return
    if not (folder / "catalog.db").exists():
        raise ConflictError(
            f"{folder} is no state folder of sluiceway (it has no catalog.db); nothing was deleted",
            hint="set platform.state to another folder",
        )
    context = build_context(settings)
    last = context.stores.pipeline.newest()
    if last is None or last.status != "running":
        shutil.rmtree(folder)
