"""Finds and ends a HAProxy that outlived its Ray: it holds the port of the next run.

Serve's proxy actor starts HAProxy as a child. When the driver and its Ray are killed, the actor dies with them and the
HAProxy does not: init adopts it. Ours is recognised by the configuration file on its command line, below the folder
that :mod:`sluiceway.serving.environment` chooses; that it is a leftover, by its parent: while its actor lives, that is
a Ray process. Nothing else is ever ended.
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from sluiceway.serving.environment import HAPROXY_FOLDER

PROC = Path("/proc")
END_SECONDS = 5.0


@dataclass(frozen=True)
class Leftover:
    """A HAProxy without its Ray.

    Attributes:
        pid: its process id.
        started: kernel start time in clock ticks; with the pid it names one process for good.
        config: its configuration file.
    """

    pid: int
    started: int
    config: Path


def find_leftovers(folder: Path = HAPROXY_FOLDER) -> list[Leftover]:
    """HAProxies of ours whose Ray is gone, by pid; none where there is no ``/proc``.

    Args:
        folder: where our Ray's HAProxies have their files, ``<folder>/<node id>/haproxy.cfg``.
    """
    if not PROC.is_dir():
        return []
    pids = sorted(int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit())
    return [leftover for pid in pids if (leftover := _leftover(pid, folder)) is not None]


def end_leftovers(folder: Path = HAPROXY_FOLDER) -> list[Leftover]:
    """End the leftovers and wait until their ports are free.

    Args:
        folder: as for :func:`find_leftovers`.

    Returns:
        Those that were ended.
    """
    found = find_leftovers(folder)
    for leftover in found:
        # Looked at again right before: the pid may belong to somebody else by now.
        if _leftover(leftover.pid, folder) == leftover:
            os.kill(leftover.pid, signal.SIGKILL)
    deadline = time.monotonic() + END_SECONDS
    while time.monotonic() < deadline and any(_leftover(one.pid, folder) == one for one in found):
        time.sleep(0.02)
    return found


def is_ours(pid: int, folder: Path = HAPROXY_FOLDER) -> bool:
    """Whether a process is a HAProxy that a Ray of ours started, running or left behind."""
    return _own_config(pid, folder) is not None


def _leftover(pid: int, folder: Path) -> Leftover | None:
    config = _own_config(pid, folder)
    if config is None:
        return None
    try:
        # Behind the last ")" because a process may have any name: state, parent, ... start time is the 20th.
        facts = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    if facts[0] == "Z" or _is_ray(int(facts[1])):
        return None
    return Leftover(pid, int(facts[19]), config)


def _own_config(pid: int, folder: Path) -> Path | None:
    """The configuration of a HAProxy below a folder of ours; None for any other process."""
    try:
        arguments = (PROC / str(pid) / "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return None
    if Path(arguments[0]).name != "haproxy" or "-f" not in arguments[:-1]:
        return None
    config = Path(arguments[arguments.index("-f") + 1])
    return config if config.parent.parent == folder else None


def _is_ray(pid: int) -> bool:
    try:
        command = (PROC / str(pid) / "cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return False
    return command.startswith("ray::")
