"""Ends what a killed driver's own Ray left running.

A local Ray dies with its driver, but not all of it and not at once: the agents of its node wait a minute for a
server that is gone. So every driver that starts a Ray writes down which processes that made; the next one ends those
that outlived their driver. A process is named by its id and its start time, which no other process ever shares.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from sluiceway.serving.environment import HAPROXY_FOLDER

PROC = Path("/proc")
SESSIONS_FOLDER = HAPROXY_FOLDER / "sessions"
# How long the processes of a Ray that ended orderly may take to go by themselves.
PATIENCE_SECONDS = 3.0
END_SECONDS = 5.0


@dataclass(frozen=True)
class Process:
    """One process of this machine, for good.

    Attributes:
        pid: its process id.
        started: kernel start time in clock ticks since boot.
    """

    pid: int
    started: int

    @property
    def lives(self) -> bool:
        """True while it runs; a zombie does not."""
        facts = _facts(self.pid)
        return facts is not None and facts[0] != "Z" and int(facts[19]) == self.started


@dataclass(frozen=True)
class Session:
    """A local Ray.

    Attributes:
        record: the file that tells of it.
        driver: who started it.
        processes: what that made.
    """

    record: Path
    driver: Process
    processes: tuple[Process, ...]

    @property
    def living(self) -> tuple[Process, ...]:
        """Its processes that still run."""
        return tuple(process for process in self.processes if process.lives)


def own_processes() -> frozenset[Process]:
    """What this process has started and what those have started; empty without ``/proc``."""
    return frozenset(_descendants(os.getpid())) if PROC.is_dir() else frozenset()


def remember_session(folder: Path = SESSIONS_FOLDER, *, but: Collection[Process] = ()) -> None:
    """Write down the processes that this one has started, and those that they started; nothing without ``/proc``.

    Args:
        folder: where records are kept.
        but: processes that were there before the Ray; they are none of its.
    """
    driver = _process(os.getpid())
    if driver is None:
        return
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    of_ray = [process for process in _descendants(driver.pid) if process not in but]
    document = {"driver": _pair(driver), "processes": [_pair(process) for process in of_ray]}
    record = folder / f"{driver.pid}-{driver.started}.json"
    draft = record.with_suffix(".tmp")
    draft.write_text(json.dumps(document))
    draft.replace(record)


def find_dead_sessions(folder: Path = SESSIONS_FOLDER) -> list[Session]:
    """Sessions whose driver is gone, by record; those of other users are not looked at."""
    if not folder.is_dir() or folder.stat().st_uid != os.getuid():
        return []
    found = (_session(record) for record in sorted(folder.glob("*.json")))
    return [session for session in found if session is not None and not session.driver.lives]


def end_dead_sessions(folder: Path = SESSIONS_FOLDER) -> list[Process]:
    """End what dead drivers left behind, and forget their sessions.

    Returns:
        Those that were ended.
    """
    return [process for session in find_dead_sessions(folder) for process in _end(session)]


def end_own_session(folder: Path = SESSIONS_FOLDER) -> None:
    """After this process has shut its Ray down: wait a little until all of it is gone, then end the rest."""
    driver = _process(os.getpid())
    session = _session(folder / f"{driver.pid}-{driver.started}.json") if driver else None
    if session is not None:
        _wait(session, PATIENCE_SECONDS)
        _end(session)


def _end(session: Session) -> tuple[Process, ...]:
    ended = session.living
    for process in ended:
        _kill(process)
    _wait(session, END_SECONDS)
    session.record.unlink(missing_ok=True)
    return ended


def _kill(process: Process) -> None:
    # Through a descriptor: between the look and the signal the id cannot go over to another process.
    try:
        handle = os.pidfd_open(process.pid)
    except OSError:
        return
    try:
        if process.lives:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
    except ProcessLookupError:
        pass
    finally:
        os.close(handle)


def _wait(session: Session, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while session.living and time.monotonic() < deadline:
        time.sleep(0.05)


def _session(record: Path) -> Session | None:
    try:
        document = json.loads(record.read_text())
        processes = tuple(Process(*pair) for pair in document["processes"])
        return Session(record, Process(*document["driver"]), processes)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _descendants(pid: int) -> list[Process]:
    children: dict[int, list[Process]] = {}
    for entry in PROC.iterdir():
        facts = _facts(int(entry.name)) if entry.name.isdigit() else None
        if facts is not None:
            children.setdefault(int(facts[1]), []).append(Process(int(entry.name), int(facts[19])))
    found: list[Process] = []
    waiting = [pid]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += [process.pid for process in below]
    return found


def _process(pid: int) -> Process | None:
    facts = _facts(pid)
    return None if facts is None else Process(pid, int(facts[19]))


def _facts(pid: int) -> list[str] | None:
    """State, parent and so on of a process; the start time is the 20th. A name may hold anything, even a ")"."""
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def _pair(process: Process) -> tuple[int, int]:
    return process.pid, process.started
