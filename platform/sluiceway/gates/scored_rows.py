"""Rows with the scores of one model, or of two: what several metrics need is worked out once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from sluiceway.gates.statistics.joint_counts import JointCounts

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Doubt:
    """How an interval is taken.

    Attributes:
        alpha: two-sided error.
        resamples: bootstrap draws, for metrics that have no formula.
        seed: of the draws.
    """

    alpha: float = 0.05
    resamples: int = 500
    seed: int = 0


@dataclass(frozen=True)
class ScoredRows:
    """Rows and what a model says of them.

    Attributes:
        labels: shape (n,), float64: 0 or 1; places of the classes; real numbers for regression.
        scores: shape (n,), float64: probability of the positive class, or the prediction; shape (n, k) of several
            classes.
        threshold: a score at or above it is a positive decision; None where the model decides nothing. Of several
            classes the largest score decides.
    """

    labels: Array
    scores: Array
    threshold: float | None = 0.5

    @classmethod
    def of(cls, labels: Any, scores: Any, threshold: float | None) -> ScoredRows:
        """From anything that NumPy takes."""
        return cls(np.asarray(labels, dtype=np.float64), np.asarray(scores, dtype=np.float64), threshold)

    @property
    def classes(self) -> int:
        """How many classes there are; 2 for a model of one score."""
        return int(self.scores.shape[1]) if self.scores.ndim == 2 else 2

    @cached_property
    def blank(self) -> bool:
        """True where nothing can be said: no rows, or a score that is missing."""
        return len(self.labels) == 0 or bool(np.isnan(self.scores).any())

    @cached_property
    def decisions(self) -> Array | None:
        """Shape (n,), int64: place of the class that is decided; None without a threshold."""
        if self.scores.ndim == 1 and self.threshold is None:
            return None
        decided: Array = self.scores.argmax(axis=1) if self.scores.ndim == 2 else self.scores >= self.threshold
        return decided.astype(np.int64)

    @cached_property
    def counts(self) -> Array | None:
        """Shape (k * k,): rows by class and decision, the class of the label counting k; None without decisions.

        Of two classes (true negative, false positive, false negative, true positive).
        """
        decided, k = self.decisions, self.classes
        return None if decided is None else np.bincount(self.labels.astype(np.int64) * k + decided, minlength=k * k)


@dataclass(frozen=True)
class PairedRows:
    """The same rows with the scores of two models.

    Attributes:
        first: of the one.
        second: of the other; the labels are the same.
    """

    first: ScoredRows
    second: ScoredRows

    @cached_property
    def counts(self) -> JointCounts | None:
        """Rows by class and both decisions; None where a model decides nothing."""
        one, other = self.first.decisions, self.second.decisions
        if one is None or other is None:
            return None
        return JointCounts.of(self.first.labels, one, other, self.first.classes)
