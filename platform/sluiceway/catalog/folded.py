"""Requests of many rows: one record a request, until outcomes ask for single rows of it.

A thousand rows as a thousand records cost several times what scoring them does, and most never get an outcome. So a
large request that the champion answered alone is one record. A row whose outcome has come becomes a record of its own,
and leaves the request's; whoever joins records with outcomes calls :func:`unfold` first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import sqlalchemy as sa

from sluiceway.catalog.dialect import insert, reaching
from sluiceway.catalog.first_answer import insertion, one_writer
from sluiceway.catalog.schema import feedback, folded_predictions, predictions

# From so many rows on a request is folded: below it, folding and unfolding cost more than they spare.
FOLD_FROM = 16
ROW = np.dtype([("row", "<i4"), ("score", "<f8"), ("decision", "<f8")])
# Requests that are looked up in one query.
CHUNK = 500
# Between the id of a request and the number of a row.
SLASH = "/"
MOST_DIGITS = 10


class FoldedRequest(NamedTuple):
    """One answered request of many rows; its rows' ids are ``<request_id>/<row>``.

    Attributes:
        request_id: the request's id.
        time: UTC epoch seconds of the answer.
        endpoint: name of the endpoint.
        generation: of the traffic document that routed it.
        arm: who answered.
        version: of the model that answered.
        key_hash: keyed hash of what the arm was drawn by, hex; "" where it was drawn by chance.
        rows: how many rows it still holds; negative in the table while an archive takes them.
        body: these rows, an array of ``ROW`` as bytes.
    """

    request_id: str
    time: float
    endpoint: str
    generation: int
    arm: str
    version: str
    key_hash: str
    rows: int
    body: bytes


def folded_body(scores: np.ndarray, decisions: np.ndarray) -> bytes:
    """The rows of a request, from 0, as ``FoldedRequest.body`` holds them.

    Args:
        scores: shape (n_rows,), float64.
        decisions: shape (n_rows,), float64.
    """
    rows = np.empty(len(scores), ROW)
    rows["row"], rows["score"], rows["decision"] = np.arange(len(scores)), scores, decisions
    return rows.tobytes()


def row_id(request_id: str, row: int) -> str:
    """The id of a row of a request with several."""
    return f"{request_id}{SLASH}{row}"


def row_of(name: str) -> tuple[str, int] | None:
    """The request that an id may be a row of, and which row; None where it cannot be one."""
    request_id, _, row = name.rpartition(SLASH)
    if request_id and len(row) < MOST_DIGITS and row.isascii() and row.isdecimal() and str(int(row)) == row:
        return request_id, int(row)
    return None


def add_folded(engine: sa.Engine, requests: Iterable[FoldedRequest]) -> int:
    """Write folded requests; one that the endpoint has answered before stays as it was recorded first.

    Returns:
        How many rows were written.
    """
    values = list(requests)
    if not values:
        return 0
    written = 0
    with reaching(engine), engine.begin() as connection:
        for endpoint in sorted({request.endpoint for request in values}):
            one_writer(connection, endpoint)
        statement = insertion(connection, folded_predictions, FoldedRequest._fields, unless=predictions)
        for request in values:
            # Whoever recorded its rows one by one began with the first.
            first = (request.endpoint, row_id(request.request_id, 0))
            written += request.rows * connection.exec_driver_sql(statement, (*request, *first)).rowcount
    return written


def unfold(engine: sa.Engine, endpoint: str | None, *, received: float = 0.0) -> None:
    """Make records of the folded rows whose outcome has come.

    May be called by several processes at once, and ends as one call does.

    Args:
        engine: of the catalog.
        endpoint: whose; None for all.
        received: only outcomes that came then or later are looked at, UTC epoch seconds.
    """
    with reaching(engine), engine.connect() as connection:
        names = [endpoint] if endpoint is not None else list(connection.execute(_endpoints()).scalars())
        wanted = {name: _asked_for(connection, name, received) for name in names}
    for name, requests in wanted.items():
        ids = sorted(requests)
        for start in range(0, len(ids), CHUNK):
            for request in _folded(engine, name, ids[start : start + CHUNK]):
                _unfold_one(engine, request, requests[request.request_id])


def folded_counts(connection: sa.Connection, endpoint: str | None) -> dict[tuple[str, str, str], int]:
    """Rows that are folded, by endpoint, version and arm."""
    f = folded_predictions.c
    rows = sa.func.sum(sa.func.abs(f.rows))
    query = sa.select(f.endpoint, f.version, f.arm, rows).group_by(f.endpoint, f.version, f.arm)
    if endpoint is not None:
        query = query.where(f.endpoint == endpoint)
    return {(name, version, arm): int(n) for name, version, arm, n in connection.execute(query) if n}


def newest_scores(connection: sa.Connection, endpoint: str, version: str, *, rows: int) -> np.ndarray:
    """Scores of the champion's folded rows, of its newest requests; shape (n,), float64.

    Args:
        connection: to the catalog.
        endpoint: its name.
        version: that answered.
        rows: so many are enough; a large request's are drawn evenly.
    """
    f = folded_predictions.c
    names = sa.select(f.request_id).where(
        f.endpoint == endpoint, f.version == version, f.arm == "champion", f.rows != 0
    )
    found, missing = [np.empty(0)], rows
    # One by one: a request has as many rows as its caller liked.
    for name in connection.execute(names.order_by(f.time.desc()).limit(rows)).scalars().all():
        body = sa.select(f.body).where(f.endpoint == endpoint, f.request_id == name)
        scores = np.frombuffer(connection.execute(body).scalar_one_or_none() or b"", ROW)["score"]
        found.append(scores[:: max(1, -(-len(scores) // missing))].copy())
        missing -= len(found[-1])
        if missing <= 0:
            break
    return np.concatenate(found)


def take_folded(
    engine: sa.Engine, endpoint: str, *, until: float, at_once: int, rows_at_once: int
) -> list[FoldedRequest]:
    """Folded requests up to a time, oldest first, that nobody unfolds from then on.

    Until they are dropped they are what every call gives: who takes them may be killed.

    Args:
        engine: of the catalog.
        endpoint: whose.
        until: UTC epoch seconds.
        at_once: so many requests at most.
        rows_at_once: so many rows at most, but one request at least.
    """
    f = folded_predictions.c
    taken = sa.select(folded_predictions).where(f.endpoint == endpoint, f.rows < 0).order_by(f.time, f.request_id)
    with reaching(engine), engine.begin() as connection:
        one_writer(connection, endpoint)
        # First a statement that writes, so that SQLite, too, lets nobody between the look and the taking.
        connection.execute(folded_predictions.delete().where(f.endpoint == endpoint, f.time <= until, f.rows == 0))
        if connection.execute(taken.limit(1)).first() is None:
            ids = _oldest(connection, endpoint, until=until, at_once=at_once, rows_at_once=rows_at_once)
            for start in range(0, len(ids), CHUNK):
                chosen = (f.endpoint == endpoint) & f.request_id.in_(ids[start : start + CHUNK]) & (f.rows > 0)
                connection.execute(folded_predictions.update().where(chosen).values(rows=-f.rows))
        found = [_request(row) for row in connection.execute(taken).mappings()]
    return [request._replace(rows=-request.rows) for request in found]


def drop_folded(engine: sa.Engine, endpoint: str, request_ids: Sequence[str]) -> None:
    """Remove folded requests of an endpoint that :func:`take_folded` has given."""
    f = folded_predictions
    with reaching(engine), engine.begin() as connection:
        for start in range(0, len(request_ids), CHUNK):
            chunk = request_ids[start : start + CHUNK]
            gone = (f.c.endpoint == endpoint) & f.c.request_id.in_(chunk) & (f.c.rows < 0)
            connection.execute(f.delete().where(gone))


def _oldest(connection: sa.Connection, endpoint: str, *, until: float, at_once: int, rows_at_once: int) -> list[str]:
    f = folded_predictions.c
    query = sa.select(f.request_id, f.rows).where(f.endpoint == endpoint, f.time <= until, f.rows > 0)
    ids: list[str] = []
    total = 0
    for name, rows in connection.execute(query.order_by(f.time, f.request_id).limit(at_once)):
        total += rows
        if ids and total > rows_at_once:
            break
        ids.append(name)
    return ids


def _endpoints() -> sa.Select[str]:
    return sa.select(folded_predictions.c.endpoint).distinct()


def _asked_for(connection: sa.Connection, endpoint: str, received: float) -> dict[str, list[int]]:
    """Rows that have an outcome and no record, by the id of what may be their request."""
    f, p = feedback.c, predictions.c
    holds = sa.select(sa.literal(1)).where(folded_predictions.c.endpoint == endpoint, folded_predictions.c.rows > 0)
    if connection.execute(holds.limit(1)).first() is None:
        return {}
    recorded = sa.exists().where(p.endpoint == f.endpoint, p.request_id == f.request_id)
    query = sa.select(f.request_id).where(
        f.endpoint == endpoint, f.received >= received, f.request_id.contains(SLASH), ~recorded
    )
    found: dict[str, list[int]] = {}
    for name in connection.execute(query).scalars():
        found_row = row_of(name)
        if found_row is not None:
            found.setdefault(found_row[0], []).append(found_row[1])
    return found


def _folded(engine: sa.Engine, endpoint: str, request_ids: Sequence[str]) -> list[FoldedRequest]:
    f = folded_predictions
    query = sa.select(f).where(f.c.endpoint == endpoint, f.c.request_id.in_(request_ids), f.c.rows > 0)
    with reaching(engine), engine.connect() as connection:
        return [_request(row) for row in connection.execute(query).mappings()]


def _request(row: sa.RowMapping) -> FoldedRequest:
    return FoldedRequest(**{name: row[name] for name in FoldedRequest._fields})


def _unfold_one(engine: sa.Engine, request: FoldedRequest, wanted: Sequence[int]) -> None:
    rows = np.frombuffer(request.body, ROW)
    out = np.isin(rows["row"], np.asarray(wanted))
    if not out.any():
        return
    kept = rows[~out]
    f = folded_predictions.c
    left = (
        folded_predictions.update()
        .where(f.endpoint == request.endpoint, f.request_id == request.request_id, f.rows == request.rows)
        .values(rows=len(kept), body=kept.tobytes())
    )
    with reaching(engine), engine.begin() as connection:
        # Rows only ever leave, so that their number tells whether somebody else was here since; the next look goes on.
        if connection.execute(left).rowcount == 1:
            records = list(unfolded(request._replace(body=rows[out].tobytes())))
            connection.execute(insert(engine, predictions).on_conflict_do_nothing(), records)


def unfolded(request: FoldedRequest) -> Iterator[dict[str, Any]]:
    """The rows that a request holds as columns of ``predictions``."""
    shared = {name: getattr(request, name) for name in FoldedRequest._fields[1:7]}
    for row, score, decision in np.frombuffer(request.body, ROW).tolist():
        yield {**shared, "request_id": f"{request.request_id}{SLASH}{row}", "score": score, "decision": decision}
