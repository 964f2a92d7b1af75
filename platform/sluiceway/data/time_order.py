"""Which rows are for training, validation, test and folds where rows have a time: the newest judge.

The columns are cut at quantiles of the time; rows of the same time are on the same side of every cut.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sluiceway.config.experiment import SplitSection
from sluiceway.core.errors import DataError
from sluiceway.data.bits import MICROSECONDS
from sluiceway.data.membership import TEST, TRAIN, VALIDATION

LEFT_OUT = 3
"""Part of the rows within a gap: for nobody."""
NO_FOLD = 255
"""Fold of a row that no fold validates."""
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_DAY = 86_400 * MICROSECONDS["s"]


@dataclass(frozen=True)
class TimeCuts:
    """Where the time of a version is cut; all in ticks: microseconds, or what a whole-number column counts.

    Attributes:
        validation: the first tick of the validation part.
        test: the first tick of the test part.
        folds: the first tick of each fold's own rows, ascending; what is before the first is only trained on.
        gap: what lies within so many ticks before a cut is not trained on (before a part: left out).
    """

    validation: int
    test: int
    folds: tuple[int, ...]
    gap: int


def part_ranks(rows: int, split: SplitSection) -> list[int]:
    """Ranks, from 0, of the rows whose times are the first ones of the validation part and of the test part."""
    return [min(int(rows * share), rows - 1) for share in (split.train, split.train + split.validation)]


def fold_ranks(rows: float, n_folds: int) -> list[int]:
    """Ranks, from 0, of the rows whose times are the first ones of each fold's own rows.

    The training part is cut into ``n_folds + 1`` stretches with equal numbers of rows, as scikit-learn's
    ``TimeSeriesSplit`` does: fold i is judged by stretch i + 1 and trained on those before.

    Args:
        rows: of the training part.
        n_folds: how many folds.
    """
    return [int(rows * (fold + 1) / (n_folds + 1)) for fold in range(n_folds)]


def ticks_of(column: pa.ChunkedArray, name: str) -> np.ndarray:
    """A time column as whole numbers.

    Args:
        column: n timestamps, dates or whole numbers.
        name: of the column, for errors.

    Returns:
        shape (n,), int64: microseconds since 1970 (UTC), or the numbers themselves.

    Raises:
        DataError: the column has another type, or a value is missing.
    """
    kind = column.type
    if not (pa.types.is_timestamp(kind) or pa.types.is_date(kind) or pa.types.is_integer(kind)):
        raise DataError(
            f"data.time {name!r} has type {kind}",
            hint="a timestamp, a date or a whole number is needed to put rows in order",
            column=name,
        )
    if column.null_count:
        raise DataError(
            f"data.time {name!r} is missing in {column.null_count:,} rows", hint="leave such rows out", column=name
        )
    if pa.types.is_date(kind):
        return np.asarray(column.cast(pa.date32()).cast(pa.int32()).cast(pa.int64()).to_numpy() * _DAY)
    if pa.types.is_timestamp(kind):
        return np.asarray(
            pc.cast(column, pa.timestamp("us", kind.tz), safe=False).cast(pa.int64()).to_numpy(), np.int64
        )
    return np.asarray(column.cast(pa.int64()).to_numpy())


def gap_ticks(gap: str | int, kind: pa.DataType, name: str, *, key: str = "data.split.gap") -> int:
    """A configured gap in the ticks of a time column.

    Args:
        gap: a time such as ``7d``, or a number.
        kind: of the column.
        name: of the column.
        key: of the configuration, for errors.

    Raises:
        DataError: a time is configured for a column of numbers, or a number for one of times.
    """
    if isinstance(gap, int):
        if gap and not pa.types.is_integer(kind):
            raise DataError(f"{key} is {gap}, and data.time {name!r} holds times", hint="give it as 7d or 12h")
        return gap
    if pa.types.is_integer(kind):
        raise DataError(f"{key} is {gap}, and data.time {name!r} holds numbers", hint="give it as a number")
    return int(float(gap[:-1]) * _UNIT_SECONDS[gap[-1]] * MICROSECONDS["s"])


def check_cuts(cuts: TimeCuts, name: str) -> TimeCuts:
    """The cuts, where each stretch between them can hold rows.

    Raises:
        DataError: too many rows have the same time.
    """
    edges = [*cuts.folds, cuts.validation, cuts.test]
    if any(later <= earlier for earlier, later in itertools.pairwise(edges)):
        raise DataError(
            f"data.time {name!r} has too few different values to be cut into folds and parts",
            hint="lower training.folds, or split by row or group",
            column=name,
        )
    return cuts


def place_in_time(ticks: np.ndarray, cuts: TimeCuts) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where rows belong.

    Args:
        ticks: shape (n,), int64.
        cuts: of the version.

    Returns:
        part, fold, since; each shape (n,), uint8. A row is validated in ``fold`` (255: in none) and trained on in the
        folds from ``since`` on.
    """
    part = np.full(len(ticks), LEFT_OUT, np.uint8)
    part[ticks < cuts.validation - cuts.gap] = TRAIN
    part[(ticks >= cuts.validation) & (ticks < cuts.test - cuts.gap)] = VALIDATION
    part[ticks >= cuts.test] = TEST
    starts = np.array(cuts.folds, np.int64)
    stretch = np.searchsorted(starts, ticks, side="right")
    fold = np.where(stretch > 0, stretch - 1, NO_FOLD).astype(np.uint8)
    since = np.searchsorted(starts - cuts.gap, ticks, side="right").astype(np.uint8)
    return part, fold, since
