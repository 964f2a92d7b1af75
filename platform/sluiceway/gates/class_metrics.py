"""Metrics of decisions between several classes, from the confusion matrix; losses of their probabilities."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
OfClasses = Callable[[Array], Array]


def class_confusion(labels: Array, scores: Array) -> Array:
    """Rows of each class by the class that was decided, the one with the largest score.

    Args:
        labels: shape (n,), places of the classes.
        scores: shape (n, k).

    Returns:
        shape (k * k,): the class of the label counts k cells, the decided one is the cell in it.
    """
    k = scores.shape[1]
    return np.bincount(labels.astype(np.int64) * k + scores.argmax(axis=1), minlength=k * k)


def class_accuracy(counts: Array) -> Array:
    """Share of right decisions, from counts of shape (..., k * k)."""
    hits, truth, _ = _sums(counts)
    return ratio(hits.sum(axis=-1), truth.sum(axis=-1))


def class_precision(counts: Array) -> Array:
    """Precision of each class, shape (..., k); 0 for a class that was never decided, as scikit-learn has it."""
    hits, _, decided = _sums(counts)
    return np.where(decided > 0, ratio(hits, decided), 0.0)


def class_recall(counts: Array) -> Array:
    """Recall of each class, shape (..., k); NaN for a class without rows."""
    hits, truth, _ = _sums(counts)
    return ratio(hits, truth)


def class_f1(counts: Array) -> Array:
    """F1 of each class, shape (..., k); NaN for a class without rows."""
    hits, truth, decided = _sums(counts)
    return np.where(truth > 0, ratio(2 * hits, truth + decided), np.nan)


def macro(of_classes: OfClasses) -> OfClasses:
    """The mean over the classes; NaN where a class has no rows, because nothing is known of it."""

    def value(counts: Array) -> Array:
        known = _sums(counts)[1].min(axis=-1) > 0
        return np.where(known, of_classes(counts).mean(axis=-1), np.nan)

    return value


def weighted(of_classes: OfClasses) -> OfClasses:
    """The mean over the classes, each weighted by its rows."""

    def value(counts: Array) -> Array:
        truth = _sums(counts)[1]
        return ratio((np.nan_to_num(of_classes(counts)) * truth).sum(axis=-1), truth.sum(axis=-1))

    return value


def class_log_loss_rows(labels: Array, scores: Array, *, smallest: float) -> Array:
    """Minus the logarithm of the probability of each row's own class, which is taken as at least ``smallest``."""
    own = scores[np.arange(len(labels)), labels.astype(np.int64)]
    result: Array = -np.log(np.clip(own, smallest, 1.0))
    return result


def _sums(counts: Array) -> tuple[Array, Array, Array]:
    """Right rows, rows, and decisions of each class, shape (..., k) each."""
    k = math.isqrt(counts.shape[-1])
    square = counts.reshape(*counts.shape[:-1], k, k).astype(np.float64)
    return np.diagonal(square, axis1=-2, axis2=-1), square.sum(axis=-1), square.sum(axis=-2)


def ratio(top: Array, bottom: Array) -> Array:
    """One over the other, NaN where there is nothing below."""
    result: Array = np.divide(top, bottom, out=np.full(np.shape(bottom), np.nan), where=np.asarray(bottom) > 0)
    return result
