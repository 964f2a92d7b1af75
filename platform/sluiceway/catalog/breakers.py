"""Challengers that a replica has stopped asking: written by the replica, read by the rollout."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import sqlalchemy as sa

from sluiceway.catalog.dialect import insert, reaching
from sluiceway.catalog.schema import open_breakers


@dataclass(frozen=True)
class OpenBreaker:
    """One replica asks one version no more, until the next generation.

    Attributes:
        endpoint: name of the endpoint.
        generation: of the traffic document.
        replica: the replica's id.
        version: of the challenger.
        reason: what opened it, with the numbers.
        time: when, UTC epoch seconds.
    """

    endpoint: str
    generation: int
    replica: str
    version: str
    reason: str
    time: float


class BreakerStore:
    """Writes and reads; nothing is removed: with its generation a row is history."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def add(self, rows: Iterable[OpenBreaker]) -> None:
        """Write breakers that have opened; one that is there already stays as it is."""
        values = [asdict(row) for row in rows]
        if not values:
            return
        statement = insert(self._engine, open_breakers).on_conflict_do_nothing()
        with reaching(self._engine), self._engine.begin() as connection:
            connection.execute(statement, values)

    def opened(self, endpoint: str, generations: Sequence[int]) -> list[OpenBreaker]:
        """The open breakers of some generations, the oldest first."""
        c = open_breakers.c
        query = (
            sa.select(open_breakers)
            .where(c.endpoint == endpoint, c.generation.in_(generations))
            .order_by(c.time, c.replica, c.version)
        )
        with reaching(self._engine), self._engine.connect() as connection:
            return [OpenBreaker(**row) for row in connection.execute(query).mappings()]

    def reasons(self, endpoint: str, generation: int) -> dict[str, list[str]]:
        """By version, why replicas ask it no more at a generation: one line each, the oldest first."""
        found: dict[str, list[str]] = {}
        for breaker in self.opened(endpoint, [generation]):
            found.setdefault(breaker.version, []).append(f"{breaker.replica}: {breaker.reason}")
        return found
