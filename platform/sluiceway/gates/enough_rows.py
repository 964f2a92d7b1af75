"""How many rows a verdict wants at least, whatever its interval says.

An interval is itself an estimate. Of one or two rows it may have no width at all, and a small model that is right on
all of 20 rows has lost nothing under any noise: neither is a reason to let a model pass.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
# From about 30 rows on the standard error of a mean is known to a seventh (1 / sqrt(2 (n - 1))), and the normal and
# Student's intervals differ by 4 %. A test part of normal size has hundreds.
FEWEST_ROWS = 30
FEWEST_OF_A_CLASS = 10  # the error of an AUC of fewer is not known


@dataclass(frozen=True)
class Lack:
    """Why rows are too few to judge by.

    Attributes:
        reason: in words.
        enough: about how many rows would do; None where no number is known to.
    """

    reason: str
    enough: int | None


def lack_of(labels: Array, *, ranked: bool) -> Lack | None:
    """What rows lack to be judged by, or None.

    Args:
        labels: shape (n,).
        ranked: they are of classes, and what is judged is how well these are told apart.
    """
    n = len(labels)
    if n == 0:
        return Lack("no test rows", None)
    rarer = smallest_held(labels) if ranked else n
    if n < FEWEST_ROWS:
        return Lack("too few rows", FEWEST_ROWS if rarer else None)
    if 0 < rarer < FEWEST_OF_A_CLASS:
        return Lack(f"only {rarer} rows of one class", math.ceil(n * FEWEST_OF_A_CLASS / rarer))
    return None


def smallest_held(labels: Array) -> int:
    """Rows of the smallest class that there is; 0 where all rows are of one, which tells nothing of any other."""
    counts = np.unique(np.asarray(labels), return_counts=True)[1]
    return int(counts.min()) if len(counts) > 1 else 0


def rarer_class(labels: Array) -> int:
    """Rows of the rarer of two classes, 0 and 1."""
    positives = int(np.count_nonzero(np.asarray(labels) == 1))
    return min(positives, len(labels) - positives)


def only_class(labels: Array) -> str:
    """Says so where all rows are of one class, 0 or 1; else ""."""
    if len(labels) == 0 or rarer_class(labels):
        return ""
    return f"all rows are of class {labels[0]:g}"
