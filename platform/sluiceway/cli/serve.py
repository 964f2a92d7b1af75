"""``sluiceway serve``: the endpoints."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from sluiceway.catalog.engine import open_catalog, refuse_sqlite_on_many_nodes
from sluiceway.cli.output import Config, Set, program
from sluiceway.cli.serve_address import Address
from sluiceway.cli.serve_down import down
from sluiceway.cli.serve_score import score
from sluiceway.cli.serve_status import status
from sluiceway.cli.serve_traffic import traffic
from sluiceway.cli.served_environments import served_environments
from sluiceway.config.load import load_settings
from sluiceway.config.settings import Settings
from sluiceway.core.errors import ModelError
from sluiceway.lifecycle.context import Context
from sluiceway.lifecycle.deployment import endpoint_spec
from sluiceway.serving.beside import absent_beside
from sluiceway.serving.bring_up import bring_up
from sluiceway.serving.deploy import DEPLOY_SECONDS
from sluiceway.serving.doors import ServeDoor
from sluiceway.serving.instance import start_serve
from sluiceway.serving.rest_config import declare
from sluiceway.serving.specs import EndpointSpec
from sluiceway.serving.state import applications, http_address
from sluiceway.wiring.cluster import is_own
from sluiceway.wiring.context import build_context
from sluiceway.wiring.serving import is_dashboard, joined

app = typer.Typer(help="The endpoints: up, status, traffic, score, down.", no_args_is_help=True, add_completion=False)
app.command("status")(status)
app.command("down")(down)
app.command("score")(score)
app.command("traffic")(traffic)


@app.command("up")
def up(
    config: Config,
    overrides: Set = None,
    address: Address = None,
    seconds: Annotated[
        float | None, typer.Option("--for", help="Stop after so many seconds; until ctrl-C otherwise.")
    ] = None,
) -> None:
    """Serve the champions of a configuration over HTTP, with the weights that the catalog holds, and their challengers.

    On a Ray that it starts on this machine, the endpoints last as long as the command: ctrl-C ends them. On a cluster
    that is there (--address, platform.ray.address, RAY_ADDRESS) they stay until `serve down`, or until that Ray ends.

    With the address of a dashboard (http://HEAD:8265) the endpoints are put into the cluster's Serve config, as
    `serve deploy` does, but merged: what others have there stays as it is. Where KubeRay keeps that config, put their
    entries into the RayService instead: it writes its own text again.
    """
    settings = load_settings(config, overrides=overrides or ())
    rolled_out = _rolled_out(config, settings)
    context = build_context(settings)
    specs = [endpoint_spec(context, environment) for environment in rolled_out]
    console = Console()
    with joined(address, settings.platform, catalog=None if is_dashboard(address) else context.stores.url) as door:
        url, notes = _declared(door, specs, context) if is_dashboard(address) else _deployed(specs, context)
        for spec in specs:
            console.print(f"{spec.name}: POST {url}{spec.route_prefix}/predict", soft_wrap=True)
        for note in notes:
            console.print(escape(note), highlight=False, soft_wrap=True)
        console.print('a request\'s body: {"rows": [{FEATURE: VALUE, ...}, ...]}; GET .../health tells the weights')
        if is_dashboard(address) or not is_own():
            told = f"they stay as long as that Ray does; `{program()} serve down ENDPOINT` takes one away"
            console.print(told, soft_wrap=True)
            return
        console.print("ctrl-C ends it")
        _wait(seconds)


def _rolled_out(config: str, settings: Settings) -> list[str]:
    """The environments whose endpoint has a model.

    Raises:
        ModelError: there is none.
    """
    found = served_environments(settings)
    if not found:
        name = settings.experiment.name
        raise ModelError(f"no version of {name} has been rolled out yet", hint=f"{program()} run {config}")
    return found


def _deployed(specs: Sequence[EndpointSpec], context: Context) -> tuple[str, list[str]]:
    address = start_serve(context.serving)
    return address.url, bring_up(specs, context.stores.traffic)


def _declared(door: ServeDoor, specs: Sequence[EndpointSpec], context: Context) -> tuple[str, list[str]]:
    refuse_sqlite_on_many_nodes(open_catalog(context.stores.url), node_count=door.nodes())
    declare(door, specs, leases=context.stores.leases, seconds=DEPLOY_SECONDS)
    details = door.read()
    address, found = http_address(details), applications(details)
    because = "a dashboard cannot; `serve up --address auto` on a node of the cluster does"
    notes = [
        note
        for spec in specs
        if (document := context.stores.traffic.newest(spec.name)) is not None
        for note in absent_beside(document, found, because=because)
    ]
    return address.url if address else "", notes


def _wait(seconds: float | None) -> None:
    ends = None if seconds is None else time.monotonic() + seconds
    while ends is None or time.monotonic() < ends:
        time.sleep(0.5)
