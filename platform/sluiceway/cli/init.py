"""``sluiceway init``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console

from sluiceway.cli.output import ConfigOption, Json, print_json
from sluiceway.config.describe import describe
from sluiceway.config.load import load_platform
from sluiceway.core.errors import ConfigError
from sluiceway.core.references import TableReference
from sluiceway.data.references import resolve
from sluiceway.data.tables import table_uri
from sluiceway.lifecycle.draft import draft
from sluiceway.wiring.cluster import connect_ray, disconnect
from sluiceway.wiring.stores import read_stores


def init(
    table: Annotated[str, typer.Option("--table", help="Path or URI of your Delta table, TABLE or TABLE@REF.")] = "",
    target: Annotated[str, typer.Option("--target", help="The column to predict.")] = "",
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Where to write the file; an existing one is not touched.")
    ] = Path("sluiceway.yaml"),
    keys: Annotated[bool, typer.Option("--keys", help="Print every key with type, default and meaning.")] = False,
    config: ConfigOption = None,
    as_json: Json = False,
) -> None:
    """Draft a configuration that runs, for a table of your own; says what it left out and why."""
    if keys:
        sys.stdout.write(describe())
        return
    if not table or not target:
        raise ConfigError("init needs --table and --target", hint="sluiceway init --table data/sales --target bought")
    if out.exists():
        raise ConfigError(f"{out} exists already", hint="name another file with --out")
    platform = load_platform(config)
    reference = TableReference.parse(table)
    stores = read_stores(platform)
    uri = table_uri(reference.table, platform.aliases)
    version = resolve(uri, reference.ref, tags=stores.tags, repository=stores.repository)
    connect_ray(platform.ray)
    try:
        document, left_out = draft(version, target=target, table=reference)
    finally:
        disconnect()
    out.write_text(_text(document, left_out), encoding="utf-8")
    if as_json:
        print_json({"file": str(out), "config": document, "left_out": left_out})
        return
    console = Console()
    for column, why in left_out.items():
        console.print(f"left out {column}: {why}", highlight=False, soft_wrap=True)
    console.print(f"wrote {out}; next: sluiceway run {out} --dry-run", highlight=False, soft_wrap=True)


def _text(document: dict[str, Any], left_out: dict[str, str]) -> str:
    notes = "".join(f"# left out {column}: {why}\n" for column, why in left_out.items())
    return f"# Drafted by `sluiceway init`; every key is described in docs/configuration.md.\n{notes}" + yaml.safe_dump(
        document, sort_keys=False, allow_unicode=True, default_flow_style=None, width=110
    )
