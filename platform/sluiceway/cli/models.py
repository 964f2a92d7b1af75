"""``sluiceway models``: what the registry holds."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console

from sluiceway.cli.output import ConfigOption, Json, print_json, print_rows
from sluiceway.config.load import load_platform
from sluiceway.core.references import ModelReference
from sluiceway.registry.reach import sqlite_path
from sluiceway.wiring.context import build_registry
from sluiceway.wiring.stores import tracking_uri

app = typer.Typer(help="Registered models: list, show.", no_args_is_help=True, add_completion=False)


@app.command("list")
def list_models(config: ConfigOption = None, as_json: Json = False) -> None:
    """Every version of every model, with its aliases, the data that it was trained on, and its gates."""
    platform = load_platform(config)
    store = sqlite_path(tracking_uri(platform))
    registry = build_registry(platform)
    rows = [
        {
            "model": name,
            "version": version.version,
            "aliases": ", ".join(version.aliases),
            "data": f"{version.tags.get('data_ref', '')} (version {version.tags.get('data_version', '?')})",
            "gates": ", ".join(
                f"{tag.removeprefix('gate_')} {value}"
                for tag, value in sorted(version.tags.items())
                if tag.startswith("gate_")
            ),
            "digest": version.digest[:12],
            "registered": datetime.fromtimestamp(version.created_at, UTC).isoformat(timespec="seconds"),
        }
        for name in (registry.names() if store is None or store.exists() else ())  # to ask would make the store
        for version in registry.versions(name)
    ]
    print_rows(rows, as_json=as_json, empty="no models are registered yet; `sluiceway run CONFIG` registers one")


@app.command("show")
def show(
    model: Annotated[
        str, typer.Argument(metavar="MODEL@VERSION", help="A version number or an alias, e.g. flights_late@champion.")
    ],
    config: ConfigOption = None,
    as_json: Json = False,
) -> None:
    """One version: what it sees, how it decides, and where it came from."""
    reference = ModelReference.parse(model)
    version, bundle = build_registry(load_platform(config)).bundle(reference.name, reference.version)
    document = {
        "model": reference.name,
        "version": version,
        "digest": bundle.digest,
        "bytes": len(bundle.model),
        "decision": bundle.decision,
        "lineage": bundle.lineage,
        "features": [feature["name"] for feature in bundle.schema["features"]],
    }
    if as_json:
        print_json(document)
        return
    for name, value in document.items():
        Console().print(f"{name + ':':<10}{value}", highlight=False, soft_wrap=True)
