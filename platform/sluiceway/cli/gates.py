"""``sluiceway gates``: judge a registered model."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from sluiceway.cli.output import Config, Json, Set, print_json
from sluiceway.cli.progress import progress_for
from sluiceway.config.load import load_settings
from sluiceway.core.references import ModelReference
from sluiceway.core.verdict import EXIT_CODES, Status
from sluiceway.lifecycle.evaluation import evaluate_registered, waive
from sluiceway.wiring.cluster import connect_ray, disconnect
from sluiceway.wiring.context import build_context

app = typer.Typer(
    help="Judge a registered model on a version of a table: run.", no_args_is_help=True, add_completion=False
)


@app.callback()
def _gates() -> None:
    """Judge a registered model on a version of a table."""


@app.command("run")
def run(
    model: Annotated[str, typer.Argument(metavar="MODEL@VERSION", help="A version number or an alias.")],
    config: Config,
    version: Annotated[str | None, typer.Option("--data", help="Version of the table; data.version otherwise.")] = None,
    overrides: Set = None,
    as_json: Json = False,
) -> int:
    """Run all gates on the test rows of a version; exit code 1 where one fails, 3 inconclusive, 4 error."""
    settings = load_settings(config, overrides=overrides or ())
    reference = ModelReference.parse(model)
    console = Console(stderr=as_json)
    with progress_for(console) as progress:
        context = build_context(settings, progress=progress)
        connect_ray(settings.platform.ray, catalog=context.stores.url)
        try:
            evaluation = evaluate_registered(context, reference, context.version(version))
        finally:
            disconnect()
    results = waive(evaluation, context.evaluation.waivers, context=context)
    if as_json:
        print_json({"results": [result.to_dict() for result in results], "report": evaluation.report})
    else:
        for result in results:
            for verdict in result.verdicts:
                console.print(escape(verdict.line()), highlight=False, soft_wrap=True)
        console.print(f"report: {evaluation.report}", highlight=False, soft_wrap=True)
    blocking = {result.status for result in results if result.blocks}
    for status in (Status.FAIL, Status.ERROR, Status.INCONCLUSIVE):
        if status in blocking:
            return EXIT_CODES[status]
    return 0
