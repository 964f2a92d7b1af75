"""The end of a run, as a person reads it."""

from __future__ import annotations

from dataclasses import replace

from rich.console import Console
from rich.markup import escape

from sluiceway.cli.output import program
from sluiceway.cli.served_environments import served_environments
from sluiceway.config.settings import Settings
from sluiceway.core.verdict import Status
from sluiceway.lifecycle.summary import RunSummary
from sluiceway.wiring.stores import state_folder, tracking_uri

COLOURS = {Status.PASS: "green", Status.FAIL: "red", Status.INCONCLUSIVE: "yellow", Status.ERROR: "red"}


def completed(summary: RunSummary, settings: Settings, *, config: str) -> RunSummary:
    """The summary with where to look and how to go on."""
    return replace(summary, places=_places(settings), going_on=_going_on(settings, config))


def print_summary(summary: RunSummary, settings: Settings, *, console: Console) -> None:
    """Each step with its numbers and its time, where to look, and how to go on."""
    console.print(f"\n[bold]{settings.experiment.name}[/], run {summary.run_id}\n", highlight=False)
    for step in summary.steps:
        mark = "as expected" if step.status is Status.PASS else f"NOT as expected ({step.status})"
        took = "reused" if step.reused else f"{step.seconds:.1f} s"
        console.print(
            f"[{COLOURS[step.status]}]{'✓' if step.status is Status.PASS else '✗'}[/] [bold]{escape(step.name)}[/]"
            f" [dim]({took})[/] {escape(step.headline)}",
            highlight=False,
            soft_wrap=True,
        )
        if step.status is not Status.PASS:
            console.print(f"    [red]{mark}[/]")
        for line in step.details:
            console.print(f"    {escape(line)}", highlight=False, soft_wrap=True, style="dim" if "PASS" in line else "")
    came_true = "every step ended as expected" if summary.exit_code == 0 else "NOT every step ended as expected"
    console.print(f"\n{came_true}; {summary.seconds:.0f} s; exit code {summary.exit_code}", highlight=False)
    for name, place in summary.places.items():
        console.print(f"  {name + ':':<12}{escape(place)}", highlight=False, soft_wrap=True)
    console.print("\nHow to go on:")
    for line in summary.going_on:
        console.print(f"  {escape(line)}", highlight=False, soft_wrap=True)


def _places(settings: Settings) -> dict[str, str]:
    state = state_folder(settings.platform)
    return {
        "reports": str(state / "reports"),
        "MLflow UI": f"{program('mlflow')} ui --backend-store-uri {tracking_uri(settings.platform)}",
        "state": str(state),
    }


def _going_on(settings: Settings, config: str) -> tuple[str, ...]:
    served = {f"serve up {config}": "the champion over HTTP, until ctrl-C"} if served_environments(settings) else {}
    commands = {
        f"models list -c {config}": "versions, aliases, digests",
        **served,
        f"rollout history -c {config}": "every decision with the numbers that it saw",
        f"data log {settings.data.path} -c {config}": "every version of the table",
    }
    called = program()
    width = max(len(command) for command in commands)
    return tuple(f"{called} {command:<{width}}  # {meaning}" for command, meaning in commands.items())
