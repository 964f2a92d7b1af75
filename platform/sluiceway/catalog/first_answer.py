"""Of two answers of an endpoint with one request id the first stays: as records of its rows, or as one folded record.

A table's key keeps its own ids apart. Between the two tables the statement that writes to one looks into the other.
What has been archived is in neither: a request that is sent again after that is recorded anew, as another answer. To
know it by more than its row 0 takes a range of the key, for which Postgres would need an index in the collation C.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

# Any number that other programs on the same Postgres do not use as the first half of an advisory lock.
WRITERS_LOCK = 0x51_1C


def one_writer(connection: sa.Connection, endpoint: str) -> None:
    """Let others that call this for the endpoint wait until the transaction ends.

    Two on Postgres would not see each other's rows. SQLite has one writer at a time, whose first statement begins it.

    Args:
        connection: in a transaction that has written nothing yet.
        endpoint: whose records are to be written.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(WRITERS_LOCK, sa.func.hashtext(endpoint))))


def insertion(
    connection: sa.Connection, table: sa.Table, names: Sequence[str], *, unless: sa.Table | None = None
) -> str:
    """An INSERT for the driver, past SQLAlchemy's handling of parameters, which takes most of the time of such rows.

    Args:
        connection: decides the dialect.
        table: where to insert; a row whose key is there already is left out.
        names: columns, in the order of the values.
        unless: a row is left out, too, where this table has an endpoint and a request id, which are two more values.
    """
    mark = "?" if connection.dialect.paramstyle == "qmark" else "%s"
    columns, marks = ", ".join(f'"{name}"' for name in names), ", ".join(mark for _ in names)
    given = f"VALUES ({marks})"
    if unless is not None:
        answered = f"SELECT 1 FROM {unless.name} WHERE endpoint = {mark} AND request_id = {mark}"
        given = f"SELECT {marks} WHERE NOT EXISTS ({answered})"
    return f"INSERT INTO {table.name} ({columns}) {given} ON CONFLICT DO NOTHING"
