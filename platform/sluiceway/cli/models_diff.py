"""``sluiceway models diff``: two versions side by side, only where they differ."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape

from sluiceway.cli.output import print_json, print_rows
from sluiceway.cli.values import cell, plain
from sluiceway.config.load import load_platform
from sluiceway.core.references import ModelReference
from sluiceway.lifecycle.model_diff import Facts, VersionDifference, differences, facts_of
from sluiceway.registry.mlflow_registry import Registry
from sluiceway.training.foreign_booster import size_of
from sluiceway.wiring.context import build_registry


def diff(first: ModelReference, second: ModelReference, config: str | None, *, as_json: bool) -> None:
    """Print what differs."""
    registry = build_registry(load_platform(config))
    (one, facts), (other, others) = (_facts(registry, reference) for reference in (first, second))
    found = differences(facts, others)
    if as_json:
        rows = [plain({**each.__dict__, "change": each.change}) for each in found]
        print_json({"first": one, "second": other, "same": not found, "differences": rows})
        return
    Console().print(escape(f"{one} -> {other}"), highlight=False, soft_wrap=True)
    empty = "nothing differs"
    print_rows([_row(each, one, other) for each in found], as_json=False, empty=empty)


def _facts(registry: Registry, reference: ModelReference) -> tuple[str, Facts]:
    record = registry.record(reference.name, reference.version)
    number = record.version.version
    rounds, trees = None, None
    if record.version.deleted is None:
        rounds, trees = size_of(registry.bundle(reference.name, number)[1].model)
    return f"{reference.name}@{number}", facts_of(record, rounds=rounds, trees=trees)


def _row(each: VersionDifference, one: str, other: str) -> dict[str, Any]:
    change = "" if each.change is None else f"{each.change:+.6g}"
    return {
        "part": each.section,
        "what": each.what,
        one: cell(each.first),
        other if other != one else f"{other} ": cell(each.second),
        "change": change,
    }
