"""The lease of an endpoint's traffic: who holds it may move the weights, for a rollout or by hand."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from datetime import datetime

from sluiceway.catalog.claim import Claim, claim, living
from sluiceway.catalog.leases import LeaseStore
from sluiceway.core.clock import Clock


def hold_traffic(
    leases: LeaseStore, endpoint: str, *, clock: Clock, rollout_id: str = ""
) -> AbstractContextManager[Claim]:
    """Hold an endpoint's traffic while the body runs: see :func:`sluiceway.catalog.claim.claim`.

    Args:
        leases: the catalog's.
        endpoint: its name.
        clock: gives the lease its times.
        rollout_id: the rollout that it is held for; "": it is held by hand.

    Raises:
        ConflictError: somebody else holds it.
    """
    return claim(leases, f"rollout:{endpoint}", clock=clock, body=json.dumps({"rollout": rollout_id}))


def run_now(leases: LeaseStore, endpoint: str, *, now: datetime) -> tuple[str, str] | None:
    """The rollout that an endpoint's traffic is held for, and by whom; None where it is free or held by hand.

    Args:
        leases: the catalog's.
        endpoint: its name.
        now: the present time, UTC-aware.

    Returns:
        The id of the rollout, which may have no row yet while what it needs is deployed, and its runner.
    """
    held_for, owner = _held(leases, endpoint, now)
    return (held_for, owner) if held_for else None


def runner_of(leases: LeaseStore, endpoint: str, rollout_id: str, *, now: datetime) -> str | None:
    """Who runs a rollout, or None; a process of a former release does not say for which one it holds the traffic.

    Args:
        leases: the catalog's.
        endpoint: its name.
        rollout_id: of the rollout.
        now: the present time, UTC-aware.
    """
    held_for, owner = _held(leases, endpoint, now)
    return owner if owner and held_for in (rollout_id, None) else None


def _held(leases: LeaseStore, endpoint: str, now: datetime) -> tuple[str | None, str]:
    """What for ("": by hand, None: it is not said), and by whom ("": by nobody)."""
    held = living(leases, f"rollout:{endpoint}", now=now)
    return (None, "") if held is None else (json.loads(held.body).get("rollout"), held.owner)
