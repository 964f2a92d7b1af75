"""``sluiceway data``: the data, by version and by branch; a file for each group of words."""

from __future__ import annotations

import typer

from sluiceway.cli import (
    data_care,
    data_contract,
    data_diff,
    data_generate,
    data_ingest,
    data_pin,
    data_repository,
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
app.add_typer(data_care.app)
app.add_typer(data_contract.app)
app.add_typer(data_contract.group, name="contract")
app.add_typer(data_generate.app, name="generate")
