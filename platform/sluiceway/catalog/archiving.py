"""Which records an archive takes, page by page, and their removal: each once, whoever is killed or slow in between.

A page is written down before it is appended to the archive's table under its name, and forgotten with its records. Who
comes after a crash, or at the same time, gets the same page under the same name, which the table knows by then.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import sqlalchemy as sa

from sluiceway.catalog.dialect import insert, reaching
from sluiceway.catalog.records import same_request
from sluiceway.catalog.schema import feedback, leases, predictions

# Placeholders in one IN (...): below SQLite's and Postgres' limits.
CHUNK = 5_000


@dataclass(frozen=True)
class Page:
    """Records that are moved in one commit.

    Attributes:
        name: of the commit; no other page has it.
        rows: predictions with their outcomes, in the order of their ids.
        new: it begins now; False: somebody has begun it before, and may have appended it.
    """

    name: str
    rows: Sequence[Mapping[str, Any]]
    new: bool


@dataclass(frozen=True)
class _Note:
    """What is known of an archive that is under way: its name, and the ids of the page that is being moved, if any."""

    name: str
    cutoff: float
    page: int = 0
    judged: tuple[str, ...] = ()
    waited: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        return json.dumps(asdict(self))

    @property
    def page_name(self) -> str:
        return f"{self.name}/{self.page}"


def begin(engine: sa.Engine, endpoint: str, *, cutoff: float) -> float:
    """Write down that an archive is under way; gives the cutoff of an unfinished one first."""
    note = _Note(uuid.uuid4().hex, cutoff)
    values = {"name": _lease(endpoint), "owner": "archive", "expires": 0.0, "body": note.text}
    mine = leases.c.name == _lease(endpoint)
    with reaching(engine), engine.begin() as connection:
        connection.execute(insert(engine, leases).values(values).on_conflict_do_nothing())
        body = connection.execute(sa.select(leases.c.body).where(mine)).scalar_one()
        if body.startswith("{"):
            return _read(body).cutoff
        # Of a release that wrote down the cutoff alone.
        note = replace(note, cutoff=float(body))
        connection.execute(leases.update().where(mine, leases.c.body == body).values(body=note.text))
        return note.cutoff


def next_page(engine: sa.Engine, endpoint: str, *, wait: float, after: str, at_once: int) -> Page | None:
    """The page that is being moved, or the next one, which is that from now on; None where there is none.

    Args:
        engine: of the catalog.
        endpoint: whose records.
        wait: seconds before the cutoff; what is older goes without its outcome.
        after: no new page begins before the ids that follow this one.
        at_once: so many records at most.
    """
    while True:
        with reaching(engine), engine.connect() as connection:
            note = _note(connection, endpoint)
            if note is None:
                return None  # somebody else has ended it
            if note.judged or note.waited:
                return Page(note.page_name, _rows_of(connection, endpoint, note), new=False)
            due = _due(endpoint, note, wait, after).limit(at_once)
            rows = [dict(row) for row in connection.execute(due).mappings()]
        if not rows:
            return None
        judged = tuple(row["request_id"] for row in rows if row["outcome"] is not None)
        waited = tuple(row["request_id"] for row in rows if row["outcome"] is None)
        with reaching(engine), engine.begin() as connection:
            # Else somebody was faster, and has written down a page of theirs.
            if connection.execute(_rewrite(endpoint, note, replace(note, judged=judged, waited=waited))).rowcount == 1:
                return Page(note.page_name, rows, new=True)


def forget(engine: sa.Engine, endpoint: str, page: Page) -> None:
    """Remove the records of a page that is in the archive's table, and what is written down of it.

    An outcome that came while its prediction was archived without it stays.
    """
    with reaching(engine), engine.begin() as connection:
        note = _note(connection, endpoint)
        if note is None or note.page_name != page.name:
            return  # somebody else has
        for table, gone in ((predictions, (*note.judged, *note.waited)), (feedback, note.judged)):
            for start in range(0, len(gone), CHUNK):
                chunk = gone[start : start + CHUNK]
                connection.execute(table.delete().where(table.c.endpoint == endpoint, table.c.request_id.in_(chunk)))
        connection.execute(_rewrite(endpoint, note, replace(note, page=note.page + 1, judged=(), waited=())))


def end(engine: sa.Engine, endpoint: str) -> None:
    """Forget that an archive is under way, unless somebody moves a page."""
    with reaching(engine), engine.begin() as connection:
        note = _note(connection, endpoint)
        if note is not None and not note.judged and not note.waited:
            connection.execute(leases.delete().where(leases.c.name == _lease(endpoint), leases.c.body == note.text))


def _due(endpoint: str, note: _Note, wait: float, after: str) -> sa.Select[Any]:
    waited = predictions.c.time <= note.cutoff - wait
    return (
        _joined(endpoint)
        .where(predictions.c.request_id > after, predictions.c.time <= note.cutoff)
        .where(feedback.c.outcome.is_not(None) | waited)
        .order_by(predictions.c.request_id)
    )


def _rows_of(connection: sa.Connection, endpoint: str, note: _Note) -> list[dict[str, Any]]:
    """A page as it was written down: an outcome that has come since is not in it."""
    ids, rows = sorted((*note.judged, *note.waited)), []
    for start in range(0, len(ids), CHUNK):
        query = _joined(endpoint).where(predictions.c.request_id.in_(ids[start : start + CHUNK]))
        rows += [dict(row) for row in connection.execute(query.order_by(predictions.c.request_id)).mappings()]
    waited = frozenset(note.waited)
    unknown = {"outcome": None, "outcome_time": None, "value": None}
    return [row | unknown if row["request_id"] in waited else row for row in rows]


def _joined(endpoint: str) -> sa.Select[Any]:
    return (
        sa.select(predictions, feedback.c.outcome, feedback.c.time.label("outcome_time"), feedback.c.value)
        .select_from(predictions.outerjoin(feedback, same_request()))
        .where(predictions.c.endpoint == endpoint)
    )


def _note(connection: sa.Connection, endpoint: str) -> _Note | None:
    body = connection.execute(sa.select(leases.c.body).where(leases.c.name == _lease(endpoint))).scalar_one_or_none()
    return None if body is None else _read(body)


def _read(body: str) -> _Note:
    told = json.loads(body)
    return _Note(**{**told, "judged": tuple(told["judged"]), "waited": tuple(told["waited"])})


def _rewrite(endpoint: str, before: _Note, after: _Note) -> sa.Update:
    mine = (leases.c.name == _lease(endpoint)) & (leases.c.body == before.text)
    return leases.update().where(mine).values(body=after.text)


def _lease(endpoint: str) -> str:
    return f"archive:{endpoint}"
