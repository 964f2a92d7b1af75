"""The out-of-fold predictions: each training row's score by the one fold that has not seen it."""

from __future__ import annotations

import time

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


def keep_oof(uri: str, table: pa.Table, *, version: str) -> float:
    """Write the predictions as the newest version of a Delta table; an empty URI keeps nothing.

    Args:
        uri: of the table; it is made where there is none.
        table: as :func:`oof_table` makes it.
        version: the rows that were trained on, for the commit's message.

    Returns:
        seconds that it took.
    """
    began = time.perf_counter()
    if uri:
        commit.overwrite(uri, table, message=f"out-of-fold predictions of {version}", source="training")
    return time.perf_counter() - began
