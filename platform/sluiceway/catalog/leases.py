"""Leases: who holds a name until when; by compare-and-set, so that one of two always loses."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from sluiceway.catalog.dialect import insert, reaching
from sluiceway.catalog.schema import leases

# Before the id of a process that shows metrics; the body says where.
METRICS_LEASES = "metrics:"


@dataclass(frozen=True)
class Lease:
    """A name that somebody holds.

    Attributes:
        name: what is held, e.g. ``rollout:fraud`` or ``metrics:<replica>``.
        owner: who holds it.
        expires: UTC epoch seconds; at that moment it is free again.
        body: a JSON document of the owner's.
    """

    name: str
    owner: str
    expires: float
    body: str = "{}"


class LeaseStore:
    """Acquires, renews, releases and lists leases."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def acquire(self, name: str, *, owner: str, ttl: float, now: datetime, body: str = "{}") -> bool:
        """Take a free, expired or own lease.

        Args:
            name: what to hold.
            owner: who takes it; unique to the process, or two could hold it.
            ttl: seconds until it is free again.
            now: the present time, UTC-aware.
            body: JSON document kept with it.

        Returns:
            True where the owner holds it now; False where somebody else does.
        """
        values = {"name": name, "owner": owner, "expires": now.timestamp() + ttl, "body": body}
        statement = insert(self._engine, leases).values(values)
        statement = statement.on_conflict_do_update(
            index_elements=[leases.c.name],
            set_={column: statement.excluded[column] for column in ("owner", "expires", "body")},
            where=(leases.c.expires <= now.timestamp()) | (leases.c.owner == owner),
        )
        with reaching(self._engine), self._engine.begin() as connection:
            return connection.execute(statement).rowcount == 1

    def renew(self, name: str, *, owner: str, ttl: float, now: datetime) -> bool:
        """Hold an own lease for longer; False where it has expired or somebody else holds it."""
        statement = (
            sa.update(leases)
            .where(leases.c.name == name, leases.c.owner == owner, leases.c.expires > now.timestamp())
            .values(expires=now.timestamp() + ttl)
        )
        with reaching(self._engine), self._engine.begin() as connection:
            return connection.execute(statement).rowcount == 1

    def release(self, name: str, *, owner: str) -> bool:
        """Give an own lease back; False where it was not the owner's."""
        statement = sa.delete(leases).where(leases.c.name == name, leases.c.owner == owner)
        with reaching(self._engine), self._engine.begin() as connection:
            return connection.execute(statement).rowcount == 1

    def list(self, prefix: str = "", *, now: datetime | None = None) -> list[Lease]:
        """Leases whose name begins with the prefix, by name; with ``now`` only those that have not expired."""
        query = sa.select(leases).where(leases.c.name.startswith(prefix, autoescape=True)).order_by(leases.c.name)
        if now is not None:
            query = query.where(leases.c.expires > now.timestamp())
        with reaching(self._engine), self._engine.connect() as connection:
            return [Lease(row.name, row.owner, row.expires, row.body) for row in connection.execute(query)]

    def forget(self, prefix: str, *, before: datetime) -> int:
        """Delete leases that ended before a time, whoever held them.

        Args:
            prefix: of their names.
            before: UTC-aware.

        Returns:
            How many there were.
        """
        statement = sa.delete(leases).where(
            leases.c.name.startswith(prefix, autoescape=True), leases.c.expires < before.timestamp()
        )
        with reaching(self._engine), self._engine.begin() as connection:
            return connection.execute(statement).rowcount
