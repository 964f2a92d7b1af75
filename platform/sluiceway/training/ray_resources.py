"""What the Ray cluster has, and what of it is free."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

import ray

from sluiceway.core.errors import BackendError
from sluiceway.training.loop import Event
from sluiceway.training.nodes import Node, most_cpus, room_for
from sluiceway.training.plan import LEAST_CPUS, Cluster, Plan

SETTLE_SECONDS = 2.0
START_SECONDS = 30.0  # a wait for a start that is longer is told


def refuse_client() -> None:
    """Refuse to train from a driver that is outside of the cluster: a training tells its progress as it goes.

    Raises:
        BackendError: this process has joined the cluster by ``ray://``, which carries no streams of results.
    """
    if ray.util.client.ray.is_connected():
        raise BackendError(
            "a training cannot be followed through Ray Client (ray://)",
            hint="run it as a Ray job (jobs/lifecycle.py), on a node of the cluster with platform.ray.address: auto, "
            "or in a task of your session, as notebooks/interactive.ipynb does",
        )


def look_at_cluster() -> Cluster:
    """Ask Ray for its live nodes."""
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) > 0]
    if not alive:
        raise BackendError("the Ray cluster has no node with a CPU", hint="give the head or a worker node num_cpus")
    return Cluster(tuple(_node(resources) for resources in alive))


def reserve_cpus(plan: Plan) -> float:
    """CPUs to reserve for each worker: its threads, or less where actors that stay (replicas) hold some.

    A reservation that no node has free would wait for ever beside a served model; the readers of just now are waited
    for. GPUs and memory that are held for the moment are waited for, too, by the workers themselves.
    """
    deadline = time.monotonic() + SETTLE_SECONDS
    whole = look_at_cluster().each
    # Trials may be more than fit at a time; the others wait for their turn.
    processes = max(1, min(plan.workers * plan.parallel, room_for(whole, plan.process, cpus=LEAST_CPUS)))
    free = _free_nodes()
    while room_for(free, plan.process, cpus=plan.threads) < processes and time.monotonic() < deadline:
        time.sleep(0.1)
        free = _free_nodes()
    share = most_cpus(free, plan.process, processes=processes) or most_cpus(
        _free_nodes(held=False), plan.process, processes=processes
    )
    return max(LEAST_CPUS, min(float(plan.threads), share))


def waiting_event(plan: Plan, cpus: float) -> Event:
    """What a driver tells whose workers have not begun for ``START_SECONDS``.

    Args:
        plan: of them.
        cpus: that each has asked for.
    """
    more = " and a GPU" if plan.gpus else ""
    return {"waiting": f"{plan.workers * plan.parallel} of {cpus:g} CPUs{more} each"}


def _free_nodes(*, held: bool = True) -> list[Node]:
    """The nodes' free CPUs; where ``held`` is false with all their GPUs and memory, as if nobody held them."""
    available = ray._private.state.available_resources_per_node()
    free = []
    for node in ray.nodes():
        if node["Alive"]:
            rest = _node(available.get(node["NodeID"], {}))
            free.append(rest if held else replace(_node(node["Resources"]), cpus=rest.cpus))
    return free


def _node(resources: Mapping[str, float]) -> Node:
    return Node(*(float(resources.get(name, 0)) for name in ("CPU", "memory", "GPU")))
