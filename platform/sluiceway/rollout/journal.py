"""The journal of one rollout: every transition is in it before its effect is anywhere else."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from sluiceway.catalog.rollouts import JournalRow, LookRow, RolloutRow
from sluiceway.core.command import Command, Order
from sluiceway.core.errors import InputError
from sluiceway.rollout.plan import RolloutPlan
from sluiceway.rollout.state import RolloutState

if TYPE_CHECKING:
    from collections.abc import Iterable


class Rollouts(Protocol):
    """What a journal needs of :class:`sluiceway.catalog.rollouts.RolloutStore`."""

    def create(self, rollout_id: str, *, endpoint: str, plan: str, now: float) -> RolloutRow:
        """Write a rollout down, or return the one that has this id."""

    def get(self, rollout_id: str) -> RolloutRow | None:
        """One rollout, or None."""

    def list(self, endpoint: str | None = None) -> Sequence[RolloutRow]:
        """Rollouts, the newest first."""

    def append(self, rollout_id: str, row: JournalRow) -> None:
        """Add the next entry; ConflictError where there is one of its sequence number."""

    def journal(self, rollout_id: str) -> Sequence[JournalRow]:
        """All entries, in order."""

    def next_command(self, rollout_id: str, *, after: int) -> Command | None:
        """The oldest command of a later sequence number, or None."""

    def look(self, rollout_id: str, row: LookRow) -> None:
        """Keep a look; nothing happens where there is one of its time."""

    def looks(self, rollout_id: str) -> Sequence[LookRow]:
        """All looks of a rollout, in order."""


@dataclass(frozen=True)
class Entry:
    """One transition.

    Attributes:
        sequence: from 1.
        state: what the rollout changed to.
        action: what was decided, one line.
        evidence: verdicts and counts behind the decision, JSON-ready.
        time: UTC epoch seconds.
    """

    sequence: int
    state: RolloutState
    action: str
    evidence: Mapping[str, Any]
    time: float


class Journal:
    """Reads and appends one rollout's entries; two writers of the same entry cannot both succeed."""

    def __init__(self, rollouts: Rollouts, plan: RolloutPlan) -> None:
        self._rollouts = rollouts
        self.plan = plan
        self._entries = [read_entry(row) for row in rollouts.journal(plan.rollout_id)]

    @classmethod
    def begin(cls, rollouts: Rollouts, plan: RolloutPlan) -> Journal:
        """Open the journal of a plan; where one with its id exists, that one's plan counts."""
        stored = rollouts.create(plan.rollout_id, endpoint=plan.endpoint, plan=plan.to_json(), now=plan.created)
        return cls(rollouts, RolloutPlan.from_json(stored.plan))

    @classmethod
    def open(cls, rollouts: Rollouts, rollout_id: str) -> Journal:
        """Open the journal of an existing rollout.

        Raises:
            InputError: there is no such rollout.
        """
        stored = rollouts.get(rollout_id)
        if stored is None:
            known = ", ".join(row.rollout_id for row in rollouts.list()[:5])
            raise InputError(f"there is no rollout {rollout_id}", hint=f"the newest are: {known or 'none'}")
        return cls(rollouts, RolloutPlan.from_json(stored.plan))

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All entries, in order."""
        return tuple(self._entries)

    @property
    def state(self) -> RolloutState:
        """The newest entry's state; pending before the first."""
        return self._entries[-1].state if self._entries else RolloutState(since=self.plan.created)

    def next_command(self, *, first: Sequence[Order] = ()) -> Command | None:
        """The oldest command that nobody has obeyed or refused yet, or None.

        Args:
            first: orders that go before all others, the most urgent one first; what came before such a one is passed
                over.
        """
        oldest = self._next_command(self.state.commands)
        if not first or oldest is None:
            return oldest
        waiting = [oldest]
        while (later := self._next_command(waiting[-1].sequence)) is not None:
            waiting.append(later)
        return next((one for order in first for one in waiting if one.order is order), oldest)

    def _next_command(self, after: int) -> Command | None:
        return self._rollouts.next_command(self.plan.rollout_id, after=after)

    def append(self, state: RolloutState, *, action: str, evidence: Mapping[str, Any], now: float) -> None:
        """Write the next transition.

        Args:
            state: what the rollout changes to.
            action: what was decided, one line.
            evidence: JSON-ready.
            now: UTC epoch seconds.

        Raises:
            ConflictError: another controller has written this entry.
        """
        row = JournalRow(len(self._entries) + 1, state.to_json(), action, json.dumps(evidence, sort_keys=True), now)
        self._rollouts.append(self.plan.rollout_id, row)
        self._entries.append(read_entry(row))


def unfinished(rollouts: Rollouts, endpoint: str) -> Iterable[str]:
    """Ids of the endpoint's rollouts that have begun and not ended, the newest first."""
    for row in rollouts.list(endpoint):
        journal = rollouts.journal(row.rollout_id)
        if journal and not RolloutState.from_json(journal[-1].state).terminal:
            yield row.rollout_id


def read_entry(row: JournalRow) -> Entry:
    """An entry of the catalog."""
    return Entry(row.sequence, RolloutState.from_json(row.state), row.action, json.loads(row.evidence), row.created)
