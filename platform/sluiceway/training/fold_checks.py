"""Whether every fold can be learnt and judged, seen by all ranks together."""

from __future__ import annotations

import numpy as np
import xgboost

from sluiceway.core.errors import DataError
from sluiceway.training.rows import Rows


def check_folds(train: Rows, *, folds: int, classes: int) -> list[int]:
    """Count the folds' rows; every fold, and what it trains on, needs rows of two classes at least.

    Args:
        train: this rank's training rows. One with the weight 0 counts for nothing.
        folds: how many.
        classes: how many; 0 for a regressor.

    Returns:
        rows that each fold is judged by, on all ranks together, those with the weight 0 among them.

    Raises:
        DataError: a fold has no rows on one of its sides, none with a weight, or rows of one class.
    """
    own = [train.validated_in(fold) for fold in range(folds)]
    other = [train.trained_in(fold) for fold in range(folds)]
    sizes = np.array([np.count_nonzero(chosen) for chosen in own + other], np.float64)
    counts = np.stack([_counts(train, chosen, classes) for chosen in own + other])
    if xgboost.collective.is_distributed():
        together = np.concatenate([sizes, counts.ravel()])
        together = xgboost.collective.allreduce(together, xgboost.collective.Op.SUM)
        sizes, counts = together[: len(sizes)], together[len(sizes) :].reshape(counts.shape)
    for fold in range(folds):
        name = f"fold {fold + 1} of {folds}"
        _refuse(counts[fold], name, rows=int(sizes[fold]), classes=classes)
        _refuse(counts[folds + fold], f"what {name} is trained on", rows=int(sizes[folds + fold]), classes=classes)
    return [int(size) for size in sizes[:folds]]


def _counts(train: Rows, chosen: np.ndarray, classes: int) -> np.ndarray:
    """Rows that count, of each class."""
    if train.weight is not None:
        chosen = chosen & (train.weight > 0)
    if not classes:
        return np.array([np.count_nonzero(chosen)], np.float64)
    return np.bincount(train.y[chosen].astype(np.int64), minlength=classes).astype(np.float64)


def _refuse(counts: np.ndarray, side: str, *, rows: int, classes: int) -> None:
    if rows == 0:
        raise DataError(f"{side} has no rows", hint="lower training.folds, or add rows")
    if counts.sum() == 0:
        hint = "a row that shall count needs a weight above 0: look at the column that data.weight names"
        raise DataError(f"all {rows} rows of {side} have the weight 0", hint=hint)
    if classes and np.count_nonzero(counts) == 1:
        label = int(counts.argmax())
        told = "rows" if counts.sum() == rows else "rows with a weight"
        raise DataError(
            f"all {int(counts.sum())} {told} of {side} have the label {label}",
            hint="lower training.folds, set training.fold_by: stratified, or add rows of the other classes",
        )
