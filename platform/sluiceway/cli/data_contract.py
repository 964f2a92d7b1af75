"""``sluiceway data check`` and ``data contract``: what the rows of a table have to be, and whether they are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from sluiceway.cli.data_arguments import Reference, reading, resolve_reference
from sluiceway.cli.in_ray import in_ray
from sluiceway.cli.output import ConfigOption, Json, print_json, print_rows, program
from sluiceway.config.load import load_platform
from sluiceway.core.clock import SystemClock
from sluiceway.core.references import TableVersion
from sluiceway.core.verdict import EXIT_CODES, Measurement, Status
from sluiceway.data.contract.load import contract_place, find_contract, read_contract, refuse_existing, write_contract
from sluiceway.data.contract.model import Contract
from sluiceway.data.contract.verdicts import RuleVerdict, status_of
from sluiceway.data.places import main_of

app = typer.Typer(add_completion=False)
group = typer.Typer(help="The data contract of a table: init.", no_args_is_help=True, add_completion=False)

ContractFile = Annotated[
    Path | None,
    typer.Option("--contract", metavar="FILE", help="The contract; _contract.yaml in the table's folder otherwise."),
]


@app.command("check")
def check(
    reference: Reference, contract: ContractFile = None, config: ConfigOption = None, as_json: Json = False
) -> int:
    """Hold a version against its contract: a verdict for each rule; exit code 1 fail, 3 inconclusive, 4 error."""
    platform = load_platform(config)
    version = resolve_reference(reference, platform, allow_empty=True)
    path = find_contract(main_of(version.uri), contract)
    agreed = read_contract(path)
    ray = in_ray("sluiceway.data.ray_contract", platform)
    with reading(version, platform=platform, who="data check"), ray as reader:
        found: Sequence[RuleVerdict] = reader.check_version(version, agreed, now=SystemClock().now())
    status = status_of(found)
    if as_json:
        print_json(_document(version, agreed, path=path, found=found, status=status))
    else:
        _print(version, agreed, path=path, found=found, status=status)
    return EXIT_CODES[status]


@group.callback()
def _group() -> None:
    """The data contract of a table: init."""


@group.command("init")
def init(
    reference: Reference,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Where; beside the table's data otherwise.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a contract that is there.")] = False,
    config: ConfigOption = None,
    as_json: Json = False,
) -> None:
    """Draft a contract from what a version holds, for somebody to edit; that version passes it."""
    platform = load_platform(config)
    version = resolve_reference(reference, platform, allow_empty=True)
    path = str(out) if out else contract_place(main_of(version.uri))
    if not force:
        refuse_existing(path)
    ray = in_ray("sluiceway.data.ray_contract_draft", platform)
    with reading(version, platform=platform, who="data contract init"), ray as drafter:
        text: str = drafter.draft_contract(version)
    write_contract(path, text)
    if as_json:
        print_json({"table": version.uri, "version": version.version, "file": path})
        return
    named = "" if out is None else f" --contract {out}"
    said = f"wrote {path}; edit it, then: {program()} data check {reference}{named}"
    Console().print(said, highlight=False, markup=False, soft_wrap=True)


def _document(
    version: TableVersion, agreed: Contract, *, path: str, found: Sequence[RuleVerdict], status: Status
) -> dict[str, Any]:
    return {
        "table": version.uri,
        "version": version.version,
        "rows": version.rows,
        "contract": path,
        "contract_version": agreed.version,
        "name": agreed.name,
        "owner": agreed.owner,
        "description": agreed.purpose,
        "status": str(status),
        "verdicts": [one.to_dict() for one in found],
    }


def _print(version: TableVersion, agreed: Contract, *, path: str, found: Sequence[RuleVerdict], status: Status) -> None:
    head = {
        "table": f"{version.uri}, version {version.version}, {version.rows:,} rows",
        "contract": f"{path}, {agreed.name or agreed.id} {agreed.version} ({agreed.status})",
        "owner": agreed.owner,
        "about": agreed.purpose,
    }
    console = Console()
    for name, value in head.items():
        if value:
            console.print(f"{name + ':':<10}{value}", highlight=False, markup=False, soft_wrap=True)
    console.print()
    print_rows([_row(one) for one in found], as_json=False, empty="")
    counted = {kind: sum(one.verdict.status is kind for one in found) for kind in Status}
    said = ", ".join(f"{n} {kind.lower()}" for kind, n in counted.items() if n)
    console.print(f"\n{status}: {said}", highlight=False, markup=False)


def _row(one: RuleVerdict) -> dict[str, Any]:
    measured = one.verdict.measurement
    told = [text for text in (one.verdict.reason, measured.detail, ", ".join(one.examples)) if text]
    return {
        "rule": one.verdict.check,
        "status": str(one.verdict.status),
        "value": _value(measured),
        "limit": one.limit,
        "rows": f"{measured.n:,}",
        "why": "; ".join(told),
    }


def _value(measured: Measurement) -> str:
    if measured.value is None:
        return "no value"
    shown = f"{measured.value:,}" if isinstance(measured.value, int) else f"{measured.value:,.4g}"
    return f"{shown}{measured.unit}"
