"""What ``from sluiceway import ...`` offers is what ``__all__`` says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import sluiceway

REPOSITORY = Path(__file__).resolve().parents[2]


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "platform")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_all_is_declared_without_repetition() -> None:
    assert sluiceway.__all__
    assert len(set(sluiceway.__all__)) == len(sluiceway.__all__)


def test_every_public_name_can_be_imported() -> None:
    # In a process of its own: some names bring engines with them, and those bring warnings of theirs.
    code = "from sluiceway import *\nimport sluiceway\nprint(*[n for n in sluiceway.__all__ if n in globals()])"
    assert run(code).split() == list(sluiceway.__all__)


def test_nothing_else_of_ours_leaks_out() -> None:
    code = (
        "import sluiceway, types\n"
        "print(*[n for n, v in vars(sluiceway).items() if not n.startswith('_') and n not in sluiceway.__all__ "
        "and getattr(v, '__module__', '').startswith('sluiceway')])"
    )
    assert run(code).split() == []
