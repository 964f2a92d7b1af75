"""The test rows that a served model is asked: which, in what form, and what the batch has said of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sluiceway.core.classes import Class

Array = npt.NDArray[Any]

# More features than a line holds are counted.
MOST_SHOWN = 12


@dataclass(frozen=True)
class AskedRows:
    """The test rows that are asked.

    Attributes:
        table: their features.
        places: shape (n,), of each in the test rows.
        scores: shape (n,) or (n, classes), float64: the batch's.
        threshold: a score at or above it is a positive decision; None where nothing is decided by one.
        classes: in the order of the scores, where there are more than two.
    """

    table: pa.Table
    places: Array
    scores: Array
    threshold: float | None = None
    classes: tuple[Class, ...] = ()

    def expected(self, count: int) -> Array:
        """The batch's scores where so many rows are asked, one after the other and again from the first."""
        again: Array = self.scores[np.arange(count) % max(1, len(self.places))]
        return again

    def decisions(self, scores: Array) -> list[float] | list[Class] | None:
        """What scores decide; None where nothing is decided."""
        if self.classes:
            return [self.classes[place] for place in scores.argmax(axis=1)]
        return None if self.threshold is None else (scores >= self.threshold).astype(np.float64).tolist()

    def told(self, place: int) -> str:
        """A row for people: where it is among the test rows, and what its features are."""
        (values,) = plain_rows(self.table.slice(place, 1))
        shown = [f"{name}={value!r}" for name, value in itertools.islice(values.items(), MOST_SHOWN)]
        more = [f"{len(values) - MOST_SHOWN} more"] if len(values) > MOST_SHOWN else []
        return f"test row {self.places[place]} ({', '.join([*shown, *more])})"


def drawn_rows(rows: pa.Table, *, count: int, seed: int) -> Array:
    """Places of the rows to ask: drawn, and up to half of them where features have extreme or missing values.

    Args:
        rows: the features.
        count: how many at most.
        seed: of the draw.

    Returns:
        shape (at most count,), int64, rising.
    """
    if rows.num_rows <= count:
        return np.arange(rows.num_rows)
    random = np.random.default_rng(seed)
    extreme = random.permutation(np.array(sorted(set(_extremes(rows))), dtype=np.int64))[: count // 2]
    drawn = random.choice(rows.num_rows, count, replace=False)
    rest = drawn[~np.isin(drawn, extreme)][: count - len(extreme)]
    return np.sort(np.concatenate([extreme, rest]))


def plain_rows(rows: pa.Table) -> list[dict[str, Any]]:
    """Rows as a client would send them: values that JSON has, None where one is missing.

    Args:
        rows: numbers, booleans, text (also dictionary-encoded), decimals, dates and times.

    Returns:
        one dictionary a row; decimals are floats, dates and times are ISO text.
    """
    columns = [_plain(rows[name]) for name in rows.column_names]
    return [dict(zip(rows.column_names, values, strict=True)) for values in zip(*columns, strict=True)]


def _extremes(rows: pa.Table) -> Iterator[int]:
    """Where each feature is missing, smallest and largest, once each: there two ways part first."""
    for column in rows.columns:
        if column.null_count:
            yield pc.index(pc.is_null(column), True).as_py()
        if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
            ends = pc.min_max(column)
            places = (pc.index(column, ends[end]).as_py() for end in ("min", "max") if ends[end].is_valid)
            yield from (place for place in places if place >= 0)


def _plain(column: pa.ChunkedArray) -> list[Any]:
    if pa.types.is_decimal(column.type):
        column = column.cast(pa.float64())
    values: list[Any] = column.to_pylist()
    if pa.types.is_floating(column.type):
        return [None if value != value else value for value in values]
    if pa.types.is_date(column.type) or pa.types.is_timestamp(column.type) or pa.types.is_time(column.type):
        return [None if value is None else value.isoformat() for value in values]
    return values
