"""Moves prediction records and their outcomes from the catalog to a Delta table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sluiceway.catalog.folded import ROW, SLASH, FoldedRequest
from sluiceway.catalog.outcomes import OutcomeStore
from sluiceway.data.commit import append
from sluiceway.data.tables import open_table

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
# Of requests with many rows: bounds what an archive holds in memory.
REQUESTS_AT_ONCE = 500


def archive(store: OutcomeStore, folder: Path, *, endpoint: str, cutoff: float) -> int:
    """Append the records up to a time to ``<folder>/<endpoint>`` and remove them from the catalog.

    The cutoff is written down first: after a crash the same records are taken again, under the same batch id, which
    the table already knows if they had arrived.

    Args:
        store: the catalog's side.
        folder: where the Delta tables of records live.
        endpoint: whose records.
        cutoff: UTC epoch seconds; choose it a few seconds back, when no replica still holds an older record.

    Returns:
        Rows moved.
    """
    began = store.begin_archive(endpoint, cutoff=cutoff)
    rows: list[dict[str, Any]] = store.archivable(endpoint, cutoff=began)
    if rows:
        committed = append(
            str(folder / endpoint),
            pa.Table.from_pylist(rows, schema=SCHEMA),
            message=f"{len(rows):,} predictions of {endpoint}",
            source=f"catalog of {endpoint}",
            batch_id=f"{endpoint}/{began!r}",
            more_columns=True,  # of a release that kept fewer
        )
        if committed.skipped:
            rows = _arrived(str(folder / endpoint), rows)
    moved = len(rows) + _archive_folded(store, str(folder / endpoint), endpoint=endpoint, cutoff=began)
    store.end_archive(endpoint, archived=rows)
    return moved


def _archive_folded(store: OutcomeStore, uri: str, *, endpoint: str, cutoff: float) -> int:
    """The rows of large requests, piece by piece; a piece that a crash has left is known by its first request."""
    moved = 0
    for requests in store.archivable_folded(endpoint, cutoff=cutoff, at_once=REQUESTS_AT_ONCE):
        rows = folded_table(requests)
        if rows.num_rows:
            append(
                uri,
                rows,
                message=f"{rows.num_rows:,} predictions of {endpoint}",
                source=f"catalog of {endpoint}",
                batch_id=f"{endpoint}/{cutoff!r}/{requests[0].request_id}",
                more_columns=True,
            )
        store.archived_folded(endpoint, requests)
        moved += rows.num_rows
    return moved


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


def _arrived(uri: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What of these an earlier try has brought into the table: outcomes that came after it have to wait for the next.

    A prediction that arrived without its outcome keeps the outcome in the catalog.
    """
    ids = pa.array([row["request_id"] for row in rows])
    known = (
        open_table(uri)
        .to_pyarrow_dataset()
        .to_table(["request_id", "outcome"], filter=pc.field("request_id").isin(ids))
    )
    found: list[dict[str, Any]] = known.to_pylist()
    return found
