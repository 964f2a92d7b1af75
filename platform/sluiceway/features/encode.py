"""From rows to the matrix that a model sees: the same numbers from an Arrow table and from a JSON request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from sluiceway.core.errors import DataError, SchemaMismatchError
from sluiceway.features.arrow_columns import encode_chunk, fits
from sluiceway.features.encoder import Encoder
from sluiceway.features.schema import Feature, FeatureSchema, near

_LARGEST = float(np.finfo(np.float32).max)


def encode_table(table: pa.Table | pa.RecordBatch, schema: FeatureSchema) -> tuple[np.ndarray, int]:
    """Encode Arrow rows.

    Args:
        table: has one column a feature; further columns are ignored.
        schema: of the model.

    Returns:
        shape (n_rows, n_features), float32, C order, NaN where a value is missing; and how many values were
        categories that the schema does not know (they are missing in the matrix).

    Raises:
        SchemaMismatchError: a column is not there, or of another kind.
        DataError: a value is infinite, or too large for a 32-bit float.
    """
    matrix = np.empty((table.num_rows, len(schema.features)), dtype=np.float32)
    unseen = 0
    for index, feature in enumerate(schema.features):
        position = table.schema.get_field_index(feature.name)
        if position < 0:
            raise SchemaMismatchError(
                f"there is no column {feature.name!r}, which the model needs{near(feature.name, table.schema.names)}",
                column=feature.name,
            )
        column = table.column(position)
        if not fits(feature, column.type):
            raise _wrong_kind(feature, column.type)
        start = 0
        for chunk in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
            end = start + len(chunk)
            unseen += encode_chunk(chunk, feature, matrix[start:end, index])
            start = end
        if np.isinf(matrix[:, index]).any():
            raise DataError(
                f"column {feature.name!r} holds an infinite value, or one beyond {_LARGEST:.3g}",
                hint="replace it by a number, or by null where the value is not known",
                column=feature.name,
            )
    return matrix, unseen


def encode_rows(rows: Sequence[Mapping[str, Any]], schema: FeatureSchema) -> tuple[np.ndarray, int]:
    """Encode the rows of a request; who encodes many requests keeps an :class:`Encoder`.

    A null or NaN is missing; a category that the schema does not know is missing and counted.

    Args:
        rows: parsed JSON objects, one value a feature, no others.
        schema: of the model.

    Returns:
        shape (n_rows, n_features), float32, C order; and the number of unknown categories.

    Raises:
        RequestError: status 422, with the path and cause of every problem (the first 100 are listed).
    """
    return Encoder(schema).rows(rows)


def _wrong_kind(feature: Feature, kind: pa.DataType) -> SchemaMismatchError:
    return SchemaMismatchError(
        f"column {feature.name!r} has type {kind}; the model was trained on a {feature.kind} column",
        hint="train again on this version, or restore the column's type",
        column=feature.name,
    )
