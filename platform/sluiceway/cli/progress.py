"""Shows long work: a live line in a terminal, a plain log anywhere else."""

from __future__ import annotations

import re
import time
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from sluiceway.core.doors import Progress as ProgressDoor

# A log reader wants to see that work goes on, not every step of it.
LOG_EVERY_SECONDS = 5.0


class ShownProgress(ProgressDoor, Protocol):
    """A progress that is opened and closed."""

    def __enter__(self) -> Self:
        """Begin to show."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End to show."""


def progress_for(console: Console) -> ShownProgress:
    """The live form for a terminal, the log form otherwise."""
    return TerminalProgress(console) if console.is_terminal else LogProgress(console)


class LogProgress:
    """One line a stage, and one every few seconds while it lasts."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last, self._said = 0.0, ""

    def __enter__(self) -> Self:
        """Nothing to open."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to close."""

    def stage(self, name: str, detail: str = "") -> None:
        """Write the stage's name."""
        self._write(f"{name}{': ' + detail if detail else ''}")
        self._last = time.monotonic()

    def advance(self, text: str, fraction: float | None = None) -> None:
        """Write the line; one that says the same as the last with other numbers at most every few seconds."""
        said = re.sub(r"[\d.]+", "", text)
        if said != self._said or time.monotonic() - self._last >= LOG_EVERY_SECONDS:
            self._last, self._said = time.monotonic(), said
            share = f" ({fraction:.0%})" if fraction is not None else ""
            self._write(f"  {text}{share}")

    def _write(self, line: str) -> None:
        self._console.print(f"{time.strftime('%H:%M:%S')} {line}", highlight=False, markup=False, soft_wrap=True)


class TerminalProgress:
    """A line a finished stage, and a live one with bar and clock for the present stage."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[text]}", markup=False),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._task = self._progress.add_task("starting", total=None, text="")
        self._name = ""
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        """Begin the live display."""
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the live display."""
        self._close_stage(done=kind is None)
        self._progress.stop()

    def stage(self, name: str, detail: str = "") -> None:
        """Close the stage before and open this one."""
        self._close_stage(done=True)
        self._name, self._began = f"{name} {detail}".strip(), time.monotonic()
        # A new task: one that is reset keeps its length, and the bar of a stage without one would stand full.
        self._progress.remove_task(self._task)
        self._task = self._progress.add_task(self._name, total=None, text="")

    def advance(self, text: str, fraction: float | None = None) -> None:
        """Redraw the live line."""
        if fraction is None:
            self._progress.update(self._task, text=text)
        else:
            self._progress.update(self._task, completed=fraction, total=1.0, text=text)

    def _close_stage(self, *, done: bool) -> None:
        if self._name:
            mark = "[green]✓[/]" if done else "[red]✗[/]"
            self._console.print(f"{mark} {self._name} [dim]{time.monotonic() - self._began:.1f} s[/]", highlight=False)
            self._name = ""
