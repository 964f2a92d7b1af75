"""How well one feature alone tells the target: its shape learned on the training rows, judged on the test rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sluiceway.gates.identity import is_text, number_column, text_column
from sluiceway.gates.statistics.auc import auc_of_bins
from sluiceway.gates.statistics.differences import auc_bounds

Array = npt.NDArray[Any]
LEAVES = 64
SMOOTHING = 20.0  # rows of the average target that each category is given: one of a single row must not look perfect
LARGEST = 3.0e38  # of the 32-bit floats that trees see


@dataclass(frozen=True)
class Alone:
    """What one feature says by itself.

    Attributes:
        feature: the column.
        auc: on the test rows; of several classes the largest of one against the others. NaN: not defined.
        low: lower bound, 95 %.
        high: upper bound.
        place: of several classes which one it is; else 1.
    """

    feature: str
    auc: float
    low: float
    high: float
    place: int = 1


def alone(feature: str, train: pa.ChunkedArray, test: pa.ChunkedArray, *, known: Array, asked: Array, k: int) -> Alone:
    """The AUC of one feature for the target.

    Numbers are cut by a small tree, categories have their smoothed average; both are learned on the training rows, so
    that a column of which every value is another one says nothing.

    Args:
        feature: name of the column.
        train: its values in the training rows.
        test: its values in the test rows, of the same kind.
        known: labels of the training rows, places from 0 to k - 1.
        asked: labels of the test rows.
        k: classes; 2 for 0 and 1.
    """
    shares, bins = (_categories if is_text(train.type) else _leaves)(train, test, known, k)
    counts = np.bincount(bins * k + asked.astype(np.int64), minlength=len(shares) * k).reshape(-1, k)
    found = [_of_class(feature, counts, shares, place) for place in (range(k) if k > 2 else (1,))]
    return max(found, key=lambda one: -1.0 if math.isnan(one.auc) else one.auc)


def interval_of_bins(positives: Array, negatives: Array, scores: Array) -> tuple[float, float, float]:
    """AUC with its 95 % interval of rows that are known by their bin: the same as of the rows, with DeLong's variance.

    Args:
        positives: shape (bins,), rows with label 1.
        negatives: shape (bins,), the other rows.
        scores: shape (bins,).

    Returns:
        (value, low, high); all NaN where a class is missing, the bounds where one has fewer than two rows.
    """
    m, n = float(positives.sum()), float(negatives.sum())
    value = auc_of_bins(positives, negatives, scores)
    if min(m, n) < 2:
        return value, math.nan, math.nan
    level = np.unique(scores, return_inverse=True)[1]
    above, below = np.bincount(level, weights=positives), np.bincount(level, weights=negatives)
    wins = (np.cumsum(below) - below / 2) / n
    losses = 1 - (np.cumsum(above) - above / 2) / m
    variance = (above * (wins - value) ** 2).sum() / (m * (m - 1)) + (below * (losses - value) ** 2).sum() / (
        n * (n - 1)
    )
    low, high = map(float, auc_bounds(value, variance, min(m, n), 0.05))
    return value, low, high


def _of_class(feature: str, counts: Array, shares: Array, place: int) -> Alone:
    own = counts[:, place]
    return Alone(feature, *interval_of_bins(own, counts.sum(axis=1) - own, shares[:, place]), place)


def _leaves(train: pa.ChunkedArray, test: pa.ChunkedArray, known: Array, k: int) -> tuple[Array, Array]:
    """Share of each class in each leaf, and the leaf of each test row."""
    from sklearn.tree import DecisionTreeClassifier  # noqa: PLC0415 (a second, for nothing where gates are only named)

    tree = DecisionTreeClassifier(max_leaf_nodes=LEAVES, min_samples_leaf=max(5, len(known) // 2000), random_state=0)
    tree.fit(_matrix(train), known)
    shares = np.zeros((tree.tree_.node_count, k))
    shares[:, tree.classes_.astype(np.int64)] = tree.tree_.value[:, 0, :]
    return shares, tree.apply(_matrix(test)).astype(np.int64)


def _categories(train: pa.ChunkedArray, test: pa.ChunkedArray, known: Array, k: int) -> tuple[Array, Array]:
    """Smoothed share of each class in each category (the last bin is for what training has not seen), and the bins."""
    text = text_column(train)
    names = pc.unique(text)
    codes = pc.index_in(text, value_set=names).to_numpy(zero_copy_only=False).astype(np.int64)
    bins = pc.fill_null(pc.index_in(text_column(test), value_set=names), len(names))
    cells = np.bincount(codes * k + known.astype(np.int64), minlength=(len(names) + 1) * k).reshape(-1, k)
    average = cells.sum(axis=0) / max(1, len(known))
    shares = (cells + SMOOTHING * average) / (cells.sum(axis=1, keepdims=True) + SMOOTHING)
    return shares, bins.to_numpy(zero_copy_only=False).astype(np.int64)


def _matrix(column: pa.ChunkedArray) -> Array:
    values = number_column(column).cast(pa.float64(), safe=False).to_numpy()
    matrix: Array = np.clip(values, -LARGEST, LARGEST).astype(np.float32).reshape(-1, 1)
    return matrix
