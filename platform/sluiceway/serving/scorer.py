"""Scores rows by a bundle's booster; the one place where serving speaks xgboost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import xgboost

from sluiceway.core.errors import ModelError
from sluiceway.features.encode import encode_table
from sluiceway.features.schema import FeatureSchema
from sluiceway.registry.bundle import Bundle

# A thread team costs more to wake than this many rows cost to score on one thread.
ROWS_ON_ONE_THREAD = 2_000


class BundleScorer:
    """A model bundle, ready to score; pickles as the bundle and loads the booster where it arrives.

    Args:
        bundle: model, schema and decision.
        threads: for more than ``ROWS_ON_ONE_THREAD`` rows; 0 takes the machine's CPUs.

    Raises:
        ModelError: the bytes are no booster, or it has not the schema's features.
    """

    def __init__(self, bundle: Bundle, *, threads: int = 0) -> None:
        self.bundle = bundle
        self.schema = FeatureSchema.from_dict(bundle.schema)
        self.threads = threads
        threshold = bundle.decision.get("threshold")
        self.threshold = None if threshold is None else float(threshold)
        self._few = _booster(bundle, nthread=1)
        self._many = self._few if threads == 1 else _booster(bundle, nthread=threads)
        if self._few.num_features() != len(self.schema.names):
            raise ModelError(
                f"the booster has {self._few.num_features()} features, the bundle's schema {len(self.schema.names)}",
                hint="register the model again; its bundle was put together from two models",
            )

    def score(self, rows: pa.Table) -> np.ndarray:
        """Score a table.

        Args:
            rows: one column a feature, by name; further columns are ignored.

        Returns:
            shape (n_rows,), float64: probability of the positive class, or the predicted value for regression.
        """
        matrix, _ = encode_table(rows, self.schema)
        return self.score_matrix(matrix)

    def score_matrix(self, matrix: np.ndarray) -> np.ndarray:
        """Score encoded rows.

        Args:
            matrix: shape (n_rows, n_features), float32, C order, NaN is missing, as ``features.encode`` makes it.

        Returns:
            shape (n_rows,), float64; equals ``Booster.predict`` on the same rows, base score included.
        """
        if not len(matrix):
            return np.empty(0, dtype=np.float64)
        booster = self._few if len(matrix) <= ROWS_ON_ONE_THREAD else self._many
        scores = booster.inplace_predict(matrix, missing=np.nan, validate_features=False)
        return np.asarray(scores, dtype=np.float64)

    def decide(self, scores: np.ndarray) -> np.ndarray:
        """Decisions of scores.

        Args:
            scores: shape (n_rows,).

        Returns:
            shape (n_rows,), float64: 1 where the score reaches the bundle's threshold, else 0; without a threshold
            (regression) the scores themselves.
        """
        if self.threshold is None:
            return np.asarray(scores, dtype=np.float64)
        return (np.asarray(scores) >= self.threshold).astype(np.float64)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.bundle, self.threads)


def _rebuild(bundle: Bundle, threads: int) -> BundleScorer:
    return BundleScorer(bundle, threads=threads)


def _booster(bundle: Bundle, *, nthread: int) -> Any:
    booster = xgboost.Booster({"nthread": nthread})
    try:
        booster.load_model(bytearray(bundle.model))
    except xgboost.core.XGBoostError as error:
        raise ModelError(f"the bundle's model is no booster: {str(error).splitlines()[0]}") from error
    booster.set_param({"nthread": nthread})
    return booster
