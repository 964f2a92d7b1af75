"""The program's commands, run in the test's own process."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

from sluiceway.cli.main import run_command


def sluiceway(folder: Path, *arguments: str, expect: int = 0) -> Any:
    """Run a command with ``--json`` in a folder; gives what it printed."""
    out = io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(out):
        code = run_command([*arguments, "--json"])
    assert code == expect, out.getvalue()[-6000:]
    return json.loads(out.getvalue())
