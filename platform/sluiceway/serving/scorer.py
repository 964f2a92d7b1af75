"""Scores rows by a bundle's booster; the one place, with its call, where serving speaks xgboost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import xgboost

from sluiceway.core.calibrator import Calibrator
from sluiceway.core.classes import Class, class_codes
from sluiceway.core.errors import ModelError
from sluiceway.features.encode import encode_table
from sluiceway.features.schema import FeatureSchema
from sluiceway.registry.bundle import Bundle
from sluiceway.serving.in_place import predict_in_place

# A thread team costs more to wake than this many rows cost to score on one thread.
ROWS_ON_ONE_THREAD = 2_000
TWO_MODELS = "register the model again; its bundle was put together from two models"


class BundleScorer:
    """A model bundle, ready to score; pickles as the bundle and loads the booster where it arrives.

    Where the bundle has a calibrator, every score has gone through it: gates, endpoint and challenger see no other.

    Args:
        bundle: model, schema and decision.
        threads: for more than ``ROWS_ON_ONE_THREAD`` rows; 0 takes the machine's CPUs.
        device: ``cpu`` or ``cuda``: where the trees are walked.

    Attributes:
        classes: values of the target in the order of the scores, where there are more than two; else empty.
        outcomes: the number that records keep for each outcome that can be; None for a regression, where any can.
        calibrated: whether scores go through a calibrator.

    Raises:
        ModelError: the bytes are no booster, or it has not the schema's features or the decision's classes.
    """

    def __init__(self, bundle: Bundle, *, threads: int = 0, device: str = "cpu") -> None:
        self.bundle = bundle
        self.schema = FeatureSchema.from_dict(bundle.schema)
        self.threads, self.device = threads, device
        threshold = bundle.decision.get("threshold")
        self.threshold = None if threshold is None else float(threshold)
        self._calibrator = Calibrator.of(bundle.decision)
        self.calibrated = self._calibrator is not None
        kind = bundle.decision.get("kind")
        self.classes: tuple[Class, ...] = tuple(bundle.decision["classes"]) if kind == "multiclass" else ()
        self.outcomes: Mapping[Class, float] | None = None
        if kind != "regression":
            self.outcomes = class_codes(self.classes or (0, 1))
            self._codes = np.array(list(self.outcomes.values()))
        self._few = _booster(bundle, nthread=1, device=device)
        self._many = self._few if threads == 1 else _booster(bundle, nthread=threads, device=device)
        if self._few.num_features() != len(self.schema.names):
            raise ModelError(
                f"the booster has {self._few.num_features()} features, the bundle's schema {len(self.schema.names)}",
                hint=TWO_MODELS,
            )
        self._check_classes()

    def score(self, rows: pa.Table) -> np.ndarray:
        """Score a table.

        Args:
            rows: one column a feature, by name; further columns are ignored.

        Returns:
            shape (n_rows,), float64: probability of the positive class, or the predicted value for regression; of
            several classes shape (n_rows, classes), the probability of each.
        """
        matrix, _ = encode_table(rows, self.schema)
        return self.score_matrix(matrix)

    def score_matrix(self, matrix: np.ndarray) -> np.ndarray:
        """Score encoded rows.

        Args:
            matrix: shape (n_rows, n_features), float32, C order, NaN is missing, as ``features.encode`` makes it.

        Returns:
            shape (n_rows,) or (n_rows, classes), float64; equals ``Booster.predict`` on the same rows, base score
            included, put through the bundle's calibrator where it has one.
        """
        if not len(matrix):
            return self.shaped(np.empty(0, dtype=np.float64))
        return self.calibrate(self.raw_scores(matrix))

    def calibrate(self, raw: np.ndarray) -> np.ndarray:
        """The scores that raw ones are after the bundle's calibrator, where it has one; shapes as they are given."""
        return raw if self._calibrator is None else self._calibrator(raw)

    def raw_scores(self, matrix: np.ndarray) -> np.ndarray:
        """Scores before the calibrator: what MLflow's loaders give for the model.

        Args:
            matrix: as of :meth:`score_matrix`, at least one row.

        Returns:
            shape (n_rows,) or (n_rows, classes), float64.
        """
        booster = self._few if len(matrix) <= ROWS_ON_ONE_THREAD else self._many
        if self.device == "cpu":
            return predict_in_place(booster, matrix)
        # In place are only rows that lie in the device's own memory.
        types = self.schema.xgboost_types
        rows = xgboost.DMatrix(matrix, feature_types=types, enable_categorical=True, nthread=self.threads or None)
        return np.asarray(booster.predict(rows, validate_features=False), dtype=np.float64)

    def decide(self, scores: np.ndarray) -> np.ndarray:
        """Decisions of scores.

        Args:
            scores: shape (n_rows,) or (n_rows, classes).

        Returns:
            shape (n_rows,), float64: 1 where the score reaches the bundle's threshold, else 0; of several classes the
            ``class_codes`` number of the one with the largest score; of a regression the scores themselves.
        """
        if self.classes:
            codes: np.ndarray = self._codes[np.asarray(scores).argmax(axis=1)]
            return codes
        if self.threshold is None:
            return np.asarray(scores, dtype=np.float64)
        return (np.asarray(scores) >= self.threshold).astype(np.float64)

    def kept(self, scores: np.ndarray) -> np.ndarray:
        """The one number a row that a prediction record keeps.

        Args:
            scores: shape (n_rows,) or (n_rows, classes).

        Returns:
            shape (n_rows,), float64: the score; of several classes the probability of the decided one.
        """
        return np.asarray(scores).max(axis=1) if self.classes else np.asarray(scores)

    def shaped(self, scores: np.ndarray) -> np.ndarray:
        """Scores that have travelled as one row of numbers, in their shape again.

        Raises:
            ValueError: they are not as many as the classes of so many rows.
        """
        return scores.reshape(-1, len(self.classes)) if self.classes else scores

    def _check_classes(self) -> None:
        """Score one row, and look whether it is as the decision says."""
        given = self.score_matrix(np.full((1, len(self.schema.names)), np.nan, dtype=np.float32)).shape
        if given != ((1, len(self.classes)) if self.classes else (1,)):
            told = f"{len(self.classes)} classes" if self.classes else "a single score"
            raise ModelError(f"the booster gives scores of shape {given}, the bundle names {told}", hint=TWO_MODELS)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.bundle, self.threads, self.device)


def _rebuild(bundle: Bundle, threads: int, device: str) -> BundleScorer:
    return BundleScorer(bundle, threads=threads, device=device)


def _booster(bundle: Bundle, *, nthread: int, device: str) -> Any:
    booster = xgboost.Booster({"nthread": nthread})
    try:
        booster.load_model(bytearray(bundle.model))
    except xgboost.core.XGBoostError as error:
        raise ModelError(f"the bundle's model is no booster: {str(error).splitlines()[0]}") from error
    booster.set_param({"nthread": nthread, "device": device})
    return booster
