"""What commands print fits where it is printed."""

from __future__ import annotations

import io
import sys

import pytest
from rich.console import Console

from sluiceway.cli import output

ROWS = [
    {"rollout": "20261124-132754-e2f411/10 faulty deployment: production", "why": "error_rate [FAIL] " + "x" * 60},
    {"rollout": "short", "why": None},
]


def printed(monkeypatch, *, width, terminal):
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    monkeypatch.setenv("COLUMNS", str(width))
    real = Console

    def console(**options):
        return real(file=sys.stdout, force_terminal=terminal, color_system=None, **({"width": width} | options))

    monkeypatch.setattr(output, "Console", console)
    output.print_rows(ROWS, as_json=False, empty="nothing")
    return sys.stdout.getvalue().splitlines()


@pytest.mark.parametrize(("width", "terminal"), [(160, True), (80, False)])
def test_a_row_is_a_line_where_it_fits_and_in_a_pipe(monkeypatch, width, terminal):
    heading, first, second = printed(monkeypatch, width=width, terminal=terminal)
    assert heading.split() == ["rollout", "why"]
    assert all(value in first for value in ROWS[0].values())
    assert second.strip() == "short"


def test_a_narrow_terminal_has_a_line_a_value_that_can_be_copied(monkeypatch):
    lines = printed(monkeypatch, width=60, terminal=True)
    assert lines[0] == f"rollout  {ROWS[0]['rollout']}"
    assert lines[1] == f"why      {ROWS[0]['why']}"
    assert lines[3] == "rollout  short"


def test_a_program_is_called_as_a_shell_finds_it(monkeypatch, tmp_path):
    folder = tmp_path / "some" / "bin"
    folder.mkdir(parents=True)
    for name in ("python", "sluiceway"):
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    monkeypatch.setenv("PATH", "/usr/bin")
    monkeypatch.chdir(tmp_path)
    assert output.program() == "some/bin/sluiceway"
    assert output.program("mlflow") == "mlflow"
    monkeypatch.chdir("/")
    assert output.program() == "/".join(["", *folder.parts[1:], "sluiceway"]).removeprefix("/")
    monkeypatch.setenv("PATH", str(folder))
    assert output.program() == "sluiceway"
