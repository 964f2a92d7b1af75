"""``sluiceway serve``: the endpoints."""

from __future__ import annotations

import json
import time
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console

from sluiceway.cli.output import Config, ConfigOption, Json, Set, print_rows, program
from sluiceway.config.load import load_platform, load_settings
from sluiceway.core.errors import ModelError
from sluiceway.lifecycle.deployment import endpoint_name, endpoint_spec
from sluiceway.serving.deploy import deploy_endpoint
from sluiceway.serving.instance import start_serve
from sluiceway.wiring.cluster import connect_ray, disconnect
from sluiceway.wiring.context import build_context
from sluiceway.wiring.stores import read_stores

app = typer.Typer(help="The endpoints: up, status.", no_args_is_help=True, add_completion=False)


@app.command("up")
def up(
    config: Config,
    overrides: Set = None,
    seconds: Annotated[
        float | None, typer.Option("--for", help="Stop after so many seconds; until ctrl-C otherwise.")
    ] = None,
) -> None:
    """Serve the champions of a configuration over HTTP, with the weights that the catalog holds."""
    settings = load_settings(config, overrides=overrides or ())
    platform, name = settings.platform, settings.experiment.name
    traffic, environments = read_stores(platform).traffic, settings.deployment.environments
    rolled_out = [one for one in environments if traffic.newest(endpoint_name(name, one)) is not None]
    if not rolled_out:
        raise ModelError(f"no version of {name} has been rolled out yet", hint=f"{program()} run {config}")
    context = build_context(settings)
    console = Console()
    connect_ray(platform.ray, catalog=context.stores.url)
    try:
        address = start_serve(platform.serving)
        for spec in (endpoint_spec(context, environment) for environment in rolled_out):
            deploy_endpoint(spec)
            console.print(f"{spec.name}: POST {address.url}{spec.route_prefix}/predict", soft_wrap=True)
        console.print('a request\'s body: {"rows": [{FEATURE: VALUE, ...}, ...]}; GET .../health tells the weights')
        console.print("ctrl-C ends it")
        _wait(seconds)
    finally:
        disconnect()


@app.command("status")
def status(
    url: Annotated[
        str | None,
        typer.Option(help="Also ask a running endpoint, e.g. http://127.0.0.1:8000/flights_late/production."),
    ] = None,
    config: ConfigOption = None,
    as_json: Json = False,
) -> None:
    """The weights of every endpoint, as the catalog holds them."""
    traffic = read_stores(load_platform(config)).traffic
    rows: list[dict[str, Any]] = []
    for endpoint in traffic.endpoints():
        document = traffic.newest(endpoint)
        if document is None:
            continue
        for arm in (document.champion, *document.challengers):
            rows.append(
                {
                    "endpoint": endpoint,
                    "generation": document.generation,
                    "version": arm.version,
                    "arm": "challenger" if arm in document.challengers else "champion",
                    "weight": arm.weight,
                    "digest": arm.digest[:12],
                    "health": _health(url) if url else None,
                }
            )
    print_rows(rows, as_json=as_json, empty="no endpoints yet")


def _health(url: str) -> str:
    try:
        return json.dumps(httpx.get(f"{url.rstrip('/')}/health", timeout=5).json())
    except (httpx.HTTPError, ValueError) as error:
        return f"not reachable: {error}"


def _wait(seconds: float | None) -> None:
    ends = None if seconds is None else time.monotonic() + seconds
    while ends is None or time.monotonic() < ends:
        time.sleep(0.5)
