"""Trains in a Ray cluster of its own and prints what came of it as JSON: ``own_cluster.py models|gpus|cuda``.

Its environment says ``RAY_AUTH_MODE=disabled``: Ray's core reads that when it is loaded.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import ray

from sluiceway.config.experiment import DataSection, ModelSection, TrainingSection
from sluiceway.core.doors import SilentProgress
from sluiceway.core.errors import BackendError
from sluiceway.features.schema import Feature, FeatureSchema
from sluiceway.training.job import Job
from sluiceway.training.plan import Plan
from sluiceway.training.ray_blocks import stored_blocks
from sluiceway.training.ray_group import run_group
from sluiceway.training.ray_run import prepare, train_dataset
from sluiceway.training.ray_task import run_task
from sluiceway.training.recipe import Recipe

SCHEMA = FeatureSchema((Feature("a", "numeric"), Feature("b", "numeric"), Feature("c", "category", ("x", "y"))))
DATA = DataSection(path="made here", features=("a", "b", "c"), target="late")
MODEL = ModelSection(params={"n_estimators": 40, "max_depth": 4, "subsample": 0.7, "colsample_bytree": 0.7})
TRAINING = TrainingSection(folds=3, early_stopping_rounds=10, checkpoint_rounds=15, verbose=1)


def rows(n: int = 6_000) -> pa.Table:
    random = np.random.default_rng(1)
    a, b = random.normal(size=(2, n))
    return pa.table(
        {
            "a": pa.array(a, mask=random.random(n) < 0.1),
            "b": b,
            "c": random.choice(["x", "y"], n),
            "late": (a + b * b + random.normal(size=n) > 1).astype(np.int8),
            "__part__": random.choice(3, n, p=[0.7, 0.2, 0.1]).astype(np.uint8),
            "__fold__": random.integers(0, 3, n).astype(np.uint8),
            "__key__": random.integers(0, 2**64, n, dtype=np.uint64),
        }
    )


def recipe(**training: Any) -> Recipe:
    return Recipe(DATA, MODEL, TRAINING.model_copy(update=training), 42, SCHEMA, (0, 1))


def read() -> ray.data.Dataset:
    table = rows()
    return ray.data.from_arrow([table[:100], table[100:]])


def models() -> dict[str, str]:
    """The digests of models of one task, of one from disk, of folds side by side, and of a group of two."""
    ways = {
        "task": {},
        "disk": {"memory_per_worker": 200_000},
        "side by side": {"parallel_folds": 2},
        "group": {"workers": 2},
    }
    found = {}
    for name, given in ways.items():
        report = train_dataset(read, recipe(**given), oof_uri="", progress=SilentProgress())
        found[name] = hashlib.sha256(report.model).hexdigest()
        found[f"{name}, why"] = report.why
    return found


def gpus() -> dict[str, Any]:
    """What is reserved while tasks and groups train that ask for a GPU, and what is said where none is real."""
    prepared = prepare(read, recipe(), progress=SilentProgress())
    job = Job(recipe().loop_spec(threads=1), 3, "", "made here")
    found: dict[str, Any] = {}

    def watching(name: str) -> Callable[[dict[str, Any]], None]:
        return lambda event: found.setdefault(name, ray.available_resources().get("GPU", 0.0))

    run_task(
        stored_blocks(prepared.blocks, prepared.width),
        job,
        Plan("task", 1, 1, 1, ""),
        emit=watching("left beside a task"),
    )
    shards = prepared.dataset.split_at_indices([prepared.rows // 2])
    run_group(shards, job, Plan("group", 2, 1, 1, ""), emit=watching("left beside a group"))
    for name, given in (("task", {}), ("group", {"workers": 2}), ("too many", {"workers": 3})):
        try:
            train_dataset(read, recipe(device="cuda", **given), oof_uri="", progress=SilentProgress())
        except BackendError as error:
            found[name] = error.message
    return found


def cuda() -> dict[str, Any]:
    """A real GPU: the models of one task, twice, and what a CPU and a group of one find."""
    found: dict[str, Any] = {}
    for name, given in (("task", {"device": "cuda"}), ("again", {"device": "cuda"}), ("cpu", {})):
        report = train_dataset(read, recipe(**given), oof_uri="", progress=SilentProgress())
        found[name] = [hashlib.sha256(report.model).hexdigest(), report.metric]
    prepared = prepare(read, recipe(), progress=SilentProgress())
    job = Job(recipe(device="cuda").loop_spec(threads=1), 3, "", "made here")
    group = run_group([prepared.dataset], job, Plan("group", 1, 1, 1, ""), emit=lambda event: None)
    found["group"] = [hashlib.sha256(group.model).hexdigest(), float(np.mean([fold.metric for fold in group.folds]))]
    return found


if __name__ == "__main__":
    ray.init(
        address="local",
        num_cpus=2,
        num_gpus={"models": 0, "gpus": 2, "cuda": 1}[sys.argv[1]],
        object_store_memory=100_000_000,
        include_dashboard=False,
        log_to_driver=False,
    )
    try:
        print(json.dumps({"models": models, "gpus": gpus, "cuda": cuda}[sys.argv[1]]()))  # noqa: T201
    finally:
        ray.shutdown()
