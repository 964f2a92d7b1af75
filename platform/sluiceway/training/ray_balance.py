"""Where folds begin so that each holds the same number of rows of each class, seen over all blocks."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import ray

from sluiceway.data.membership import fold_place
from sluiceway.data.ray_order_statistics import Found, order_statistics
from sluiceway.training.encoded import KEY, PART, TRAIN, Y


def fold_cuts(blocks: Sequence[ray.ObjectRef], *, folds: int, seed: int) -> Found:
    """The second pass of stratified folds: each class's training rows in equal parts, in the folds' random order.

    A row's place in that order depends on its key and the seed alone; only where the order is cut depends on the other
    rows. So a version with few new rows leaves nearly all others in their folds.

    Args:
        blocks: encoded blocks in the object store.
        folds: how many.
        seed: of the experiment.

    Returns:
        by class the places where each fold but the first begins.
    """

    def ranks(counts: Mapping[int, int]) -> Found:
        return {kind: [min(n * fold // folds, n - 1) for fold in range(1, folds)] for kind, n in counts.items()}

    return order_statistics(blocks, functools.partial(_places, seed=seed), ranks)


def _places(block: pa.Table, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    train = block[PART].to_numpy() == TRAIN
    return fold_place(block[KEY].to_numpy()[train], seed), block[Y].to_numpy()[train].astype(np.int64)
