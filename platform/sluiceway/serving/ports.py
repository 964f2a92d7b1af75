"""Whether the port of the endpoints is free, and who has it where it is not."""

from __future__ import annotations

import logging
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sluiceway.core.errors import BackendError
from sluiceway.serving.leftovers import end_leftovers, is_ours

logger = logging.getLogger(__name__)

PROC = Path("/proc")
LOOKS = 3
LISTENING = "0A"  # the kernel's number of the state, in /proc/net/tcp


@dataclass(frozen=True)
class Holder:
    """A process that listens on a port: its id and its name."""

    pid: int
    name: str


def check_port(host: str, port: int) -> None:
    """Refuse a port that somebody has; end a leftover of ours that has it.

    Raises:
        BackendError: another program has it.
    """
    if is_free(host, port):
        return
    ended = end_leftovers()
    if ended:
        logger.warning("ended the HAProxy of an earlier run: %s", ", ".join(str(one.pid) for one in ended))
    if not is_free(host, port):
        raise taken(host, port)


def is_free(host: str, port: int) -> bool:
    """True where HAProxy could listen there now."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        # As HAProxy binds: connections of an ended server that still wait in the kernel do not hold the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def taken(host: str, port: int) -> BackendError:
    """The error of a port that another program has, named where this machine lets us see it."""
    holder = find_holder(port)
    program = f"another program, {holder.name} (process {holder.pid})" if holder else "another program"
    hint = "set platform.serving.port to another one, or to 0 for any free one"
    if holder and is_ours(holder.pid):
        program = f"a running endpoint of Sluiceway (HAProxy, process {holder.pid})"
        hint = f"end the other `sluiceway run` or `serve up` first, or {hint}"
    return BackendError(f"port {port} on {host} is taken by {program}", hint=hint, port=port)


def find_holder(port: int) -> Holder | None:
    """Who listens on a port, on any address; None where nobody does or it is another user's process."""
    # The kernel gives its tables in pieces: what moves while they are read may be in none of them.
    return next(filter(None, (_look_for_holder(port) for _ in range(LOOKS))), None)


def _look_for_holder(port: int) -> Holder | None:
    sockets = {f"socket:[{inode}]" for inode in _listening(port)}
    if not sockets:
        return None
    for process in sorted(PROC.glob("[0-9]*"), key=lambda path: int(path.name)):
        with suppress(OSError):  # it ended meanwhile, or is another user's
            if any(_points_to(link) in sockets for link in (process / "fd").iterdir()):
                return Holder(int(process.name), (process / "comm").read_text().strip())
    return None


def _points_to(link: Path) -> str:
    """Where a descriptor points; "" for one that was closed since it was listed."""
    try:
        return str(link.readlink())
    except OSError:
        return ""


def _listening(port: int) -> list[str]:
    found = []
    for table in (PROC / "net/tcp", PROC / "net/tcp6"):
        lines = table.read_text().splitlines()[1:] if table.exists() else []
        for facts in (line.split() for line in lines):
            if facts[3] == LISTENING and int(facts[1].rpartition(":")[2], 16) == port:
                found.append(facts[9])
    return found
