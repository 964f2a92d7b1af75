"""``sluiceway keys``: who may ask the endpoints."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console

from sluiceway.catalog.api_keys import PREDICT, ApiKey
from sluiceway.cli.output import ConfigOption, Json, print_json, print_rows
from sluiceway.config.load import load_platform
from sluiceway.wiring.stores import build_stores, read_stores

app = typer.Typer(help="API keys of the endpoints: create, list, revoke.", no_args_is_help=True, add_completion=False)


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who gets it, e.g. checkout.")],
    scopes: Annotated[
        list[str] | None,
        typer.Option(
            "--scope",
            metavar="SCOPE",
            help="What it is for: predict, feedback, or admin, which is both and more; predict by default. Repeatable.",
        ),
    ] = None,
    endpoint: Annotated[
        str, typer.Option(metavar="ENDPOINT", help="The only endpoint that it opens; all by default.")
    ] = "",
    config: ConfigOption = None,
    as_json: Json = False,
) -> None:
    """Make a key and print it, this once: only a digest of it is kept. Replicas know it within a second."""
    stores = build_stores(load_platform(config))
    made = stores.api_keys.create(name, scopes=scopes or [PREDICT], endpoint=endpoint)
    if as_json:
        print_json({**_shown(made.key), "key": made.token})
        return
    told = Console(stderr=True)
    if endpoint and endpoint not in stores.traffic.endpoints():
        told.print(f"no endpoint {endpoint} has had traffic yet", markup=False, highlight=False)
    told.print("keep it: it cannot be shown again", highlight=False)
    typer.echo(made.token)


@app.command("list")
def list_keys(config: ConfigOption = None, as_json: Json = False) -> None:
    """All keys that were ever made, without their secrets."""
    rows = [_shown(key) for key in read_stores(load_platform(config)).api_keys.list()]
    if not as_json:
        rows = [{**row, "scopes": ", ".join(row["scopes"])} for row in rows]
    print_rows(rows, as_json=as_json, empty="no keys yet; `sluiceway keys create NAME` makes one")


@app.command("revoke")
def revoke(
    key: Annotated[str, typer.Argument(metavar="ID", help="Its id, as `keys list` shows it; or the whole key.")],
    config: ConfigOption = None,
    as_json: Json = False,
) -> None:
    """Revoke a key for good. Replicas that reach the catalog refuse it within a second."""
    revoked = read_stores(load_platform(config)).api_keys.revoke(key)
    if as_json:
        print_json(_shown(revoked))
    else:
        Console().print(f"{revoked.id} ({revoked.name}) is revoked", markup=False, highlight=False)


def _shown(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "scopes": list(key.scopes),
        "endpoint": key.endpoint or None,
        "created": _time(key.created),
        "revoked": None if key.revoked is None else _time(key.revoked),
    }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
