"""What people tell a rollout by ``sluiceway rollout pause|resume|promote|abort``, and what becomes of it."""

from __future__ import annotations

import getpass
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from rich.console import Console
from rich.markup import escape

from sluiceway.catalog.stores import Stores
from sluiceway.cli.output import print_json, program
from sluiceway.config.load import load_platform
from sluiceway.core.clock import SystemClock
from sluiceway.core.command import Command, Order
from sluiceway.core.errors import ConflictError, InputError
from sluiceway.rollout.journal import Entry, Journal, unfinished
from sluiceway.rollout.lease import hold_traffic, run_now, runner_of
from sluiceway.rollout.plan import RolloutPlan
from sluiceway.rollout.state import Phase, RolloutState
from sluiceway.wiring.stores import read_stores

JUDGED_IN_A_PAUSE = (
    "the version goes on to answer its share, and is judged on only while somebody runs the rollout (`rollout status` "
    "tells who): a run in the foreground ends with the pause, and then only the replicas' breakers judge it"
)


@dataclass(frozen=True)
class Answer:
    """What has become of a command: one sentence, whether it was obeyed, and what else is to be known."""

    told: str
    obeyed: bool
    notes: tuple[str, ...] = ()


def tell(
    config: str | None, name: str, order: Order, reason: str, wait: float, *, as_json: bool, address: str | None = None
) -> int:
    """Leave a command in the catalog, wait for what becomes of it, and say so; abort what nobody runs.

    Args:
        config: the configuration that says where the catalog is, or None.
        name: of the rollout, or of its endpoint.
        order: what is asked for.
        reason: why, or "".
        wait: seconds; 0: it is only left.
        as_json: print one JSON document.
        address: of the Serve that an abort by hand is for, where somebody gave one.

    Returns:
        The exit code: 0 where it was obeyed, or only left; 1 where it was refused, or not obeyed within ``wait``.

    Raises:
        InputError: there is no such rollout, or it has ended.
    """
    stores = read_stores(load_platform(config))
    rollout_id = found(stores, name)
    answer = None
    if order is Order.ABORT:
        answer = _aborted_here(stores, rollout_id, config=config, address=address, reason=reason, wait=wait)
    if answer is None:
        command = stores.rollouts.command(rollout_id, order, who=getpass.getuser(), reason=reason, now=time.time())
        answer = _answer(stores, rollout_id, command, wait)
    if as_json:
        body = {"rollout": rollout_id, "told": str(order), "answer": answer.told, "obeyed": answer.obeyed}
        print_json({**body, "notes": list(answer.notes)})
    else:
        for line in (f"{rollout_id}: {answer.told}", *answer.notes):
            Console().print(escape(line), soft_wrap=True, highlight=False)
    return 0 if answer.obeyed or wait <= 0 else 1


def named(stores: Stores, name: str) -> Journal:
    """The rollout that a person names: by its id, or by its endpoint, the one under way there, else the newest one.

    Args:
        stores: the catalog's.
        name: of the rollout, or of its endpoint.

    Raises:
        InputError: there is no rollout of this id, and none of this endpoint.
    """
    known = stores.rollouts.list()
    rows = [row for row in known if row.rollout_id == name] or [row for row in known if row.endpoint == name]
    if not rows:
        there = ", ".join(row.rollout_id for row in known[:5])
        raise InputError(
            f"there is no rollout {name}, and no endpoint of this name has had one",
            hint=f"the newest are: {there or 'none'}",
        )
    newest: Journal | None = None
    for row in rows:
        journal = Journal(stores.rollouts, RolloutPlan.from_json(row.plan))
        if journal.entries and not journal.state.terminal:
            return journal
        newest = newest or journal
    assert newest is not None
    return newest


def found(stores: Stores, name: str) -> str:
    """The id of the rollout that a person names, which has to be under way: see :func:`named`.

    Args:
        stores: the catalog's.
        name: of the rollout, or of its endpoint.

    Raises:
        InputError: there is none, or it has ended, or never begun.
    """
    journal = named(stores, name)
    rollout_id = journal.plan.rollout_id
    if journal.entries and not journal.state.terminal:
        return rollout_id
    endpoint = journal.plan.endpoint
    for asked in _asked(stores, endpoint):
        if name in (asked, endpoint):
            return asked
    what = f"has ended: {journal.state.phase}" if journal.entries else "has not begun, and nobody runs it"
    raise InputError(f"rollout {rollout_id} {what}", hint="`rollout status` lists those under way")


def under_way(stores: Stores, endpoint: str) -> Sequence[str]:
    """Ids of an endpoint's rollouts that are under way; one that has not begun is, while somebody runs it.

    Args:
        stores: the catalog's.
        endpoint: its name.
    """
    return list(unfinished(stores.rollouts, endpoint)) or _asked(stores, endpoint)


def runner(stores: Stores, endpoint: str, rollout_id: str) -> str | None:
    """Who runs a rollout of an endpoint, or None."""
    return runner_of(stores.leases, endpoint, rollout_id, now=datetime.now(UTC))


def _asked(stores: Stores, endpoint: str) -> Sequence[str]:
    """The rollout that hooks are asked about whether it may start; what they have not let has no entry, either."""
    held = run_now(stores.leases, endpoint, now=datetime.now(UTC))
    if held is None or stores.rollouts.get(held[0]) is None or stores.rollouts.journal(held[0]):
        return ()
    return (held[0],)


def _aborted_here(
    stores: Stores, rollout_id: str, *, config: str | None, address: str | None, reason: str, wait: float
) -> Answer | None:
    """What has become of a rollout that nobody runs; None where somebody does, who is to be told."""
    plan = Journal.open(stores.rollouts, rollout_id).plan
    if not _comes_free(stores, plan, wait):
        return None
    from sluiceway.cli.rollout_abort import abort_here  # noqa: PLC0415 (Serve, which other commands do not need)

    told = f"by {getpass.getuser()}" + (f": {reason}" if reason else "")
    try:
        done = abort_here(plan, stores, config=config, address=address, reason=told)
    except ConflictError:  # somebody has just begun to run it
        return None
    champion = plan.champion.version if plan.champion else "none"
    what = f"{done.outcome.status.replace('_', ' ')}; nobody ran it, so it was done from here"
    return Answer(f"{what}. Version {champion} answers all requests", True, done.notes)


def _comes_free(stores: Stores, plan: RolloutPlan, wait: float) -> bool:
    """True where no living process runs the rollout; who holds its traffic for something else is waited for."""
    ends = time.monotonic() + wait
    while True:
        try:
            with hold_traffic(stores.leases, plan.endpoint, clock=SystemClock()):
                return True
        except ConflictError:
            if runner(stores, plan.endpoint, plan.rollout_id) is not None or time.monotonic() >= ends:
                return False
        time.sleep(0.2)


def _answer(stores: Stores, rollout_id: str, command: Command, wait: float) -> Answer:
    """What has become of a command, within the seconds that it is waited for."""
    plan = Journal.open(stores.rollouts, rollout_id).plan
    if runner(stores, plan.endpoint, rollout_id) is None:
        return Answer(_unrun(plan), obeyed=False)
    ends = time.monotonic() + wait
    while time.monotonic() < ends:
        entries = Journal.open(stores.rollouts, rollout_id).entries
        for before, entry in zip((None, *entries), entries, strict=False):
            if entry.state.commands >= command.sequence:
                return _become(before, entry, command)
        if entries and entries[-1].state.terminal:
            phase = entries[-1].state.phase
            wanted = command.order is Order.ABORT and phase is Phase.ROLLED_BACK
            return Answer(f"it has ended meanwhile: {phase}", obeyed=wanted)
        time.sleep(0.2)
    return Answer(f"it has been told to {command.order}, and has not obeyed yet", obeyed=False)


def _become(before: Entry | None, entry: Entry, command: Command) -> Answer:
    """Refused, it is all that an entry says; who asked for more than a hook lets has a pause; an abort goes first."""
    old = RolloutState() if before is None else before.state
    refused = replace(entry.state, commands=old.commands) == old
    paused = entry.state.phase is Phase.PAUSED and command.order is not Order.PAUSE
    passed_over = entry.state.commands > command.sequence
    obeyed = not (refused or paused or passed_over)
    notes = (JUDGED_IN_A_PAUSE,) if obeyed and command.order is Order.PAUSE else ()
    return Answer(entry.action, obeyed, notes)


def _unrun(plan: RolloutPlan) -> str:
    start = f"{program()} rollout start {plan.model}@{plan.version} --config CONFIG"
    return f"nobody runs it; whoever goes on with it obeys first: `{start}`"
