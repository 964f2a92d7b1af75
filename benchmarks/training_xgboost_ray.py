"""The peer xgboost-ray: runs in an environment of its own, where nothing of this project is installed."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import ray
from xgboost_ray import RayDMatrix, RayParams, train


def xgboost_ray(folder: Path) -> None:
    """Read with pandas, a ``RayDMatrix`` for each fold, two actors of one thread, then a model of all rows."""
    job = json.loads((folder / "peer.json").read_text())
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=job["store_mb"] * 2**20)
    files = sorted((folder / "table").glob("*.parquet"))
    frame = pd.concat([pd.read_parquet(path) for path in files], ignore_index=True).iloc[: job["rows"]]
    params = job["params"] | {"nthread": 1}
    columns = [*job["names"], "target"]
    metrics = []
    for fold in range(job["folds"]):
        own = frame["fold"] == fold
        metrics.append(_fit(frame.loc[~own, columns], frame.loc[own, columns], params, job["rounds"]))
    _fit(frame[columns], None, params, job["rounds"])
    print(json.dumps({"metric": sum(metrics) / len(metrics), "rows": len(frame)}))


def _fit(rows: pd.DataFrame, watched: pd.DataFrame | None, params: dict[str, object], rounds: int) -> float:
    history: dict[str, dict[str, list[float]]] = {}
    train(
        params,
        RayDMatrix(rows, "target"),
        rounds,
        evals=[(RayDMatrix(watched, "target"), "fold")] if watched is not None else [],
        evals_result=history,
        verbose_eval=False,
        ray_params=RayParams(num_actors=2, cpus_per_actor=1),
    )
    return history["fold"]["auc"][-1] if watched is not None else float("nan")
