"""XGBoost's matrices of chosen rows, filled a block at a time, so that no second copy of the rows is made."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xgboost

from sluiceway.training.floats_on_disk import forget
from sluiceway.training.rows import Rows

BLOCK = 65_536  # rows that are copied at a time while a matrix is built
PAGE_ROWS = 4 * BLOCK  # of a page on disk, at most
PAGE_VALUES = 2**24  # of a page on disk: 64 MB of floats while it is made


@dataclass(frozen=True)
class MatrixMaker:
    """How the matrices of a run are made.

    Attributes:
        params: of ``xgboost.train``: ``max_bin`` and ``nthread`` count here.
        names: of the features, or None where XGBoost would refuse them.
        types: XGBoost's types of the features.
        cache: folder for the pages of quantised rows that are trained from disk.
    """

    params: Mapping[str, Any]
    names: tuple[str, ...] | None
    types: tuple[str, ...]
    cache: Path | None = None
    _count: Any = field(default_factory=itertools.count, compare=False)

    def quantile(
        self, rows: Rows, chosen: np.ndarray, *, ref: xgboost.QuantileDMatrix | None = None
    ) -> xgboost.QuantileDMatrix:
        """Quantised rows, to train on or to judge a fold by; in pages on disk where the rows themselves lie there.

        Args:
            rows: to choose from.
            chosen: shape (n,), bool.
            ref: the matrix whose cut points are taken; new ones are made where left out.
        """
        bins = {"max_bin": self.params["max_bin"], "nthread": self.params["nthread"], "ref": ref}
        if not rows.on_disk:
            return xgboost.QuantileDMatrix(_Blocks(rows, chosen, self, block=BLOCK), **bins)
        if self.cache is None:
            raise ValueError("rows on disk need a folder for their pages")
        prefix = str(self.cache / f"pages-{next(self._count)}")
        block = max(min(PAGE_ROWS, PAGE_VALUES // max(rows.x.shape[1], 1)), 1)
        return xgboost.ExtMemQuantileDMatrix(_Blocks(rows, chosen, self, block=block, cache_prefix=prefix), **bins)


class _Blocks(xgboost.DataIter):
    def __init__(
        self, rows: Rows, chosen: np.ndarray, maker: MatrixMaker, *, block: int, cache_prefix: str | None = None
    ) -> None:
        self._rows, self._chosen, self._maker, self._block = rows, chosen, maker, block
        self._start = 0
        super().__init__(cache_prefix=cache_prefix, release_data=True)

    def reset(self) -> None:
        """Begin again; XGBoost goes over the rows several times."""
        self._start = 0

    def next(self, input_data: Callable[..., None]) -> bool:
        """Hand over the next block; at least one, which may be empty."""
        start = self._start
        if start > 0 and start >= len(self._rows):
            return False
        self._start = start + self._block
        part = slice(start, start + self._block)
        chosen, rows = self._chosen[part], self._rows
        input_data(
            data=np.asarray(rows.x[part])[chosen],
            label=rows.y[part][chosen],
            feature_names=self._maker.names,
            feature_types=self._maker.types,
            **({} if rows.weight is None else {"weight": rows.weight[part][chosen]}),
        )
        forget(rows.x)
        return True


def predict_rows(booster: xgboost.Booster, rows: Rows) -> np.ndarray:
    """Scores of all rows, a block at a time: shape (n,), or (n, classes); float32.

    On the CPU, where the rows are: on a GPU XGBoost would copy each block into a matrix of its own first.
    """
    booster.set_param({"device": "cpu"})
    scores = []
    for start in range(0, len(rows), BLOCK):
        part = np.asarray(rows.x[start : start + BLOCK])
        scores.append(booster.inplace_predict(part, validate_features=False))
        forget(rows.x)
    return np.concatenate(scores) if scores else np.empty(0, np.float32)
