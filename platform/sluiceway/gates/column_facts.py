"""What is remembered of a version's training rows, small enough to be stored with the model that they made."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sluiceway.core.classes import Class, class_places
from sluiceway.core.errors import SchemaMismatchError
from sluiceway.gates.statistics.auc import auc_of_bins
from sluiceway.gates.statistics.binning import bin_counts, bin_places, sorted_edges

Array = npt.NDArray[Any]
DRIFT_BINS = 10  # the usual number for a population stability index
ASSOCIATION_BINS = 20
EDGE_ROWS = 100_000  # values that the edges of the bins are taken from at most; the rows of the bins are counted on all
PARTS = 5  # of the rows, each asked by what the others know: no feature tells the rows that it was averaged over
# The AUCs of the parts are not independent, since each is asked by the others: the error of their average on features
# that know nothing was 1.2 to 1.55 times that of one AUC of all rows, at 400 and 4,000 rows and 2 to 300 bins.
TOGETHER = 1.5
SMOOTHING = 20.0  # rows of the average target that each bin is given: a category of one row must not look perfect
MISSING = "(missing)"


@dataclass(frozen=True)
class ColumnFacts:
    """One feature in one version of the training rows.

    Attributes:
        name: the column.
        kind: ``numeric`` or ``category``.
        n: rows.
        nulls: missing values (null or NaN).
        variance: of the numbers; for a category 1 - sum of squared shares; None where all values are missing.
        edges: inner edges of the bins, for numbers.
        counts: rows of each bin, missing last, shape (len(edges) + 2,), for numbers.
        categories: rows of each category, for text.
        own_auc: AUC for the target of the average target of the value's bin (20 quantiles, or the category) in the
            other four fifths of the rows: about 0.5 is no association, whatever its shape and the number of rows. For a
            regression the target is cut at its median; of several classes it is the mean over the classes of one
            against the others. NaN: not defined.
        own_error: standard error of it where there is no association.
        compared: counts over the edges of the reference, when one was given; not stored.
    """

    name: str
    kind: str
    n: int
    nulls: int
    variance: float | None
    edges: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()
    categories: tuple[tuple[str, int], ...] = ()
    own_auc: float = math.nan
    own_error: float = math.nan
    compared: tuple[int, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form, without ``compared``."""
        return {
            "name": self.name,
            "kind": self.kind,
            "n": self.n,
            "nulls": self.nulls,
            "variance": self.variance,
            "edges": list(self.edges),
            "counts": list(self.counts),
            "categories": dict(self.categories),
            "own_auc": None if math.isnan(self.own_auc) else self.own_auc,
            "own_error": None if math.isnan(self.own_error) else self.own_error,
        }

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> ColumnFacts:
        """The inverse of :meth:`to_dict`; an association without its error is one of another kind, and left out."""
        known = body.get("own_error") is not None and body["own_auc"] is not None
        return cls(
            name=body["name"],
            kind=body["kind"],
            n=body["n"],
            nulls=body["nulls"],
            variance=body["variance"],
            edges=tuple(body["edges"]),
            counts=tuple(body["counts"]),
            categories=tuple(body["categories"].items()),
            own_auc=body["own_auc"] if known else math.nan,
            own_error=body["own_error"] if known else math.nan,
        )


@dataclass(frozen=True)
class LabelFacts:
    """The target of the training rows.

    Attributes:
        n: rows.
        classes: rows of each class, for a classifier; empty for a regression.
        variance: of the target; of several classes that of their places, which nothing judges.
    """

    n: int
    classes: tuple[tuple[str, int], ...]
    variance: float


def column_facts(
    table: pa.Table,
    features: Sequence[str],
    target: str,
    *,
    reference: Sequence[ColumnFacts] | None = None,
    classes: Sequence[Class] = (),
) -> tuple[ColumnFacts, ...]:
    """Facts of every feature.

    Args:
        table: training rows with the features and the target.
        features: columns; one that the table lacks is left out, and the gate says so.
        target: column of numbers, or of classes.
        reference: facts of the version to compare with, for the counts over its edges.
        classes: of the target, where there are more than two.

    Raises:
        SchemaMismatchError: the target is not in the table.
        DataError: a label is none of the classes.
    """
    labels = _labels(table, target, classes)
    if not classes and not ((labels == 0) | (labels == 1)).all():
        # A regression's association is asked of its upper half.
        labels = (labels > np.nanmedian(labels)).astype(np.float64)
    known = {facts.name: facts for facts in reference or ()}
    present = [name for name in features if name in table.column_names]
    return tuple(_facts(name, table[name], labels, len(classes), known.get(name)) for name in present)


def request_facts(columns: Mapping[str, pa.ChunkedArray]) -> tuple[ColumnFacts, ...]:
    """Facts of the features of requests, whose outcome nobody knows.

    Args:
        columns: values of each feature, as models have seen them: float32 or text.
    """
    return tuple(_facts(name, column, np.empty(0), 0, None) for name, column in columns.items())


def counts_over(table: pa.Table, facts: ColumnFacts, *, single: bool = False) -> tuple[int, ...]:
    """Rows of a table in the bins of other facts, of a column of numbers; missing last.

    Args:
        table: with the column of that name.
        facts: whose edges are taken.
        single: they are float32, as of requests: 0.1 has to be in the bin of a 0.1 that has been through one.
    """
    values = _numbers(table[facts.name])
    if single:
        with np.errstate(over="ignore"):
            values = values.astype(np.float32).astype(np.float64)
    return _counts(values, np.isnan(values), facts.edges)


def label_facts(table: pa.Table, target: str, *, classifier: bool = True, classes: Sequence[Class] = ()) -> LabelFacts:
    """Facts of the target.

    Args:
        table: training rows.
        target: column of numbers, or of classes.
        classifier: count the rows of each class.
        classes: of the target, where there are more than two: one without a row is counted, too.

    Raises:
        SchemaMismatchError: the target is not in the table.
        DataError: a label is none of the classes.
    """
    labels = _labels(table, target, classes)
    variance = float(labels.var()) if len(labels) else math.nan
    if classes:
        rows = np.bincount(labels.astype(np.int64), minlength=len(classes))
        return LabelFacts(len(labels), tuple(zip(map(str, classes), rows.tolist(), strict=True)), variance)
    values, counts = np.unique(labels, return_counts=True) if classifier else (np.empty(0), np.empty(0, np.int64))
    found = tuple((f"{v:g}", int(c)) for v, c in zip(values, counts, strict=True))
    return LabelFacts(len(labels), found, variance)


def _labels(table: pa.Table, target: str, classes: Sequence[Class]) -> Array:
    if target not in table.column_names:
        raise SchemaMismatchError(f"the training rows have no column {target!r}", hint="see data.target")
    return class_places(table[target], classes, target=target) if classes else _numbers(table[target])


def _facts(
    name: str, column: pa.ChunkedArray, labels: Array, classes: int, reference: ColumnFacts | None
) -> ColumnFacts:
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type) or pa.types.is_dictionary(column.type):
        return _category(name, column, labels, classes)
    values = _numbers(column)
    absent = np.isnan(values)
    present = values[~absent] if absent.any() else values
    sample = np.sort(present[:: max(1, math.ceil(len(present) / EDGE_ROWS))])
    edges, finer = _drift_edges(sample), sorted_edges(sample, ASSOCIATION_BINS)
    places = bin_places(values, finer)
    places[absent] = len(finer) + 1
    own_auc, own_error = _association(places, labels, classes)
    return ColumnFacts(
        name,
        "numeric",
        len(values),
        len(values) - len(present),
        float(present.var()) if len(present) else None,
        edges=tuple(edges.tolist()),
        counts=_counts(values, absent, edges),
        own_auc=own_auc,
        own_error=own_error,
        compared=_counts(values, absent, reference.edges) if reference and reference.kind == "numeric" else (),
    )


def _drift_edges(ordered: Array) -> Array:
    """Edges of the bins; where all values are one, what lies below it and above it is in bins of its own.

    Without them there would be one bin only, which holds whatever is compared: no drift is seen from a constant.
    """
    edges = sorted_edges(ordered, DRIFT_BINS)
    if len(edges) or not len(ordered):
        return edges
    around: Array = np.unique([ordered[0], np.nextafter(ordered[0], np.inf)])
    return around


def _counts(values: Array, absent: Array, edges: Any) -> tuple[int, ...]:
    return tuple(bin_counts(values, absent, np.asarray(edges, dtype=np.float64)).tolist())


def _category(name: str, column: pa.ChunkedArray, labels: Array, classes: int) -> ColumnFacts:
    nulls = column.null_count
    plain = pc.fill_null(column.cast(pa.string()), MISSING).combine_chunks()
    encoded = pc.dictionary_encode(plain)
    codes = encoded.indices.to_numpy(zero_copy_only=False)
    names = encoded.dictionary.to_pylist()
    counts = np.bincount(codes, minlength=len(names)) if len(codes) else np.zeros(0, np.int64)
    shares = np.array([c for c, k in zip(counts, names, strict=True) if k != MISSING], dtype=np.float64)
    variance = float(1 - ((shares / shares.sum()) ** 2).sum()) if shares.sum() else None
    listed = tuple(sorted((k, int(c)) for k, c in zip(names, counts, strict=True)))
    own_auc, own_error = _association(codes, labels, classes)
    return ColumnFacts(
        name, "category", len(codes), nulls, variance, categories=listed, own_auc=own_auc, own_error=own_error
    )


def _association(bins: Array, labels: Array, classes: int) -> tuple[float, float]:
    """(AUC, standard error) of what the bins tell of the labels, or of each class against the others, on average."""
    if len(labels) == 0:
        return math.nan, math.nan
    asked = max(classes, 2)
    # From the rows of each bin, part and class: without going through the rows again for each class.
    places = bins.astype(np.int64) * PARTS + np.arange(len(bins)) % PARTS
    cells = np.bincount(places * asked + labels.astype(np.int64), minlength=(int(bins.max()) + 1) * PARTS * asked)
    table = cells.reshape(-1, PARTS, asked)
    rows = table.sum(axis=2)
    told = [_told_apart(table[:, :, each], rows) for each in (range(classes) if classes else (1,))]
    return float(np.mean([value for value, _ in told])), float(np.mean([error for _, error in told]))


def _told_apart(own: Array, rows: Array) -> tuple[float, float]:
    """(AUC, standard error) for one class.

    Each part of the rows is asked by the averages of the others, and the AUCs of the parts are averaged by their pairs.
    The error is that of an AUC without any association, sqrt((n + 1) / (12 n1 n0)), times ``TOGETHER``.

    Args:
        own: rows of the class, shape (bins, PARTS).
        rows: all rows, likewise.
    """
    positives, total = int(own.sum()), int(rows.sum())
    pairs = float(positives) * (total - positives)
    if pairs == 0:
        return math.nan, math.nan
    others, of_them = rows.sum(axis=1, keepdims=True) - rows, own.sum(axis=1, keepdims=True) - own
    scores = (of_them + SMOOTHING * positives / total) / (others + SMOOTHING)
    parts = [(own[:, part], rows[:, part] - own[:, part], scores[:, part]) for part in range(PARTS)]
    found = [(auc_of_bins(*part), float(part[0].sum()) * float(part[1].sum())) for part in parts]
    known = [(value, weight) for value, weight in found if weight]
    if not known:
        return math.nan, math.nan
    values, weights = zip(*known, strict=True)
    return float(np.average(values, weights=weights)), TOGETHER * math.sqrt((total + 1) / (12 * pairs))


def _numbers(column: pa.ChunkedArray) -> Array:
    typed = column.cast(pa.int8()) if pa.types.is_boolean(column.type) else column
    values: Array = typed.cast(pa.float64()).to_numpy()
    return values
