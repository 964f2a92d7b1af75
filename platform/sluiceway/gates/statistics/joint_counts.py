"""Two models' decisions on the same rows: the bootstrap of everything that depends on the decisions only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from sluiceway.gates.statistics.proportions import Pairs

Array = npt.NDArray[Any]
DRAWN_CELLS = 4_000_000  # counts of all resamples together; bounds memory where there are many classes
FEW = 30  # rows of a class


@dataclass(frozen=True)
class JointCounts:
    """Rows by their class, what the first model decides, and what the second does.

    Attributes:
        classes: k, how many there are.
        cells: shape (c,), of each cell that has rows: (class k + first decision) k + second decision, rising.
        rows: shape (c,), rows in each.
    """

    classes: int
    cells: Array
    rows: Array

    @classmethod
    def of(cls, labels: Array, first: Array, second: Array, classes: int) -> JointCounts:
        """Count.

        Args:
            labels: shape (n,), places of the classes; of two 0 or 1.
            first: shape (n,), place of the class that the first model decides.
            second: shape (n,), of the second.
            classes: how many there are.
        """
        k = classes
        cell = (np.asarray(labels).astype(np.int64) * k + first) * k + second
        if k**3 <= max(len(cell), 4096):
            counts = np.bincount(cell, minlength=k**3)
            cells = np.flatnonzero(counts)
            return cls(k, cells, counts[cells])
        cells, rows = np.unique(cell, return_counts=True)
        return cls(k, cells, rows)

    @property
    def n(self) -> int:
        """Number of rows."""
        return int(self.rows.sum())

    @property
    def places(self) -> tuple[Array, Array, Array]:
        """Class, first and second decision of each cell, shape (c,) each."""
        k = self.classes
        return self.cells // (k * k), self.cells // k % k, self.cells % k

    def pairs(self) -> Pairs:
        """By who was right; the second model is the champion."""
        label, first, second = self.places
        right, other = first == label, second == label

        def count(where: Array) -> int:
            return int(self.rows[where].sum())

        return Pairs(count(right & other), count(~right & other), count(right & ~other), count(~right & ~other))

    def draws(self, metric: Callable[[Array], Array], *, resamples: int = 2000, seed: int = 0) -> tuple[Array, Array]:
        """A metric of both models on the same resamples.

        Resamples are drawn from the counts and, for each class, half a row more that only the first model got right
        and half a row that only the second did: models that differ on no row of the sample are not known never to
        differ (for two classes it is as many rows as in D. Bonett and R. Price, "Adjusted Wald Confidence Interval for
        a Difference of Binomial Proportions Based on Paired Data", J. Educ. Behav. Stat. 37, 2012). It is less for a
        class of few rows.

        Args:
            metric: maps confusion counts of shape (resamples, k * k) to values of shape (resamples,).
            resamples: how many at most; fewer where there are very many cells, but no fewer than 200.
            seed: of the draws.

        Returns:
            values of the first and of the second model, shape (resamples,) each.
        """
        cells, weights = self._adjusted()
        k = self.classes
        resamples = max(200, min(resamples, DRAWN_CELLS // max(len(cells), k * k)))
        drawn = np.random.default_rng(seed).multinomial(self.n, weights / weights.sum(), size=resamples)
        label = cells // (k * k)
        first, second = (_added_up(drawn, label * k + decided, k * k) for decided in (cells // k % k, cells % k))
        return metric(first), metric(second)

    def _adjusted(self) -> tuple[Array, Array]:
        k = self.classes
        label, first, second = self.places
        more = 0.5 * np.minimum(1.0, np.bincount(label, weights=self.rows, minlength=k) / FEW)
        # The wrong class of the added rows: the one that each class is most often taken for, by either model.
        taken = np.zeros((k, k))
        for decided in (first, second):
            np.add.at(taken, (label, decided), self.rows)
        own = np.arange(k)
        taken[own, own] = -1
        taken[own, (own + 1) % k] += 0.5  # of equals, or without any
        wrong = taken.argmax(axis=1)
        gained, lost = (own * k + own) * k + wrong, (own * k + wrong) * k + own
        return np.concatenate([self.cells, gained, lost]), np.concatenate([self.rows, more, more])


def _added_up(drawn: Array, place: Array, places: int) -> Array:
    """Sums of the columns of ``drawn`` that have the same place, shape (resamples, places)."""
    cells = len(place)
    matrix = csr_array((np.ones(cells), (place, np.arange(cells))), shape=(places, cells))
    return np.asarray((matrix @ drawn.T).T)
