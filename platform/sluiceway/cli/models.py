"""``sluiceway models``: what the registry holds, where it came from, and what leaves it again."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement

from sluiceway.catalog.stores import Stores
from sluiceway.cli.output import MAX_WIDTH, ConfigOption, Json, print_json, print_rows
from sluiceway.config.load import load_platform
from sluiceway.core.errors import InputError
from sluiceway.core.references import ModelReference
from sluiceway.lifecycle.model_lineage import lineage_of, rollouts_of
from sluiceway.lifecycle.retirement import Retired, Retirement
from sluiceway.registry.reach import sqlite_path
from sluiceway.registry.store import BundleStore
from sluiceway.registry.versions import BYTES_TAG, IMPORTED_FROM_TAG, ModelVersion
from sluiceway.wiring.context import build_registry
from sluiceway.wiring.stores import read_stores, state_folder, tracking_uri

app = typer.Typer(
    help="Registered models: list, show, diff, lineage, import, retire.", no_args_is_help=True, add_completion=False
)
Model = Annotated[
    str, typer.Argument(metavar="MODEL@VERSION", help="A version number or an alias, e.g. flights_late@champion.")
]


@app.command("list")
def list_models(config: ConfigOption = None, as_json: Json = False) -> None:
    """Every version of every model: aliases, data, gates, rollouts, size."""
    platform = load_platform(config)
    store = sqlite_path(tracking_uri(platform))
    registry = build_registry(platform)
    stores = read_stores(platform)
    facts = [
        {
            "model": name,
            "version": version.version,
            "aliases": list(version.aliases),
            "data": _data(version),
            "gates": version.gates,
            "rollouts": _rollouts(stores, name, version),
            "retired": version.retired,
            "bytes": int(version.tags[BYTES_TAG]) if BYTES_TAG in version.tags else None,
            "digest": version.digest[:12],
            "registered": datetime.fromtimestamp(version.created_at, UTC).isoformat(timespec="seconds"),
        }
        for name in (registry.names() if store is None or store.exists() else ())  # to ask would make the store
        for version in registry.versions(name)
    ]
    rows = facts if as_json else [{name: _text(value) for name, value in fact.items()} for fact in facts]
    print_rows(rows, as_json=as_json, empty="no models are registered yet; `sluiceway run CONFIG` registers one")


@app.command("show")
def show(model: Model, config: ConfigOption = None, as_json: Json = False) -> None:
    """One version: what it sees, how it decides, where it came from, and how it stands."""
    reference = ModelReference.parse(model)
    platform = load_platform(config)
    record = build_registry(platform).record(reference.name, reference.version)
    version = record.version
    document = {
        "model": reference.name,
        "version": version.version,
        "aliases": list(version.aliases),
        "digest": version.digest,
        "bytes": record.bytes,
        "decision": record.decision,
        "lineage": record.lineage,
        "features": [feature["name"] for feature in record.schema["features"]],
        "gates": version.gates,
        "rollouts": _rollouts(read_stores(platform), reference.name, version),
        "retired": version.retired,
    }
    if as_json:
        print_json(document)
        return
    for name, value in (document | {"rollouts": _text(document["rollouts"])}).items():
        Console().print(f"{name + ':':<10}{escape(str(value))}", highlight=False, soft_wrap=True)


@app.command("diff")
def diff(
    first: Model,
    second: Annotated[str, typer.Argument(metavar="MODEL@VERSION", help="What it is held against.")],
    config: ConfigOption = None,
    as_json: Json = False,
) -> None:
    """What differs between two versions: data, features, parameters, metrics, gates, trees, code, libraries."""
    from sluiceway.cli.models_diff import diff as held_against  # noqa: PLC0415 (XGBoost, which counts the trees)

    held_against(ModelReference.parse(first), ModelReference.parse(second), config, as_json=as_json)


@app.command("lineage")
def lineage(model: Model, config: ConfigOption = None, as_json: Json = False) -> None:
    """Where a version came from and what became of it: data, code, run, parents, gates, rollouts, traffic."""
    reference = ModelReference.parse(model)
    platform = load_platform(config)
    document = lineage_of(build_registry(platform), read_stores(platform), reference.name, reference.version)
    if as_json:
        print_json(document)
        return
    from sluiceway.cli.models_tree import tree_of  # noqa: PLC0415 (only here)

    tree = tree_of(document)
    console = Console()
    # A digest that is broken in the middle cannot be copied: the terminal breaks lines, nobody else does.
    needed = Measurement.get(console, console.options.update(max_width=MAX_WIDTH), tree).maximum
    Console(width=needed).print(tree, highlight=False)


@app.command("import")
def import_model(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE", help="A booster's file (.ubj, .json), models:/NAME/VERSION, or runs:/RUN/PATH."
        ),
    ],
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The registered model that gets a next version.")],
    schema: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="What it sees and decides; MLflow's signature if left out."),
    ] = None,
    target: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="What it predicts, where no --schema says so.")
    ] = None,
    mlflow: Annotated[
        str | None, typer.Option(metavar="URI", help="Tracking store of SOURCE; the platform's own if left out.")
    ] = None,
    config: ConfigOption = None,
    as_json: Json = False,
) -> None:
    """Take a model of XGBoost that was trained elsewhere into the registry; pickles are refused.

    Its scores are held against Booster.predict first; where anything is wrong, nothing is registered.
    """
    from sluiceway.cli.models_import import import_from  # noqa: PLC0415 (XGBoost)

    import_from(source, model, schema=schema, target=target, mlflow=mlflow, config=config, as_json=as_json)


@app.command("retire")
def retire(
    model: Model,
    reason: Annotated[str, typer.Option("--reason", "-m", help="Why, for whoever finds it later.")] = "",
    undo: Annotated[bool, typer.Option("--undo", help="Take it back: rollouts may have it again.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Although `rollout undo` of an endpoint goes back to it.")
    ] = False,
    delete_files: Annotated[
        bool, typer.Option("--delete-files", help="Delete its booster, too; what it was and came from stays.")
    ] = False,
    config: ConfigOption = None,
    as_json: Json = False,
) -> None:
    """Mark a version as retired: no rollout takes it, and people cannot give it traffic.

    What serves, is being rolled out, has an alias of a rollout, or can be gone back to is refused.
    """
    reference = ModelReference.parse(model)
    platform = load_platform(config)
    retirement = Retirement(
        reference.name,
        registry=build_registry(platform),
        stores=read_stores(platform),
        bundles=BundleStore(state_folder(platform) / "bundles"),
    )
    if undo:
        if force or delete_files:
            raise InputError("--undo takes a retirement back; --force and --delete-files are for one")
        done = retirement.undo(reference.version)
    else:
        done = retirement.retire(
            reference.version,
            reason=reason,
            who=getpass.getuser(),
            now=datetime.now(UTC),
            force=force,
            delete_files=delete_files,
        )
    _show_retired(done, as_json=as_json)


def _show_retired(done: Retired, *, as_json: bool) -> None:
    if as_json:
        print_json(done.__dict__)
        return
    told = f"is retired since {done.since}" if done.since else "is not retired any more"
    lines = [f"{done.model}@{done.version} {told}", *done.consequences, *(f"deleted: {one}" for one in done.deleted)]
    for line in lines:
        Console().print(escape(line), highlight=False, soft_wrap=True)


def _data(version: ModelVersion) -> str:
    if IMPORTED_FROM_TAG in version.tags:
        return f"imported from {version.tags[IMPORTED_FROM_TAG]}"
    return f"{version.tags.get('data_ref', '')} (version {version.tags.get('data_version', '?')})"


def _rollouts(stores: Stores, name: str, version: ModelVersion) -> dict[str, str]:
    """How a version stands at each endpoint: its newest rollout's outcome, or where it is."""
    newest: dict[str, dict[str, Any]] = {one["endpoint"]: one for one in rollouts_of(stores, name, version)}
    return {endpoint: _standing(one) for endpoint, one in newest.items()}


def _text(value: Any) -> Any:
    """As a cell of a table: what there are several of with commas, and of a mapping the name before the value."""
    if isinstance(value, dict):
        value = [f"{name} {said}" for name, said in value.items()]
    return ", ".join(value) if isinstance(value, list) else value


def _standing(rollout: dict[str, Any]) -> str:
    ended = rollout["phase"] in ("promoted", "rolled_back")
    return str(rollout["outcome"] if ended else rollout["phase"]).replace("_", " ")
