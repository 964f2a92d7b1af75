"""``sluiceway monitor``: what became of the predictions."""

from __future__ import annotations

import typer

from sluiceway.cli.output import ConfigOption, Json, print_rows
from sluiceway.config.load import load_platform
from sluiceway.monitoring.accuracy import observed_accuracy
from sluiceway.wiring.stores import read_stores, state_folder

app = typer.Typer(help="What became of the predictions: status.", no_args_is_help=True, add_completion=False)


@app.callback()
def _monitor() -> None:
    """What became of the predictions."""


@app.command("status")
def status(config: ConfigOption = None, as_json: Json = False) -> None:
    """Accuracy per endpoint and version, from predictions whose outcome is known, with its 95 % interval."""
    platform = load_platform(config)
    found = observed_accuracy(read_stores(platform).outcomes, state_folder(platform) / "records")
    rows = [
        {
            "endpoint": row.endpoint,
            "version": row.version,
            "arm": row.arm,
            "predictions": row.predictions,
            "with outcome": row.with_outcome,
            "accuracy": None if row.accuracy is None else round(row.accuracy, 4),
            "interval": None if row.low is None else f"[{row.low:.4f}, {row.high:.4f}]",
        }
        for row in found
    ]
    print_rows(rows, as_json=as_json, empty="no predictions are recorded yet")
