"""Real, small models for the tests of serving."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xgboost

from sluiceway.core.traffic import Arm
from sluiceway.features.schema import Feature, FeatureSchema
from sluiceway.registry import bundle

CARRIERS = ("AA", "B6", "UA")


@dataclass(frozen=True)
class SmallModel:
    """A trained booster and its bundle on disk."""

    booster: Any
    bundle: bundle.Bundle
    folder: Path

    def arm(self, version: str, weight: float, application: str = "") -> Arm:
        """The arm that names this model."""
        return Arm(version, weight, str(self.folder), self.bundle.digest, application)


def train_small(
    folder: Path, *, seed: int, flipped: bool = False, carriers: tuple[str, ...] = CARRIERS, trees: int = 1
) -> SmallModel:
    """A model of ``delay``, ``distance`` and ``carrier``; ``flipped`` learns the opposite of the truth.

    ``trees`` a round: a forest of hundreds answers as well, and slowly.
    """
    matrix, labels = examples(400, seed=seed, carriers=carriers)
    data = xgboost.DMatrix(
        matrix, label=1 - labels if flipped else labels, feature_types=["q", "q", "c"], enable_categorical=True
    )
    params = {"objective": "binary:logistic", "max_depth": 3, "seed": seed, "nthread": 1, "base_score": 0.3}
    booster = xgboost.train(params | {"num_parallel_tree": trees}, data, 15)
    schema = FeatureSchema(
        (Feature("delay", "numeric"), Feature("distance", "numeric"), Feature("carrier", "category", carriers))
    )
    made = bundle.Bundle(
        bytes(booster.save_raw("ubj")),
        schema.to_dict(),
        {"kind": "binary", "threshold": 0.5, "target": "late"},
        {"seed": seed},
    )
    return SmallModel(booster, made, bundle.write(made, folder / made.digest))


GRADES = ("early", "late", "on time")


def train_grades(folder: Path, *, seed: int, grades: tuple[int | str, ...] = GRADES) -> SmallModel:
    """A model of several classes of the same features: thirds of the delay, in the order of ``grades``."""
    matrix, _ = examples(400, seed=seed)
    labels = np.digitize(matrix[:, 0], np.linspace(-10, 30, len(grades) - 1))
    data = xgboost.DMatrix(matrix, label=labels, feature_types=["q", "q", "c"], enable_categorical=True)
    params = {"objective": "multi:softprob", "num_class": len(grades), "max_depth": 3, "seed": seed, "nthread": 1}
    booster = xgboost.train(params, data, 10)
    schema = FeatureSchema(
        (Feature("delay", "numeric"), Feature("distance", "numeric"), Feature("carrier", "category", CARRIERS))
    )
    decision = {"kind": "multiclass", "threshold": None, "target": "grade", "classes": list(grades)}
    made = bundle.Bundle(bytes(booster.save_raw("ubj")), schema.to_dict(), decision, {"seed": seed})
    return SmallModel(booster, made, bundle.write(made, folder / made.digest))


def train_minutes(folder: Path, *, seed: int) -> SmallModel:
    """A regression of the same features: three times the delay, and a little of the distance."""
    matrix, _ = examples(400, seed=seed)
    target = 3 * matrix[:, 0] + np.nan_to_num(matrix[:, 1]) / 1000
    data = xgboost.DMatrix(matrix, label=target, feature_types=["q", "q", "c"], enable_categorical=True)
    booster = xgboost.train({"objective": "reg:squarederror", "max_depth": 3, "seed": seed, "nthread": 1}, data, 15)
    schema = FeatureSchema(
        (Feature("delay", "numeric"), Feature("distance", "numeric"), Feature("carrier", "category", CARRIERS))
    )
    decision = {"kind": "regression", "threshold": None, "target": "minutes"}
    made = bundle.Bundle(bytes(booster.save_raw("ubj")), schema.to_dict(), decision, {"seed": seed})
    return SmallModel(booster, made, bundle.write(made, folder / made.digest))


# One of each kind of model.
KINDS = {"binary": train_small, "several classes": train_grades, "regression": train_minutes}


def train_numbers(folder: Path, *, seed: int, features: int = 2) -> SmallModel:
    """A model of numbers alone, ``f0``, ``f1`` and so on: 1 where the first one is above 10."""
    rng = np.random.default_rng(seed)
    matrix = rng.normal(10, 20, (400, features)).astype(np.float32)
    data = xgboost.DMatrix(matrix, label=matrix[:, 0] > 10)
    booster = xgboost.train({"objective": "binary:logistic", "max_depth": 3, "seed": seed, "nthread": 1}, data, 15)
    schema = FeatureSchema(tuple(Feature(f"f{i}", "numeric") for i in range(features)))
    decision = {"kind": "binary", "threshold": 0.5, "target": "high"}
    made = bundle.Bundle(bytes(booster.save_raw("ubj")), schema.to_dict(), decision, {"seed": seed})
    return SmallModel(booster, made, bundle.write(made, folder / made.digest))


def predicted(model: SmallModel, matrix: np.ndarray) -> np.ndarray:
    """``Booster.predict`` on encoded rows, shape (n,) or (n, classes)."""
    types = FeatureSchema.from_dict(model.bundle.schema).xgboost_types
    return model.booster.predict(xgboost.DMatrix(matrix, feature_types=types, enable_categorical=True))


def examples(n: int, *, seed: int, carriers: tuple[str, ...] = CARRIERS) -> tuple[np.ndarray, np.ndarray]:
    """Encoded rows, shape (n, 3) float32, and the truth, shape (n,): late where the delay is over 10."""
    rng = np.random.default_rng(seed)
    matrix = np.column_stack(
        [rng.normal(10, 20, n).round(1), rng.integers(100, 3000, n), rng.integers(0, len(carriers), n)]
    ).astype(np.float32)
    labels = (matrix[:, 0] > 10).astype(int)
    matrix[rng.random(n) < 0.1, 1] = np.nan
    return matrix, labels


def as_rows(matrix: np.ndarray, carriers: tuple[str, ...] = CARRIERS) -> list[dict[str, Any]]:
    """Encoded rows as a client would send them."""
    return [
        {
            "delay": float(delay),
            "distance": None if np.isnan(distance) else float(distance),
            "carrier": carriers[int(carrier)],
        }
        for delay, distance, carrier in matrix
    ]


def rows_with_gaps(n: int) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Encoded rows with missing numbers and categories, the eighth of nothing else; and as a client has them."""
    matrix, _ = examples(n, seed=11)
    matrix[3, 0] = matrix[5, 2] = np.nan
    matrix[7] = np.nan
    rows = as_rows(np.nan_to_num(matrix, nan=0))
    for i, j in np.argwhere(np.isnan(matrix)):
        rows[i][list(rows[i])[j]] = None
    return matrix, rows
