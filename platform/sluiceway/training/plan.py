"""Which engine a run takes on a cluster, and why. No engine is spoken here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from sluiceway.config.experiment import TrainingSection
from sluiceway.core.errors import BackendError
from sluiceway.training.nodes import Node, Process, most_cpus, room_for

WORKER_SHARE = 0.5  # of a node's memory; the rest is for readers, replicas and the object store's pages
CPUS_OF_A_FOLD = 4  # a task of its own, with a copy of the rows, is worth it from so many on
# A worker whose CPUs are held by others for the moment asks for so much and waits; by replicas, it runs beside them.
LEAST_CPUS = 0.5
GIGABYTE = 1e9


@dataclass(frozen=True)
class Cluster:
    """The live nodes.

    Attributes:
        each: those that have a CPU, one at least.
    """

    each: tuple[Node, ...]

    @property
    def nodes(self) -> int:
        """How many."""
        return len(self.each)

    @property
    def cpus(self) -> float:
        """Of all nodes."""
        return sum(node.cpus for node in self.each)

    @property
    def node_cpus(self) -> float:
        """Of the largest node."""
        return max(node.cpus for node in self.each)

    @property
    def node_memory(self) -> float:
        """Bytes that Ray gives out on the smallest node."""
        return min(node.memory for node in self.each)

    @property
    def gpus(self) -> float:
        """Of all nodes."""
        return sum(node.gpus for node in self.each)


@dataclass(frozen=True)
class Plan:
    """How a run is trained.

    Attributes:
        engine: one Ray task (or one for each fold), one Ray Train worker group, or the library xgboost-ray.
        workers: 1 for a task.
        threads: of each worker; from the cluster's size and never from what is free, because sums depend on it
            (xgboost-ray takes fewer where fewer are free).
        gpus: of each worker.
        parallel: folds that run side by side.
        disk_rows: where not 0, the rows are trained from disk, and so many are in memory at a time.
        memory: bytes that Ray reserves for each worker; 0 where nobody set a limit.
        together: whether a worker's folds share its threads, side by side.
        why: for people.
    """

    engine: Literal["task", "group", "xgboost_ray"]
    workers: int
    threads: int
    gpus: int
    why: str
    parallel: int = 1
    disk_rows: int = 0
    memory: int = 0
    together: bool = False

    @property
    def process(self) -> Process:
        """What each worker needs beside its CPUs."""
        return Process(self.gpus, self.memory)


def plan_run(training: TrainingSection, cluster: Cluster, *, rows: int, features: int) -> Plan:
    """Choose the engine: a task where the rows fit one worker, a worker group where they do not or where it is asked.

    Args:
        training: engine, workers, CPUs, memory, device, and folds side by side.
        cluster: to run on.
        rows: of the training and the validation part.
        features: of a row.
    """
    need = worker_bytes(rows, features)
    limit = float(training.memory_per_worker or cluster.node_memory * WORKER_SHARE)
    workers, why = _workers(training, cluster, need, limit, f"{rows:,} rows x {features} features")
    disk_rows = 0
    if limit and need / workers > limit and training.device == "cpu":
        disk_rows = max(1, int(limit / 16 / (4 * features)))
        why += "; they are trained from disk"
    process = Process(int(training.device == "cuda"), int(training.memory_per_worker or 0))
    # A limit of a worker's own is reserved by each; without one, so many as a share of the nodes' memory holds. From
    # disk, each would write a copy of the rows.
    by_memory = math.inf if process.memory or not need else limit * cluster.nodes / need
    by_memory = 1.0 if disk_rows else by_memory
    parallel, more = _parallel(training, cluster, workers, process, by_memory)
    available = most_cpus(cluster.each, process, processes=workers * parallel)
    threads = max(1, int(training.cpus_per_worker or available))
    engine: Literal["task", "group", "xgboost_ray"] = "task" if workers == 1 else "group"
    width = min(threads, training.folds)
    together = (
        workers == parallel == 1 < width
        and training.device == "cpu"
        and not disk_rows
        and (not limit or need + (width - 1) * fold_bytes(rows, features) <= limit)
    )
    if together and training.engine != "xgboost_ray":
        more = f"; {width} folds at a time share its {threads} threads"
    return Plan(
        "xgboost_ray" if training.engine == "xgboost_ray" else engine,
        workers,
        threads,
        process.gpus,
        why + more,
        parallel=parallel,
        disk_rows=disk_rows,
        memory=process.memory,
        together=together,
    )


def reads_alone(plan: Plan, training: TrainingSection, *, rows: int, features: int) -> bool:
    """Whether one task reads the rows and trains on all of them in memory, and no pass over them comes before it.

    Args:
        plan: made for so many rows.
        training: folds, and the limit of a worker's memory.
        rows: of all parts.
        features: of a row.
    """
    limit = training.memory_per_worker
    fits = not plan.disk_rows and (not limit or worker_bytes(rows, features) <= limit)
    return plan.engine == "task" and plan.parallel == 1 and fits and training.fold_by != "stratified"


def _workers(training: TrainingSection, cluster: Cluster, need: float, limit: float, rows: str) -> tuple[int, str]:
    told = f"{rows} need about {need / GIGABYTE:.2f} GB"
    room = f"one worker has {limit / GIGABYTE:.{1 if limit >= GIGABYTE else 2}f} GB"
    if training.workers != "auto":
        return training.workers, f"training.workers is {training.workers}"
    if need <= limit or cluster.nodes == 1:
        return 1, f"{told}; {room}" + ("" if need <= limit else ", and there is no second node")
    workers = min(cluster.nodes, math.ceil(need / limit)) if limit else cluster.nodes
    return workers, f"{told}; {room}: {workers} workers share them"


def _parallel(
    training: TrainingSection, cluster: Cluster, workers: int, process: Process, by_memory: float
) -> tuple[int, str]:
    """Folds side by side, and what to say of it; each needs a copy of the rows."""
    asked = training.parallel_folds
    if asked == 1 or (asked == "auto" and cluster.nodes == 1 and training.device == "cpu"):
        return 1, ""  # on one node they share a worker and its rows (``together``)
    if workers > 1:
        return 1, "; folds run one after the other: a worker group shares one fold"
    room = room_for(cluster.each, process, cpus=LEAST_CPUS)
    if training.device == "cpu":
        of_a_fold = training.cpus_per_worker or (CPUS_OF_A_FOLD if asked == "auto" else 1)
        room = min(room, int(cluster.cpus // of_a_fold))
    wanted = training.folds if asked == "auto" else min(asked, training.folds)
    parallel = max(1, min(wanted, room, int(min(training.folds, by_memory))))
    if parallel == 1:
        return 1, "; folds run one after the other: there is no room for two"
    return parallel, f"; {parallel} folds run side by side"


def worker_bytes(rows: int, features: int) -> int:
    """Estimate of what one worker holds at its peak.

    The features as floats (4 bytes), quantised for the model (up to 4 with missing values) and again for a fold's
    share, and a fold's own rows as a plain matrix (8 for a fifth of the rows); beside them labels, keys and gradients.
    """
    return rows * (features * (4 + 4 + 4) + 60)


def fold_bytes(rows: int, features: int) -> int:
    """Estimate of what one more fold beside the first holds: quantised rows, its own rows plain, and gradients."""
    return rows * (features * 4 + 40)


def require_gpus(training: TrainingSection, cluster: Cluster, *, workers: int) -> None:
    """Fail at once where a run would wait for a GPU for ever.

    Args:
        training: ``device``.
        cluster: to run on.
        workers: that each need one.

    Raises:
        BackendError: ``device: cuda`` asks for more GPUs than the cluster has.
    """
    if training.device == "cuda" and cluster.gpus < workers:
        raise BackendError(
            f"training.device is cuda and needs {workers} GPU; the Ray cluster has {cluster.gpus:g}",
            hint="set training.device: cpu, or connect to a cluster with GPUs",
        )


def require_memory(training: TrainingSection, *, rows: int, features: int, workers: int) -> None:
    """Fail at once where a GPU is to train rows from disk, which XGBoost does from memory of the GPU only.

    Raises:
        BackendError: the rows need more than ``training.memory_per_worker``, and ``training.device`` is cuda.
    """
    limit, need = training.memory_per_worker, worker_bytes(rows, features) / workers
    if training.device == "cuda" and limit and need > limit:
        raise BackendError(
            f"a worker's rows need about {need / GIGABYTE:.2f} GB, training.memory_per_worker is "
            f"{limit / GIGABYTE:.2f} GB, and rows cannot be trained from disk on a GPU",
            hint="raise training.memory_per_worker or training.workers, or set training.device: cpu",
        )


def require_room(plan: Plan, cluster: Cluster) -> None:
    """Fail at once where the workers find no nodes that have the CPUs, GPUs and memory of each together.

    Raises:
        BackendError: fewer than all workers find theirs.
    """
    wanted = plan.workers * plan.parallel
    room = room_for(cluster.each, plan.process, cpus=LEAST_CPUS)
    if room < wanted and plan.memory:
        raise BackendError(
            f"{wanted} workers of training.memory_per_worker need {wanted * plan.memory / GIGABYTE:.2f} GB; the nodes "
            f"have room for {room}",
            hint="lower training.memory_per_worker, training.workers or training.parallel_folds",
        )
    if room < wanted:
        raise BackendError(
            f"{wanted} workers need {_least(plan.gpus)} each, on one node; the nodes have room for {room}",
            hint="lower training.workers or training.parallel_folds",
        )


def require_cpus(training: TrainingSection, cluster: Cluster) -> None:
    """Fail at once where a run would wait for CPUs or memory for ever.

    Raises:
        BackendError: a worker needs more than the largest node has, or all of them more than the nodes have.
    """
    gpus = int(training.device == "cuda")
    room = room_for(cluster.each, Process(gpus), cpus=LEAST_CPUS)
    if isinstance(training.workers, int) and training.workers > room:
        raise BackendError(
            f"training.workers is {training.workers}, each with {_least(gpus)} at least, on one node; the Ray cluster "
            f"has room for {room}",
            hint=f"lower it to {room} or less, or set it to auto",
        )
    largest = max((node.cpus for node in cluster.each if node.gpus >= gpus), default=0.0)
    if training.cpus_per_worker and training.cpus_per_worker > largest:
        raise BackendError(
            f"training.cpus_per_worker is {training.cpus_per_worker:g}; the largest node"
            f"{' with a GPU' if gpus else ''} has {largest:g}",
            hint="lower it, or leave it out",
        )
    most = max((node.memory for node in cluster.each if node.gpus >= gpus), default=0.0)
    if training.memory_per_worker and training.memory_per_worker > most:
        raise BackendError(
            f"training.memory_per_worker is {training.memory_per_worker / GIGABYTE:.2f} GB; Ray gives out "
            f"{most / GIGABYTE:.2f} GB on the largest node{' with a GPU' if gpus else ''}",
            hint="lower it, or leave it out",
        )


def _least(gpus: int) -> str:
    return f"{LEAST_CPUS:g} CPUs" + (" and a GPU" if gpus else "")
