"""Versions of tables that can be read no more, because their files were deleted: by whom, when, and why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import sqlalchemy as sa

from sluiceway.catalog.dialect import insert, reaching
from sluiceway.catalog.schema import lost_versions

# Of one statement; SQLite takes 32,766 values.
ROWS = 1_000


@dataclass(frozen=True)
class LostVersion:
    """A version whose files are gone, or about to go.

    Attributes:
        place: the table, or a branch's copy of it.
        version: Delta version number.
        table_id: Delta's id of the table; another table may be at the place now.
        why: ``vacuum`` or ``erase``.
        since: UTC epoch seconds.
    """

    place: str
    version: int
    table_id: str
    why: str
    since: float


@dataclass(frozen=True)
class LostVersionStore:
    """Writes versions down before their files are deleted, and says which they are."""

    engine: sa.Engine = field(repr=False)

    def record(self, place: str, versions: Iterable[int], *, table_id: str, why: str, now: float) -> None:
        """Write versions down as lost; what is known of one stays, unless it was another table's."""
        rows = [
            {"place": place, "version": version, "table_id": table_id, "why": why, "since": now}
            for version in sorted(set(versions))
        ]
        other = lost_versions.delete().where(lost_versions.c.place == place, lost_versions.c.table_id != table_id)
        with reaching(self.engine), self.engine.begin() as connection:
            connection.execute(other)
            for start in range(0, len(rows), ROWS):
                statement = insert(self.engine, lost_versions).values(rows[start : start + ROWS])
                connection.execute(statement.on_conflict_do_nothing())

    def forget(self, place: str, versions: Iterable[int]) -> None:
        """Versions that were written down and whose files were not deleted after all."""
        with reaching(self.engine), self.engine.begin() as connection:
            for version in versions:
                where = (lost_versions.c.place == place, lost_versions.c.version == version)
                connection.execute(lost_versions.delete().where(*where))

    def find(self, place: str, version: int) -> LostVersion | None:
        """What is known of a version, or None; the caller compares the table's id."""
        where = (lost_versions.c.place == place, lost_versions.c.version == version)
        with reaching(self.engine), self.engine.connect() as connection:
            row = connection.execute(sa.select(lost_versions).where(*where)).mappings().first()
        return LostVersion(**row) if row else None

    def of(self, place: str, table_id: str) -> set[int]:
        """The lost versions of a table."""
        where = (lost_versions.c.place == place, lost_versions.c.table_id == table_id)
        with reaching(self.engine), self.engine.connect() as connection:
            return set(connection.execute(sa.select(lost_versions.c.version).where(*where)).scalars())
