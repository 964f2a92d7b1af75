"""Looks for parts of the rows that a model serves badly: found on one half of the rows, confirmed on the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sluiceway.gates.error_tree import Coding, Region, code_feature, grow, worst_regions
from sluiceway.gates.promise import Promise, confidence, excess_loss, promised_metric
from sluiceway.gates.slice_metrics import Interval, PartMetric, WholeRows, relative_loss
from sluiceway.gates.statistics.differences import holm_levels

Array = npt.NDArray[Any]
KEY = "__key__"
DEPTH = 3
MOST_ROWS = 100_000  # that the tree is grown on
MOST_SLICES = 5  # that are looked at again on the other half
SMALLEST_SHARE = 0.01
SPARE = 1.25  # a slice that is just large enough on one half would be too small on the other half of the time
ALPHA = 0.05  # one-sided, of all slices together
_HALF = np.uint64(1 << 63)


@dataclass(frozen=True)
class FoundSlice:
    """A slice that one half of the rows found bad, on the other half.

    Attributes:
        name: in words.
        metric: its main metric.
        whole: that of all rows of the half.
        promised: that it would have if its scores kept their promises.
        judged: large enough.
        loss: how much worse than both it is, whichever is less; with a lower bound for all slices at once.
        confirmed: the bound is beyond the limit.
    """

    name: str
    metric: PartMetric
    whole: float
    promised: float
    judged: bool
    loss: Interval
    confirmed: bool


def rows_needed(min_rows: int) -> int:
    """Rows from which there may be a slice at all."""
    return round(4 * SPARE * min_rows)


def find_slices(
    rows: pa.Table, scored: WholeRows, kinds: Mapping[str, str], *, min_rows: int, max_loss: float, seed: int
) -> tuple[tuple[FoundSlice, ...], int]:
    """Grow an error tree on one half, and hold its worst parts against the other.

    A slice is bad by two measures, and both have to be sure: its main metric is worse than that of all rows, and it is
    worse than its scores promise. By the first alone every narrow slice would be bad, where all rows are alike and
    nothing is left to rank; by the second alone a model that is too sure of itself would be bad everywhere.

    Args:
        rows: features, and ``__key__`` to draw the halves by; without it they are drawn by position.
        scored: labels and scores of the same rows.
        kinds: ``numeric`` or ``category`` by feature.
        min_rows: smaller slices are not judged.
        max_loss: a loss beyond it is bad.
        seed: of the halves.

    Returns:
        the slices that the first half found, the worst one first; rows of the other half.
    """
    first, second = _halves(rows, scored.labels, seed)
    if min(len(first), len(second)) < min_rows:
        return (), 0  # the key has few values, and all of their rows fell into one half
    sure = confidence(scored.scores)
    codings, regions = _regions(rows, first, first, sure, scored, kinds, min_rows)
    kept = first[~_inside_any(rows.take(pa.array(first)), regions, codings)]
    if regions and len(kept) >= min_rows:
        # Large bad slices have had a say in what scores promise, and so look better than they are: once more without.
        codings, regions = _regions(rows, first, kept, sure, scored, kinds, min_rows)
    other = WholeRows(scored.labels[second], scored.scores[second], scored.task)
    used = list(dict.fromkeys(name for region in regions for name in region.limits))
    halves = [rows.select(used).take(pa.array(half)) if used else rows.slice(0, 0) for half in (first, second)]
    found = []
    for region in regions:
        # A large bad slice has a say in what its scores promise: what it is held to is what the others keep.
        outside = first[~region.holds(halves[0], codings)]
        promise = Promise.of(sure[outside], scored.outcomes[outside])
        inside = region.holds(halves[1], codings)
        metric = other.part(inside)
        promised = promise(sure[second[inside]])
        promises = promised_metric(other.scores[inside], promised, scored.task) if metric.n else float("nan")
        found.append((region.words(codings), metric, promises))
    return _confirmed(found, other, min_rows, max_loss), len(second)


def loss_of(metric: PartMetric, promised: float, rows: WholeRows, alpha: float) -> Interval:
    """The lesser of two losses, against all rows and against what the scores promise: (loss, low, high).

    Its lower bound is the lesser of theirs: sure that both are beyond a limit is who is sure of each (R. Berger,
    Technometrics 24, 1982).

    Args:
        metric: of the slice.
        promised: see :func:`~sluiceway.gates.promise.promised_metric`.
        rows: all rows.
        alpha: two-sided error.
    """
    against_all = rows.loss(metric, alpha)
    if metric.task == "regression":
        against_promise = relative_loss(metric.value, promised, metric.variance**0.5, alpha)
    else:
        value, low, high = metric.interval(alpha)
        against_promise = promised - value, promised - high, promised - low
    lesser = np.minimum(against_all, against_promise)
    return float(lesser[0]), float(lesser[1]), float(lesser[2])


def _inside_any(rows: pa.Table, regions: Sequence[Region], codings: Mapping[str, Coding]) -> Array:
    """Which rows are in one of the regions, shape (n,), bool."""
    inside = np.zeros(rows.num_rows, dtype=np.bool_)
    for region in regions:
        inside |= region.holds(rows, codings)
    return inside


def _regions(
    rows: pa.Table,
    chosen: Array,
    promising: Array,
    sure: Array,
    scored: WholeRows,
    kinds: Mapping[str, str],
    min_rows: int,
) -> tuple[dict[str, Coding], tuple[Region, ...]]:
    """The worst parts of the rows at ``chosen``, where those at ``promising`` say what a score promises."""
    promised = Promise.of(sure[promising], scored.outcomes[promising])(sure[chosen])
    excess = excess_loss(scored.outcomes[chosen], promised, scored.task)
    seen = rows.select([name for name in kinds if name in rows.column_names]).take(pa.array(chosen))
    coded = {
        name: code_feature(name, seen[name], excess, category=kinds[name] == "category") for name in seen.column_names
    }
    codings = {name: coding for name, coding in coded.items() if coding is not None}
    smallest = max(round(SPARE * min_rows), round(SMALLEST_SHARE * len(chosen)))
    return codings, worst_regions(grow(seen, codings, excess, depth=DEPTH, smallest=smallest), MOST_SLICES)


def _confirmed(
    found: list[tuple[str, PartMetric, float]], rows: WholeRows, min_rows: int, max_loss: float
) -> tuple[FoundSlice, ...]:
    judged = [metric.n >= min_rows and not metric.few_of_a_class for _, metric, _ in found]
    large = [i for i, enough in enumerate(judged) if enough]

    def lower_bounds(alpha: float) -> Array:
        return np.array([loss_of(found[i][1], found[i][2], rows, 2 * alpha)[1] for i in large])

    levels = dict(zip(large, holm_levels(lower_bounds, max_loss, ALPHA), strict=True))
    slices = []
    for i, (name, metric, promised) in enumerate(found):
        loss = loss_of(metric, promised, rows, 2 * float(levels.get(i, ALPHA)))
        bad = judged[i] and loss[1] > max_loss
        slices.append(FoundSlice(name, metric, rows.whole.value, promised, judged[i], loss, bad))
    return tuple(sorted(slices, key=lambda s: (not s.confirmed, -np.nan_to_num(s.loss[0], nan=-np.inf))))


def _halves(rows: pa.Table, labels: Array, seed: int) -> tuple[Array, Array]:
    """Rows to find slices on, at most ``MOST_ROWS``, and the half to confirm them on; a key's rows are in one half."""
    n = len(labels)
    key = rows[KEY].to_numpy().astype(np.uint64) if KEY in rows.column_names else np.arange(n, dtype=np.uint64)
    mixed = _mix(key ^ _mix(np.array([seed % 2**64], dtype=np.uint64)))
    share = min(1.0, MOST_ROWS / max(1, n / 2))
    below = np.uint64(int(float(_HALF) * share))
    return np.flatnonzero(mixed < below), np.flatnonzero(mixed >= _HALF)


def _mix(values: Array) -> Array:
    """Spread the bits of whole numbers evenly: the finisher of SplitMix64 (G. Steele, D. Lea, C. Flood, OOPSLA 2014).

    The keys of test rows have bits in common, because by these they became test rows.
    """
    with np.errstate(over="ignore"):
        values = values + np.uint64(0x9E3779B97F4A7C15)
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(values ^ (values >> np.uint64(31)))
