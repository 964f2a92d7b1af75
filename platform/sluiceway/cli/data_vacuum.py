"""``sluiceway data vacuum``: what can be deleted, and why the rest stays."""

from __future__ import annotations

import re
from typing import Annotated, Any

import typer
from rich.console import Console

from sluiceway.cli.data_arguments import Table
from sluiceway.cli.output import ConfigOption, Json, print_json, print_rows
from sluiceway.cli.progress import progress_for
from sluiceway.cli.values import cell
from sluiceway.config.load import load_platform
from sluiceway.core.clock import SystemClock
from sluiceway.core.errors import InputError
from sluiceway.data.keeping import RECENT
from sluiceway.data.tables import absolute, table_uri
from sluiceway.data.vacuum import Retention, Vacuumed, VacuumPlan, plan_vacuum, vacuum
from sluiceway.wiring.care import build_care
from sluiceway.wiring.stores import build_stores, read_stores

app = typer.Typer(add_completion=False)

_TIME = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd])")
_UNITS = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}


@app.command("vacuum")
def vacuum_command(
    table: Table,
    keep: Annotated[
        str, typer.Option(metavar="TIME", help="What was the newest version within this stays, e.g. 7d or 36h.")
    ] = "7d",
    apply: Annotated[bool, typer.Option("--apply", help="Delete; without it nothing is deleted.")] = False,
    log: Annotated[bool, typer.Option("--log", help="Also the log from before the oldest version that stays.")] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Nobody reads or writes the table now: less than an hour may be kept.")
    ] = False,
    config: ConfigOption = None,
    as_json: Json = False,
) -> None:
    """Show, and with --apply delete, files that no version needs any more: of the table and of all its branches.

    What a tag, branch, registered model, unfinished run or reader names stays, and with it the files of its version;
    so does what was the newest version within --keep. Files that no version names go when they are older than that and
    than a day: they may be those of somebody who has not committed yet.
    """
    platform = load_platform(config)
    uri = absolute(table_uri(table, platform.aliases))
    clock = SystemClock()
    retention = Retention(clock.now().timestamp(), _seconds(keep), quiet)
    stores = build_stores(platform) if apply else read_stores(platform)
    with progress_for(Console(stderr=True)) as progress:
        doors = build_care(uri, platform, stores, clock=clock, progress=progress)
        done = vacuum(uri, doors, retention, trim=log) if apply else Vacuumed(plan_vacuum(uri, doors, retention))
    if as_json:
        print_json(_document(done, applied=apply))
    else:
        _print(done, applied=apply)


def _seconds(text: str) -> float:
    found = _TIME.fullmatch(text.strip())
    if found is None:
        raise InputError(f"{text!r} is no time to keep", hint="for example 7d, 36h or 0h")
    return float(found[1]) * _UNITS[found[2]]


def _document(done: Vacuumed, *, applied: bool) -> dict[str, Any]:
    plan = done.plan
    return {
        "table": plan.uri,
        "applied": applied,
        "kept": _kept(plan),
        "files": [file.path for file in plan.files],
        "abandoned": [file.path for file in plan.abandoned],
        "waiting": [file.path for file in plan.waiting],
        "branches": list(plan.dead),
        "foreign": plan.foreign,
        "bytes": plan.size,
        "log files": done.log_files,
    }


def _kept(plan: VacuumPlan) -> list[dict[str, Any]]:
    return [
        {"place": kept.history.place, "version": version, "why": list(reasons)}
        for kept in plan.kept
        for version, reasons in kept.reasons.items()
    ]


def _print(done: Vacuumed, *, applied: bool) -> None:
    plan = done.plan
    kept = _kept(plan)
    rows = [
        {"version": row["version"], "of": _of(plan.uri, row["place"]), "kept for": cell(", ".join(row["why"]))}
        for row in kept
        if row["why"] != [RECENT]
    ]
    print_rows(rows, as_json=False, empty="")
    recent, lost = len(kept) - len(rows), sum(len(one.lost) for one in plan.kept)
    lines = [
        f"{recent:,} more versions are recent; {lost:,} are needed by nobody",
        f"{len(plan.files):,} files of versions that nobody needs, {len(plan.abandoned):,} of no version: "
        f"{plan.size:,} bytes {'deleted' if applied else 'would go'}",
        f"{len(plan.dead):,} copies of branches that are gone" if plan.dead else "",
        f"{len(plan.waiting):,} files of no version are young: somebody may be about to commit them"
        if plan.waiting
        else "",
        f"{plan.foreign:,} files that are not Parquet are left alone" if plan.foreign else "",
        f"{done.log_files:,} old files of the log deleted" if done.log_files else "",
        "engines keep the log for 5 years from now on: named versions are read through it" if done.log_kept else "",
        "" if applied else "nothing was deleted; --apply deletes",
    ]
    typer.echo("\n" + "\n".join(line for line in lines if line))


def _of(uri: str, place: str) -> str:
    return "the table" if place == uri else f"copy {place.rpartition('/')[2][:8]}"
