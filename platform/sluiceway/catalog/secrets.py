"""Random keys of a catalog, made when they are first asked for; they leave it only for the processes that hash."""

from __future__ import annotations

import secrets

import sqlalchemy as sa

from sluiceway.catalog.dialect import insert, reaching
from sluiceway.catalog.schema import secrets as table

KEY_BYTES = 32


class SecretStore:
    """Gives every process that opens one catalog the same keys."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def get(self, name: str) -> bytes:
        """A key of 32 random bytes.

        Args:
            name: what it is for, e.g. ``predictions``; another name is another key.

        Raises:
            BackendError: the catalog cannot be reached.
        """
        query = sa.select(table.c.value).where(table.c.name == name)
        made = insert(self._engine, table).values(name=name, value=secrets.token_hex(KEY_BYTES))
        with reaching(self._engine), self._engine.begin() as connection:
            found = connection.execute(query).scalar()
            if found is None:
                # Of two processes that make it at the same time, both take what the first has made.
                connection.execute(made.on_conflict_do_nothing())
                found = connection.execute(query).scalar_one()
        return bytes.fromhex(found)
