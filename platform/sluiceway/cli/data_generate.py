"""``sluiceway data generate``: tables to try things on."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from sluiceway.cli.data_arguments import say
from sluiceway.cli.output import ConfigOption, Json
from sluiceway.config.load import load_platform
from sluiceway.core.clock import SystemClock
from sluiceway.data.digest import version_digest
from sluiceway.data.generate_fraud import generate
from sluiceway.data.tables import table_uri
from sluiceway.wiring.stores import build_stores

app = typer.Typer(help="Tables to try things on.", no_args_is_help=True, add_completion=False)


@app.callback()
def _generate() -> None:
    """Tables to try things on."""


@app.command("fraud")
def fraud(
    rows: Annotated[int, typer.Option(min=1_000, help="Transactions.")] = 1_000_000,
    seed: Annotated[int, typer.Option(help="The same seed gives the same rows.")] = 42,
    drift: Annotated[
        bool, typer.Option("--drift", help="The relation between features and fraud has changed.")
    ] = False,
    to: Annotated[
        str, typer.Option(help="Folder or URI of the table; rows are added to an existing one.")
    ] = "data/fraud",
    tag_name: Annotated[str | None, typer.Option("--tag", help="Name the version, e.g. v2.1.")] = "v2.1",
    config: ConfigOption = None,
    as_json: Json = False,
) -> None:
    """Card transactions with fraud; prints the best AUC, precision and recall that any model could reach."""
    platform = load_platform(config)
    uri = table_uri(to, platform.aliases)
    report = generate(uri, rows=rows, seed=seed, drift=drift)
    if tag_name:
        digest = version_digest(uri, report.version)
        message = f"generated, seed {seed}{', drift' if drift else ''}"
        build_stores(platform).tags.set(
            uri, tag_name, report.version, digest, message, SystemClock().now().timestamp(), move=True
        )
    say({"table": uri, "tag": tag_name, **asdict(report)}, as_json)
