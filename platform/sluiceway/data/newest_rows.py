"""The newest rows of a table that grows by time, without reading the others and without holding many."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from sluiceway.data import tables
from sluiceway.data.scan import dataset_of

# Rows of a batch that is read at once.
BATCH_ROWS = 65_536


def newest_rows(
    uri: str,
    *,
    columns: Sequence[str],
    by: str,
    since: datetime,
    limit: int,
    where: Any = None,
) -> pa.Table:
    """The newest rows of a table's newest version.

    Files are read from the newest on, by the statistics of their rows, until no other file can hold a newer row; never
    more than three times the limit are held.

    Args:
        uri: the table.
        columns: that are wanted; one that the table lacks is left out.
        by: column of times with a zone.
        since: older rows are left out; UTC-aware.
        limit: so many rows at most.
        where: an expression of ``pyarrow.compute`` that rows have to fit; None takes all.

    Returns:
        the wanted columns and ``by``, newest rows first.

    Raises:
        TableNotFoundError: there is no table.
    """
    table = tables.open_table(uri)
    present = [name for name in dict.fromkeys((*columns, by)) if name in tables.arrow_schema(table).names]
    wanted = pc.field(by) >= pa.scalar(since, tables.arrow_schema(table).field(by).type)
    if where is not None:
        wanted = wanted & where
    kept = pa.schema([tables.arrow_schema(table).field(name) for name in present]).empty_table()
    files = tables.files(table)
    for place, newest in _newest_first(files, by):
        if newest is not None and newest < since:
            break
        if kept.num_rows >= limit and newest is not None and newest < kept[by][limit - 1].as_py():
            break
        for batch in _batches(table, files.slice(place, 1), present, wanted):
            kept = pa.concat_tables([kept, pa.Table.from_batches([batch])])
            if kept.num_rows >= 2 * limit:
                kept = _newest(kept, by, limit)
        kept = _newest(kept, by, limit)
    return kept


def _newest_first(files: pa.Table, by: str) -> list[tuple[int, datetime | None]]:
    """Place and newest time of each file; those without statistics may hold anything and come first."""
    bounds = files[f"max.{by}"].to_pylist() if f"max.{by}" in files.column_names else [None] * files.num_rows
    known = sorted((one for one in enumerate(bounds) if one[1] is not None), key=lambda one: one[1], reverse=True)
    return [one for one in enumerate(bounds) if one[1] is None] + known


def _batches(table: DeltaTable, file: pa.Table, columns: Sequence[str], wanted: Any) -> Iterator[pa.RecordBatch]:
    for batch in dataset_of(table, file).to_batches(columns=list(columns), filter=wanted, batch_size=BATCH_ROWS):
        if batch.num_rows:
            yield batch


def _newest(rows: pa.Table, by: str, limit: int) -> pa.Table:
    if not rows.num_rows:  # pyarrow cannot choose none of none
        return rows
    return rows.take(pc.select_k_unstable(rows, k=min(limit, rows.num_rows), sort_keys=[(by, "descending")]))
