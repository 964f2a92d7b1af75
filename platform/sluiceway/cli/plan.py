"""What a run would do, touching nothing."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape

from sluiceway.cli.checked import check_version
from sluiceway.cli.output import print_json
from sluiceway.config.lifecycle import IngestStep, ReleaseStep, RestoreStep
from sluiceway.config.settings import Settings
from sluiceway.core.errors import DataError
from sluiceway.core.references import TableVersion
from sluiceway.data.references import resolve
from sluiceway.data.tables import table_uri
from sluiceway.registry.reach import probe, sqlite_path
from sluiceway.training.params import booster_params
from sluiceway.wiring.stores import catalog_url, read_stores, state_folder, tracking_uri


def print_plan(document: dict[str, Any], *, as_json: bool) -> None:
    """The steps of :func:`plan`, for people or as JSON."""
    if as_json:
        print_json(document)
        return
    console = Console()
    console.print(f"[bold]{document['experiment']}[/]: nothing is touched by --dry-run", highlight=False)
    for name in ("table", "catalog", "mlflow", "state", "parameters"):
        console.print(f"  {name + ':':<12}{escape(str(document[name]))}", highlight=False, soft_wrap=True)
    for number, line in enumerate(document["steps"], start=1):
        console.print(f"  {number:>2}. {escape(line)}", highlight=False, soft_wrap=True)


def plan(settings: Settings) -> dict[str, Any]:
    """The steps that a run would take, JSON-ready; checks what can be seen without Ray, and makes nothing.

    Raises:
        InputError: the parameters, the table or its columns do not fit the configuration.
        BackendError: the tracking server or the catalog does not answer.
    """
    if sqlite_path(tracking_uri(settings.platform)) is None:
        probe(tracking_uri(settings.platform))
    parameters, rounds = booster_params(settings.model, settings.training, seed=settings.experiment.seed, nthread=1)
    steps = settings.lifecycle or (ReleaseStep(step="release", name=settings.experiment.name),)
    uri = table_uri(settings.data.path, settings.platform.aliases)
    brings_data = any(isinstance(step, IngestStep) and step.table is None for step in steps)
    version: TableVersion | None = None
    try:
        stores = read_stores(settings.platform)
        version = resolve(uri, settings.data.version, tags=stores.tags, repository=stores.repository)
        check_version(settings, version, named=not brings_data)
    except DataError:
        if not brings_data:
            raise
    found = f"version {version.version}, {version.rows:,} rows" if version else "made by the first step"
    return {
        "experiment": settings.experiment.name,
        "table": f"{uri} ({found})",
        "catalog": catalog_url(settings.platform),
        "mlflow": tracking_uri(settings.platform),
        "state": str(state_folder(settings.platform)),
        "parameters": {**parameters, "num_boost_round": rounds},
        "steps": [_line(step, settings) for step in steps],
    }


def _line(step: IngestStep | RestoreStep | ReleaseStep, settings: Settings) -> str:
    if isinstance(step, IngestStep):
        return f"ingest {step.source} months {list(step.months)} ({step.mode}) into {step.table or settings.data.path}"
    if isinstance(step, RestoreStep):
        return f"restore {settings.data.path} to {step.ref}"
    version = step.data or settings.data.version or "the newest version"
    environments = ", then ".join(_way(settings, environment) for environment in settings.deployment.environments)
    gates = len(settings.evaluation.gate_names)
    return (
        f"release {step.name!r}: train on {version} with {settings.training.folds} folds, {gates} gates, register, "
        f"{environments}; expected to be {step.expect.replace('_', ' ')}"
    )


def _way(settings: Settings, environment: str) -> str:
    policy = settings.deployment.of(environment)
    return f"{policy.strategy} {', '.join(stage.name for stage in policy.planned_steps)} in {environment}"
