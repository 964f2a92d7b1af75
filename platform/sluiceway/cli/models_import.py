"""``sluiceway models import``: a model from elsewhere becomes a version."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape

from sluiceway.cli.output import print_json, program
from sluiceway.config.load import load_platform
from sluiceway.config.model_schema import read_model_schema
from sluiceway.core.errors import InputError
from sluiceway.lifecycle.import_model import Imported, import_model, read_source
from sluiceway.registry.mlflow_registry import Registry
from sluiceway.wiring.context import build_registry


def import_from(
    source: str,
    model: str,
    *,
    schema: str | None,
    target: str | None,
    mlflow: str | None,
    config: str | None,
    as_json: bool,
) -> None:
    """Import a model, and print which version it is.

    Raises:
        InputError: anything is wrong with what was given; nothing is registered.
    """
    if schema is not None and target is not None:
        raise InputError("the schema names the target", hint="leave --target out")
    said = None if schema is None else read_model_schema(schema)
    registry = build_registry(load_platform(config))
    found = read_source(source, registry if mlflow is None else Registry(mlflow))
    done = import_model(registry, found, model, schema=said, target=target)
    if as_json:
        print_json(_document(done))
        return
    for line in _lines(done, config):
        Console().print(escape(line), highlight=False, soft_wrap=True)


def _document(done: Imported) -> dict[str, object]:
    return {
        "model": done.model,
        "version": done.version,
        "known": done.known,
        "digest": done.bundle.digest,
        "source": done.source.address,
        "source_digest": done.source.digest,
        "objective": done.objective,
        "rounds": done.rounds,
        "left_out_rounds": done.left_out,
        "decision": done.bundle.decision,
        "features": [feature["name"] for feature in done.bundle.schema["features"]],
        "rows_checked": done.checked,
        "gated": False,
    }


def _lines(done: Imported, config: str | None) -> list[str]:
    name, given = f"{done.model}@{done.version}", config or "CONFIG"
    threshold = done.bundle.decision["threshold"]
    left = f"; {done.left_out} behind the best one are left out, as by its estimator" if done.left_out else ""
    return [
        f"{name}{' was imported before:' if done.known else ' is'} {done.source.address}",
        f"{done.objective}, {done.rounds} rounds{left}, "
        f"{len(done.bundle.schema['features'])} features, predicts {done.bundle.decision['target']}"
        + ("" if threshold is None else f", which is 1 from a score of {threshold} on"),
        f"scores as Booster.predict on {done.checked} sample rows",
        f"no gate has judged it: `{program()} gates run {name} -c {given}`, "
        f"or `{program()} rollout start {name} -c {given} --ungated`",
    ]
