"""Whether an interface can be reached from this machine alone."""

from __future__ import annotations

import ipaddress


def is_loopback(host: str | None) -> bool:
    """True for ``localhost`` and for a loopback address; false for every other name, and where there is none.

    A name could be resolved; it is not, because what it stands for may change while a server listens.

    Args:
        host: what a server was told to listen on.
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False
