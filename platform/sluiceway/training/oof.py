"""The out-of-fold predictions: each training row's score by the one fold that has not seen it."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from sluiceway.data import commit
from sluiceway.training.rows import Rows


def oof_table(rows: Rows, scores: np.ndarray) -> pa.Table:
    """One row a row that has a score.

    Args:
        rows: the rows.
        scores: shape (n,) or (n, classes), float32; NaN where a row has none.

    Returns:
        ``key_hash`` (int64: the row's unsigned hash, reinterpreted, because Delta has no unsigned types), ``fold``
        (int32, from 0), ``label`` (float32), ``score`` (float32; a list of them, one a class, for several classes),
        ``weight`` (float32) where rows have weights.
    """
    first = scores if scores.ndim == 1 else scores[:, 0]
    there = ~np.isnan(first)
    kept = np.ascontiguousarray(scores[there], np.float32)
    columns = {
        "key_hash": rows.key[there].view(np.int64),
        "fold": rows.fold[there].astype(np.int32),
        "label": rows.y[there],
        "score": kept if kept.ndim == 1 else _lists(kept),
    }
    if rows.weight is not None:
        columns["weight"] = rows.weight[there]
    return pa.table(columns)


def scores_of(table: pa.Table) -> np.ndarray:
    """The scores of :func:`oof_table` again: shape (n,) or (n, classes), float32."""
    column = table["score"].combine_chunks()
    if pa.types.is_list(column.type):
        return np.asarray(column.flatten().to_numpy()).reshape(len(table), -1)
    return np.asarray(table["score"].to_numpy())


def _lists(scores: np.ndarray) -> pa.ListArray:
    rows, classes = scores.shape
    return pa.ListArray.from_arrays(pa.array(np.arange(rows + 1, dtype=np.int32) * classes), pa.array(scores.ravel()))


@dataclass(frozen=True)
class KeptOof:
    """Where the out-of-fold predictions of a run are.

    Attributes:
        version: of their table; None where none are kept. Later runs on the same rows write later versions.
        seconds: that writing them took.
    """

    version: int | None
    seconds: float


def keep_oof(uri: str, table: pa.Table, *, version: str) -> KeptOof:
    """Write the predictions as the newest version of a Delta table; an empty URI keeps nothing.

    Args:
        uri: of the table; it is made where there is none.
        table: as :func:`oof_table` makes it.
        version: the rows that were trained on, for the commit's message.

    Returns:
        where they are.
    """
    began = time.perf_counter()
    written = None
    if uri:
        told = f"out-of-fold predictions of {version}"
        written = commit.overwrite(uri, table, message=told, source="training").version
    return KeptOof(written, time.perf_counter() - began)
