"""Moves prediction records and their outcomes from the catalog to a Delta table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

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
    store.end_archive(endpoint, archived=rows)
    return len(rows)


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
