"""``sluiceway gates``: judge a registered model, and what the gates ask."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sluiceway.cli.checked import checked_settings
from sluiceway.cli.output import ConfigOption, Json, Set, print_json
from sluiceway.cli.progress import progress_for
from sluiceway.config.evaluation import EvaluationSection
from sluiceway.config.load import load_platform, load_settings
from sluiceway.config.recorded import recorded_settings
from sluiceway.config.settings import Settings
from sluiceway.core.errors import ConfigError, ModelError
from sluiceway.core.references import ModelReference, TableReference, TableVersion
from sluiceway.core.verdict import EXIT_CODES, GateResult, Status
from sluiceway.gates.catalogue import explain as explanation
from sluiceway.gates.catalogue import find, gates_of
from sluiceway.lifecycle.context import Context
from sluiceway.lifecycle.evaluation import bench_of, evaluate, settle
from sluiceway.lifecycle.gate_report import write_report
from sluiceway.lifecycle.registration import said
from sluiceway.lifecycle.subject import registered_subject
from sluiceway.registry.recorded import CONFIG, TRAINING
from sluiceway.registry.versions import GATE_TAG
from sluiceway.wiring.cluster import connect_ray, disconnect
from sluiceway.wiring.context import build_context, build_registry

app = typer.Typer(
    help="Judge a registered model on a version of a table: run, list, explain.",
    no_args_is_help=True,
    add_completion=False,
)
Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="TABLE@REF",
        help="The rows to judge on: TABLE@REF, or REF alone for a version, tag, branch or time of data.path. "
        "data.version otherwise.",
    ),
]

RunConfig = Annotated[
    str | None,
    typer.Option(
        "--config",
        "-c",
        metavar="CONFIG",
        help="YAML file with the limits. Without it those that the model was trained with, state in .sluiceway.",
    ),
]


@app.command("run")
def run(
    model: Annotated[str, typer.Argument(metavar="MODEL@VERSION", help="A version number or an alias.")],
    config: RunConfig = None,
    data: Data = None,
    afresh: Annotated[bool, typer.Option("--afresh", help="Also judge what is known from before.")] = False,
    overrides: Set = None,
    as_json: Json = False,
) -> int:
    """Run all gates on the test rows of a version of the table, and keep the report with the model's version.

    Verdicts that were given before on the same data, model, limits and code are taken from the catalog. Those of an
    imported version, by its configuration as it stands, are the version's own from then on: `rollout start` asks for
    them. Exit code 0 where nothing blocks, 1 where a gate fails, 3 where one is inconclusive, 4 where one ends in an
    error.
    """
    reference = ModelReference.parse(model)
    settings = _settings(model, config, overrides or ())
    console = Console(stderr=as_json)
    with progress_for(console) as progress:
        context = build_context(settings, progress=progress)
        connect_ray(settings.platform.ray, catalog=context.stores.url)
        try:
            version = _version(context, data)
            subject = registered_subject(context, reference, version)
            with context.reading(version):
                evaluation = evaluate(context, subject, bench_of(context, subject), afresh=afresh)
        finally:
            disconnect()
        results = settle(context, evaluation)
        report = write_report(context, subject, evaluation, results, _training(context, reference))
        files = (report, report.with_suffix(".json"))
        run_id = context.registry.attach(reference.name, reference.version, files, folder=f"gates/{version.digest[:8]}")
        if "imported" in subject.bundle.lineage and data is None and not overrides:
            _write_verdicts(context, reference, results)
    if as_json:
        told = [result.to_dict() for result in results]
        print_json({"results": told, "report": str(report), "run": run_id, "blocked": any(r.blocks for r in results)})
    else:
        _print(console, results)
        console.print(f"report: {report}, and with run {run_id[:8]}", highlight=False, soft_wrap=True)
    return _exit_code(results)


@app.command("list")
def list_gates(config: ConfigOption = None, overrides: Set = None, as_json: Json = False) -> int:
    """The gates, what each asks, and what comes of its answer; with a configuration also your own."""
    evaluation = _evaluation(config, overrides)
    rows = [
        {"gate": gate.name, "asks": gate.title, "severity": _severity(evaluation, gate.name)}
        for gate in gates_of(evaluation)
    ]
    if as_json:
        print_json(rows)
        return 0
    table = Table(box=None, pad_edge=False)
    for name in ("gate", "asks", "severity"):
        table.add_column(name)
    for row in rows:
        table.add_row(*(escape(text) for text in row.values()))
    Console().print(table)
    return 0


@app.command("explain")
def explain(
    gate: Annotated[str, typer.Argument(metavar="GATE", help="Its name; `gates list` has all of them.")],
    config: ConfigOption = None,
    overrides: Set = None,
    as_json: Json = False,
) -> int:
    """What a gate checks, how it judges, its options with their present values, and what to do when it fails."""
    evaluation = _evaluation(config, overrides)
    found = find(gate, gates_of(evaluation))
    text, section = explanation(found), evaluation.gate(found.name)
    options = [
        {"key": f"{_key(evaluation, found.name)}.{name}", "value": getattr(section, name), "meaning": field.description}
        for name, field in type(section).model_fields.items()
    ]
    if as_json:
        print_json({"gate": found.name, "asks": found.title, "text": text, "options": options})
        return 0
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{found.name}: {escape(found.title)}\n\n{escape(text)}\n\nOptions, as they are set now:")
    for option in options:
        console.print(f"  {option['key']}: {escape(str(option['value']))}", style="bold")
        console.print(f"      {escape(' '.join(str(option['meaning'] or '').split()))}")
    return 0


def _write_verdicts(context: Context, model: ModelReference, results: Sequence[GateResult]) -> None:
    """On a version that no training has judged, as a training does: `rollout start` asks for them."""
    number = context.registry.version(model.name, model.version).version
    context.registry.tag(model.name, number, {f"{GATE_TAG}{result.gate}": said(result) for result in results})


def _settings(model: str, config: str | None, overrides: Sequence[str]) -> Settings:
    if config is not None:
        return checked_settings(config, overrides)
    if overrides:
        raise ConfigError("--set changes a configuration", hint="name the file with --config")
    platform = load_platform()
    run = build_registry(platform).recorded(model)
    text = run.files[CONFIG].decode("utf-8", errors="replace")
    metric = str(json.loads(run.files[TRAINING])["metric"])
    return recorded_settings(text, run=model, platform=platform, metric=metric)


def _training(context: Context, model: ModelReference) -> dict[str, Any]:
    """What its run wrote down of the training; nothing where the model came from elsewhere."""
    try:
        found: dict[str, Any] = json.loads(context.registry.artifact(model.name, model.version, TRAINING))
    except ModelError:
        return {}
    return found


def _version(context: Context, data: str | None) -> TableVersion:
    if data is None or "@" not in data.rpartition("/")[2]:
        return context.version(data)
    if data.startswith("@"):
        return context.version(data[1:])
    reference = TableReference.parse(data)
    return context.version(reference.ref, table=reference.table)


def _evaluation(config: str | None, overrides: Sequence[str] | None) -> EvaluationSection:
    return load_settings(config, overrides=overrides or ()).evaluation if config else EvaluationSection()


def _key(evaluation: EvaluationSection, name: str) -> str:
    return f"evaluation.own.{name}" if name in evaluation.own else f"evaluation.{name}"


def _severity(evaluation: EvaluationSection, name: str) -> str:
    section = evaluation.gate(name)
    return "dry run" if section.dry_run else section.severity


def _print(console: Console, results: Sequence[GateResult]) -> None:
    for result in results:
        for verdict in result.verdicts:
            console.print(escape(verdict.line()), highlight=False, soft_wrap=True)


def _exit_code(results: Sequence[GateResult]) -> int:
    blocking = {verdict.status for result in results for verdict in result.verdicts if verdict.blocks}
    blocking |= {result.status for result in results if not result.verdicts}
    for status in (Status.FAIL, Status.ERROR, Status.INCONCLUSIVE):
        if status in blocking:
            return EXIT_CODES[status]
    return 0
