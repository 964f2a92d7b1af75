"""Folds that a column of the table says."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sluiceway.core.errors import DataError
from sluiceway.data.time_order import NO_FOLD


def given_folds(column: pa.ChunkedArray, name: str, n_folds: int) -> np.ndarray:
    """The folds that a column says.

    Args:
        column: n whole numbers: 0 to ``n_folds - 1``; -1 or null is validated in no fold.
        name: of the column, for errors.
        n_folds: how many folds there are.

    Returns:
        shape (n,), uint8, 255 for none.

    Raises:
        DataError: the column holds something else.
    """
    if not pa.types.is_integer(column.type):
        raise DataError(
            f"training.fold_column {name!r} has type {column.type}; whole numbers are needed",
            hint=f"0 to {n_folds - 1} are folds, -1 or null is in none",
            column=name,
        )
    numbers = pc.fill_null(column.cast(pa.int64()), -1).to_numpy()
    wrong = np.unique(numbers[(numbers < -1) | (numbers >= n_folds)])
    if len(wrong):
        raise DataError(
            f"training.fold_column {name!r} holds {', '.join(str(n) for n in wrong[:5])}; there are {n_folds} folds",
            hint=f"0 to {n_folds - 1} are folds, -1 or null is in none; training.folds says how many there are",
            column=name,
        )
    return np.where(numbers < 0, NO_FOLD, numbers).astype(np.uint8)
