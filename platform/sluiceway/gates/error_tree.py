"""Finds where a model is wrong: a small regression tree over the features, grown on the excess loss of each row.

The features are cut into at most 64 bins (numbers at values that occur, categories one bin each in the order of their
mean loss, which is all that a regression tree needs of them: W. Fisher, "On grouping for maximum homogeneity", JASA 53,
1958), so that a split is found by counting. A missing value is the lowest bin.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sluiceway.gates.groups import encoded_column

Array = npt.NDArray[Any]
BINS = 64
FEWEST_OF_A_NAME = 30  # rows of a category that is looked at by itself; the mean loss of fewer is luck
NAMED = 6  # categories that a region names; of more it says how many
OTHER = "(other)"
STRONG = 2.0  # standard errors of the excess loss from which a leaf is worth a second look


@dataclass(frozen=True)
class Coding:
    """How a feature becomes bins; bin 0 is a missing value.

    Attributes:
        name: the feature.
        edges: of a numeric feature; bin i is from ``edges[i - 2]`` and below ``edges[i - 1]``, both ends open. Of a
            category empty.
        names: of a category: bin i is ``names[i - 1]``; one of them stands for all that are not named.
        missing: there are missing values.
        others: there are values that are not named.
    """

    name: str
    edges: tuple[float, ...] = ()
    names: tuple[str, ...] = ()
    missing: bool = False
    others: bool = False

    @property
    def bins(self) -> int:
        """How many there are, that of missing values included."""
        return 1 + (len(self.names) if self.names else len(self.edges) + 1)

    def bins_of(self, column: pa.ChunkedArray) -> Array:
        """The bin of each row, shape (n,), uint8."""
        if not self.names:
            numbers = _numbers(column)
            found = np.searchsorted(np.array(self.edges), numbers, side="right") + 1
            return np.where(np.isnan(numbers), 0, found).astype(np.uint8)
        place = {name: i + 1 for i, name in enumerate(self.names)}
        names, codes = _categories(column)
        return np.array([place.get(name, place[OTHER]) for name in names] + [0], dtype=np.uint8)[codes]

    def words(self, first: int, last: int) -> str:
        """The bins from ``first`` to ``last`` in words, e.g. ``dep_hour >= 19``."""
        if self.names:
            return self._listed(first, last)
        if last == 0:
            return f"{self.name} is missing"
        start = _number(self.edges[first - 2]) if first >= 2 else ""
        below = _number(self.edges[last - 1]) if last <= len(self.edges) else ""
        if start and below:
            return f"{start} <= {self.name} < {below}"
        if start:
            return f"{self.name} >= {start}"
        if not below:
            return f"{self.name} is not missing"
        return f"{self.name} < {below}" + (" or missing" if first == 0 and self.missing else "")

    def _listed(self, first: int, last: int) -> str:
        named = [name for name in self.names if name != OTHER or self.others]
        inside = [name for name in self.names[max(first - 1, 0) : last] if name in named]
        outside = [name for name in named if name not in inside]
        if first == 0 and self.missing:
            inside.append("(missing)")
        elif self.missing:
            outside.append("(missing)")
        if len(inside) > NAMED and len(outside) < len(inside):
            return f"{self.name} not in {_some(outside)}"
        return f"{self.name} in {_some(inside)}"


@dataclass(frozen=True)
class Region:
    """A part of the space of the features.

    Attributes:
        limits: (first, last) bin by feature; what is not named may be anything.
        path: of the node, ``l`` and ``r`` from the root.
        n: rows that it was found on.
        excess: their mean excess loss.
        strength: that mean over its standard error.
    """

    limits: Mapping[str, tuple[int, int]]
    path: str
    n: int
    excess: float
    strength: float

    def words(self, codings: Mapping[str, Coding]) -> str:
        """It in words, e.g. ``dep_hour >= 19 and carrier in B6, UA``."""
        return " and ".join(codings[name].words(*limits) for name, limits in self.limits.items())

    def holds(self, rows: pa.Table, codings: Mapping[str, Coding]) -> Array:
        """Which rows lie in it, shape (n,), bool."""
        inside = np.ones(rows.num_rows, dtype=np.bool_)
        for name, (first, last) in self.limits.items():
            bins = codings[name].bins_of(rows[name])
            inside &= (bins >= first) & (bins <= last)
        return inside


def code_feature(name: str, column: pa.ChunkedArray, excess: Array, *, category: bool) -> Coding | None:
    """Cut a feature into bins.

    Args:
        name: the feature.
        column: its values, n of them.
        excess: shape (n,), loss of each row; orders the categories.
        category: its values are names, whatever their type.

    Returns:
        the bins; None for a type that is neither numbers nor names.
    """
    kind = column.type
    text = pa.types.is_dictionary(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)
    if category or text:
        return _code_names(name, column, excess)
    number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    if not number and not pa.types.is_boolean(kind):
        return None
    values = _numbers(column)
    finite = values[np.isfinite(values)]
    return Coding(name, _edges(finite), missing=bool(np.isnan(values).any()))


def grow(
    rows: pa.Table, codings: Mapping[str, Coding], excess: Array, *, depth: int, smallest: int
) -> tuple[Region, ...]:
    """All nodes of the tree but its root.

    Args:
        rows: with a column for each coding; n of them.
        codings: the features.
        excess: shape (n,), the loss that the tree explains.
        depth: of the tree.
        smallest: fewest rows of a node.
    """
    bins = {name: coding.bins_of(rows[name]) for name, coding in codings.items()}
    found: list[Region] = []
    waiting: list[tuple[Array, dict[str, tuple[int, int]], str]] = [(np.arange(len(excess)), {}, "")]
    while waiting:
        inside, limits, path = waiting.pop()
        loss = excess[inside]
        if path:
            found.append(Region(limits, path, len(loss), float(loss.mean()), _strength(loss)))
        split = _best_split({name: column[inside] for name, column in bins.items()}, loss, smallest)
        if split is None or len(path) == depth:
            continue
        name, last = split
        first, end = limits.get(name, (0, codings[name].bins - 1))
        left = bins[name][inside] <= last
        waiting.append((inside[~left], {**limits, name: (last + 1, end)}, path + "r"))
        waiting.append((inside[left], {**limits, name: (first, last)}, path + "l"))
    return tuple(found)


def worst_regions(regions: Sequence[Region], most: int) -> tuple[Region, ...]:
    """The worst parts of the tree, none inside another, the surest first.

    A node all of whose leaves are bad is told as one: ``carrier in B6`` and not its pieces.
    """
    paths = {region.path for region in regions}
    leaves = [region for region in regions if f"{region.path}l" not in paths]
    chosen: list[Region] = []
    for region in sorted(regions, key=lambda r: len(r.path)):
        bad = all(leaf.strength >= STRONG for leaf in leaves if leaf.path.startswith(region.path))
        if bad and not any(region.path.startswith(larger.path) for larger in chosen):
            chosen.append(region)
    return tuple(sorted(chosen, key=lambda r: -r.strength)[:most])


def _strength(loss: Array) -> float:
    mean, error = float(loss.mean()), math.sqrt(float(loss.var()) / len(loss))
    return mean / error if error else math.copysign(math.inf, mean) if mean else 0.0


def _best_split(bins: Mapping[str, Array], loss: Array, smallest: int) -> tuple[str, int] | None:
    """The feature and the last bin of the left side that explain most of the squares."""
    best, chosen = 0.0, None
    n, total = len(loss), float(loss.sum())
    if n < 2 * smallest:
        return None
    for name, column in bins.items():
        left_n = np.cumsum(np.bincount(column, minlength=BINS + 2))[:-1]
        left = np.cumsum(np.bincount(column, loss, BINS + 2))[:-1]
        usable = (left_n >= smallest) & (n - left_n >= smallest)
        if not usable.any():
            continue
        left_n, left, places = left_n[usable], left[usable], np.flatnonzero(usable)
        gain = left**2 / left_n + (total - left) ** 2 / (n - left_n) - total**2 / n
        if gain.max() > best:
            best, chosen = float(gain.max()), (name, int(places[gain.argmax()]))
    return chosen


def _edges(values: Array) -> tuple[float, ...]:
    """Where bins begin, at values that occur or at round numbers between them."""
    if len(values) == 0:
        return ()
    distinct = np.unique(values)
    if len(distinct) > BINS - 1:
        distinct = np.quantile(values, np.linspace(0, 1, BINS)[1:-1], method="nearest")
        spread = float(distinct[-1] - distinct[0])
        if spread > 0 and (values != np.rint(values)).any():
            distinct = np.round(distinct, 4 - math.floor(math.log10(spread)))
        return tuple(float(edge) for edge in np.unique(distinct))
    return tuple(float(edge) for edge in distinct[1:])


def _code_names(name: str, column: pa.ChunkedArray, excess: Array) -> Coding:
    names, codes = _categories(column)
    n = np.bincount(codes, minlength=len(names) + 1)
    mean = np.bincount(codes, excess, len(names) + 1) / np.maximum(n, 1)
    frequent = sorted(np.flatnonzero(n[:-1] >= FEWEST_OF_A_NAME), key=lambda i: -n[i])[: BINS - 2]
    rest = np.setdiff1d(np.arange(len(names)), frequent)
    rare = int(n[rest].sum())
    # Without rare ones, those that turn up later lie on the good side: nothing is known against them.
    others = float((mean[rest] * n[rest]).sum() / rare) if rare else -math.inf
    ordered = sorted([*((float(mean[i]), names[i]) for i in frequent), (others, OTHER)])
    return Coding(name, names=tuple(label for _, label in ordered), missing=bool(n[-1]), others=rare > 0)


def _numbers(column: pa.ChunkedArray) -> Array:
    typed = column.cast(pa.int8()) if pa.types.is_boolean(column.type) else column
    return np.asarray(typed.cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64)


def _categories(column: pa.ChunkedArray) -> tuple[list[str], Array]:
    """The names, each once, and the place of each row's name among them; the number of names for a missing one."""
    encoded = encoded_column(column)
    names = [str(name) for name in encoded.dictionary.to_pylist()]
    codes = pc.fill_null(encoded.indices.cast(pa.int64()), len(names)).to_numpy(zero_copy_only=False)
    return names, codes


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED])}{more}"


def _number(value: float) -> str:
    return f"{value:.12g}"
