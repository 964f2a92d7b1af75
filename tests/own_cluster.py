"""Trains in a Ray cluster of its own and prints what came of it as JSON: ``own_cluster.py models|nodes|gpus|cuda``.

Its environment says ``RAY_AUTH_MODE=disabled``: Ray's core reads that when it is loaded.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import ray
from ray._private.node import Node
from ray._private.parameter import RayParams

from sluiceway.config.experiment import DataSection, ModelSection, TrainingSection
from sluiceway.core.doors import SilentProgress
from sluiceway.core.errors import BackendError
from sluiceway.features.schema import Feature, FeatureSchema
from sluiceway.training import ray_task
from sluiceway.training.job import Job
from sluiceway.training.plan import Plan
from sluiceway.training.ray_blocks import stored_blocks
from sluiceway.training.ray_group import run_group
from sluiceway.training.ray_run import prepare, train_dataset
from sluiceway.training.ray_task import run_task
from sluiceway.training.recipe import Recipe
from sluiceway.training.shown import Shown

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


@contextlib.contextmanager
def second_node(cpus: int) -> Iterator[None]:
    """Another raylet on this machine, with so many CPUs that it only says it has."""
    here = ray.get_runtime_context().gcs_address
    params = RayParams(gcs_address=here, num_cpus=cpus, object_store_memory=100_000_000, node_ip_address="127.0.0.1")
    node = Node(params, head=False, shutdown_at_exit=True, spawn_reaper=False)
    try:
        deadline = time.monotonic() + 60
        while sum(node["Alive"] for node in ray.nodes()) < 2:
            assert time.monotonic() < deadline, "the second node did not start"
            time.sleep(0.2)
        yield
    finally:
        node.kill_all_processes(check_alive=False)


@ray.remote(num_cpus=1)
class Replica:
    def node(self) -> str:
        return str(ray.get_runtime_context().get_node_id())


class Lines(SilentProgress):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def advance(self, text: str, fraction: float | None = None) -> None:
        self.lines.append(text)


def nodes() -> dict[str, Any]:
    """Two nodes of 4 CPUs: a task beside a replica on each, one that waits for a place, and a group of three."""
    found: dict[str, Any] = {}
    ray_task.START_SECONDS = 1.0
    with second_node(4):
        held = [Replica.options(scheduling_strategy="SPREAD").remote() for _ in range(2)]
        found["nodes with a replica"] = len({ray.get(replica.node.remote()) for replica in held})
        found["task"] = train_dataset(read, recipe(), oof_uri="", progress=SilentProgress()).engine
        prepared = prepare(read, recipe(), progress=SilentProgress())
        held += [Replica.remote() for _ in range(6)]
        ray.get([replica.node.remote() for replica in held])
        told = Lines()
        threading.Timer(6, lambda: [ray.kill(replica) for replica in held]).start()
        job = Job(recipe().loop_spec(threads=1), 3, "", "made here")
        source = stored_blocks(prepared.blocks, prepared.width)
        run_task(source, job, Plan("task", 1, 1, 0, ""), emit=Shown(told, "auc", 3))
        found["waited"] = [line for line in told.lines if "no worker has begun" in line]
        report = train_dataset(read, recipe(workers=3), oof_uri="", progress=SilentProgress())
        found["group"] = [report.engine, report.why]
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
        num_cpus=4 if sys.argv[1] == "nodes" else 2,
        num_gpus={"gpus": 2, "cuda": 1}.get(sys.argv[1], 0),
        object_store_memory=100_000_000,
        include_dashboard=False,
        log_to_driver=False,
    )
    try:
        print(json.dumps({"models": models, "nodes": nodes, "gpus": gpus, "cuda": cuda}[sys.argv[1]]()))  # noqa: T201
    finally:
        ray.shutdown()
