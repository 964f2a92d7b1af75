"""``sluiceway rollout``: what was decided, and on which numbers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from sluiceway.catalog.rollouts import RolloutRow
from sluiceway.catalog.stores import Stores
from sluiceway.cli.output import ConfigOption, Json, print_json, print_rows
from sluiceway.config.load import load_platform
from sluiceway.rollout.journal import Journal
from sluiceway.wiring.stores import read_stores

app = typer.Typer(help="Rollouts: history, show.", no_args_is_help=True, add_completion=False)


@app.command("history")
def history(config: ConfigOption = None, as_json: Json = False) -> None:
    """Every rollout, newest first, and how it ended."""
    stores = read_stores(load_platform(config))
    rows = [_row(stores, rollout) for rollout in stores.rollouts.list()]
    print_rows(rows, as_json=as_json, empty="no rollouts yet")


@app.command("show")
def show(
    rollout_id: Annotated[str, typer.Argument(metavar="ROLLOUT", help="Its id; `rollout history` lists them.")],
    config: ConfigOption = None,
    as_json: Json = False,
) -> None:
    """One rollout: every decision with the measurements that it saw."""
    journal = Journal.open(read_stores(load_platform(config)).rollouts, rollout_id)
    entries = [_entry(entry) for entry in journal.entries]
    if as_json:
        print_json({"rollout": rollout_id, "entries": entries})
        return
    console = Console()
    told = ""
    for entry in entries:
        # A reason stays in the state until there is another one: it is told where it is new.
        reason = "" if entry["reason"] == told else entry["reason"]
        told = entry["reason"]
        console.print(
            f"{entry['time']} [bold]{escape(entry['action'])}[/] {escape(reason)}", highlight=False, soft_wrap=True
        )
        for line in entry["evidence"]:
            console.print(f"    {escape(line)}", highlight=False, soft_wrap=True)


def _row(stores: Stores, rollout: RolloutRow) -> dict[str, Any]:
    journal = Journal.open(stores.rollouts, rollout.rollout_id)
    state, plan = journal.state, journal.plan
    return {
        "rollout": plan.rollout_id,
        "endpoint": plan.endpoint,
        "from": plan.champion.version if plan.champion else "",
        "to": plan.version,
        "phase": str(state.phase),
        "cause": state.cause,
        "reason": state.reason,
        "began": _time(plan.created),
    }


def _entry(entry: Any) -> dict[str, Any]:
    return {
        "sequence": entry.sequence,
        "time": _time(entry.time),
        "phase": str(entry.state.phase),
        "action": entry.action,
        "reason": entry.state.reason,
        "evidence": [verdict["line"] for verdict in entry.evidence.get("verdicts", [])],
    }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
