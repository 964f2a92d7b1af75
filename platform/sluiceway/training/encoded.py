"""Labelled rows as they travel to the workers: encoded features, the label, and where the row belongs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sluiceway.core.classes import class_places
from sluiceway.core.errors import DataError
from sluiceway.features.encode import encode_table
from sluiceway.features.schema import FeatureSchema
from sluiceway.training.report import Kind

PART, FOLD, SINCE, KEY = "__part__", "__fold__", "__since__", "__key__"
X, Y, WEIGHT = "x", "y", "weight"
TRAIN, VALIDATION = 0, 1


@dataclass(frozen=True)
class Target:
    """What is predicted.

    Attributes:
        column: of the labels.
        kind: of the model.
        classes: values of the column in the order of the model's classes; empty for a regressor.
        weight: column of the rows' weights, or None.
    """

    column: str
    kind: Kind
    classes: tuple[int | str, ...] = ()
    weight: str | None = None


def encode_block(table: pa.Table, *, schema: FeatureSchema, target: Target) -> pa.Table:
    """Encode a block of labelled rows; the test part is left behind.

    Args:
        table: features, target, ``__part__``, ``__fold__`` and ``__key__``; for rows in time order ``__since__``.
        schema: of the features.
        target: what is predicted.

    Returns:
        columns ``x`` (fixed-size list of float32), ``y`` (float32), ``__part__``, ``__fold__``, ``__since__`` (uint8),
        ``__key__`` (uint64), ``weight`` (float32) where there are weights.

    Raises:
        DataError: a label is missing, infinite, or none of the classes; a weight is missing, infinite or negative.
    """
    table = table.filter(pc.less_equal(table[PART], pa.scalar(VALIDATION, table.schema.field(PART).type)))
    matrix, _ = encode_table(table, schema)
    features = pa.FixedSizeListArray.from_arrays(pa.array(matrix.reshape(-1)), len(schema.features))
    return place_block(table, target).add_column(0, X, features)


def place_block(table: pa.Table, target: Target) -> pa.Table:
    """The columns of :func:`encode_block` but for the features; arguments and errors as there."""
    columns: dict[str, Any] = {Y: labels_of(table[target.column], target)}
    for name, kind in ((PART, pa.uint8()), (FOLD, pa.uint8()), (SINCE, pa.uint8()), (KEY, pa.uint64())):
        if name in table.column_names:
            columns[name] = table[name].cast(kind)
    if target.weight is not None:
        columns[WEIGHT] = _weights(table[target.weight], target.weight)
    return pa.table(columns)


def labels_of(column: pa.ChunkedArray, target: Target) -> np.ndarray:
    """The labels as a model learns them: the value, or the class's place among the classes.

    Args:
        column: n values.
        target: what is predicted.

    Returns:
        shape (n,), float32.

    Raises:
        DataError: a label is missing, infinite, or none of the classes.
    """
    if target.kind == "multiclass":
        return class_places(column, target.classes, target=target.column).astype(np.float32)
    name = target.column
    labels = _numbers(column, f"the target {name!r}", name)
    if column.null_count or not np.isfinite(labels).all():
        raise DataError(
            f"the target {name!r} has missing or infinite values",
            hint="a row without an outcome teaches nothing: leave it out of the table",
            column=name,
        )
    if target.kind == "binary" and not np.isin(labels, (0, 1)).all():
        raise DataError(
            f"the target {name!r} has values other than 0 and 1",
            hint="make it 0 and 1, or train an XGBRegressor",
            column=name,
        )
    return labels


def _weights(column: pa.ChunkedArray, name: str) -> np.ndarray:
    weights = _numbers(column, f"the weight {name!r}", name)
    if column.null_count or not np.isfinite(weights).all() or (weights < 0).any():
        raise DataError(
            f"the weight {name!r} has missing, infinite or negative values",
            hint="a row that shall not count has the weight 0",
            column=name,
        )
    return weights


def _numbers(column: pa.ChunkedArray, told: str, name: str) -> np.ndarray:
    kind, types = column.type, pa.types
    if not (types.is_boolean(kind) or types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)):
        raise DataError(f"{told} has type {kind}; numbers are needed", column=name)
    numbers: np.ndarray = column.cast(pa.uint8() if types.is_boolean(kind) else pa.float64()).to_numpy()
    return numbers.astype(np.float32)
