"""Moves prediction records and their outcomes from the catalog to a Delta table."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sluiceway.catalog.folded import ROW, SLASH, FoldedRequest
from sluiceway.catalog.outcomes import OutcomeStore
from sluiceway.data.commit import append

SCHEMA = pa.schema(
    [
        ("request_id", pa.string()),
        ("time", pa.float64()),
        ("endpoint", pa.string()),
        ("generation", pa.int64()),
        ("arm", pa.string()),
        ("version", pa.string()),
        ("key_hash", pa.string()),
        ("score", pa.float64()),
        ("champion_version", pa.string()),
        ("champion_score", pa.float64()),
        ("decision", pa.float64()),
        ("champion_decision", pa.float64()),
        ("outcome", pa.float64()),
        ("outcome_time", pa.float64()),
        ("value", pa.float64()),
    ]
)
# Bound what an archive holds in memory, and what one commit has.
ROWS_AT_ONCE = 20_000
REQUESTS_AT_ONCE = 500
ROWS_OF_REQUESTS_AT_ONCE = 100_000


def archive(store: OutcomeStore, folder: Path, *, endpoint: str, cutoff: float, wait: float) -> int:
    """Append the records up to a time to ``<folder>/<endpoint>`` and remove them from the catalog, in many commits.

    What a commit takes is written down first: after a crash the same records are taken again, under the same batch id,
    which the table already knows if they had arrived. So each is there once, also where several archive at once.

    Args:
        store: the catalog's side.
        folder: where the Delta tables of records live.
        endpoint: whose records.
        cutoff: UTC epoch seconds; choose it a few seconds back, when no replica still holds an older record.
        wait: seconds that a prediction waits for its outcome; an older one is archived without.

    Returns:
        Rows moved.

    Raises:
        BackendError: the catalog cannot be used.
        DataError: the table cannot be written; what has not been moved stays in the catalog.
    """
    began = store.begin_archive(endpoint, cutoff=cutoff)
    uri = str(folder / endpoint)
    moved = _archive_rows(store, uri, endpoint=endpoint, wait=wait)
    moved += _archive_folded(store, uri, endpoint=endpoint, cutoff=began, wait=wait)
    store.end_archive(endpoint)
    return moved


def _archive_rows(store: OutcomeStore, uri: str, *, endpoint: str, wait: float) -> int:
    moved = 0
    for page in store.archivable(endpoint, wait=wait, at_once=ROWS_AT_ONCE):
        _append(uri, pa.Table.from_pylist(list(page.rows), schema=SCHEMA), endpoint=endpoint, name=page.name)
        store.archived(endpoint, page)
        moved += len(page.rows)
    return moved


def _archive_folded(store: OutcomeStore, uri: str, *, endpoint: str, cutoff: float, wait: float) -> int:
    """The rows of large requests, piece by piece."""
    moved = 0
    for requests in store.archivable_folded(
        endpoint, cutoff=cutoff, wait=wait, at_once=REQUESTS_AT_ONCE, rows_at_once=ROWS_OF_REQUESTS_AT_ONCE
    ):
        rows = folded_table(requests)
        _append(uri, rows, endpoint=endpoint, name=_name(requests))
        store.archived_folded(endpoint, requests)
        moved += rows.num_rows
    return moved


def _name(requests: Sequence[FoldedRequest]) -> str:
    """Of a piece: a digest of what is in it, which nobody changes any more."""
    told = json.dumps([(request.request_id, request.time, request.rows) for request in requests])
    return hashlib.sha256(told.encode()).hexdigest()


def _append(uri: str, rows: pa.Table, *, endpoint: str, name: str) -> None:
    if rows.num_rows:
        append(
            uri,
            rows,
            message=f"{rows.num_rows:,} predictions of {endpoint}",
            source=f"catalog of {endpoint}",
            batch_id=f"{endpoint}/{name}",
            more_columns=True,  # of a release that kept fewer
        )


def folded_table(requests: Sequence[FoldedRequest]) -> pa.Table:
    """The rows of large requests as ``SCHEMA`` has them, without outcomes."""
    bodies = [np.frombuffer(request.body, ROW) for request in requests]
    rows = np.concatenate(bodies)
    places = pa.array(np.repeat(np.arange(len(requests)), [len(body) for body in bodies]))
    made = {
        "score": pa.array(rows["score"]),
        "decision": pa.array(rows["decision"]),
        "request_id": pc.binary_join_element_wise(
            pa.array([request.request_id for request in requests], pa.string()).take(places),
            pa.array(rows["row"]).cast(pa.string()),
            SLASH,
        ),
    }
    for name in ("time", "endpoint", "generation", "arm", "version", "key_hash"):
        values = [getattr(request, name) for request in requests]
        made[name] = pa.array(values, SCHEMA.field(name).type).take(places)
    columns = [made[field.name] if field.name in made else pa.nulls(len(rows), field.type) for field in SCHEMA]
    return pa.Table.from_arrays(columns, schema=SCHEMA)
