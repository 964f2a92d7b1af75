"""From a score to a decision: the threshold, chosen on the validation rows."""

from __future__ import annotations

import numpy as np

from sluiceway.config.evaluation import ThresholdChoiceSection
from sluiceway.core.errors import DataError


def choose(labels: np.ndarray, scores: np.ndarray, choice: ThresholdChoiceSection) -> float:
    """Choose the threshold from which on a score means 1.

    ``best_f1`` and ``best_accuracy`` try every cut between two neighbouring scores; of equals the highest cut wins.

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
    order = np.argsort(-scores, kind="stable")
    ranked = np.asarray(scores, dtype=np.float64)[order]
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))  # a cut never parts equal scores
    hits = np.cumsum(truth[order])[ends]
    said = ends + 1  # rows decided as 1
    if choice.strategy == "best_f1":
        best = int(np.argmax(2 * hits / (said + positives)))
    else:
        right = np.append(len(truth) - positives, hits + (len(truth) - positives) - (said - hits))
        best = int(np.argmax(right)) - 1
    return _cut_below(ranked[ends], best)


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
