"""Test rows as a careless world would send them: noisy, with holes, with values that nobody has seen."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Array = npt.NDArray[Any]
Kind = Literal["noise", "missing", "unseen", "range", "unit"]
UNSEEN = "(a category never seen)"
UNIT_ERROR = 1000.0
LARGEST = 3.0e38  # models see 32-bit floats; a larger number is refused before it reaches them
ABOVE, BELOW = 1.0, -1.0


class Disturbances:
    """Makes disturbed columns of some rows; the same ones for the same seed, whatever else is disturbed.

    Args:
        rows: n rows.
        kinds: ``numeric`` or ``category`` of each feature, as the model has it.
        weights: shape (n,), how many rows of the whole each stands for.
        ends: smallest and largest number of each numeric feature that has been observed, or fewer.
        seed: of what is drawn.

    Attributes:
        features: all of them.
        numbers: numeric features; booleans have no noise, no range and no unit.
        texts: features that are categories.
    """

    def __init__(
        self,
        rows: pa.Table,
        kinds: Mapping[str, str],
        *,
        weights: Array,
        ends: Mapping[str, tuple[float, float]],
        seed: int,
    ) -> None:
        self._rows, self._weights, self._ends, self._seed = rows, weights, ends, seed
        self.features = tuple(kinds)
        self.numbers = tuple(
            name for name, kind in kinds.items() if kind == "numeric" and not pa.types.is_boolean(rows[name].type)
        )
        self.texts = tuple(name for name, kind in kinds.items() if kind == "category")

    @cached_property
    def _values(self) -> dict[str, Array]:
        return {name: numbers_of(self._rows[name]) for name in self.numbers}

    def of(self, kind: Kind) -> tuple[str, ...]:
        """The features that can be disturbed like that."""
        return {"missing": self.features, "unseen": self.texts}.get(kind, self.numbers)

    def column(self, kind: Kind, name: str, size: float) -> pa.Array:
        """One feature, disturbed.

        Args:
            kind: ``noise``: normal, of so many standard deviations; what is missing stays missing, and whole numbers
                stay whole: trees cut between the very values that they saw, so that 4.9999 for 5 is another branch,
                and no feed ever sends it. ``missing``: each value is gone with that probability. ``unseen``: a
                category that no table holds. ``range``: as far beyond the observed values as these are apart.
                ``unit``: a thousand times too large.
            name: of the feature.
            size: of the noise, of the share, or the side of the range (``ABOVE``, ``BELOW``); else of no meaning.

        Returns:
            n values; numbers as 64-bit floats.
        """
        n = self._rows.num_rows
        if kind == "unseen":
            return pa.repeat(pa.scalar(UNSEEN), n)
        if kind == "missing":
            gone = self._random(kind, name).random(n) < size
            return self._rows[name].combine_chunks().take(pa.array(np.arange(n), mask=gone))
        values = self._values[name]
        if kind == "noise":
            changed = values + size * _spread(values, self._weights) * self._random(kind, name).standard_normal(n)
            changed = np.rint(changed) if _whole(values) else changed
        elif kind == "range":
            low, high = self._ends.get(name, (0.0, 0.0))
            changed = np.where(np.isnan(values), np.nan, high + (high - low) if size == ABOVE else low - (high - low))
        else:
            changed = values * UNIT_ERROR
        return pa.array(np.clip(changed, -LARGEST, LARGEST), from_pandas=True)

    def changes(self, kind: Kind, name: str, size: float) -> bool:
        """Whether noise or holes of that size change any value of a feature; the other kinds always do."""
        if kind not in ("noise", "missing"):
            return True
        changed = self.column(kind, name, size)
        if kind == "missing":
            return bool(changed.null_count > self._rows[name].null_count)
        return not np.array_equal(self._values[name], changed.to_numpy(zero_copy_only=False), equal_nan=True)

    def replaced(self, columns: Mapping[str, pa.Array]) -> pa.Table:
        """The rows with some columns replaced."""
        rows = self._rows
        for name, column in columns.items():
            rows = rows.set_column(rows.schema.get_field_index(name), name, column)
        return rows

    def _random(self, kind: str, name: str) -> np.random.Generator:
        # Of its own for each feature: what is drawn for one does not depend on which others there are.
        return np.random.default_rng([self._seed, zlib.crc32(kind.encode()), zlib.crc32(name.encode())])


def numbers_of(column: pa.ChunkedArray) -> Array:
    """A column of numbers or booleans as shape (n,), float64; NaN where a value is missing."""
    typed = column.cast(pa.int8()) if pa.types.is_boolean(column.type) else column
    values: Array = typed.cast(pa.float64(), safe=False).to_numpy()  # a whole number beyond 2^53 may be rounded
    return values


def ends_of(rows: pa.Table, names: Mapping[str, str]) -> dict[str, tuple[float, float]]:
    """Smallest and largest finite number of each numeric feature that has one.

    Args:
        rows: all rows there are, not a sample.
        names: kind of each feature, ``numeric`` or ``category``.
    """
    found = {}
    for name, kind in names.items():
        if kind != "numeric" or pa.types.is_boolean(rows[name].type):
            continue
        column = rows[name]
        if pa.types.is_floating(column.type):
            column = column.filter(pc.is_finite(column))
        ends = pc.min_max(column)
        if ends["min"].is_valid:
            found[name] = (float(ends["min"].as_py()), float(ends["max"].as_py()))
    return found


@dataclass(frozen=True)
class Drawn:
    """Rows that stand for all.

    Attributes:
        places: shape (n,), rising.
        weights: shape (n,), how many rows of all each stands for.
    """

    places: Array
    weights: Array

    @property
    def worth(self) -> float:
        """With how many evenly drawn rows a share is known as well (L. Kish, "Survey Sampling", 1965)."""
        return float(self.weights.sum() ** 2 / (self.weights**2).sum()) if len(self.weights) else 0.0


def drawn_rows(labels: Array, limit: int, *, classes: bool, seed: int) -> Drawn:
    """Draw rows; of classes as evenly many as there are, because the rarest decides how well an AUC is known.

    A smaller limit draws some of the rows of a larger one.

    Args:
        labels: shape (n,).
        limit: at most so many rows.
        classes: the labels are classes.
        seed: of the draw.
    """
    n = len(labels)
    if n <= limit:
        return Drawn(np.arange(n), np.ones(n))
    order = np.random.default_rng([seed, zlib.crc32(b"rows")]).permutation(n)
    if not classes:
        return Drawn(np.sort(order[:limit]), np.full(limit, n / limit))
    _, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    taken = _even_shares(counts, limit)
    by_class = order[np.argsort(codes[order], kind="stable")]
    starts = np.cumsum(counts) - counts
    chosen = np.sort(np.concatenate([by_class[s : s + t] for s, t in zip(starts, taken, strict=True)]))
    return Drawn(chosen, (counts / np.maximum(taken, 1))[codes[chosen]])


def _even_shares(counts: Array, limit: int) -> Array:
    """How many of each class: the same number, or all where there are fewer."""
    taken, left = np.zeros_like(counts), limit
    for done, place in enumerate(np.argsort(counts, kind="stable")):
        taken[place] = min(int(counts[place]), left // (len(counts) - done))
        left -= int(taken[place])
    return taken


def _spread(values: Array, weights: Array) -> float:
    present = np.isfinite(values)
    if not present.any():
        return 0.0
    values, weights = values[present], weights[present]
    mean = np.average(values, weights=weights)
    return float(np.sqrt(np.average((values - mean) ** 2, weights=weights)))


def _whole(values: Array) -> bool:
    present = values[np.isfinite(values)]
    return bool((present == np.rint(present)).all())
