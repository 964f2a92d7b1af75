"""What commands print: results on stdout (a table, or one JSON document with ``--json``), the rest on stderr."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

from sluiceway.core.errors import ConfigError, SluicewayError

Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON document.")]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Override a key of the configuration, e.g. --set data.path=data/x."
    ),
]
Config = Annotated[str, typer.Argument(metavar="CONFIG", help="YAML file, e.g. jobs/configs/flights.yaml.")]
ConfigOption = Annotated[
    str | None,
    typer.Option(
        "--config", "-c", help="YAML file that says where catalog and models live; the state in .sluiceway otherwise."
    ),
]


# Wider than any row: nothing is cut for a pipe.
MAX_WIDTH = 10_000
_results: ContextVar[TextIO | None] = ContextVar("results", default=None)


@contextmanager
def only_results() -> Iterator[None]:
    """Keep stdout for :func:`print_json`: what engines print there goes to stderr."""
    token = _results.set(sys.stdout)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _results.reset(token)


def program(name: str = "sluiceway") -> str:
    """How a shell in this folder calls a program that is installed beside this one: by its name, or by its path."""
    own = Path(sys.executable).with_name(name)
    if not own.exists() or shutil.which(name) == str(own):
        return name
    return str(own.relative_to(Path.cwd())) if own.is_relative_to(Path.cwd()) else str(own)


def print_json(document: Any) -> None:
    """One JSON document on stdout."""
    (_results.get() or sys.stdout).write(json.dumps(document, indent=2, default=str) + "\n")


def print_rows(rows: Sequence[dict[str, Any]], *, as_json: bool, empty: str) -> None:
    """A table, or JSON.

    Args:
        rows: all with the same keys, which are the headings.
        as_json: True prints a JSON list.
        empty: what to say to a person when there are none.
    """
    if as_json:
        print_json(list(rows))
        return
    console = Console()
    if not rows:
        console.print(empty)
        return
    texts = [{heading: "" if value is None else str(value) for heading, value in row.items()} for row in rows]
    table = Table(box=None, pad_edge=False)
    for heading in rows[0]:
        table.add_column(heading, no_wrap=True)
    for row in texts:
        table.add_row(*(escape(text) for text in row.values()))
    needed = Measurement.get(console, console.options.update(max_width=MAX_WIDTH), table).maximum
    if needed <= console.width or not console.is_terminal:
        Console(width=max(needed, 1)).print(table)
        return
    # Cells that are broken in the middle can neither be read nor copied: one line a value.
    indent = max(len(heading) for heading in rows[0]) + 2
    for row in texts:
        for heading, text in row.items():
            console.print(f"[bold]{heading:<{indent}}[/]{escape(text)}", highlight=False, soft_wrap=True)
        console.print()


def print_error(error: SluicewayError, *, as_json: bool) -> None:
    """An error, as the person at night reads it, on stderr; with ``--json`` also as a document on stdout."""
    if as_json:
        document = {"error": type(error).__name__, "message": error.message, "hint": error.hint, **error.fields}
        if isinstance(error, ConfigError):
            document["problems"] = list(error.problems)
        print_json(document)
    sys.stderr.write(f"error: {error}\n")
