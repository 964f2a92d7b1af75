"""How many processes score a batch, and what each takes of the cluster."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sluiceway.core.errors import BackendError
from sluiceway.training.plan import Cluster

# Each has a context of its own in the GPU's memory, half a gigabyte.
ACTORS_PER_GPU = 8
# Reserved at least, where replicas that stay hold the CPUs.
LEAST_CPUS = 0.1
_PARTS = 10_000  # Ray counts a GPU so finely


@dataclass(frozen=True)
class Pool:
    """Who scores.

    Attributes:
        actors: processes.
        cpus: that Ray reserves for each.
        gpus: likewise; a part of one, or none.
        threads: of each.
        device: ``cpu`` or ``cuda``.
    """

    actors: int
    cpus: float
    gpus: float
    threads: int
    device: str


def pool_of(cluster: Cluster, *, free_cpus: float, shares: int, device: str, actors: int | None) -> Pool:
    """Size the pool.

    Args:
        cluster: what there is.
        free_cpus: of all nodes together, which nobody holds now.
        shares: how many there are to do; no actor is idle from the start.
        device: ``cpu`` or ``cuda``.
        actors: processes, where somebody has said it; a cluster that grows by itself then grows for them.

    Raises:
        BackendError: a GPU is asked for and there is none.
    """
    cpus, gpus = int(cluster.cpus), int(cluster.gpus)
    if device == "cuda" and not gpus:
        raise BackendError(
            "scoring on a GPU was asked for; the Ray cluster has none",
            hint="leave --device out or set it to cpu, or connect to a cluster with GPUs",
        )
    # They read and write, too: several of them keep one GPU busy.
    sharing = max(1, min(ACTORS_PER_GPU, cpus // gpus)) if device == "cuda" else 0
    room = sharing * gpus or max(1, cpus)
    count = max(1, min(shares, actors or room))
    return Pool(
        actors=count,
        cpus=max(LEAST_CPUS, min(1.0, math.floor(free_cpus / count * 100) / 100)),
        gpus=math.floor(_PARTS / sharing) / _PARTS if sharing else 0.0,
        threads=max(1, min(int(cluster.node_cpus), cpus // count)),
        device=device,
    )
