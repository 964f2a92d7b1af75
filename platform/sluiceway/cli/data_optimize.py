"""``sluiceway data optimize``: fewer and larger files."""

from __future__ import annotations

from typing import Annotated

import typer

from sluiceway.cli.data_arguments import Table, say
from sluiceway.cli.output import ConfigOption, Json, print_json
from sluiceway.config.load import load_platform
from sluiceway.core.clock import SystemClock
from sluiceway.core.errors import InputError
from sluiceway.data.optimize import TARGET_MB, optimize
from sluiceway.data.tables import table_uri
from sluiceway.wiring.stores import build_stores

app = typer.Typer(add_completion=False)

Author = Annotated[str | None, typer.Option("--author", help="Who.")]


@app.command("optimize")
def optimize_command(
    table: Table,
    where: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN=VALUE", help="Only this partition; repeat it for further partition columns."),
    ] = None,
    z_order: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="Sort the files' rows by this column, too; repeat it. Rewrites all files."),
    ] = None,
    target_mb: Annotated[int, typer.Option(min=1, help="About how large a file becomes, MiB.")] = TARGET_MB,
    author: Author = None,
    config: ConfigOption = None,
    as_json: Json = False,
) -> None:
    """Put small files together: fewer to open, the same rows, a new version. Old versions stay as they are."""
    platform = load_platform(config)
    uri = table_uri(table, platform.aliases)
    done = optimize(
        uri,
        leases=build_stores(platform).leases,
        clock=SystemClock(),
        partitions=[_partition(text) for text in where or ()],
        order_by=z_order or (),
        target_mb=target_mb,
        author=author,
    )
    document = {"table": uri, "version": done.version, "files": done.added, "instead of": done.removed}
    if done.nothing and not as_json:
        typer.echo(f"nothing to do: no small files in {uri} at version {done.version}")
    elif as_json:
        print_json(document | {"bytes": done.bytes_added, "bytes instead of": done.bytes_removed})
    else:
        say(document | {"bytes": done.bytes_added, "bytes before": done.bytes_removed}, as_json=False)


def _partition(text: str) -> tuple[str, str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise InputError(f"{text!r} is not COLUMN=VALUE", hint="for example --where day=2024-01-31")
    return name, "=", value
