"""The rows of a run as a worker holds them: encoded, in one order, whatever blocks they arrived in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sluiceway.core.errors import DataError
from sluiceway.features.encode import encode_table
from sluiceway.features.schema import FeatureSchema

PART, FOLD, KEY = "__part__", "__fold__", "__key__"
X, Y = "x", "y"
TRAIN, VALIDATION = 0, 1
BYTES_PER_ROW = 14  # label, part, fold and key beside the features


@dataclass(frozen=True)
class Rows:
    """Rows of one part, sorted by key.

    Attributes:
        x: shape (n, k), float32, C order, NaN is missing.
        y: shape (n,), float32.
        fold: shape (n,), uint8.
        key: shape (n,), uint64, ascending.
    """

    x: np.ndarray
    y: np.ndarray
    fold: np.ndarray
    key: np.ndarray

    def __len__(self) -> int:
        return len(self.y)


def encode_block(table: pa.Table, *, schema: FeatureSchema, target: str, binary: bool) -> pa.Table:
    """Encode a block of labelled rows; the test part is left behind.

    Args:
        table: features, target, ``__part__``, ``__fold__`` and ``__key__``.
        schema: of the features.
        target: column of the labels.
        binary: whether labels have to be 0 or 1.

    Returns:
        columns ``x`` (fixed-size list of float32), ``y`` (float32), ``__part__``, ``__fold__``, ``__key__``.

    Raises:
        DataError: a label is missing, infinite, or not 0 or 1 where it has to be.
    """
    table = table.filter(pc.less_equal(table[PART], pa.scalar(VALIDATION, table.schema.field(PART).type)))
    matrix, _ = encode_table(table, schema)
    labels = _labels(table[target], target, binary)
    x = pa.FixedSizeListArray.from_arrays(pa.array(matrix.reshape(-1)), len(schema.features))
    return pa.table(
        {
            X: x,
            Y: labels,
            PART: table[PART].cast(pa.uint8()),
            FOLD: table[FOLD].cast(pa.uint8()),
            KEY: table[KEY].cast(pa.uint64()),
        }
    )


def _labels(column: pa.ChunkedArray, target: str, binary: bool) -> np.ndarray:
    kind = column.type
    if not (
        pa.types.is_boolean(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
    ):
        raise DataError(f"the target {target!r} has type {kind}; numbers are needed", column=target)
    via = pa.uint8() if pa.types.is_boolean(kind) else pa.float64()
    labels: np.ndarray = column.cast(via).to_numpy().astype(np.float32)
    if column.null_count or not np.isfinite(labels).all():
        raise DataError(
            f"the target {target!r} has missing or infinite values",
            hint="a row without an outcome teaches nothing: leave it out of the table",
            column=target,
        )
    if binary and not np.isin(labels, (0, 1)).all():
        raise DataError(
            f"the target {target!r} has values other than 0 and 1",
            hint="make it 0 and 1, or train an XGBRegressor",
            column=target,
        )
    return labels


def arrange(blocks: Iterable[pa.Table], *, width: int) -> tuple[Rows, Rows]:
    """Bring encoded blocks into one order: by key, twins by their content.

    The order of blocks is then of no consequence, and the same rows give the same model.

    Args:
        blocks: as :func:`encode_block` makes them; each is let go as soon as it is copied.
        width: number of features, for the case of no rows at all.

    Returns:
        rows of the training part and of the validation part.
    """
    parts: dict[int, list[Rows]] = {TRAIN: [], VALIDATION: []}
    for block in blocks:
        part = block[PART].to_numpy()
        x = np.concatenate([_matrix(chunk, width) for chunk in block[X].chunks] or [np.empty((0, width), np.float32)])
        whole = Rows(x, block[Y].to_numpy(), block[FOLD].to_numpy(), block[KEY].to_numpy())
        for wanted, found in parts.items():
            member = part == wanted
            if member.any():
                found.append(Rows(whole.x[member], whole.y[member], whole.fold[member], whole.key[member]))
    return _sorted(parts[TRAIN], width), _sorted(parts[VALIDATION], width)


def _matrix(chunk: pa.FixedSizeListArray, width: int) -> np.ndarray:
    return np.asarray(chunk.flatten().to_numpy(zero_copy_only=False), dtype=np.float32).reshape(-1, width)


def _sorted(blocks: list[Rows], width: int) -> Rows:
    if not blocks:
        none = np.empty(0, np.float32)
        return Rows(np.empty((0, width), np.float32), none, none.astype(np.uint8), none.astype(np.uint64))
    x, y, fold, key = (np.concatenate([getattr(b, name) for b in blocks]) for name in ("x", "y", "fold", "key"))
    blocks.clear()
    order = np.argsort(key, kind="stable")
    ranked = key[order]
    same = ranked[1:] == ranked[:-1]
    twin = np.zeros(len(key), bool)
    twin[1:] |= same
    twin[:-1] |= same
    if twin.any():
        few = order[twin]
        order[twin] = few[np.lexsort((*x[few].T, y[few], key[few]))]
    return Rows(x[order], y[order], fold[order], key[order])
