"""What people tell a rollout by ``sluiceway rollout pause|resume|promote|abort``, and what becomes of it."""

from __future__ import annotations

import getpass
import time
from datetime import UTC, datetime

from rich.console import Console
from rich.markup import escape

from sluiceway.catalog.claim import holder
from sluiceway.catalog.stores import Stores
from sluiceway.cli.output import print_json, program
from sluiceway.config.load import load_platform
from sluiceway.core.command import Command, Order
from sluiceway.core.errors import InputError
from sluiceway.rollout.journal import Journal
from sluiceway.rollout.state import TERMINAL, Phase
from sluiceway.wiring.stores import read_stores


def tell(config: str | None, name: str, order: Order, reason: str, wait: float, *, as_json: bool) -> None:
    """Leave a command in the catalog, wait for what becomes of it, and say so.

    Args:
        config: the configuration that says where the catalog is, or None.
        name: of the rollout, or of its endpoint.
        order: what is asked for.
        reason: why, or "".
        wait: seconds.
        as_json: print one JSON document.

    Raises:
        InputError: there is no such rollout, or it has ended.
    """
    stores = read_stores(load_platform(config))
    rollout_id = found(stores, name)
    command = stores.rollouts.command(rollout_id, order, who=getpass.getuser(), reason=reason, now=time.time())
    told = _obeyed(stores, rollout_id, command, wait)
    if as_json:
        print_json({"rollout": rollout_id, "told": str(order), "answer": told})
    else:
        Console().print(escape(f"{rollout_id}: {told}"), soft_wrap=True, highlight=False)


def _obeyed(stores: Stores, rollout_id: str, command: Command, wait: float) -> str:
    """What has become of a command, within the seconds that it is waited for.

    Raises:
        InputError: the rollout has ended without obeying it.
    """
    if runner(stores, Journal.open(stores.rollouts, rollout_id).plan.endpoint) is None:
        return f"nobody runs it; whoever goes on with it, e.g. `{program()} run CONFIG`, obeys first"
    ends = time.monotonic() + wait
    while time.monotonic() < ends:
        entries = Journal.open(stores.rollouts, rollout_id).entries
        done = next((entry for entry in entries if entry.state.commands >= command.sequence), None)
        if done is not None:
            return done.action
        if entries and entries[-1].state.terminal:
            raise InputError(f"rollout {rollout_id} has ended meanwhile: {entries[-1].state.phase}")
        time.sleep(0.2)
    return f"it has been told to {command.order}, and has not obeyed yet"


def found(stores: Stores, name: str) -> str:
    """The rollout of an id, or the one of an endpoint that is under way.

    Raises:
        InputError: there is none, or it has ended.
    """
    known = stores.rollouts.list()
    rows = [row for row in known if name in (row.rollout_id, row.endpoint)]
    if not rows:
        there = ", ".join(row.rollout_id for row in known[:5])
        raise InputError(f"there is no rollout {name}", hint=f"the newest are: {there or 'none'}")
    phases: list[Phase] = []
    for row in rows:
        phases.append(Journal.open(stores.rollouts, row.rollout_id).state.phase)
        if phases[-1] not in TERMINAL:
            return row.rollout_id
    raise InputError(
        f"rollout {rows[0].rollout_id} has ended: {phases[0]}", hint="`rollout status` lists those under way"
    )


def runner(stores: Stores, endpoint: str) -> str | None:
    """Who holds the lease of an endpoint's rollout."""
    return holder(stores.leases, f"rollout:{endpoint}", now=datetime.now(UTC))
