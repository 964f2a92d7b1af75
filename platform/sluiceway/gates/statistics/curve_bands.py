"""ROC and precision-recall curves with a 95 % band.

Of a share at one cut, Wilson's interval would do if the cut were given. A reader of a curve fixes x instead, and the
cut that has this x is itself an estimate. The variance at a fixed false positive rate is

    T (1 - T) / positives  +  slope^2 F (1 - F) / negatives

(F. Hsieh and B. Turnbull, "Nonparametric and semiparametric estimation of the receiver operating characteristic
curve", Annals of Statistics 24, 1996); that of the logit of the precision at a fixed recall follows in the same way by
the delta method. Both are told as the number of rows that a plain share would need for that variance, and Wilson's
interval is taken with this number: so the band stays inside 0 and 1 and has a width where the estimate is 0 or 1. It is
a band of each point by itself, not of the whole curve at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

Array = npt.NDArray[Any]
# The slope of the ROC curve is taken over this much of its length (of x plus y) to both sides.
SLOPE_REACH = 0.1


@dataclass(frozen=True)
class Cuts:
    """What lies at or above every cut between two different scores, the highest score first.

    Attributes:
        true: shape (cuts,), positive rows.
        false: shape (cuts,), negative rows.
    """

    true: Array
    false: Array

    @property
    def positives(self) -> int:
        """All positive rows."""
        return int(self.true[-1]) if len(self.true) else 0

    @property
    def negatives(self) -> int:
        """All negative rows."""
        return int(self.false[-1]) if len(self.false) else 0

    @property
    def rates(self) -> tuple[Array, Array]:
        """(false positive rate, true positive rate) of every cut; both classes have to have rows."""
        return self.false / self.negatives, self.true / self.positives


def cuts_of(labels: Array, scores: Array) -> Cuts:
    """The cuts of rows that are sorted by score, the highest first.

    Args:
        labels: shape (n,), bool.
        scores: shape (n,), falling.
    """
    if len(scores) == 0:
        return Cuts(np.empty(0, np.int64), np.empty(0, np.int64))
    last = np.append(np.flatnonzero(scores[1:] != scores[:-1]), len(scores) - 1)
    true = np.cumsum(labels, dtype=np.int64)[last]
    return Cuts(true, last + 1 - true)


def even_cuts(cuts: Cuts, most: int) -> Array:
    """Places of at most so many cuts that are evenly far apart along the ROC curve; the last one is among them.

    Even along the curve and not among the rows: of rare positives nearly all of the curve lies in few rows.
    """
    x, y = cuts.rates
    length = x + y
    return np.unique(np.searchsorted(length, np.linspace(length[0], length[-1], most)))


def even_recalls(cuts: Cuts, most: int) -> Array:
    """Places of at most so many cuts whose recalls are evenly far apart: the first cut that reaches each, and the last.

    The last one decides all rows as positive: its precision is the share of positives.
    """
    first = np.searchsorted(cuts.true, 1)
    recalls = np.linspace(cuts.true[first], cuts.positives, most - 1)
    return np.unique(np.append(np.searchsorted(cuts.true, recalls), len(cuts.true) - 1))


def roc_band(cuts: Cuts, places: Array, *, alpha: float = 0.05) -> tuple[Array, Array]:
    """Bounds of the true positive rate at the false positive rates of some cuts.

    Args:
        cuts: of all rows.
        places: shape (k,), which cuts.
        alpha: two-sided error.

    Returns:
        (low, high), each of shape (k,).
    """
    m, n = cuts.positives, cuts.negatives
    x, y = _inner_rates(cuts, places)
    at_cut = y * (1 - y) / m
    variance = at_cut + _slopes(cuts, places) ** 2 * x * (1 - x) / n
    return _wilson(cuts.true[places] / m, m * at_cut / variance, alpha)


def precision_band(cuts: Cuts, places: Array, *, alpha: float = 0.05) -> tuple[Array, Array]:
    """Bounds of the precision at the recalls of some cuts.

    Args:
        cuts: of all rows.
        places: shape (k,), which cuts.
        alpha: two-sided error.

    Returns:
        (low, high), each of shape (k,).
    """
    m, n = cuts.positives, cuts.negatives
    x, y = _inner_rates(cuts, places)
    at_cut = 1 / (m * y) + 1 / (n * x)
    variance = 1 / (n * x) + 1 / m + y * (1 - y) / (m * (_slopes(cuts, places) * x) ** 2)
    above = cuts.true[places] + cuts.false[places]
    return _wilson(cuts.true[places] / above, above * np.minimum(1.0, at_cut / variance), alpha)


def _inner_rates(cuts: Cuts, places: Array) -> tuple[Array, Array]:
    """False and true positive rates that are never 0 or 1, where a variance would vanish."""
    return (
        (cuts.false[places] + 0.5) / (cuts.negatives + 1),
        (cuts.true[places] + 0.5) / (cuts.positives + 1),
    )


def _slopes(cuts: Cuts, places: Array) -> Array:
    """Slope of the ROC curve around some cuts; above 0."""
    x, y = (np.append(0.0, rate) for rate in cuts.rates)
    length, at = x + y, places + 1
    before = np.minimum(np.searchsorted(length, length[at] - SLOPE_REACH), at - 1)
    after = np.minimum(np.maximum(np.searchsorted(length, length[at] + SLOPE_REACH), at + 1), len(length) - 1)
    rise = y[after] - y[before] + 0.5 / cuts.positives
    slope: Array = rise / (x[after] - x[before] + 0.5 / cuts.negatives)
    return slope


def _wilson(share: Array, n: Array, alpha: float) -> tuple[Array, Array]:
    """Wilson's interval for many shares, n need not be whole (E. B. Wilson, JASA 22, 1927)."""
    z2 = float(norm.ppf(1 - alpha / 2)) ** 2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = np.sqrt(z2) * np.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return np.where(share == 0, 0.0, centre - half), np.where(share == 1, 1.0, centre + half)
