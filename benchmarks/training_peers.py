"""The peers of the comparison, each in a process of its own, as one would write them by hand."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import ray
import ray.data
import ray.train
import xgboost
from deltalake import DeltaTable
from ray.train.xgboost import RayTrainReportCallback, XGBoostTrainer
from sklearn.model_selection import StratifiedKFold
from training_table import SEED, Job, read_job, table_uri


def bare(folder: Path) -> None:
    """``xgboost.train`` alone, on matrices that are ready: our rows, folds, cut points and watched rows."""
    job = read_job(folder)
    x, y, fold = (np.load(folder / f"{name}.npy") for name in ("x", "y", "fold"))
    seconds = {"build": 0.0, "folds": 0.0, "final": 0.0}
    bins: dict[str, Any] = {"max_bin": job.params["max_bin"], "nthread": job.threads}
    began = time.perf_counter()
    cuts = xgboost.QuantileDMatrix(x, y, **bins)
    metrics = []
    for number in range(job.folds):
        own = fold == number
        matrix = xgboost.QuantileDMatrix(x[~own], y[~own], ref=cuts, **bins)
        watched = xgboost.DMatrix(x[own], y[own], nthread=job.threads)
        built = time.perf_counter()
        metrics.append(_train(job, matrix, watched)[1])
        seconds["build"] += built - began
        began = time.perf_counter()
        seconds["folds"] += began - built
    _train(job, cuts)
    seconds["final"] = time.perf_counter() - began
    print(json.dumps({"metric": float(np.mean(metrics)), "rows": len(y), "seconds": seconds}))


def plain(folder: Path) -> None:
    """The plain script: pandas, ``StratifiedKFold``, ``DMatrix`` by ``DMatrix``, then a model of all rows."""
    job = read_job(folder)
    frame = DeltaTable(table_uri(folder)).to_pandas().iloc[: job.rows]
    features, target = frame[list(job.names)], frame["target"]
    oof = np.empty(len(frame), np.float32)
    metrics = []
    for rest, own in StratifiedKFold(job.folds, shuffle=True, random_state=SEED).split(features, target):
        matrix = xgboost.DMatrix(features.iloc[rest], target.iloc[rest], nthread=job.threads)
        watched = xgboost.DMatrix(features.iloc[own], target.iloc[own], nthread=job.threads)
        model, metric = _train(job, matrix, watched)
        oof[own] = model.predict(watched)
        metrics.append(metric)
    _train(job, xgboost.DMatrix(features, target, nthread=job.threads))[0].save_raw("ubj")
    print(json.dumps({"metric": float(np.mean(metrics)), "rows": len(frame)}))


def _train(job: Job, matrix: xgboost.DMatrix, watched: xgboost.DMatrix | None = None) -> tuple[xgboost.Booster, float]:
    history: dict[str, dict[str, list[float]]] = {}
    evals = [(watched, "fold")] if watched is not None else []
    model = xgboost.train(job.params, matrix, job.rounds, evals=evals, evals_result=history, verbose_eval=False)
    return model, history["fold"]["auc"][-1] if history else float("nan")


def recipe(folder: Path) -> None:
    """Ray's documented way: a ``fit()`` for each fold and one for all rows, frames, the stock callback."""
    _fits(folder, folds=range(read_job(folder).folds), final=True)


def recipe_once(folder: Path) -> None:
    """One ``fit()`` of that way."""
    _fits(folder, folds=range(1), final=False)


def _fits(folder: Path, *, folds: range, final: bool) -> None:
    job = read_job(folder)
    ray.init(
        num_cpus=job.threads,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=job.store_mb * 2**20,
    )
    rows = ray.data.read_delta(table_uri(folder), columns=[*job.names, "target", "fold"])
    metrics, seconds = [], []
    for fold in [*folds, *([None] if final else [])]:
        began = time.perf_counter()
        parts = {"train": rows.filter(expr=f"fold != {-1 if fold is None else fold}")}
        if fold is not None:
            parts["validation"] = rows.filter(expr=f"fold == {fold}")
        result = XGBoostTrainer(
            _train_fold,
            train_loop_config={"params": job.params, "rounds": job.rounds},
            # One CPU is reserved, or nobody could read; the worker has two threads as everybody here.
            scaling_config=ray.train.ScalingConfig(num_workers=1, resources_per_worker={"CPU": 1}),
            datasets=parts,
            run_config=ray.train.RunConfig(name=f"fold-{fold}", storage_path=str(folder / "ray-results")),
        ).fit()
        seconds.append(time.perf_counter() - began)
        if fold is not None:
            metrics.append(result.metrics["validation-auc"])
    print(json.dumps({"metric": float(np.mean(metrics)), "fits": seconds}))


def _train_fold(config: dict[str, Any]) -> None:
    matrices = {}
    for name in ("train", "validation"):
        shard = _shard(name)
        if shard is not None:
            frame: pd.DataFrame = shard.materialize().to_pandas()
            matrices[name] = xgboost.DMatrix(frame.drop(columns=["target", "fold"]), frame["target"])
    evals = [(matrices[name], name) for name in matrices if name == "validation"]
    xgboost.train(
        config["params"], matrices["train"], config["rounds"], evals=evals, callbacks=[RayTrainReportCallback()]
    )


def _shard(name: str) -> Any:
    try:
        return ray.train.get_dataset_shard(name)
    except KeyError:
        return None
