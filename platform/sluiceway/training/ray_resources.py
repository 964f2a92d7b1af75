"""What the Ray cluster has, and what of it is free."""

from __future__ import annotations

import math
import time

import ray

from sluiceway.core.errors import BackendError
from sluiceway.training.plan import LEAST_CPUS, Cluster, Plan

SETTLE_SECONDS = 2.0


def look_at_cluster() -> Cluster:
    """Ask Ray for its live nodes."""
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) > 0]
    if not alive:
        raise BackendError("the Ray cluster has no node with a CPU", hint="give the head or a worker node num_cpus")
    cpus = [float(node["CPU"]) for node in alive]
    return Cluster(
        nodes=len(alive),
        cpus=sum(cpus),
        node_cpus=max(cpus),
        node_memory=min(float(node.get("memory", 0)) for node in alive),
        gpus=float(sum(node.get("GPU", 0) for node in alive)),
    )


def reserve_cpus(plan: Plan) -> float:
    """CPUs to reserve for each worker: its threads, or less where actors that stay (replicas) hold some.

    A reservation of all CPUs would wait for ever beside a served model; the readers of just now are waited for.
    """
    deadline = time.monotonic() + SETTLE_SECONDS
    free = _free_cpus()
    processes = plan.workers * plan.parallel
    while free < plan.threads * processes and time.monotonic() < deadline:
        time.sleep(0.1)
        free = _free_cpus()
    return max(LEAST_CPUS, min(float(plan.threads), math.floor(free / processes * 100) / 100))


def _free_cpus() -> float:
    return float(ray.available_resources().get("CPU", 0.0))
