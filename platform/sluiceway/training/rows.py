"""The rows of a run as a worker holds them: encoded, in one order, whatever blocks they arrived in."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from sluiceway.training.encoded import FOLD, KEY, PART, SINCE, TRAIN, VALIDATION, WEIGHT, X, Y
from sluiceway.training.floats_on_disk import scatter_to_disk

Blocks = Callable[[], Iterable[pa.Table]]
"""Gives the blocks of :func:`sluiceway.training.encoded.encode_block` anew each time, in the same order."""
Refold = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From keys (uint64) and labels (float32) to folds (uint8), each of shape (n,)."""


@dataclass(frozen=True)
class Rows:
    """Rows of one part, sorted by key.

    Attributes:
        x: shape (n, k), float32, C order, NaN is missing; a memory map where the rows are trained from disk.
        y: shape (n,), float32.
        fold: shape (n,), uint8: the fold that validates the row, 255 for none.
        since: shape (n,), uint8: the first fold that may train on the row; 0 but for rows in time order.
        key: shape (n,), uint64, ascending.
        weight: shape (n,), float32, or None where every row counts the same.
        on_disk: the features lie on disk and are never in memory as a whole; so with all ranks of a group, also with
            those that have no rows.
    """

    x: np.ndarray
    y: np.ndarray
    fold: np.ndarray
    since: np.ndarray
    key: np.ndarray
    weight: np.ndarray | None = None
    on_disk: bool = False

    def __len__(self) -> int:
        return len(self.y)

    def validated_in(self, fold: int) -> np.ndarray:
        """Shape (n,), bool: the rows that a fold does not train on and is judged by."""
        return np.asarray(self.fold == fold)

    def trained_in(self, fold: int) -> np.ndarray:
        """Shape (n,), bool: the rows that a fold trains on."""
        return np.asarray((self.fold != fold) & (self.since <= fold))


@dataclass(frozen=True)
class Disk:
    """Where the features lie that do not fit in memory.

    Attributes:
        folder: on a local disk; whoever made it deletes it.
        batch_rows: so many rows are in memory at a time.
    """

    folder: Path
    batch_rows: int


def arrange(
    blocks: Blocks, *, width: int, weighted: bool, refold: Refold | None = None, disk: Disk | None = None
) -> tuple[Rows, Rows]:
    """Bring encoded blocks into one order: by key, twins by their content.

    The order of blocks is then of no consequence, and the same rows give the same model. The features are copied once,
    straight to their places: the blocks are gone over twice, and the first time only their narrow columns are read.

    Args:
        blocks: see :data:`Blocks`.
        width: number of features, for the case of no rows at all.
        weighted: whether rows have weights.
        refold: gives the folds of the training rows in place of those that the blocks tell.
        disk: where to put the features, or None for memory.

    Returns:
        rows of the training part and of the validation part.
    """
    narrow = [_narrow(block) for block in blocks()]
    parts = []
    for part in (TRAIN, VALIDATION):
        columns = {name: _joined([block[name][block[PART] == part] for block in narrow], name) for name in _KEPT}
        order = np.argsort(columns[KEY], kind="stable")
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        sorted_columns = {name: column[order] for name, column in columns.items()}
        pieces = _pieces(blocks, narrow, part, width)
        x = (
            scatter_to_disk(pieces, place, width=width, path=disk.folder / f"part-{part}", batch_rows=disk.batch_rows)
            if disk
            else _scatter(pieces, place, width)
        )
        _order_twins(x, sorted_columns)
        weight = sorted_columns[WEIGHT] if weighted else None
        parts.append(_rows(x, sorted_columns, refold if part == TRAIN else None, weight, disk is not None))
    return parts[0], parts[1]


_KEPT = {Y: np.float32, FOLD: np.uint8, SINCE: np.uint8, KEY: np.uint64, WEIGHT: np.float32}


def _narrow(block: pa.Table) -> dict[str, np.ndarray]:
    """The columns of a block but for the features; weights that are not there are NaN."""
    found = {name: block[name].to_numpy() for name in (PART, Y, FOLD, KEY)}
    found[SINCE] = block[SINCE].to_numpy() if SINCE in block.column_names else np.zeros(len(block), np.uint8)
    found[WEIGHT] = block[WEIGHT].to_numpy() if WEIGHT in block.column_names else np.full(len(block), np.nan, "f4")
    return found


def _joined(pieces: list[np.ndarray], name: str) -> np.ndarray:
    return np.concatenate([np.empty(0, _KEPT[name]), *pieces])


def _pieces(blocks: Blocks, narrow: list[dict[str, np.ndarray]], part: int, width: int) -> Iterable[np.ndarray]:
    for block, columns in zip(blocks(), narrow, strict=True):
        member = columns[PART] == part
        start = 0
        for chunk in block[X].chunks:
            end = start + len(chunk)
            yield _matrix(chunk, width)[member[start:end]]
            start = end


def _matrix(chunk: pa.FixedSizeListArray, width: int) -> np.ndarray:
    return np.asarray(chunk.flatten().to_numpy(zero_copy_only=False), dtype=np.float32).reshape(-1, width)


def _scatter(pieces: Iterable[np.ndarray], place: np.ndarray, width: int) -> np.ndarray:
    x = np.empty((len(place), width), np.float32)
    start = 0
    for piece in pieces:
        x[place[start : start + len(piece)]] = piece
        start += len(piece)
    return x


def _order_twins(x: np.ndarray, columns: dict[str, np.ndarray]) -> None:
    """Rows of the same key are put in the order of their content, in place."""
    key = columns[KEY]
    same = key[1:] == key[:-1]
    twin = np.zeros(len(key), bool)
    twin[1:] |= same
    twin[:-1] |= same
    few = np.flatnonzero(twin)
    if len(few):
        features = np.asarray(x[few])
        others = [columns[name][few] for name in (WEIGHT, SINCE, FOLD, Y)]
        order = np.lexsort((*others, *features.T, key[few]))
        x[few] = features[order]
        for column in columns.values():
            column[few] = column[few][order]


def _rows(
    x: np.ndarray, columns: dict[str, np.ndarray], refold: Refold | None, weight: np.ndarray | None, on_disk: bool
) -> Rows:
    fold = columns[FOLD] if refold is None else refold(columns[KEY], columns[Y])
    return Rows(x, columns[Y], fold, columns[SINCE], columns[KEY], weight, on_disk)
