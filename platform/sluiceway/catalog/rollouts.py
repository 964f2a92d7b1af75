"""Rollouts, their journals, and what people tell them, and what they saw; append-only."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from sluiceway.catalog.dialect import insert, reaching
from sluiceway.catalog.schema import rollout_commands, rollout_journal, rollout_looks, rollouts
from sluiceway.core.command import Command, Order
from sluiceway.core.errors import ConflictError

# So many who tell a rollout something at once are served; one more is told to try again.
TRIES = 20


@dataclass(frozen=True)
class RolloutRow:
    """A rollout; ``plan`` is its JSON text, ``created`` UTC epoch seconds."""

    rollout_id: str
    endpoint: str
    plan: str
    created: float


@dataclass(frozen=True)
class JournalRow:
    """One transition; ``state`` and ``evidence`` are JSON text, ``created`` UTC epoch seconds, sequence from 1."""

    sequence: int
    state: str
    action: str
    evidence: str
    created: float


@dataclass(frozen=True)
class LookRow:
    """What was seen at a time, UTC epoch seconds; ``state`` and ``seen`` are JSON text."""

    time: float
    state: str
    seen: str


class RolloutStore:
    """Reads and appends; of what has begun nothing is ever changed or removed."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def create(self, rollout_id: str, *, endpoint: str, plan: str, now: float) -> RolloutRow:
        """Write a rollout down, or return the one that has this id already.

        Args:
            rollout_id: unique name.
            endpoint: name of the endpoint.
            plan: JSON text.
            now: UTC epoch seconds.

        Raises:
            ConflictError: the id belongs to a rollout of another endpoint.
        """
        row = RolloutRow(rollout_id, endpoint, plan, now)
        statement = insert(self._engine, rollouts).values(**row.__dict__).on_conflict_do_nothing()
        with reaching(self._engine), self._engine.begin() as connection:
            connection.execute(statement)
        stored = self.get(rollout_id)
        if stored is None or stored.endpoint != endpoint:
            raise ConflictError(
                f"rollout {rollout_id} exists and is not one of endpoint {endpoint}", hint="choose another id"
            )
        return stored

    def replan(self, rollout_id: str, *, endpoint: str, plan: str, now: float) -> bool:
        """Give a rollout that has not begun another plan; nothing happens to one whose journal has an entry.

        Args:
            rollout_id: its name.
            endpoint: name of its endpoint; nothing happens to a rollout of another one.
            plan: JSON text.
            now: UTC epoch seconds.

        Returns:
            Whether it has this plan now.
        """
        c = rollouts.c
        begun = sa.exists().where(rollout_journal.c.rollout_id == rollout_id)
        statement = (
            sa.update(rollouts)
            .where(c.rollout_id == rollout_id, c.endpoint == endpoint, ~begun)
            .values(plan=plan, created=now)
        )
        with reaching(self._engine), self._engine.begin() as connection:
            return connection.execute(statement).rowcount == 1

    def get(self, rollout_id: str) -> RolloutRow | None:
        """One rollout, or None."""
        with reaching(self._engine), self._engine.connect() as connection:
            row = connection.execute(sa.select(rollouts).where(rollouts.c.rollout_id == rollout_id)).mappings().first()
        return None if row is None else RolloutRow(**row)

    def append(self, rollout_id: str, row: JournalRow) -> None:
        """Add the next entry to a journal.

        Raises:
            ConflictError: there is an entry of this sequence number already: another controller was faster.
        """
        statement = insert(self._engine, rollout_journal).values(rollout_id=rollout_id, **row.__dict__)
        with reaching(self._engine), self._engine.begin() as connection:
            written = connection.execute(statement.on_conflict_do_nothing()).rowcount
        if written != 1:
            raise ConflictError(
                f"entry {row.sequence} of the journal of rollout {rollout_id} was written by another controller",
                hint="only one controller may run a rollout; let the other one finish, then resume",
                rollout_id=rollout_id,
                sequence=row.sequence,
            )

    def journal(self, rollout_id: str) -> list[JournalRow]:
        """All entries of a journal, in order."""
        c = rollout_journal.c
        query = (
            sa.select(c.sequence, c.state, c.action, c.evidence, c.created)
            .where(c.rollout_id == rollout_id)
            .order_by(c.sequence)
        )
        with reaching(self._engine), self._engine.connect() as connection:
            return [JournalRow(**row) for row in connection.execute(query).mappings()]

    def command(self, rollout_id: str, order: Order, *, who: str, reason: str, now: float) -> Command:
        """Tell a rollout something; whoever runs it reads it at its next look.

        Args:
            rollout_id: its name.
            order: what is asked for.
            who: asks.
            reason: why, or "".
            now: UTC epoch seconds.

        Raises:
            ConflictError: too many tell it something at once.
        """
        c = rollout_commands.c
        for _ in range(TRIES):
            with reaching(self._engine), self._engine.begin() as connection:
                newest = connection.execute(
                    sa.select(sa.func.coalesce(sa.func.max(c.sequence), 0)).where(c.rollout_id == rollout_id)
                ).scalar_one()
                command = Command(newest + 1, order, who, reason, now)
                values = {"rollout_id": rollout_id, **command.__dict__, "order": str(order)}
                statement = insert(self._engine, rollout_commands).values(values).on_conflict_do_nothing()
                if connection.execute(statement).rowcount == 1:
                    return command
        raise ConflictError(f"too many tell rollout {rollout_id} something at once", hint="try again")

    def next_command(self, rollout_id: str, *, after: int) -> Command | None:
        """The oldest command of a later sequence number, or None."""
        c = rollout_commands.c
        query = (
            sa.select(c.sequence, c.order, c.who, c.reason, c.created)
            .where(c.rollout_id == rollout_id, c.sequence > after)
            .order_by(c.sequence)
            .limit(1)
        )
        with reaching(self._engine), self._engine.connect() as connection:
            row = connection.execute(query).mappings().first()
        return None if row is None else Command(**{**row, "order": Order(row["order"])})

    def look(self, rollout_id: str, row: LookRow) -> None:
        """Keep a look; nothing happens where there is one of its time."""
        statement = insert(self._engine, rollout_looks).values(rollout_id=rollout_id, **row.__dict__)
        with reaching(self._engine), self._engine.begin() as connection:
            connection.execute(statement.on_conflict_do_nothing())

    def looks(self, rollout_id: str) -> list[LookRow]:
        """All looks of a rollout, in order."""
        c = rollout_looks.c
        query = sa.select(c.time, c.state, c.seen).where(c.rollout_id == rollout_id).order_by(c.time)
        with reaching(self._engine), self._engine.connect() as connection:
            return [LookRow(**row) for row in connection.execute(query).mappings()]

    def lengths(self) -> dict[str, int]:
        """How many entries each journal has, by rollout; one without any is left out."""
        c = rollout_journal.c
        query = sa.select(c.rollout_id, sa.func.max(c.sequence)).group_by(c.rollout_id)
        with reaching(self._engine), self._engine.connect() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def list(self, endpoint: str | None = None) -> list[RolloutRow]:
        """Rollouts of one endpoint or of all, the newest first."""
        query = sa.select(rollouts).order_by(rollouts.c.created.desc(), rollouts.c.rollout_id.desc())
        if endpoint is not None:
            query = query.where(rollouts.c.endpoint == endpoint)
        with reaching(self._engine), self._engine.connect() as connection:
            return [RolloutRow(**row) for row in connection.execute(query).mappings()]
