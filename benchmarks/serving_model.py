"""The model that every server of the measurements serves, and the requests that it is sent."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow.xgboost
import numpy as np
import pyarrow as pa
import xgboost

from sluiceway.core.traffic import Arm
from sluiceway.features.schema import Feature, FeatureSchema
from sluiceway.registry import bundle

SEED = 7
FEATURES = tuple(f"f{number}" for number in range(10))
TREES, DEPTH = 200, 6
TRAINED_ROWS = 20_000
# Different requests of a load; they are sent in turn.
BODIES = 500
MANY_ROWS, MANY_BODIES = 1_000, 16

# Rows, shape (n_rows, n_features), as the body of a request.
Format = Callable[[np.ndarray], bytes]


@dataclass(frozen=True)
class Model:
    """One trained booster in every form that a server takes.

    Attributes:
        booster: it.
        ubj: its file in XGBoost's format.
        bundle: folder of the bundle.
        digest: of the bundle.
        mlflow: folder of the MLflow model.
    """

    booster: xgboost.Booster
    ubj: Path
    bundle: Path
    digest: str
    mlflow: Path

    def arm(self, version: str, weight: float, application: str = "") -> Arm:
        """The arm that names it."""
        return Arm(version, weight, str(self.bundle), self.digest, application)

    def scores(self, rows: np.ndarray) -> np.ndarray:
        """What every server has to answer, shape (n_rows,), float32."""
        return self.booster.predict(xgboost.DMatrix(rows, feature_names=list(FEATURES)))


def train(folder: Path, *, seed: int = SEED) -> Model:
    """Train the model and write all its forms; another seed is another model of the same features."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    rows = make_rows(TRAINED_ROWS, seed=seed)
    signal = rows[:, 0] * rows[:, 1] + np.sin(rows[:, 2]) - rows[:, 3] ** 2 / 3 + rows[:, 4:].sum(axis=1) / 4
    labels = (signal + random.normal(0, 1, len(rows)) > 0).astype(int)
    matrix = xgboost.DMatrix(rows, labels, feature_names=list(FEATURES))
    params = {"objective": "binary:logistic", "max_depth": DEPTH, "eta": 0.1, "seed": seed, "nthread": 1}
    booster = xgboost.train(params, matrix, TREES)
    schema = FeatureSchema(tuple(Feature(name, "numeric") for name in FEATURES))
    decision = {"kind": "binary", "threshold": 0.5, "target": "late"}
    made = bundle.Bundle(bytes(booster.save_raw("ubj")), schema.to_dict(), decision, {"seed": seed})
    ubj = folder / "model.ubj"
    booster.save_model(ubj)
    mlflow.xgboost.save_model(booster, str(folder / "mlflow"))
    return Model(booster, ubj, bundle.write(made, folder / "bundle"), made.digest, folder / "mlflow")


def make_rows(count: int, *, seed: int) -> np.ndarray:
    """Rows of shape (count, 10), float32, of four decimals: what a client that rounds would send."""
    return np.random.default_rng(seed).normal(0, 1, (count, len(FEATURES))).round(4).astype(np.float32)


def native(rows: np.ndarray) -> bytes:
    """Ours: an object a row."""
    return _json({"rows": [dict(zip(FEATURES, row, strict=True)) for row in _plain(rows)]})


def native_columns(rows: np.ndarray) -> bytes:
    """Ours: an object of columns."""
    return _json({"columns": dict(zip(FEATURES, _plain(rows.T), strict=True))})


def arrow(rows: np.ndarray) -> bytes:
    """Ours: an Arrow IPC stream of one batch."""
    batch = pa.record_batch([pa.array(column) for column in np.ascontiguousarray(rows.T)], names=list(FEATURES))
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue()


def invocations(rows: np.ndarray) -> bytes:
    """MLflow's: a frame, split."""
    return _json({"dataframe_split": {"columns": list(FEATURES), "data": _plain(rows)}})


def open_inference(rows: np.ndarray) -> bytes:
    """The Open Inference Protocol's: one tensor, its values in a flat list."""
    values = [value for row in _plain(rows) for value in row]
    return _json(
        {"inputs": [{"name": "predict", "shape": list(rows.shape), "datatype": "FP32", "data": values}]},
    )


def array(rows: np.ndarray) -> bytes:
    """BentoML's: an argument that is an array."""
    return _json({"rows": _plain(rows)})


def write_bodies(path: Path, form: Format, *, rows: int = 1, count: int = BODIES) -> Path:
    """Write different bodies of so many rows each, as ``serving_wrk.lua`` reads them: the length before each one."""
    drawn = make_rows(rows * count, seed=SEED + 1).reshape(count, rows, len(FEATURES))
    with path.open("wb") as file:
        for each in drawn:
            body = form(each)
            file.write(struct.pack(">I", len(body)) + body)
    return path


def first_rows(rows: int = 1) -> np.ndarray:
    """The rows of the first body that :func:`write_bodies` writes, shape (rows, 10)."""
    count = BODIES if rows == 1 else MANY_BODIES
    return make_rows(rows * count, seed=SEED + 1)[:rows]


def _plain(rows: np.ndarray) -> list[list[float]]:
    # The shortest text of a float32; its float64 would send digits that nobody has measured.
    return [[float(str(value)) for value in row] for row in rows]


def _json(document: dict[str, Any] | Sequence[Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
