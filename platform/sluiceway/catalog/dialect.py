"""What SQLAlchemy Core leaves to us: ON CONFLICT of both dialects, and errors as the floors above know them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from sluiceway.core.errors import BackendError

if TYPE_CHECKING:
    from sqlalchemy.dialects.sqlite import Insert


def insert(engine: sa.Engine, table: sa.Table) -> Insert:
    """An INSERT that knows ``on_conflict_do_nothing`` and ``on_conflict_do_update``.

    Args:
        engine: decides the dialect.
        table: where to insert.

    Returns:
        The dialect's INSERT; both have the same two methods, so one annotation serves. Its result counts the rows that
        were written, which SQLAlchemy otherwise leaves to the driver: psycopg says -1.
    """
    make = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert
    return make(table).execution_options(preserve_rowcount=True)  # type: ignore[return-value]


@contextmanager
def reaching(engine: sa.Engine) -> Iterator[None]:
    """Turn a database that cannot be reached or written into a :class:`BackendError`; keys that exist stay as they are.

    Raises:
        BackendError: the database did not do its part.
    """
    try:
        yield
    except sa.exc.IntegrityError:
        raise
    except sa.exc.DBAPIError as error:
        raise BackendError(
            f"the catalog at {engine.url.render_as_string()} cannot be used: {error.orig}",
            hint="check that the database is running and its disk is not full",
        ) from error
