"""Metrics of groups of rows, with what each row adds to their sampling error.

The influence of a row is its part in the error of an estimate: the sum of the squares is the variance, and the sum of
the products of two estimates on the same rows is their covariance. So two models on the same rows, or a part of the
rows and the whole, can be compared with what they have in common. Of an AUC these are DeLong's structural components
(E. DeLong, D. DeLong, D. Clarke-Pearson, Biometrics 44, 1988).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def auc_influence(labels: Array, scores: Array, order: Array, codes: Array, groups: int) -> tuple[Array, Array]:
    """The AUC of every group at once.

    Args:
        labels: shape (n,), 0 or 1.
        scores: shape (n,), without NaN.
        order: rows to look at, with rising scores (``np.argsort(scores)``, or a part of it); shape (m,).
        codes: shape (n,), the group of each row, 0 to ``groups`` - 1.
        groups: how many.

    Returns:
        (values, influence): shape (groups,), NaN for a group without rows of either class; shape (n,), 0 for rows that
        are not looked at, NaN where a group has a single row of a class.
    """
    influence = np.zeros(len(labels))
    if len(order) == 0:
        return np.full(groups, np.nan), influence
    rows = order if groups == 1 else order[np.argsort(_narrow(codes[order], groups), kind="stable")]
    group, score, positive = codes[rows], scores[rows], labels[rows] == 1
    new = np.ones(len(rows), dtype=np.bool_)
    new[1:] = (score[1:] != score[:-1]) | (group[1:] != group[:-1])
    starts = np.flatnonzero(new)
    level, of = np.cumsum(new) - 1, group[starts]
    above = np.add.reduceat(positive, starts, dtype=np.float64)  # positive rows of each level of the score
    below = np.diff(np.append(starts, len(rows))) - above
    m, n = np.bincount(of, above, groups), np.bincount(of, below, groups)
    with np.errstate(divide="ignore", invalid="ignore"):
        # Of a positive row the share of negative ones below it, of a negative row that of positive ones above it.
        beaten = (np.cumsum(below) - below / 2 - (np.cumsum(n) - n)[of]) / n[of]
        beating = 1 - (np.cumsum(above) - above / 2 - (np.cumsum(m) - m)[of]) / m[of]
        values = np.bincount(of, above * beaten, groups) / m
        of_positive = (beaten - values[of]) / np.sqrt(m * (m - 1))[of]
        of_negative = (beating - values[of]) / np.sqrt(n * (n - 1))[of]
    influence[rows] = np.where(positive, of_positive[level], of_negative[level])
    return np.where((m > 0) & (n > 0), values, np.nan), influence


def mean_influence(values: Array, codes: Array, groups: int) -> tuple[Array, Array]:
    """The mean of every group.

    Args:
        values: shape (n,).
        codes: shape (n,), the group of each row.
        groups: how many.

    Returns:
        (means, influence): shape (groups,), NaN for an empty group; shape (n,).
    """
    n = np.bincount(codes, minlength=groups)
    with np.errstate(invalid="ignore"):
        means = np.bincount(codes, values, groups) / n
    return means, (values - means[codes]) / n[codes]


def covariance(first: Array, second: Array, codes: Array, groups: int) -> Array:
    """Covariance in each group of two estimates on the same rows; of one with itself its variance, shape (groups,)."""
    return np.bincount(codes, first * second, groups)


def _narrow(codes: Array, groups: int) -> Array:
    """Small integers are sorted by counting, in one pass."""
    return codes.astype(np.uint8 if groups <= 2**8 else np.uint16 if groups <= 2**16 else np.int64)
