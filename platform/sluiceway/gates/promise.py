"""What a score promises: how rows of about the same score turn out on average.

That is the share of positive rows among those of a probability, the share of right decisions among those of a
confidence, the mean squared error among those of a prediction. Rows that turn out worse than their scores promise are
the model's fault; rows that are hard, and whose scores say so, are not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import logit

from sluiceway.gates.metrics import Task
from sluiceway.gates.statistics.auc import auc_of_bins

Array = npt.NDArray[Any]
MOST_BINS = 50
SMALLEST = 1e-6  # a promise of none at all, from rows of one class, would make the first exception infinite
ROWS_A_BIN = 200  # of which a share is known to about 0.03


@dataclass(frozen=True)
class Promise:
    """Bins of the score with what came of their rows.

    Attributes:
        edges: shape (b - 1,), rising; a bin begins at its edge.
        means: shape (b,), mean outcome.
    """

    edges: Array
    means: Array

    @classmethod
    def of(cls, scores: Array, outcomes: Array) -> Promise:
        """Learn it from rows.

        Args:
            scores: shape (n,), n > 0.
            outcomes: shape (n,), at least 0.
        """
        order = np.argsort(scores)
        ranked, total = scores[order], np.cumsum(outcomes[order])
        cuts = np.linspace(0, 1, max(1, min(MOST_BINS, len(scores) // ROWS_A_BIN)) + 1)[1:-1]
        # Bins of equally many rows, and of equally much outcome: where positives are rare, most of them are in one bin
        # of the rows.
        places = [(cuts * len(scores)).astype(np.int64), np.searchsorted(total, cuts * total[-1])]
        edges = np.unique(ranked[np.minimum(np.concatenate(places), len(scores) - 1)])
        edges = edges[edges > ranked[0]]
        bins = np.searchsorted(edges, scores, side="right")
        n = np.bincount(bins, minlength=len(edges) + 1)
        # One more row of the general kind, so that no bin promises a certainty.
        means = (np.bincount(bins, outcomes, len(edges) + 1) + outcomes.mean()) / (n + 1)
        return cls(edges, means)

    def __call__(self, scores: Array) -> Array:
        """The promise of each score, shape (n,)."""
        return self.means[np.searchsorted(self.edges, scores, side="right")]


def confidence(scores: Array) -> Array:
    """What a promise is read from: the score itself, or the largest one of several classes; shape (n,)."""
    return scores.max(axis=1) if scores.ndim == 2 else scores


def excess_loss(outcomes: Array, promised: Array, task: Task) -> Array:
    """How much worse each row turned out than promised, shape (n,); 0 on average where promises are kept.

    Of two classes it is what the score has told of the outcome, in nats more than the share m of all positive rows
    tells, less than what it promised to tell: ``(p - y) (logit(p) - logit(m))``. Rows of an undecided score are not
    taken for bad ones, and a score that is too high for all rows of a part alike, which does not put them into another
    order, counts for little.

    Args:
        outcomes: shape (n,): labels, right decisions, or squared errors.
        promised: shape (n,), of the same kind.
        task: kind of the model.
    """
    if task == "binary":
        p = np.clip(promised, SMALLEST, 1 - SMALLEST)
        return np.asarray((p - outcomes) * (logit(p) - logit(p.mean())))
    return promised - outcomes if task == "multiclass" else outcomes - promised


def promised_metric(scores: Array, promised: Array, task: Task) -> float:
    """The main metric that these rows would have if every promise were kept."""
    if task == "binary":
        return auc_of_bins(promised, 1 - promised, scores)
    mean = float(promised.mean())
    return mean if task == "multiclass" else mean**0.5
