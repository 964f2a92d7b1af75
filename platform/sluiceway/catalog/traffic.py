"""The traffic documents of the endpoints, one row a generation."""

from __future__ import annotations

import time
from collections.abc import Iterator

import sqlalchemy as sa

from sluiceway.catalog.dialect import insert, reaching
from sluiceway.catalog.schema import traffic
from sluiceway.core.errors import ConflictError
from sluiceway.core.traffic import TrafficDocument

# Documents that are read at once by whoever looks back.
PAGE = 50


class TrafficStore:
    """Reads and writes which share of an endpoint's requests goes where."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def newest(self, endpoint: str) -> TrafficDocument | None:
        """The document with the highest generation, or None before the first one."""
        query = (
            sa.select(traffic.c.body)
            .where(traffic.c.endpoint == endpoint)
            .order_by(traffic.c.generation.desc())
            .limit(1)
        )
        with reaching(self._engine), self._engine.connect() as connection:
            body = connection.execute(query).scalar_one_or_none()
        return None if body is None else TrafficDocument.from_json(body)

    def history(self, endpoint: str) -> Iterator[TrafficDocument]:
        """All documents of an endpoint, the newest first; read as far as somebody asks."""
        c = traffic.c
        query = sa.select(c.generation, c.body).where(c.endpoint == endpoint).order_by(c.generation.desc()).limit(PAGE)
        before: int | None = None
        while True:
            page = query if before is None else query.where(c.generation < before)
            with reaching(self._engine), self._engine.connect() as connection:
                rows = connection.execute(page).all()
            yield from (TrafficDocument.from_json(row.body) for row in rows)
            if len(rows) < PAGE:
                return
            before = rows[-1].generation

    def times(self, endpoint: str) -> dict[int, float]:
        """When each document of an endpoint was written, UTC epoch seconds, by its generation."""
        query = sa.select(traffic.c.generation, traffic.c.created).where(traffic.c.endpoint == endpoint)
        with reaching(self._engine), self._engine.connect() as connection:
            return {row.generation: row.created for row in connection.execute(query)}

    def publish(self, document: TrafficDocument) -> None:
        """Write the next generation; the first one is 1.

        Raises:
            ConflictError: the generation is not the newest one plus 1: somebody else was faster.
        """
        # One statement, so that no other writer fits between the look and the insert.
        newest = (
            sa.select(sa.func.coalesce(sa.func.max(traffic.c.generation), 0))
            .where(traffic.c.endpoint == document.endpoint)
            .scalar_subquery()
        )
        row = sa.select(
            sa.literal(document.endpoint),
            sa.literal(document.generation, sa.BigInteger),
            sa.literal(document.to_json()),
            sa.literal(time.time(), sa.Float),
        ).where(newest == document.generation - 1)
        statement = insert(self._engine, traffic).from_select(["endpoint", "generation", "body", "created"], row)
        try:
            with reaching(self._engine), self._engine.begin() as connection:
                written = connection.execute(statement).rowcount
        except sa.exc.IntegrityError:
            written = 0
        if not written:
            raise ConflictError(
                f"generation {document.generation} of endpoint {document.endpoint} does not follow the newest one",
                hint="read the newest traffic document and decide again",
                endpoint=document.endpoint,
                generation=document.generation,
            )

    def endpoints(self) -> list[str]:
        """Names of all endpoints that ever had traffic, sorted."""
        query = sa.select(traffic.c.endpoint).distinct().order_by(traffic.c.endpoint)
        with reaching(self._engine), self._engine.connect() as connection:
            return list(connection.execute(query).scalars())
