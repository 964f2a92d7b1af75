"""Which engine a run takes, and what it says about it."""

import pytest

from sluiceway.config.experiment import TrainingSection
from sluiceway.core.errors import BackendError
from sluiceway.training.nodes import Node
from sluiceway.training.plan import Cluster, plan_run, reads_alone, require_cpus, require_gpus, require_room

ONE = Cluster((Node(2, 8e9),))
FOUR = Cluster((*[Node(8, 8e9, 1)] * 2, *[Node(8, 8e9)] * 2))
SMALL, LARGE = {"rows": 160_000, "features": 17}, {"rows": 30_000_000, "features": 20}


def test_rows_that_fit_take_one_task():
    plan = plan_run(TrainingSection(), ONE, **SMALL)
    assert (plan.engine, plan.workers, plan.threads, plan.gpus) == ("task", 1, 2, 0)
    told = "160,000 rows x 17 features need about 0.04 GB; one worker has 4.0 GB"
    assert plan.why == f"{told}; 2 folds at a time share its 2 threads"


def test_rows_that_do_not_fit_are_shared_by_the_nodes():
    plan = plan_run(TrainingSection(), FOUR, **LARGE)
    assert (plan.engine, plan.workers, plan.threads) == ("group", 3, 8)
    assert "3 workers share them" in plan.why
    assert plan_run(TrainingSection(), ONE, **LARGE).engine == "task"
    assert "no second node" in plan_run(TrainingSection(), ONE, **LARGE).why


def test_a_number_is_obeyed():
    assert plan_run(TrainingSection(workers=1), FOUR, **LARGE).engine == "task"
    plan = plan_run(TrainingSection(workers=2, cpus_per_worker=1, device="cuda"), FOUR, **SMALL)
    assert (plan.engine, plan.workers, plan.threads, plan.gpus) == ("group", 2, 1, 1)


def test_a_gpu_that_is_not_there():
    require_gpus(TrainingSection(device="cuda"), FOUR, workers=2)
    require_gpus(TrainingSection(), ONE, workers=9)
    with pytest.raises(BackendError, match="needs 3 GPU; the Ray cluster has 2"):
        require_gpus(TrainingSection(device="cuda"), FOUR, workers=3)


@pytest.mark.parametrize(
    ("training", "rows", "together"),
    [
        ({}, 160_000, True),
        ({"cpus_per_worker": 1}, 160_000, False),
        ({"memory_per_worker": 50_000_000}, 160_000, False),  # enough for one fold, not for two
        ({"memory_per_worker": 10_000_000}, 160_000, False),  # trained from disk
        ({"workers": 2}, 160_000, False),
        ({"device": "cuda"}, 160_000, False),
        ({"parallel_folds": 2}, 160_000, False),  # in tasks of their own
        ({"parallel_folds": "auto"}, 160_000, True),
    ],
)
def test_folds_share_a_worker_where_it_has_threads_and_memory_for_two(training, rows, together):
    plan = plan_run(TrainingSection(**training), ONE, rows=rows, features=17)
    assert plan.together is together
    assert ("share its 2 threads" in plan.why) is together


def test_without_a_known_limit_folds_share_a_worker():
    assert plan_run(TrainingSection(), Cluster((Node(4),)), **SMALL).together


def test_more_workers_than_the_cluster_has_cpus_for_are_refused_at_once():
    require_cpus(TrainingSection(workers=4), ONE)
    with pytest.raises(BackendError, match=r"training\.workers is 5") as caught:
        require_cpus(TrainingSection(workers=5), ONE)
    assert "lower it to 4" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("nodes", "workers", "threads"),
    [
        ([Node(8), Node(8)], 3, 4),
        ([Node(4)] * 3, 4, 2),
        ([Node(8)] * 3, 4, 4),
        ([Node(8)] * 4, 4, 8),
        ([Node(2), Node(8), Node(8)], 2, 8),
        ([Node(8)], 3, 2),
    ],
)
def test_a_groups_workers_all_find_a_place(nodes, workers, threads):
    cluster = Cluster(tuple(nodes))
    plan = plan_run(TrainingSection(workers=workers), cluster, **SMALL)
    assert (plan.workers, plan.threads) == (workers, threads)
    require_room(plan, cluster)


def test_threads_are_those_of_nodes_with_a_gpu_where_one_is_asked():
    mixed = Cluster((Node(8, 8e9, 2), Node(32, 8e9)))
    for workers, threads in (("auto", 8), (2, 4)):
        assert plan_run(TrainingSection(device="cuda", workers=workers), mixed, **SMALL).threads == threads
    with pytest.raises(BackendError, match="cpus_per_worker is 16; the largest node with a GPU has 8"):
        require_cpus(TrainingSection(device="cuda", cpus_per_worker=16), mixed)


MILLION = {"rows": 1_000_000, "features": 10}  # need 0.18 GB


@pytest.mark.parametrize(
    ("training", "nodes", "parallel"),
    [
        ({"parallel_folds": "auto", "memory_per_worker": "8GB"}, [Node(16, 10e9)] * 2, 2),
        ({"parallel_folds": 5, "memory_per_worker": "8GB"}, [Node(16, 10e9)] * 2, 2),
        ({"parallel_folds": 2, "memory_per_worker": 216_000_000}, [Node(16, 64e9)], 2),
        ({"parallel_folds": 5, "memory_per_worker": 216_000_000}, [Node(3, 64e9)], 3),  # as many as it has CPUs
        ({"parallel_folds": "auto", "memory_per_worker": "40GB", "device": "cuda"}, [Node(16, 64e9, 4)], 1),
        ({"parallel_folds": "auto", "memory_per_worker": "20GB", "device": "cuda"}, [Node(16, 64e9, 4)], 3),
        ({"parallel_folds": "auto", "device": "cuda"}, [Node(16, 64e9, 4)], 4),
        ({"parallel_folds": 2, "memory_per_worker": "8GB"}, [Node(16, 1e9), Node(16, 10e9)], 1),
        ({"parallel_folds": 5, "memory_per_worker": "0.1GB", "workers": 1}, [Node(16, 64e9)] * 9, 1),  # from disk
        ({"parallel_folds": 5}, [Node(16, 1e9)] * 2, 5),  # by half of the memory, 0.5 GB a node
        ({"parallel_folds": 5}, [Node(16, 0.5e9)] * 2, 2),
    ],
)
def test_folds_side_by_side_are_as_many_as_find_their_memory(training, nodes, parallel):
    cluster, section = Cluster(tuple(nodes)), TrainingSection(**training)
    plan = plan_run(section, cluster, **MILLION)
    assert plan.parallel == parallel
    assert (f"{parallel} folds run side by side" in plan.why) is (parallel > 1)
    require_cpus(section, cluster)
    require_room(plan, cluster)


def test_a_small_node_does_not_bound_a_workers_memory():
    cluster = Cluster((Node(1, 1e9), Node(16, 64e9), Node(16, 64e9)))
    for workers in ("auto", 2):
        training = TrainingSection(memory_per_worker="8GB", workers=workers)
        require_cpus(training, cluster)
        require_room(plan_run(training, cluster, **MILLION), cluster)
    with pytest.raises(
        BackendError, match=r"memory_per_worker is 65\.00 GB; Ray gives out 64\.00 GB on the largest node"
    ):
        require_cpus(TrainingSection(memory_per_worker="65GB"), cluster)
    with pytest.raises(BackendError, match=r"Ray gives out 8\.00 GB on the largest node with a GPU"):
        require_cpus(TrainingSection(memory_per_worker="9GB", device="cuda"), FOUR)


def test_what_no_node_has_together_is_refused():
    apart = Cluster((Node(8, 1e9, 1), Node(8, 8e9)))
    training = TrainingSection(device="cuda", memory_per_worker="1.5GB")
    with pytest.raises(BackendError, match="the nodes have room for 0"):
        require_room(plan_run(training, apart, **SMALL), apart)
    for too_many in (Cluster((Node(0.4),) * 3), Cluster((Node(0.5),))):
        with pytest.raises(BackendError, match="has room for"):
            require_cpus(TrainingSection(workers=2), too_many)


@pytest.mark.parametrize(
    ("given", "alone"),
    [
        ({}, True),
        ({"memory_per_worker": "4GB"}, True),
        ({"memory_per_worker": "1MB"}, False),  # from disk
        ({"memory_per_worker": "1MB", "device": "cuda"}, False),  # refused where its rows are counted
        ({"device": "cuda"}, True),
        ({"fold_by": "stratified"}, False),
        ({"workers": 2}, False),
        ({"parallel_folds": 2}, False),
        ({"engine": "xgboost_ray"}, False),
    ],
)
def test_who_reads_its_rows_alone(given, alone):
    training = TrainingSection(**{"folds": 3, "cpus_per_worker": 1} | given)
    plan = plan_run(
        training, FOUR if "device" in given or "parallel_folds" in given else ONE, rows=100_000, features=10
    )
    assert reads_alone(plan, training, rows=100_000, features=10) is alone
