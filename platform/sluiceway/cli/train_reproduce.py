"""``sluiceway train --reproduce``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict

import typer
from rich.console import Console

from sluiceway.cli.output import print_json, print_rows
from sluiceway.cli.progress import progress_for
from sluiceway.config.load import load_platform, load_settings
from sluiceway.config.platform import PlatformSection
from sluiceway.config.recorded import recorded_settings
from sluiceway.core.errors import ConfigError
from sluiceway.core.verdict import EXIT_CODES, Status
from sluiceway.lifecycle.reproduce import (
    Recorded,
    Reproduction,
    recorded_version,
    reproduce,
    surroundings,
)
from sluiceway.registry.recorded import CONFIG
from sluiceway.training.environment import Difference
from sluiceway.wiring.cluster import connect_ray, disconnect
from sluiceway.wiring.context import build_context, build_registry

SHOWN, LONGEST = 20, 80


def train_reproduce(run: str, *, config: str | None, overrides: Sequence[str], as_json: bool) -> None:
    """Do a recorded run again and tell whether it gave the same; ends with exit code 1 where it did not.

    Args:
        run: MLflow's id of a run, or ``MODEL@VERSION``.
        config: a file whose section ``platform`` says where registry and state are, or None for the defaults.
        overrides: of that section.
        as_json: True prints one JSON document.

    Raises:
        InputError: the run is not there, or its rows are not.
    """
    platform = _platform(config, overrides)
    found = Recorded(build_registry(platform).recorded(run))
    text = found.run.files[CONFIG].decode("utf-8", errors="replace")
    settings = recorded_settings(text, run=run, platform=platform, metric=str(found.training.get("metric")))
    console = Console(stderr=as_json)
    progress = progress_for(console)
    context = build_context(settings, progress=progress)
    version = recorded_version(context, found)
    connect_ray(settings.platform.ray, catalog=context.stores.url)
    try:
        around = surroundings(context, found)
        if not as_json:
            _print_surroundings(around, console)
        with progress:
            result = reproduce(context, found, version)
    finally:
        disconnect()
    if as_json:
        print_json(result.to_dict() | {"surroundings": [asdict(one) for one in around]})
    else:
        _print_result(result, console)
    if not result.same:
        raise typer.Exit(EXIT_CODES[Status.FAIL])


def _platform(config: str | None, overrides: Sequence[str]) -> PlatformSection:
    strange = tuple(f"--set {text}: the run's own value counts" for text in overrides if not _of_platform(text))
    if strange:
        raise ConfigError("--reproduce takes what is trained and how from the run", problems=strange)
    if config is None and overrides:
        raise ConfigError("--set changes a configuration", hint="name the file: sluiceway train CONFIG --reproduce RUN")
    return load_platform() if config is None else load_settings(config, overrides=overrides).platform


def _of_platform(override: str) -> bool:
    return override.strip().startswith("platform.")


def _print_surroundings(around: tuple[Difference, ...], console: Console) -> None:
    console.print("what is not as it was then:", highlight=False)
    print_rows(_rows(around), as_json=False, empty="nothing: code, lock, libraries, machine and cluster are the same")
    console.print()


def _print_result(result: Reproduction, console: Console) -> None:
    if result.same:
        told = f"run {result.run_id} was done again: the model is byte-identical, SHA-256 {result.model_digest}"
        console.print(told, highlight=False, soft_wrap=True)
        return
    console.print(f"run {result.run_id} was done again and gave another result:", highlight=False, soft_wrap=True)
    print_rows(_rows(result.results[:SHOWN]), as_json=False, empty="")
    if len(result.results) > SHOWN:
        console.print(f"and {len(result.results) - SHOWN} more; --json has them all", highlight=False)
    apart = result.prediction_difference
    told = "the model of then is not to be found" if apart is None else f"predictions differ by up to {apart:.3g}"
    console.print(f"{told} ({result.rows:,} validation rows)", highlight=False)


def _rows(found: Iterable[Difference]) -> list[dict[str, str]]:
    return [{"what": one.what, "then": _short(one.then), "now": _short(one.now)} for one in found]


def _short(text: str) -> str:
    return (text if len(text) <= LONGEST else text[: LONGEST - 1] + "…") or "-"
