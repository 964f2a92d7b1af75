"""What fits on nodes: a process lies on one of them."""

import pytest

from sluiceway.core.errors import BackendError
from sluiceway.training import ray_resources
from sluiceway.training.nodes import Node, Process, most_cpus, room_for
from sluiceway.training.plan import Cluster, Plan
from sluiceway.training.ray_resources import reserve_cpus

ALONE, ON_A_GPU = Process(), Process(gpus=1)


@pytest.mark.parametrize(
    ("cpus", "processes", "most"),
    [
        ((8,), 1, 8.0),
        ((8,), 3, 2.66),  # as far as a node is alone: its CPUs divided by the processes
        ((2,), 3, 0.66),
        ((7.9,), 1, 7.9),
        ((0.6,), 3, 0.2),
        ((7, 7), 1, 7.0),  # never 14
        ((7, 7), 2, 7.0),
        ((8, 8), 3, 4.0),
        ((4, 4, 4), 4, 2.0),
        ((8, 8, 8), 4, 4.0),
        ((16, 4), 3, 5.33),
        ((8, 0), 2, 4.0),
        ((0, 0), 1, 0.0),
    ],
)
def test_the_most_that_each_of_several_finds_on_one_node(cpus, processes, most):
    nodes = [Node(each) for each in cpus]
    assert most_cpus(nodes, ALONE, processes=processes) == most
    assert not most or room_for(nodes, ALONE, cpus=most) >= processes


def test_gpus_and_memory_lie_on_the_same_node_as_the_cpus():
    with_gpu, without = Node(8, 4e9, 2), Node(32, 64e9)
    assert most_cpus([with_gpu, without], ON_A_GPU, processes=1) == 8
    assert most_cpus([with_gpu, without], ON_A_GPU, processes=2) == 4
    assert most_cpus([with_gpu, without], ON_A_GPU, processes=3) == 0
    assert most_cpus([with_gpu, without], Process(memory=int(8e9)), processes=1) == 32
    assert room_for([with_gpu, without], Process(gpus=1, memory=int(8e9)), cpus=1) == 0
    assert room_for([with_gpu, without], Process(memory=int(4e9)), cpus=8) == 5


@pytest.mark.parametrize(
    ("whole", "free", "plan", "cpus"),
    [
        ([Node(8), Node(8)], [Node(7), Node(7)], Plan("task", 1, 8, 0, ""), 7.0),
        ([Node(8), Node(8)], [Node(8), Node(8)], Plan("group", 3, 4, 0, ""), 4.0),
        ([Node(8)], [Node(7.8)], Plan("group", 2, 4, 0, ""), 3.9),
        ([Node(8)], [Node(0.2)], Plan("task", 1, 8, 0, ""), 0.5),  # and waits
        ([Node(2)], [Node(2)], Plan("task", 9, 2, 0, ""), 0.5),  # trials that take turns
        ([Node(8, 0, 1)], [Node(8, 0, 1)], Plan("task", 4, 8, 1, ""), 8.0),  # one GPU: one at a time
        ([Node(8, 0, 1), Node(32)], [Node(8, 0, 1), Node(32)], Plan("task", 1, 32, 1, ""), 8.0),
        ([Node(8, 0, 1), Node(4, 0, 1)], [Node(8, 0, 0), Node(4, 0, 1)], Plan("task", 1, 8, 1, ""), 4.0),
        ([Node(8, 0, 1)], [Node(6, 0, 0)], Plan("task", 1, 8, 1, ""), 6.0),  # its GPU is held for the moment
    ],
)
def test_a_worker_reserves_what_a_node_has_free(monkeypatch, whole, free, plan, cpus):
    monkeypatch.setattr(ray_resources, "SETTLE_SECONDS", 0)
    monkeypatch.setattr(ray_resources, "look_at_cluster", lambda: Cluster(tuple(whole)))
    unheld = [Node(rest.cpus, all_.memory, all_.gpus) for rest, all_ in zip(free, whole, strict=True)]
    monkeypatch.setattr(ray_resources, "_free_nodes", lambda *, held=True: free if held else unheld)
    assert reserve_cpus(plan) == cpus


def test_through_ray_client_no_training_is_begun(monkeypatch):
    ray_resources.refuse_client()
    monkeypatch.setattr(ray_resources.ray.util.client.ray, "is_connected", lambda: True)
    with pytest.raises(BackendError, match="Ray Client") as refused:
        ray_resources.refuse_client()
    assert "jobs/lifecycle.py" in refused.value.hint
