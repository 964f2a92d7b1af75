"""The out-of-fold predictions: each training row's score by the one fold that has not seen it."""

from __future__ import annotations

import time

import numpy as np
import pyarrow as pa

from sluiceway.data import commit
from sluiceway.training.rows import Rows

MOST_VALIDATION_ROWS = 200_000  # more do not move a threshold, and the driver holds them


def oof_table(train: Rows, scores: np.ndarray) -> pa.Table:
    """One row a training row.

    Args:
        train: the rows.
        scores: shape (n,), float32.

    Returns:
        ``key_hash`` (int64: the row's unsigned hash, reinterpreted, because Delta has no unsigned types), ``fold``
        (int32, from 0), ``label`` and ``score`` (float32).
    """
    return pa.table(
        {
            "key_hash": train.key.view(np.int64),
            "fold": train.fold.astype(np.int32),
            "label": train.y,
            "score": scores.astype(np.float32),
        }
    )


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
