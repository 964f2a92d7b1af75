"""From a score to a decision: the threshold, chosen on the validation rows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sluiceway.config.evaluation import ThresholdChoiceSection
from sluiceway.core.errors import DataError


def choose(labels: np.ndarray, scores: np.ndarray, choice: ThresholdChoiceSection) -> float:
    """Choose the threshold from which on a score means 1.

    Every cut between two neighbouring scores is tried, and the one below the lowest; ``best_accuracy`` and
    ``lowest_cost`` may also decide no row as 1, with a cut above the highest. Of equals the highest cut wins.

    Args:
        labels: shape (n,), 0 or 1.
        scores: shape (n,), probabilities of 1.
        choice: the strategy.

    Returns:
        the threshold; a row is decided as 1 when its score is at least this.

    Raises:
        DataError: there are no rows, or rows of one class only, to choose by.
    """
    if choice.strategy == "fixed":
        return choice.value
    truth = np.asarray(labels) > 0
    positives = int(truth.sum())
    if positives in (0, len(truth)):
        raise DataError(
            f"the {len(truth)} validation rows hold {positives} positive ones; a threshold cannot be chosen",
            hint="give data.split.validation a larger share, or set evaluation.decision to strategy: fixed",
        )
    cuts = _Cuts.of(truth, np.asarray(scores, dtype=np.float64))
    return _cut_below(cuts.scores, _best(cuts, choice))


@dataclass(frozen=True)
class _Cuts:
    """What comes of each cut.

    Attributes:
        scores: distinct scores, falling; a cut is below each of them.
        hits: positive rows that are decided as 1.
        said: rows that are decided as 1.
        positives: all positive rows.
        negatives: all others.
    """

    scores: np.ndarray
    hits: np.ndarray
    said: np.ndarray
    positives: int
    negatives: int

    @classmethod
    def of(cls, truth: np.ndarray, scores: np.ndarray) -> _Cuts:
        order = np.argsort(-scores, kind="stable")
        ranked = scores[order]
        ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))  # a cut never parts equal scores
        positives = int(truth.sum())
        return cls(ranked[ends], np.cumsum(truth[order])[ends], ends + 1, positives, len(truth) - positives)


def _best(cuts: _Cuts, choice: ThresholdChoiceSection) -> int:
    """Place of the best cut; -1 is the one above the highest score."""
    if choice.strategy in ("best_f1", "best_fbeta"):
        weight = 1.0 if choice.strategy == "best_f1" else choice.beta**2
        # F-beta, from (1 + beta^2) hits / ((1 + beta^2) hits + beta^2 missed + wrong alarms)
        return int(np.argmax((1 + weight) * cuts.hits / (cuts.said + weight * cuts.positives)))
    if choice.strategy == "precision_at_recall":
        # The lowest cut finds every positive row: there always is one that finds enough of them.
        wanted = math.ceil(choice.recall * cuts.positives - 1e-9)
        return int(np.argmax(np.where(cuts.hits >= wanted, cuts.hits / cuts.said, -1.0)))
    wrong_alarm, missed = 1.0, 1.0
    if choice.strategy == "lowest_cost":
        wrong_alarm, missed = choice.false_positive_cost, choice.false_negative_cost
    cost = wrong_alarm * (cuts.said - cuts.hits) + missed * (cuts.positives - cuts.hits)
    return int(np.argmin(np.append(missed * cuts.positives, cost))) - 1


def _cut_below(distinct: np.ndarray, index: int) -> float:
    """The middle between a distinct score (descending) and the next lower one; -1 is above the highest.

    It is a 32-bit number, as scores are: numpy compares float32 scores with a Python float in 32 bits.
    """
    if index < 0:
        top = np.float32(distinct[0])
        return float((top + 1) / 2 if top < 1 else np.nextafter(top, np.float32(np.inf)))
    upper = float(distinct[index])
    lower = float(distinct[index + 1]) if index + 1 < len(distinct) else 0.0
    middle = float(np.float32((upper + lower) / 2))
    return middle if lower < middle <= upper else upper  # neighbours have no middle
