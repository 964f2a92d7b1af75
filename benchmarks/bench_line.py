"""What every area of the benchmarks prints: a table for people, then one line a number, and its part of RESULTS.md."""

from __future__ import annotations

import os
import platform
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from sluiceway.config.load import set_environment_defaults

RESULTS = Path(__file__).with_name("RESULTS.md")
PACKAGES = ("ray", "xgboost", "deltalake", "mlflow", "pyarrow", "numpy")
HEAD = "# Measurements\n\nWritten by `make bench`; each area by `make bench-AREA`.\n"


@dataclass(frozen=True)
class Number:
    """One measured number against its goal.

    Attributes:
        name: within the area.
        goal: ``ratio<=1.3``, ``ours>=2000``: of ``ours``, ``peer`` or ``ratio`` (ours / peer).
        ours: measured, or None where it was not taken.
        peer: measured, or None where the peer did not run, or there is none.
        unit: for the table.
        note: for the table.
    """

    name: str
    goal: str
    ours: float | None = None
    peer: float | None = None
    unit: str = "s"
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Ours divided by the peer's."""
        return self.ours / self.peer if self.ours is not None and self.peer else None

    @property
    def ok(self) -> bool:
        """Whether the goal is met; a number that was not taken never meets it."""
        parsed = re.fullmatch(r"(ours|peer|ratio)(<=|>=)([0-9.]+)", self.goal)
        if parsed is None:
            raise ValueError(f"{self.goal!r} is not a goal such as ratio<=1.3")
        value = getattr(self, parsed[1])
        if value is None:
            return False
        return bool(value <= float(parsed[3]) if parsed[2] == "<=" else value >= float(parsed[3]))


@dataclass
class Bench:
    """The numbers of one area, as they are taken."""

    area: str
    numbers: list[Number] = field(default_factory=list)
    facts: list[tuple[str, str]] = field(default_factory=list)

    def add(self, number: Number) -> None:
        """Keep a number that has a goal."""
        self.numbers.append(number)

    def tell(self, name: str, value: str) -> None:
        """Keep a fact that has no goal: it is in the table and nowhere else."""
        self.facts.append((name, value))

    def finish(self, *, keep: bool = True) -> int:
        """Print everything, rewrite the area's part of RESULTS.md unless told not to, and give the exit code."""
        table = self._table()
        print("\n".join(["", *machine(), "", *table, ""]))
        if keep:
            write_section(RESULTS, self.area, [*machine(), "", *table])
        for line in self.lines():
            print(line)
        return 0 if self.numbers and all(number.ok for number in self.numbers) else 1

    def lines(self) -> list[str]:
        """One line a number, for machines."""
        return [
            f"BENCH {self.area}.{n.name} ours={_plain(n.ours)} peer={_plain(n.peer)} ratio={_plain(n.ratio)} "
            f"goal={n.goal} {'ok' if n.ok else 'short'}"
            for n in self.numbers
        ]

    def _table(self) -> list[str]:
        rows = [["number", "ours", "peer", "ratio", "goal", "", "note"]]
        rows += [
            [
                number.name,
                *(
                    f"{_plain(value)} {number.unit}" if value is not None else "-"
                    for value in (number.ours, number.peer)
                ),
                _plain(number.ratio),
                number.goal,
                "ok" if number.ok else "short",
                number.note,
            ]
            for number in self.numbers
        ]
        return [*_markdown(rows), *([""] if self.facts else []), *(f"- {name}: {value}" for name, value in self.facts)]


def run_area(
    area: str, measurements: Iterable[tuple[Callable[[Bench], None], Sequence[Number]]], *, keep: bool = True
) -> int:
    """Take all numbers of an area; what fails is told and counts as not taken.

    Args:
        area: its name.
        measurements: each with the numbers that it owes, which stand as ``short`` where it fails.
        keep: write them to RESULTS.md; false for a smaller try.
    """
    _start_again_with_environment()
    bench = Bench(area)
    for measure, owed in measurements:
        try:
            measure(bench)
        except Exception:  # noqa: BLE001 (one measurement that fails must not hide the others)
            traceback.print_exc(file=sys.stderr)
        taken = {number.name for number in bench.numbers}
        for number in owed:
            if number.name not in taken:
                bench.add(number)
    return bench.finish(keep=keep)


def _start_again_with_environment() -> None:
    """Ray takes its environment when it is imported, which an area has done: begin anew where it was not set."""
    before = dict(os.environ)
    set_environment_defaults({})
    if dict(os.environ) != before:
        os.execv(sys.executable, [sys.executable, *sys.argv])


def machine() -> list[str]:
    """The machine and the versions, for RESULTS.md."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)
    return [
        f"- {datetime.now(UTC):%Y-%m-%d %H:%M} UTC; {_cpu()}, {len(os.sched_getaffinity(0))} cores, {memory:.1f} GB",
        f"- {platform.system()} {platform.release()}; Python {platform.python_version()}; {versions}",
    ]


def write_section(path: Path, area: str, lines: Sequence[str]) -> None:
    """Replace the part of one area in a Markdown file, or add it; the others stay as they are."""
    text = path.read_text() if path.exists() else HEAD
    part = "\n".join([f"## {area}", "", *lines, ""])
    found = re.search(rf"^## {re.escape(area)}$.*?(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    if found:
        after = text[found.end() :]
        text = text[: found.start()] + part + ("\n" if after else "") + after
    else:
        text = text.rstrip("\n") + "\n\n" + part
    path.write_text(text)


def _cpu() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.machine()


def _plain(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}" if value < 10_000 else f"{value:.0f}"


def _markdown(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    return [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]
