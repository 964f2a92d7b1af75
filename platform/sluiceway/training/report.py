"""What a training run gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sluiceway.features.schema import FeatureSchema

Kind = Literal["binary", "multiclass", "regression"]


@dataclass(frozen=True)
class FoldReport:
    """One fold of the cross-validation.

    Attributes:
        fold: its number, from 0.
        best_iteration: the round with the best metric, from 0; the last one without early stopping.
        rounds: rounds that were boosted.
        metric: the early-stopping metric on the fold's own rows, at the best round.
        rows: the fold's own rows, not seen in its training.
        seconds: matrices, boosting and prediction.
        history: the metric on the fold's own rows after each round, ``rounds`` values.
        build_seconds: of ``seconds``, what the matrices took.
    """

    fold: int
    best_iteration: int
    rounds: int
    metric: float
    rows: int
    seconds: float
    history: tuple[float, ...] = ()
    build_seconds: float = 0.0


@dataclass(frozen=True)
class ScoredRows:
    """Rows of the validation part, as many as a driver can hold.

    Attributes:
        labels: shape (n,), float32: 0 and 1, the class's place among the classes, or the value.
        scores: float32: shape (n,) probabilities of 1 or predicted values, shape (n, classes) probabilities.
        sample: shape (m, k), float32, m <= 1,000: the encoded features of the first m of them; NaN is missing.
    """

    labels: np.ndarray
    scores: np.ndarray
    sample: np.ndarray


@dataclass(frozen=True)
class TrainReport:
    """A trained model and how it came about.

    Attributes:
        model: the booster, as UBJSON bytes.
        schema: what it sees.
        kind: what it predicts.
        classes: the target's values in the order of the model's classes; empty for a regressor.
        rounds: of the final fit: the median of the folds' best_iteration + 1.
        folds: the cross-validation.
        metric_name: XGBoost's name of the folds' metric.
        validation: rows of the validation part, scored by the final model; at most 200,000 of them, drawn by key hash.
        oof_uri: Delta table of the out-of-fold predictions (key_hash, fold, label, score); empty where none is kept.
        rows: numbers of rows: ``train``, ``validation``.
        seconds: ``read``, ``start``, ``load``, ``build``, ``folds``, ``final``, ``oof``, ``total``.
        engine: ``task``, ``group`` (Ray Train) or ``xgboost_ray``.
        why: why that engine, for people.
        restarts: how often lost workers were replaced.
        oof_version: the version of that table that this run wrote; None where none is kept.
    """

    model: bytes
    schema: FeatureSchema
    kind: Kind
    classes: tuple[int | str, ...]
    rounds: int
    folds: tuple[FoldReport, ...]
    metric_name: str
    validation: ScoredRows
    oof_uri: str
    rows: Mapping[str, int]
    seconds: Mapping[str, float]
    engine: Literal["task", "group", "xgboost_ray"]
    why: str
    restarts: int = 0
    oof_version: int | None = None

    @property
    def metric(self) -> float:
        """Mean of the folds' metrics."""
        return float(np.mean([fold.metric for fold in self.folds]))

    @property
    def spread(self) -> float:
        """Sample standard deviation of the folds' metrics."""
        return float(np.std([fold.metric for fold in self.folds], ddof=1))
