"""The rows of a run as a worker holds them: encoded, in one order, whatever blocks they arrived in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa

from sluiceway.training.encoded import FOLD, KEY, PART, SINCE, TRAIN, VALIDATION, WEIGHT, X, Y
from sluiceway.training.floats_on_disk import require_disk, scatter_to_disk

Blocks = Callable[[], Iterable[pa.Table]]
"""Gives the blocks of :func:`sluiceway.training.encoded.encode_block` anew each time, in the same order."""


class RowSource(Protocol):
    """Rows of the training and the validation part, in an order of its own that is the same each time."""

    def places(self) -> Iterable[pa.Table]:
        """Labels, and where rows belong: the columns of ``encode_block`` but for the features."""

    def features(self) -> Iterable[np.ndarray]:
        """The features of the same rows, each piece of shape (m, k), float32; called after :meth:`places`."""


@dataclass(frozen=True)
class EncodedBlocks:
    """Rows that are encoded already.

    Attributes:
        blocks: gives them.
        width: number of features.
    """

    blocks: Blocks
    width: int

    def places(self) -> Iterator[pa.Table]:
        """See :class:`RowSource`."""
        for block in self.blocks():
            yield block.drop_columns([X])

    def features(self) -> Iterator[np.ndarray]:
        """See :class:`RowSource`."""
        for block in self.blocks():
            for chunk in block[X].chunks:
                yield features_of(chunk, self.width)


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


@dataclass(frozen=True)
class _Part:
    """Which rows of a source belong to a part (shape of all rows), and where each of them goes (shape of the part)."""

    member: np.ndarray
    place: np.ndarray
    columns: dict[str, np.ndarray]


def arrange(
    source: RowSource, *, width: int, weighted: bool, refold: Refold | None = None, disk: Disk | None = None
) -> tuple[Rows, Rows]:
    """Bring rows into one order: by key, twins by their content.

    The order in which they come is then of no consequence, and the same rows give the same model. The features are
    copied once, straight to their places: the source is gone over twice, and the first time without them.

    Args:
        source: of the rows.
        width: number of features, for the case of no rows at all.
        weighted: whether rows have weights.
        refold: gives the folds of the training rows in place of those that the source tells.
        disk: where to put the features, or None for memory.

    Returns:
        rows of the training part and of the validation part.

    Raises:
        BackendError: the disk has too little room.
    """
    columns = _places(source)
    parts = [_part(columns, part) for part in (TRAIN, VALIDATION)]
    del columns
    if disk is None:
        features = _scatter(source.features(), parts, width)
    else:
        require_disk(disk.folder, rows=sum(len(part.place) for part in parts), width=width)
        features = [
            scatter_to_disk(
                _of_part(source.features(), part),
                part.place,
                width=width,
                path=disk.folder / f"part-{number}",
                batch_rows=disk.batch_rows,
            )
            for number, part in zip((TRAIN, VALIDATION), parts, strict=True)
        ]
    made = []
    for part, x, folds in zip(parts, features, (refold, None), strict=True):
        _order_twins(x, part.columns)
        made.append(_rows(x, part.columns, folds, part.columns[WEIGHT] if weighted else None, disk is not None))
    return made[0], made[1]


_KEPT = {PART: np.uint8, Y: np.float32, FOLD: np.uint8, SINCE: np.uint8, KEY: np.uint64, WEIGHT: np.float32}


def features_of(chunk: pa.FixedSizeListArray, width: int) -> np.ndarray:
    """Encoded features as a matrix, shape (n, width), float32."""
    return np.asarray(chunk.flatten().to_numpy(zero_copy_only=False), dtype=np.float32).reshape(-1, width)


def _places(source: RowSource) -> dict[str, np.ndarray]:
    """The narrow columns of all rows; a column that is not there has 0 for time, and no weight is NaN."""
    pieces: dict[str, list[np.ndarray]] = {name: [np.empty(0, kind)] for name, kind in _KEPT.items()}
    for block in source.places():
        for name in (PART, Y, FOLD, KEY):
            pieces[name].append(block[name].to_numpy())
        since = block[SINCE].to_numpy() if SINCE in block.column_names else np.zeros(len(block), np.uint8)
        weight = block[WEIGHT].to_numpy() if WEIGHT in block.column_names else np.full(len(block), np.nan, "f4")
        pieces[SINCE].append(since)
        pieces[WEIGHT].append(weight)
    return {name: np.concatenate(pieces.pop(name)) for name in _KEPT}


def _part(columns: dict[str, np.ndarray], part: int) -> _Part:
    member = columns[PART] == part
    order = np.argsort(columns[KEY][member], kind="stable")
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    kept = {name: column[member][order] for name, column in columns.items() if name != PART}
    return _Part(member, place, kept)


def _of_part(pieces: Iterable[np.ndarray], part: _Part) -> Iterator[np.ndarray]:
    start = 0
    for piece in pieces:
        yield piece[part.member[start : start + len(piece)]]
        start += len(piece)


def _scatter(pieces: Iterable[np.ndarray], parts: Sequence[_Part], width: int) -> list[np.ndarray]:
    """The features of each part in their places; the pieces are gone over once."""
    placed = [np.empty((len(part.place), width), np.float32) for part in parts]
    begun, start = [0] * len(parts), 0
    for piece in pieces:
        for number, part in enumerate(parts):
            own = piece[part.member[start : start + len(piece)]]
            placed[number][part.place[begun[number] : begun[number] + len(own)]] = own
            begun[number] += len(own)
        start += len(piece)
    return placed


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
