"""Tells catalogs apart: tables that a catalog has names for say so, in a file beside their data."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field

import sqlalchemy as sa

from sluiceway.catalog.dialect import insert, reaching
from sluiceway.catalog.schema import catalog_identity


@dataclass(frozen=True)
class CatalogIdentity:
    """The name of one catalog, the same for everybody who opens it."""

    engine: sa.Engine = field(repr=False)

    @property
    def id(self) -> str:
        """32 hex digits, made when they are first asked for."""
        made = insert(self.engine, catalog_identity).values(only=1, id=uuid.uuid4().hex).on_conflict_do_nothing()
        query = sa.select(catalog_identity.c.id)
        with reaching(self.engine), self.engine.begin() as connection:
            found = connection.execute(query).scalar()
            if found is None:
                connection.execute(made)
                found = connection.execute(query).scalar_one()
        return str(found)

    @property
    def shown(self) -> str:
        """Where it is, for people; without a password."""
        return self.engine.url.render_as_string()
