"""Whether every fold can be learnt and judged, seen by all ranks together."""

from __future__ import annotations

import numpy as np
import xgboost

from sluiceway.core.errors import DataError
from sluiceway.training.rows import Rows


def check_folds(train: Rows, *, folds: int, classes: int) -> list[int]:
    """Count the folds' rows; every fold, and what it trains on, needs rows of two classes at least.

    Args:
        train: this rank's training rows.
        folds: how many.
        classes: how many; 0 for a regressor.

    Returns:
        rows that each fold is judged by, on all ranks together.

    Raises:
        DataError: a fold has no rows on one of its sides, or rows of one class.
    """
    own = np.stack([_counts(train, train.validated_in(fold), classes) for fold in range(folds)])
    other = np.stack([_counts(train, train.trained_in(fold), classes) for fold in range(folds)])
    if xgboost.collective.is_distributed():
        both = xgboost.collective.allreduce(np.stack([own, other]), xgboost.collective.Op.SUM)
        own, other = both.reshape(2, folds, -1)
    for fold in range(folds):
        _refuse(own[fold], f"fold {fold + 1} of {folds}", classes)
        _refuse(other[fold], f"what fold {fold + 1} of {folds} is trained on", classes)
    return [int(size) for size in own.sum(axis=1)]


def _counts(train: Rows, chosen: np.ndarray, classes: int) -> np.ndarray:
    if not classes:
        return np.array([np.count_nonzero(chosen)], np.float64)
    return np.bincount(train.y[chosen].astype(np.int64), minlength=classes).astype(np.float64)


def _refuse(counts: np.ndarray, side: str, classes: int) -> None:
    if counts.sum() == 0:
        raise DataError(f"{side} has no rows", hint="lower training.folds, or add rows")
    if classes and np.count_nonzero(counts) == 1:
        label = int(counts.argmax())
        raise DataError(
            f"all {int(counts.sum())} rows of {side} have the label {label}",
            hint="lower training.folds, set training.fold_by: stratified, or add rows of the other classes",
        )
