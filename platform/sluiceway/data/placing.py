"""Where rows belong: part, fold and key of each row of a batch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from sluiceway.config.experiment import SplitSection
from sluiceway.data import membership
from sluiceway.data.given_folds import given_folds
from sluiceway.data.time_order import LEFT_OUT, TimeCuts, place_in_time, ticks_of

# Columns that are added to the table's own.
KEY_COLUMN, PART_COLUMN, FOLD_COLUMN, SINCE_COLUMN = "__key__", "__part__", "__fold__", "__since__"


@dataclass(frozen=True)
class Placing:
    """How rows are placed in parts and folds.

    Attributes:
        key: columns whose hash tells rows apart.
        group: columns whose hash decides part and fold.
        seed: of the experiment.
        split: shares of the parts.
        n_folds: folds of the cross-validation.
        time: column of the rows' times, where it is needed.
        cuts: of rows in time order.
        fold_column: column that says each row's fold, in place of the split.
        later_than: tick of ``time``; rows of training and validation up to it are left out.
    """

    key: tuple[str, ...]
    group: tuple[str, ...]
    seed: int
    split: SplitSection
    n_folds: int
    time: str | None
    cuts: TimeCuts | None
    fold_column: str | None
    later_than: int | None

    @property
    def columns(self) -> list[str]:
        """What has to be read of the table."""
        single = [name for name in (self.time, self.fold_column) if name is not None]
        return unique([*self.key, *self.group, *single])


def label(batch: pa.Table, *, columns: Sequence[str], placing: Placing) -> pa.Table:
    """Some columns of a batch, and behind them where each row belongs.

    Args:
        batch: with these columns and ``placing.columns``.
        columns: which to keep.
        placing: says where rows belong.

    Returns:
        as :func:`sluiceway.data.ray_read.labelled_dataset` says.

    Raises:
        DataError: a time or a fold cannot be used.
    """
    hashes = membership.row_hashes(batch, placing.key)
    labelled = batch.select(columns)
    added: dict[str, np.ndarray] = {}
    ticks = np.empty(0, np.int64) if placing.time is None else ticks_of(batch[placing.time], placing.time)
    if placing.cuts is not None:
        added[PART_COLUMN], added[FOLD_COLUMN], added[SINCE_COLUMN] = place_in_time(ticks, placing.cuts)
    else:
        groups = hashes if placing.group == placing.key else membership.row_hashes(batch, placing.group)
        added[PART_COLUMN] = membership.parts(groups, placing.seed, placing.split)
        added[FOLD_COLUMN] = membership.folds(groups, placing.seed, placing.n_folds)
    if placing.fold_column is not None:
        added[FOLD_COLUMN] = given_folds(batch[placing.fold_column], placing.fold_column, placing.n_folds)
        added.pop(SINCE_COLUMN, None)
    if placing.later_than is not None:
        part = added[PART_COLUMN]
        added[PART_COLUMN] = np.where((ticks <= placing.later_than) & (part != membership.TEST), LEFT_OUT, part)
    added[KEY_COLUMN] = hashes
    for name, values in added.items():
        labelled = labelled.append_column(name, pa.array(values))
    return labelled


def unique(names: Iterable[str]) -> list[str]:
    """Names in their order, each once."""
    return list(dict.fromkeys(names))
