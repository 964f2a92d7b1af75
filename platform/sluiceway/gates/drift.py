"""How far the values of columns have moved, from what is remembered of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sluiceway.gates.column_facts import ColumnFacts
from sluiceway.gates.drawn import DriftScore
from sluiceway.gates.statistics.distances import psi, psi_categories

COUNTED = 5  # rows of a bin, of both sides together, from which on chance adds what the formula says
# Facts of a column, those of the same column elsewhere, and the rows of the first in the bins of the second.
Pair = tuple[ColumnFacts, ColumnFacts, Sequence[int]]


def drift(facts: ColumnFacts, reference: ColumnFacts, compared: Sequence[int]) -> float:
    """Population stability index of one column against the reference, less what chance adds to it.

    Of two samples of one distribution the index is about (bins - 1) (1/n + 1/m) on average. Bins with fewer than five
    rows on both sides together add less than that and are not counted. NaN where a side has no rows.

    Args:
        facts: of the column.
        reference: of the same column and kind elsewhere.
        compared: rows of ``facts`` in the reference's bins, for numbers.

    Raises:
        ValueError: the rows were not counted over the reference's bins.
    """
    if facts.kind == "category":
        before, now = dict(reference.categories), dict(facts.categories)
        value = psi_categories(before, now)
        both = [before.get(name, 0) + now.get(name, 0) for name in {*before, *now}]
    else:
        value = psi(reference.counts, compared)
        both = [a + b for a, b in zip(reference.counts, compared, strict=True)]
    if math.isnan(value):
        return value
    bins = sum(rows >= COUNTED for rows in both)
    n, m = _rows(facts), _rows(reference)
    return max(0.0, value - max(0, bins - 1) * (1 / n + 1 / m))


def drift_scores(pairs: Sequence[Pair], against: str, limit: float | None) -> list[DriftScore]:
    """Drift of every feature that can be compared, for the report."""
    held = math.nan if limit is None else limit
    scores = [DriftScore(f.name, against, drift(f, r, compared), held) for f, r, compared in pairs]
    return [score for score in scores if not math.isnan(score.value)]


def _rows(facts: ColumnFacts) -> int:
    return max(1, sum(rows for _, rows in facts.categories) if facts.kind == "category" else sum(facts.counts))
