"""Loads a server with ``wrk``: closed loop, one thread of its own, and what came of it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

SCRIPT = Path(__file__).with_suffix(".lua")
TIMEOUT_SECONDS = 5


@dataclass(frozen=True)
class Load:
    """What one run of ``wrk`` has counted.

    Attributes:
        rate: answers a second.
        p50: milliseconds; the others likewise.
        p90: of it.
        p99: of it.
        p999: of it.
        largest: of it.
        failed: answers of 400 and more, broken connections, and requests that took longer than ``TIMEOUT_SECONDS``.
        requests: answers.
        used: CPU seconds of the server's processes, by what they call themselves.
        idle: CPU seconds that nobody used, of all cores.
    """

    rate: float
    p50: float
    p90: float
    p99: float
    p999: float
    largest: float
    failed: int
    requests: int
    used: dict[str, float] = field(default_factory=dict)
    idle: float = 0.0

    def microseconds(self, *names: str) -> float:
        """CPU time a request, of the processes whose names begin so; of all where none is given."""
        seconds = sum(each for name, each in self.used.items() if not names or name.startswith(names))
        return seconds / max(self.requests, 1) * 1e6


@dataclass(frozen=True)
class Target:
    """Where a load goes.

    Attributes:
        name: of the contender.
        url: where requests are posted to.
        bodies: file of the bodies, see :func:`serving_model.write_bodies`.
        headers: ``Name: value``.
        rows: of a request.
        processes: asked for those whose CPU seconds are counted, with all that they have started.
        before: called before each run, e.g. to move the traffic.
    """

    name: str
    url: str
    bodies: Path
    headers: tuple[str, ...] = ("Content-Type: application/json",)
    rows: int = 1
    processes: Callable[[], Iterable[int]] = field(default=tuple)
    before: Callable[[], None] = field(default=lambda: None)


def require_wrk() -> None:
    """Install ``wrk`` where it is missing and can be.

    Raises:
        RuntimeError: it is missing, and cannot.
    """
    if shutil.which("wrk"):
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise RuntimeError("wrk is not installed: apt-get install wrk")
    for command in (("update", "-qq"), ("install", "-y", "-qq", "wrk")):
        subprocess.run(["apt-get", *command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def load(target: Target, *, connections: int, seconds: int) -> Load:
    """Load a server."""
    pids = list(target.processes())
    before, idle = _cpu_of(pids), psutil.cpu_times().idle
    told = _wrk(target, connections, seconds)
    return Load(
        rate=told["requests"] / told["seconds"],
        p50=told["p50"],
        p90=told["p90"],
        p99=told["p99"],
        p999=told["p999"],
        largest=told["max"],
        failed=told["refused"] + told["broken"] + told["late"],
        requests=told["requests"],
        used=_since(before, _cpu_of(pids)),
        idle=psutil.cpu_times().idle - idle,
    )


@dataclass(frozen=True)
class Times:
    """How long and how often each server is loaded.

    Attributes:
        seconds: of a measured run, whole ones.
        warm: of the warm-up before each; twice as long before the first.
        repeats: measured runs of each.
    """

    seconds: int = 4
    warm: int = 1
    repeats: int = 3


def in_turn(targets: Sequence[Target], *, connections: int, times: Times) -> dict[str, list[Load]]:
    """Load several servers turn and turn about.

    Returns:
        The measured runs of each, by name.
    """
    taken: dict[str, list[Load]] = {target.name: [] for target in targets}
    for repeat in range(times.repeats):
        for target in targets:
            target.before()
            load(target, connections=connections, seconds=times.warm if repeat else 2 * times.warm)
            taken[target.name].append(load(target, connections=connections, seconds=times.seconds))
    return taken


def start_load(target: Target, *, connections: int, seconds: int) -> subprocess.Popen[str]:
    """Begin a load beside something else; :func:`end_load` waits for it."""
    return subprocess.Popen(
        _command(target, connections, seconds), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def end_load(process: subprocess.Popen[str]) -> dict[str, Any]:
    """What ``serving_wrk.lua`` told.

    Raises:
        RuntimeError: it told nothing.
    """
    out, _ = process.communicate()
    for line in out.splitlines():
        if line.startswith("TOLD "):
            told: dict[str, Any] = json.loads(line.removeprefix("TOLD "))
            return told
    raise RuntimeError(f"wrk ended with {process.returncode}: {out[-1000:]}")


def wait_until(check: Callable[[], bool], *, seconds: float, what: str) -> None:
    """Wait for something to be true.

    Raises:
        TimeoutError: it is not, so long.
    """
    deadline = time.monotonic() + seconds
    while not check():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} after {seconds:g} s")
        time.sleep(0.1)


def _wrk(target: Target, connections: int, seconds: int) -> dict[str, Any]:
    return end_load(start_load(target, connections=connections, seconds=seconds))


def _command(target: Target, connections: int, seconds: int) -> list[str]:
    options = ["-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", f"{TIMEOUT_SECONDS}s"]
    return ["wrk", *options, "-s", str(SCRIPT), target.url, "--", str(target.bodies), *target.headers]


def _cpu_of(pids: Iterable[int]) -> dict[int, tuple[str, float]]:
    """Name and CPU seconds of processes and of all below them, by their ids."""
    seen: dict[int, psutil.Process] = {}
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            root = psutil.Process(pid)
            seen |= {each.pid: each for each in (root, *root.children(recursive=True))}
    found = {}
    for process in seen.values():
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            found[process.pid] = (_name(process), times.user + times.system)
    return found


def _since(before: dict[int, tuple[str, float]], after: dict[int, tuple[str, float]]) -> dict[str, float]:
    """Those that have ended or begun in between are left out."""
    used: dict[str, float] = {}
    for pid, (name, seconds) in after.items():
        if pid in before:
            used[name] = used.get(name, 0.0) + seconds - before[pid][1]
    return used


def _name(process: psutil.Process) -> str:
    # Ray's workers call themselves ray::CLASS or ray::NAME.method() in place of their command line.
    title = " ".join(process.cmdline())
    return title.split(".", 1)[0].split("(", 1)[0].strip() if title.startswith("ray::") else process.name()
