"""``sluiceway rollout explain``: what happened and why, for whoever is woken by it."""

from __future__ import annotations

import time

from rich.console import Console
from rich.markup import escape

from sluiceway.catalog.stores import Stores
from sluiceway.cli.output import print_json
from sluiceway.cli.rollout_tell import named, runner
from sluiceway.rollout.explain import Explanation, clock, explain
from sluiceway.rollout.explain_metric import MetricStory
from sluiceway.rollout.looks import read as read_looks

COLOURS = {"PASS": "green", "FAIL": "red", "INCONCLUSIVE": "yellow", "ERROR": "red"}


def explain_one(stores: Stores, name: str, *, as_json: bool) -> None:
    """Print it.

    Args:
        stores: of the catalog.
        name: id of a rollout, or name of an endpoint.
        as_json: as one JSON document.

    Raises:
        InputError: there is none.
    """
    journal = named(stores, name)
    found = explain(
        journal.plan,
        journal.entries,
        read_looks(stores.rollouts, journal.plan.rollout_id),
        now=time.time(),
        runner=runner(stores, journal.plan.endpoint, journal.plan.rollout_id),
    )
    if as_json:
        print_json(found.to_dict())
    else:
        _print(found)


def _print(found: Explanation) -> None:
    console = Console()

    def say(text: str, style: str = "") -> None:
        console.print(escape(text), style=style, highlight=False, soft_wrap=True)

    def say_metrics(metrics: tuple[MetricStory, ...]) -> None:
        for metric in metrics:
            say(f"    {metric.told}", COLOURS[metric.status] if metric.decides else "dim")

    say(found.headline, "bold")
    say(f"rollout {found.rollout}", "dim")
    say("")
    for happening in found.happened:
        say(f"{clock(happening.time)}  {happening.told}")
        say_metrics(happening.metrics)
    if found.waits:
        say("\nWhat it waits for", "bold")
        say(found.waits[0])
        say_metrics(found.metrics)
        for line in found.waits[1:]:
            say(line)
    say("\nWhat to do", "bold")
    for line in found.next:
        say(line)
