"""Which engine a run takes on a cluster, and why. No engine is spoken here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from sluiceway.config.experiment import TrainingSection
from sluiceway.core.errors import BackendError

WORKER_SHARE = 0.5  # of a node's memory; the rest is for readers, replicas and the object store's pages
GIGABYTE = 1e9


@dataclass(frozen=True)
class Cluster:
    """The live nodes.

    Attributes:
        nodes: that have a CPU.
        cpus: of all nodes.
        node_cpus: of the largest node.
        node_memory: bytes that Ray gives out on the smallest node.
        gpus: of all nodes.
    """

    nodes: int
    cpus: float
    node_cpus: float
    node_memory: float
    gpus: float


@dataclass(frozen=True)
class Plan:
    """How a run is trained.

    Attributes:
        engine: one Ray task, or one Ray Train worker group.
        workers: 1 for a task.
        threads: of each worker; from the cluster's size and never from what is free, because sums depend on it.
        gpus: of each worker.
        why: for people.
    """

    engine: Literal["task", "group"]
    workers: int
    threads: int
    gpus: int
    why: str


def plan_run(training: TrainingSection, cluster: Cluster, *, rows: int, features: int) -> Plan:
    """Choose the engine: a task where the rows fit one worker, a worker group where they do not or where it is asked.

    Args:
        training: ``workers``, ``cpus_per_worker`` and ``device``.
        cluster: to run on.
        rows: of the training and the validation part.
        features: of a row.
    """
    need, limit = worker_bytes(rows, features), cluster.node_memory * WORKER_SHARE
    told = f"{rows:,} rows x {features} features need about {need / GIGABYTE:.2f} GB"
    room = f"one worker has {limit / GIGABYTE:.1f} GB"
    if training.workers != "auto":
        workers, why = training.workers, f"training.workers is {training.workers}"
    elif need <= limit or cluster.nodes == 1:
        workers = 1
        why = f"{told}; {room}" + ("" if need <= limit else ", and there is no second node")
    else:
        workers = min(cluster.nodes, math.ceil(need / limit)) if limit else cluster.nodes
        why = f"{told}; {room}: {workers} workers share them"
    available = min(cluster.node_cpus, cluster.cpus / workers)
    threads = max(1, int(training.cpus_per_worker or available))
    return Plan("task" if workers == 1 else "group", workers, threads, int(training.device == "cuda"), why)


def worker_bytes(rows: int, features: int) -> int:
    """Estimate of what one worker holds at its peak.

    While rows are sorted there are two float32 copies; later one, the quantile matrix of all rows, that of a fold and
    a fold's own rows as a plain matrix (4 bytes for the value, 4 for the index).
    """
    return rows * (features * (4 + 4 + 4) + 40)


def require_gpus(training: TrainingSection, cluster: Cluster) -> None:
    """Fail at once where a run would wait for a GPU for ever.

    Raises:
        BackendError: ``device: cuda`` asks for more GPUs than the cluster has.
    """
    workers = 1 if training.workers == "auto" else training.workers
    if training.device == "cuda" and cluster.gpus < workers:
        raise BackendError(
            f"training.device is cuda and needs {workers} GPU; the Ray cluster has {cluster.gpus:g}",
            hint="set training.device: cpu, or connect to a cluster with GPUs",
        )
