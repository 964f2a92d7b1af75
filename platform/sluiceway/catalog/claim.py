"""One process runs a configuration at a time; a dead one's claim is taken over at once."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from sluiceway.catalog.leases import LeaseStore
from sluiceway.core.clock import Clock
from sluiceway.core.errors import ConflictError

# A claim outlives a lost heartbeat by this long; only a process on another machine is ever waited for.
TTL_SECONDS = 60.0
HEARTBEAT_SECONDS = 15.0


@contextmanager
def claim(leases: LeaseStore, name: str, *, clock: Clock, body: str = "{}") -> Iterator[None]:
    """Hold a lease while the body runs.

    Args:
        leases: the catalog's.
        name: what to hold.
        clock: gives the lease its times.
        body: JSON document kept with it.

    Raises:
        ConflictError: a living process holds it.
    """
    owner = f"{socket.gethostname()}:{os.getpid()}:{_started(os.getpid())}"
    _release_the_dead(leases, name)
    if not leases.acquire(name, owner=owner, ttl=TTL_SECONDS, now=clock.now(), body=body):
        who = holder(leases, name) or "another process"
        raise ConflictError(
            f"{name} is being run by {who}", hint=f"wait for it, or end it; its claim ends {TTL_SECONDS:.0f} s later"
        )
    stop = threading.Event()
    heart = threading.Thread(target=_beat, args=(leases, name, owner, clock, stop), daemon=True, name=f"lease {name}")
    heart.start()
    try:
        yield
    finally:
        stop.set()
        heart.join()
        leases.release(name, owner=owner)


def holder(leases: LeaseStore, name: str, *, now: datetime | None = None) -> str | None:
    """Who holds a lease, or None.

    Args:
        leases: the catalog's.
        name: of the lease.
        now: given, one that has ended is nobody's.
    """
    return next((lease.owner for lease in leases.list(name, now=now) if lease.name == name), None)


def _beat(leases: LeaseStore, name: str, owner: str, clock: Clock, stop: threading.Event) -> None:
    while not stop.wait(HEARTBEAT_SECONDS):
        leases.renew(name, owner=owner, ttl=TTL_SECONDS, now=clock.now())


def _release_the_dead(leases: LeaseStore, name: str) -> None:
    for lease in leases.list(name):
        host, _, process = lease.owner.partition(":")
        pid, _, started = process.partition(":")
        if lease.name == name and host == socket.gethostname() and pid.isdigit() and _started(int(pid)) != started:
            leases.release(name, owner=lease.owner)


def _started(pid: int) -> str:
    """When a process began, in clock ticks since boot; "" where it is gone. A reused pid has another start."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""
