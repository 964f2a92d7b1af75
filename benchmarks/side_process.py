"""One side of a measurement in a process of its own: how long it took, what it held, and what it told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peak_memory import PeakMemory

from sluiceway.config.load import MEMORY_DEFAULTS

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Run:
    """One run of a side.

    Attributes:
        wall: seconds from the start of its process to its end.
        memory: as watched.
        told: what it told of itself.
    """

    wall: float
    memory: PeakMemory
    told: dict[str, Any]

    @property
    def largest(self) -> float:
        """Anonymous memory of the largest process at its peak, GB."""
        return max(self.memory.own.values()) / 1e9


def run_side(side: str, folder: Path, *, python: str = sys.executable, **environment: str) -> Run:
    """Run a side, ``module.function``, on the table of a folder."""
    module, function = side.split(".")
    command = [python, "-c", f"import pathlib, {module}; {module}.{function}(pathlib.Path({str(folder)!r}))"]
    # Our own side sets these again when it connects; no peer has them.
    inherited = {name: value for name, value in os.environ.items() if name not in MEMORY_DEFAULTS}
    given = {**inherited, "PYTHONPATH": str(HERE), "PYTHONWARNINGS": "ignore", **environment}
    log_file = folder / f"{function}.log"
    with log_file.open("w") as log:
        began = time.perf_counter()
        process = subprocess.Popen(command, env=given, stdout=subprocess.PIPE, stderr=log, text=True)
        with PeakMemory(process.pid) as memory:
            out, _ = process.communicate()
        wall = time.perf_counter() - began
    if process.returncode:
        raise RuntimeError(f"{side} ended with {process.returncode}:\n{log_file.read_text()[-3000:]}")
    return Run(wall, memory, json.loads(out.splitlines()[-1]))
