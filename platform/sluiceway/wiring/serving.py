"""The way to a Serve: by a dashboard's address, or by the Ray that this process joins or starts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from sluiceway.catalog.leases import METRICS_LEASES, LeaseStore
from sluiceway.config.load import ray_address
from sluiceway.config.platform import PlatformSection
from sluiceway.serving.doors import JoinedServe, RestServe, ServeDoor
from sluiceway.wiring.cluster import connect_ray, disconnect, is_connected


def is_dashboard(address: str | None) -> bool:
    """Whether an address is that of a dashboard, whose REST API is asked, and not that of a Ray, which is joined."""
    return address is not None and address.startswith(("http://", "https://"))


def known_ray(
    address: str | None, platform: PlatformSection, leases: LeaseStore, *, now: datetime, endpoint: str | None = None
) -> str | None:
    """Where a running Serve is to be looked for; None: nowhere, and none is started for a look.

    Args:
        address: that somebody gave; it wins.
        platform: whose ``ray.address`` comes next, then ``RAY_ADDRESS``.
        leases: of the catalog: replicas that live say of which Ray they are, which finds a local `serve up`.
        now: the present time, UTC-aware.
        endpoint: which is looked for: where replicas of it live, only they say.
    """
    given = address or ray_address(platform.ray)
    if given:
        return given
    living = _living(leases, now)
    told = {one.get("ray", "") for one in [of for of in living if of.get("endpoint") == endpoint] or living} - {""}
    return told.pop() if len(told) == 1 else None


def replicas_live(leases: LeaseStore, *, now: datetime) -> bool:
    """Whether replicas live; where :func:`known_ray` finds none, on several Rays, or on one that they do not name.

    Args:
        leases: of the catalog.
        now: the present time, UTC-aware.
    """
    return bool(_living(leases, now))


def _living(leases: LeaseStore, now: datetime) -> list[dict[str, str]]:
    return [json.loads(lease.body) for lease in leases.list(METRICS_LEASES, now=now)]


@contextmanager
def joined(address: str | None, platform: PlatformSection, *, catalog: str | None = None) -> Iterator[ServeDoor]:
    """A Serve to ask, for a while.

    Args:
        address: a dashboard's URL; or of a Ray to join, in place of the platform's; None takes the platform's.
        platform: the platform.
        catalog: its catalog's URL where replicas are going to need it.

    Raises:
        BackendError: nobody answers there.
    """
    if is_dashboard(address):
        yield RestServe(str(address))
        return
    section = platform.ray.model_copy(update={"address": address}) if address else platform.ray
    before = is_connected()
    connect_ray(section, catalog=catalog)
    try:
        yield JoinedServe()
    finally:
        if not before:
            disconnect()
