"""The same model from separate clusters, byte for byte; GPUs that a cluster only says it has."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import own_cluster
from ray_head import clean_environment

pytestmark = pytest.mark.integration


SCRIPT = Path(own_cluster.__file__)


def printed(mode):
    environment = clean_environment() | {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), mode], env=environment, capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    # Ray tells there of a node that has ended, too.
    return json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))


@pytest.mark.soak
@pytest.mark.usefixtures("ray_cluster")
def test_separate_clusters_give_the_same_bytes():
    once = printed("models")
    again = own_cluster.models()
    for name in ("task", "disk", "side by side", "group"):
        assert once[name] == again[name]
    assert "trained from disk" in once["disk, why"]
    assert "2 folds run side by side" in once["side by side, why"]


@pytest.mark.gpu
def test_a_real_gpu():
    found = printed("cuda")
    assert found["task"] == found["again"]
    assert found["group"][1] == pytest.approx(found["task"][1], abs=2e-3)
    assert found["cpu"][1] == pytest.approx(found["task"][1], abs=5e-3)


@pytest.mark.soak
def test_what_is_free_on_two_nodes_is_no_place_for_one_worker():
    found = printed("nodes")
    assert found["nodes with a replica"] == 2
    assert found["task"] == "task"  # of 4 threads, where no node has more than 3 CPUs free
    assert found["waited"] == ["no worker has begun yet, 1 of 0.5 CPUs each; `ray status` shows who holds the cluster"]
    assert found["group"] == ["group", "training.workers is 3"]


@pytest.mark.soak
def test_gpus_are_reserved_and_have_to_be_real():
    found = printed("gpus")
    assert found["left beside a task"] == 1  # of two
    assert found["left beside a group"] == 0
    assert found["task"] == found["group"] == "training.device is cuda, and the worker's process sees no GPU"
    assert found["too many"] == "training.device is cuda and needs 3 GPU; the Ray cluster has 2"
