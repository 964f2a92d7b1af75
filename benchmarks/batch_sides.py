"""The sides of the comparison of batch scoring, each in a process of its own: ours, and two as one would write them.

All score the same version of the same table by the same registered model, and append the scores to a Delta table of
their own. Each prints one line: the seconds from the first look at the table to the commit, and what it has written.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import ray
import ray.data
import xgboost
from deltalake import DeltaTable, write_deltalake
from training_table import make_table, pinned, read_job, table_uri

from sluiceway.config.platform import RaySection
from sluiceway.core.clock import SystemClock
from sluiceway.core.references import ModelReference
from sluiceway.features.schema import Feature, FeatureSchema
from sluiceway.lifecycle.batch_plan import ScoreRequest, check_source, plan_scores
from sluiceway.lifecycle.batch_score import score
from sluiceway.registry.bundle import Bundle
from sluiceway.registry.mlflow_registry import Registry, RunRecord
from sluiceway.wiring.cluster import connect_ray, disconnect

MODEL = "scored"
TRAINED_ON = 200_000


def prepare(folder: Path) -> None:
    """Write the table and register a model of its first rows."""
    job = read_job(folder)
    make_table(folder, job)
    table = DeltaTable(table_uri(folder)).to_pyarrow_table(columns=[*job.names, "target"]).slice(0, TRAINED_ON)
    matrix = np.column_stack([table[name].to_numpy() for name in job.names]).astype(np.float32)
    booster = xgboost.train(job.params, xgboost.DMatrix(matrix, table["target"].to_numpy()), job.rounds)
    schema = FeatureSchema(tuple(Feature(name, "numeric") for name in job.names))
    decision = {"kind": "binary", "threshold": 0.5, "target": "target"}
    bundle = Bundle(bytes(booster.save_raw("ubj")), schema.to_dict(), decision, {})
    registry = _registry(folder)
    registry.register(MODEL, bundle, registry.log_run(RunRecord(experiment=MODEL, name="benchmark")))
    print(json.dumps({}))


def ours(folder: Path) -> None:
    """As ``sluiceway serve score`` does it."""
    job = read_job(folder)
    connect_ray(RaySection(num_cpus=job.threads, object_store_mb=job.store_mb))
    began = time.perf_counter()
    version, bundle = _registry(folder).bundle(MODEL, "1")
    request = ScoreRequest(pinned(folder), ModelReference(MODEL, version), bundle, keep=("id",))
    plan = plan_scores(request, check_source(request, ()), str(folder / f"ours-{time.time_ns()}"), clock=SystemClock())
    done = score(plan)
    took = time.perf_counter() - began
    disconnect()
    _tell(done.table, took)


def plain(folder: Path) -> None:
    """The plain script: a frame, MLflow's own loader, the engine's own writer."""
    job, uri = read_job(folder), str(folder / f"plain-{time.time_ns()}")
    mlflow.set_tracking_uri(_tracking(folder))
    began = time.perf_counter()
    frame = DeltaTable(table_uri(folder)).to_pandas()
    model = mlflow.pyfunc.load_model(f"models:/{MODEL}/1")
    scores = frame[["id"]].assign(score=model.predict(frame[list(job.names)]), model_version="1")
    write_deltalake(uri, scores, mode="append")
    _tell(uri, time.perf_counter() - began)


def recipe(folder: Path) -> None:
    """Ray's documented way: read, a class that holds the model in ``map_batches``, write."""
    job, uri = read_job(folder), str(folder / f"recipe-{time.time_ns()}")
    ray.init(
        num_cpus=job.threads,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=job.store_mb * 2**20,
    )
    began = time.perf_counter()
    rows = ray.data.read_delta(table_uri(folder), columns=["id", *job.names])
    scored = rows.map_batches(
        Predictor,
        fn_constructor_args=(_tracking(folder), job.names),
        batch_format="pandas",
        batch_size=100_000,
        concurrency=(1, job.threads),
    )
    scored.write_delta(uri)
    took = time.perf_counter() - began
    ray.shutdown()
    _tell(uri, took)


class Predictor:
    """The model, loaded once in each actor."""

    def __init__(self, tracking: str, names: tuple[str, ...]) -> None:
        mlflow.set_tracking_uri(tracking)
        self._model, self._names = mlflow.pyfunc.load_model(f"models:/{MODEL}/1"), list(names)

    def __call__(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Score rows."""
        return frame[["id"]].assign(score=self._model.predict(frame[self._names]), model_version="1")


def _tell(uri: str, took: float) -> None:
    written: Any = DeltaTable(uri).to_pyarrow_table(columns=["id", "score"])
    scores, ids = written["score"].to_numpy(), written["id"].to_numpy()
    told = {"rows": len(ids), "distinct": len(np.unique(ids)), "mean": float(scores.astype(np.float64).mean())}
    print(json.dumps({"seconds": took, "files": len(DeltaTable(uri).file_uris()), **told}))


def _tracking(folder: Path) -> str:
    return f"sqlite:///{folder / 'mlflow.db'}"


def _registry(folder: Path) -> Registry:
    return Registry(_tracking(folder), folder / "artifacts")
