"""A batch of answers into the catalog: a record a row; one a request where it is large and nobody else scored it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from sluiceway.catalog.folded import FOLD_FROM, FoldedRequest, folded_body
from sluiceway.catalog.records import RecordStore
from sluiceway.serving.log_rows import KeyedHash, key_hashes
from sluiceway.serving.record_batches import About, row_counts, row_ids
from sluiceway.serving.route import CHAMPION


def keep_records(store: RecordStore, batch: pa.RecordBatch, *, endpoint: str, keys: KeyedHash | None) -> int:
    """Write a batch to the catalog.

    Args:
        store: of the catalog's records.
        batch: as ``record_batches`` makes it.
        endpoint: its name.
        keys: hashes what arms were drawn by; None leaves it out.

    Returns:
        How many of its rows were new.

    Raises:
        BackendError: the catalog does not take it.
    """
    single, large = _parted(batch)
    written = 0
    if single.num_rows:
        written += store.add_predictions(catalog_rows(single, endpoint=endpoint, keys=keys))
    if large is not None:
        written += store.add_folded(folded_requests(large, endpoint=endpoint, keys=keys))
    return written


def _parted(batch: pa.RecordBatch) -> tuple[pa.RecordBatch, pa.RecordBatch | None]:
    """Rows that are records of their own, and those of requests that are folded.

    Pairs and shadows are compared row by row in the database, and are not folded.
    """
    about, ids = About.of(batch), batch.column("request_id")
    if about.arm != CHAMPION or about.champion is not None or not pa.types.is_dictionary(ids.type):
        return batch, None
    large = (row_counts(ids) >= FOLD_FROM)[ids.indices.to_numpy()]
    if large.all():
        return batch.slice(0, 0), batch
    if not large.any():
        return batch, None
    return batch.filter(pa.array(~large)), batch.filter(pa.array(large))


def folded_requests(batch: pa.RecordBatch, *, endpoint: str, keys: KeyedHash | None) -> Iterator[FoldedRequest]:
    """A batch of large requests as the catalog folds them.

    Args:
        batch: as ``record_batches`` makes it, of requests with many rows.
        endpoint: its name.
        keys: hashes what arms were drawn by; None leaves it out.
    """
    about, ids = About.of(batch), batch.column("request_id")
    scores, decisions, times = (np.asarray(batch.column(name)) for name in ("score", "decision", "time"))
    hashes = None if keys is None else key_hashes(batch, keys).fill_null("")
    names = ids.dictionary.to_pylist()
    start = 0
    for place, length in enumerate(row_counts(ids).tolist()):
        if not length:
            continue
        end = start + length
        body = folded_body(scores[start:end], decisions[start:end])
        key_hash = "" if hashes is None else hashes[start].as_py()
        who = (endpoint, about.generation, about.arm, about.version)
        yield FoldedRequest(names[place], float(times[start]), *who, key_hash, length, body)
        start = end


def catalog_rows(batch: pa.RecordBatch, *, endpoint: str, keys: KeyedHash | None) -> Iterator[tuple[Any, ...]]:
    """A batch as ``catalog.records.PredictionRecord`` has it, as plain tuples.

    Args:
        batch: as ``record_batches`` makes it.
        endpoint: its name.
        keys: hashes what arms were drawn by; None leaves it out.
    """
    about, rows = About.of(batch), batch.num_rows

    def same(value: Any) -> list[Any]:
        return [value] * rows

    def column(name: str) -> list[Any]:
        return batch.column(name).to_pylist() if name in batch.schema.names else same(None)

    columns = (
        row_ids(batch).to_pylist(),
        column("time"),
        same(endpoint),
        same(about.generation),
        same(about.arm),
        same(about.version),
        column("score"),
        column("decision"),
        same("") if keys is None else key_hashes(batch, keys).fill_null("").to_pylist(),
        same(about.champion),
        column("champion_score"),
        column("champion_decision"),
    )
    return zip(*columns, strict=True)
