"""``sluiceway data``: the data, by version and by branch; a file for each group of words."""

from __future__ import annotations

import typer

from sluiceway.cli import (
    data_contract,
    data_diff,
    data_erase,
    data_generate,
    data_ingest,
    data_optimize,
    data_pin,
    data_repository,
    data_vacuum,
    data_versions,
)

app = typer.Typer(
    help="Tables by version and by branch, as git has files: every change can be found and taken back.",
    no_args_is_help=True,
    add_completion=False,
)
app.add_typer(data_versions.app)
app.add_typer(data_ingest.app)
app.add_typer(data_repository.app)
app.add_typer(data_diff.app)
app.add_typer(data_pin.app)
app.add_typer(data_optimize.app)
app.add_typer(data_vacuum.app)
app.add_typer(data_erase.app)
app.add_typer(data_contract.app)
app.add_typer(data_contract.group, name="contract")
app.add_typer(data_generate.app, name="generate")
