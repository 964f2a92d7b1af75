"""One process runs a configuration at a time; the claim of one that is seen to be dead is taken over at once."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from pathlib import Path

from sluiceway.catalog.leases import Lease, LeaseStore
from sluiceway.core.clock import Clock
from sluiceway.core.errors import BackendError, ConflictError

# A claim outlives a lost heartbeat by this long; only a process elsewhere is ever waited for.
TTL_SECONDS = 60.0
HEARTBEAT_SECONDS = 15.0
# Another one on each machine, and after each of its starts.
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_log = logging.getLogger(__name__)


class Claim:
    """A lease that is held while a body runs.

    Args:
        leases: the catalog's.
        name: what is held.
        owner: who holds it.
        clock: gives the lease its times.
        body: JSON document kept with it.

    Attributes:
        lost: somebody else has had it since, as far as is known; for good.
    """

    def __init__(self, leases: LeaseStore, name: str, *, owner: str, clock: Clock, body: str) -> None:
        self._leases, self._name, self._owner, self._clock, self._body = leases, name, owner, clock, body
        self.lost = False

    def acquire(self) -> bool:
        """Take it where it is free, expired or one's own; False where somebody else holds it."""
        return self._leases.acquire(
            self._name, owner=self._owner, ttl=TTL_SECONDS, now=self._clock.now(), body=self._body
        )

    def check(self) -> None:
        """See that it is still held; asks the catalog.

        Raises:
            ConflictError: it was lost; says who has it now.
            BackendError: the catalog does not answer.
        """
        self._hold()
        if self.lost:
            who = holder(self._leases, self._name, now=self._clock.now()) or "nobody"
            raise ConflictError(
                f"the lease {self._name} was lost: {who} has it now",
                hint="see what has happened meanwhile, then begin again",
            )

    def beat(self, stop: threading.Event) -> None:
        """Keep it until told to stop, or until it is lost; a catalog that does not answer is asked again.

        Args:
            stop: ends it.
        """
        while not self.lost and not stop.wait(HEARTBEAT_SECONDS):
            try:
                self._hold()
            except BackendError as error:
                _log.warning("the lease %s could not be renewed: %s", self._name, error.message)

    def _hold(self) -> None:
        if self.lost or self._leases.renew(self._name, owner=self._owner, ttl=TTL_SECONDS, now=self._clock.now()):
            return
        # One that has ended and still has this owner's name was nobody else's meanwhile: whoever takes it puts another
        # name there, and whoever gives it back removes it.
        self.lost = holder(self._leases, self._name) != self._owner or not self.acquire()


# What the bodies around this one hold.
_around: ContextVar[Mapping[tuple[LeaseStore, str], Claim]] = ContextVar("claims", default={})  # noqa: B039 (replaced)


@contextmanager
def claim(leases: LeaseStore, name: str, *, clock: Clock, body: str = "{}") -> Iterator[Claim]:
    """Hold a lease while the body runs; in a body that holds it already, go on holding it.

    Args:
        leases: the catalog's.
        name: what to hold.
        clock: gives the lease its times.
        body: JSON document kept with it; that of the outermost claim counts.

    Yields:
        What tells whether it is still held.

    Raises:
        ConflictError: a living process holds it, or it was held by a body around this one, and lost.
    """
    outer = _around.get().get((leases, name))
    if outer is not None:
        outer.check()
        yield outer
        return
    owner = f"{_place()}:{os.getpid()}:{_started(os.getpid())}"
    held = Claim(leases, name, owner=owner, clock=clock, body=body)
    _release_the_dead(leases, name)
    if not held.acquire():
        who = holder(leases, name) or "another process"
        raise ConflictError(
            f"{name} is being run by {who}", hint=f"wait for it, or end it; its claim ends {TTL_SECONDS:.0f} s later"
        )
    stop = threading.Event()
    heart = threading.Thread(target=held.beat, args=(stop,), daemon=True, name=f"lease {name}")
    heart.start()
    _around.set({**_around.get(), (leases, name): held})
    try:
        yield held
    finally:
        _around.set({key: one for key, one in _around.get().items() if one is not held})
        stop.set()
        heart.join()
        leases.release(name, owner=owner)


def holder(leases: LeaseStore, name: str, *, now: datetime | None = None) -> str | None:
    """Who holds a lease, or None; a process that is seen to be dead holds nothing.

    Args:
        leases: the catalog's.
        name: of the lease.
        now: given, one that has ended is nobody's.
    """
    held = living(leases, name, now=now)
    return None if held is None else held.owner


def living(leases: LeaseStore, name: str, *, now: datetime | None = None) -> Lease | None:
    """The lease of a process that is not seen to be dead, or None: see :func:`holder`."""
    held = (lease for lease in leases.list(name, now=now) if lease.name == name)
    return next((lease for lease in held if not _is_dead(lease.owner)), None)


def _release_the_dead(leases: LeaseStore, name: str) -> None:
    for lease in leases.list(name):
        if lease.name == name and _is_dead(lease.owner):
            leases.release(name, owner=lease.owner)


def _is_dead(owner: str) -> bool:
    """Whether it can be seen from here that a process has ended; of one elsewhere only its lease's end tells."""
    place, _, process = owner.partition(":")
    pid, _, started = process.partition(":")
    # A host's name alone, or one without the boot, as owners were written before: where their pid is one is not known.
    return "/" in place and place == _place() and pid.isdigit() and _started(int(pid)) != started


def _place() -> str:
    """Where a pid is that of one process only; the host's name alone where that cannot be seen.

    Containers of one host name may each have pids of their own, and the first namespace of every machine has the same
    number: machines of one name differ by their boot.
    """
    host = socket.gethostname()
    try:
        boot = BOOT_ID.read_text().strip().rpartition("-")[2]  # 48 random bits, which is short enough to be shown
        return f"{host}/{Path('/proc/self/ns/pid').stat().st_ino}-{boot}" if boot else host
    except OSError:
        return host


def _started(pid: int) -> str:
    """When a process began, in clock ticks since boot; "" where it is gone. A reused pid has another start."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""
