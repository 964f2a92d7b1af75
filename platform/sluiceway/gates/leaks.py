"""How much a feature, a row or a time gives away: the measurements of the gate ``leakage``."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy.stats import norm, rankdata

from sluiceway.core.verdict import Measurement
from sluiceway.gates.identity import distinct_share, is_identifier, is_text, number_column
from sluiceway.gates.small_models import boosted, by_heart, matrices
from sluiceway.gates.statistics.row_parts import (
    Estimate,
    auc_estimate,
    difference_of,
    mean_of,
    relative_change,
    rmse_estimate,
)

Array = npt.NDArray[Any]
FEWEST_ROWS = 1_000  # that say whether values repeat
FOLLOWS_TIME = 0.995  # Spearman's correlation
DRAWN = 0.8  # of the earlier rows, so that each draw is another one
EARLIER = 0.7  # share of the training rows that are before the cut in time
JUDGED = 5_000  # with fewer test rows, what is drawn is drawn again
MOST_TIMES = 5


@dataclass(frozen=True)
class Suspects:
    """Features that are no properties of the row, each with why.

    Attributes:
        certain: what is.
        possible: what looks like it in too few rows.
        n: rows that were looked at.
    """

    certain: dict[str, str]
    possible: dict[str, str]
    n: int


def suspects(train: pa.Table, features: Sequence[str], *, key: Sequence[str], time: str | None, rows: int) -> Suspects:
    """Find the key, identifiers, dates and what rises or falls with the time among the features.

    Args:
        train: training rows.
        features: columns that the model sees.
        key: columns that identify a row; one of several does not do it alone.
        time: column of the row's time, or None.
        rows: at most so many are ordered by time.
    """
    certain: dict[str, str] = {}
    possible: dict[str, str] = {}
    ticks = ticks_of(train[time]) if time in train.column_names and is_time(train[time].type) else None
    for name in features:
        column = train[name]
        if tuple(key) == (name,):
            certain[name] = "is the key of the rows"
        elif pa.types.is_temporal(column.type) or name == time:
            certain[name] = f"is a time ({column.type})"
        elif is_identifier(column):
            share, n = distinct_share(column)
            found = certain if n >= FEWEST_ROWS else possible
            found[name] = f"is an identifier ({share:.1%} of its values differ)"
        elif ticks is not None and not is_text(column.type):
            correlation = rank_correlation(ticks[:rows], ticks_of(column.slice(0, rows)))
            if abs(correlation) > FOLLOWS_TIME:
                certain[name] = f"follows the time (rank correlation {correlation:.4f})"
    return Suspects(certain, possible, train.num_rows)


def rank_correlation(first: Array, second: Array) -> float:
    """Spearman's correlation over the rows that have both; NaN for fewer than 30, or where one is constant."""
    there = ~(np.isnan(first) | np.isnan(second))
    if there.sum() < 30:
        return math.nan
    a, b = rankdata(first[there]), rankdata(second[there])
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return math.nan
    return float(np.corrcoef(a, b)[0, 1])


def is_time(kind: pa.DataType) -> bool:
    """Whether a column of this type can put rows in order: timestamps, dates, whole numbers."""
    return bool(pa.types.is_temporal(kind) or pa.types.is_integer(kind))


def ticks_of(column: pa.ChunkedArray) -> Array:
    """Times, dates and numbers as shape (n,), float64; NaN where one is missing."""
    values: Array = number_column(column).cast(pa.float64(), safe=False).to_numpy()
    return values


@dataclass(frozen=True)
class Known:
    """How well a model that learned rows by heart knows other rows.

    Attributes:
        auc: of the meaningless labels, on the test rows; NaN where all rows are alike.
        chance: what it would be if it did not know them: 0.5, or what it is on training rows that were held back.
        variance: of the difference of both.
        n: test rows.
    """

    auc: float
    chance: float
    variance: float
    n: int

    def measurement(self, name: str) -> Measurement:
        """AUC above chance with its 95 % interval."""
        if math.isnan(self.auc):
            return Measurement(name, None, self.n)
        value, half = self.auc - self.chance, float(norm.ppf(0.975)) * math.sqrt(self.variance)
        detail = f"AUC {self.auc:.3f}, chance {self.chance:.3f}"
        return Measurement(name, value, self.n, value - half, value + half, detail=detail)


def known_rows(
    train: pa.Table,
    test: pa.Table,
    kinds: Mapping[str, str],
    codes: tuple[Array, Array],
    *,
    repeat: bool,
    rows: int,
    seed: int,
) -> Known:
    """Give each row a label by a coin, learn those of the training rows by heart, and ask for those of the test rows.

    The same row has the same coin wherever it is, so that its label can be known only by who has seen it.

    Args:
        train: training rows.
        test: test rows.
        kinds: ``numeric`` or ``category`` of each feature.
        codes: numbers of the training and of the test rows, the same for the same row; shape (n,), (m,), int64.
        repeat: rows may be equal by nature, as in a table of few categories: chance is then what the model reaches on
            training rows that were held back. False: no row is there twice by nature, and chance is 0.5.
        rows: train on so many at most.
        seed: of what is drawn.
    """
    random = np.random.default_rng([seed, zlib.crc32(b"meaningless labels")])
    fit, judged = _together(codes, rows, random)
    if not repeat:  # rows of one key have one coin: counted once
        judged = judged[np.unique(codes[1][judged], return_index=True)[1]]
    fit = random.permutation(fit)
    held = fit[: min(len(judged), len(fit) // 4)] if repeat else fit[:0]
    fit = fit[len(held) :]
    if not len(fit) or not len(judged):
        return Known(math.nan, 0.5, 0.0, len(judged))
    train, test = train.select(list(kinds)), test.select(list(kinds))
    tables = [train.take(pa.array(held)), test.take(pa.array(judged))]
    known, *asked = matrices(train.take(pa.array(fit)), tables, kinds, numbers="ranks")
    places = np.unique(np.concatenate([codes[0][fit], codes[0][held], codes[1][judged]]), return_inverse=True)[1]
    ends = np.cumsum([len(fit), len(held)])
    throws: list[list[Estimate]] = [[], []]
    for throw in range(_times(len(judged))):
        coins = (random.permutation(int(places.max()) + 1) % 2)[places]
        learned, *wanted = np.split(coins, ends)
        for told, labels, guess in zip(throws, wanted, by_heart(known, learned, asked, seed=throw), strict=True):
            told.append(auc_estimate(labels, guess))
    of_held, of_test = (mean_of(told) for told in throws)
    variance = float((of_test.parts**2).sum() + np.nansum(of_held.parts**2))
    return Known(of_test.value, of_held.value if of_held.value > 0.5 else 0.5, variance, len(judged))


def _times(judged: int) -> int:
    """How often something is drawn and trained again, so that few rows tell as much as they can."""
    return min(MOST_TIMES, math.ceil(JUDGED / judged))


def _together(codes: tuple[Array, Array], rows: int, random: np.random.Generator) -> tuple[Array, Array]:
    """Places of rows of both tables; where there are too many, the same rows of both."""
    sizes = [len(each) for each in codes]
    largest, distinct = max(sizes), int(max(each.max(initial=-1) for each in codes)) + 1
    if largest <= rows:
        return np.arange(sizes[0]), np.arange(sizes[1])
    if distinct <= rows:  # each is there many times: any draw has it
        return random.permutation(sizes[0])[:rows], random.permutation(sizes[1])[:rows]
    kept = random.random(distinct) < rows / largest
    train, test = (random.permutation(np.flatnonzero(kept[each]))[:rows] for each in codes)
    return train, test


@dataclass(frozen=True)
class TimeGain:
    """What it is worth to have seen the time of the rows that are judged.

    Attributes:
        gain: of the AUC, or of the error relative to that without; NaN where it cannot be taken.
        low: lower bound, 95 %.
        high: upper bound.
        n: test rows that were judged.
        before: metric of the model that has seen earlier rows only.
        with_them: metric of the model that has seen as many rows of all times.
    """

    gain: float
    low: float
    high: float
    n: int
    before: float = math.nan
    with_them: float = math.nan


def time_gain(
    train: pa.Table,
    test: pa.Table,
    kinds: Mapping[str, str],
    labels: tuple[Array, Array],
    ticks: tuple[Array, Array],
    *,
    k: int,
    rows: int,
    seed: int,
) -> TimeGain:
    """Train one small model on the earlier rows and one on as many of all times; ask both about the later test rows.

    Args:
        train: training rows.
        test: test rows.
        kinds: ``numeric`` or ``category`` of each feature.
        labels: of the training and the test rows, shape (n,), (m,).
        ticks: times of both, in any unit.
        k: classes; 0 for a regression.
        rows: train on so many at most.
        seed: of what is drawn.
    """
    random = np.random.default_rng([seed, zlib.crc32(b"time")])
    cut = float(np.quantile(ticks[0], EARLIER, method="higher"))
    rows = min(rows, 4 * rows // max(k, 4))  # of many classes each round is many trees
    judged = random.permutation(np.flatnonzero(ticks[1] >= cut))[:rows]
    pools = (np.flatnonzero(ticks[0] < cut), np.arange(len(ticks[0])))
    size = min(rows, int(DRAWN * len(pools[0])))
    if size < 2 or not len(judged):
        return TimeGain(math.nan, math.nan, math.nan, len(judged))
    categories = np.array([kind == "category" for kind in kinds.values()])
    wanted, later, train = labels[1][judged], test.take(pa.array(judged)), train.select(list(kinds))
    estimates: tuple[list[Estimate], list[Estimate]] = ([], [])
    for time in range(_times(len(judged))):
        for pool, told in zip(pools, estimates, strict=True):
            places = random.permutation(pool)[:size]
            known, asked = matrices(train.take(pa.array(places)), [later], kinds, numbers="values")
            scores = boosted(known, labels[0][places], asked, categories=categories, k=k, seed=time)
            told.append(auc_estimate(wanted, scores) if k else rmse_estimate(wanted, scores))
    before, with_them = (mean_of(told) for told in estimates)
    if k:
        gain, low, high = difference_of(before, with_them)
    else:
        change, lowest, highest = relative_change(before, with_them)
        gain, low, high = -change, -highest, -lowest
    return TimeGain(gain, low, high, len(judged), before.value, with_them.value)
