"""The cluster that this package starts."""

import os
import subprocess

import pytest
import ray

from sluiceway.core.errors import BackendError
from sluiceway.wiring import cluster

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("ray_cluster")]


@pytest.fixture
def starts(monkeypatch, tmp_path):
    """Ray that fails to start as it is told to, leaving a process each time; the session's own is left alone."""
    told, left = [], []

    def init(**_options):
        left.append(subprocess.Popen(["sleep", "60"]))
        if told:
            raise told.pop(0)

    monkeypatch.setattr(cluster.ray, "init", init)
    monkeypatch.setattr(cluster.ray, "shutdown", lambda: None)
    for name in ("remember_session", "end_own_session"):
        real = getattr(cluster, name)
        monkeypatch.setattr(cluster, name, lambda real=real, **more: real(tmp_path, **more))
    yield told, left
    for process in left:
        process.kill()
        process.wait()


def test_who_reserves_no_gpu_sees_none():
    @ray.remote(num_cpus=0)
    def seen():
        return os.environ.get("CUDA_VISIBLE_DEVICES")

    assert ray.get(seen.remote()) == ""


SLOW = "The current node timed out during startup. This could happen because some of the raylet failed to"


def test_a_slow_start_is_tried_again_and_nothing_of_it_is_left(starts):
    told, left = starts
    told.append(Exception(SLOW))
    cluster._start_here({})
    first, second = left
    assert first.wait(5) == -9
    assert second.poll() is None


@pytest.mark.parametrize(
    ("errors", "starts_made"), [([Exception(SLOW)] * 2, 2), ([RuntimeError("no shared memory")], 1)]
)
def test_a_start_that_fails_is_one_error_and_nothing_is_left(starts, errors, starts_made):
    told, left = starts
    told += errors
    with pytest.raises(BackendError, match="Ray at this machine cannot be used"):
        cluster._start_here({})
    assert [process.wait(5) for process in left] == [-9] * starts_made


def test_an_interrupted_start_leaves_nothing(starts):
    told, left = starts
    told.append(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        cluster._start_here({})
    assert left[0].wait(5) == -9


def test_a_process_of_the_cluster_asks_no_other_cluster_for_actors():
    @ray.remote(num_cpus=0)
    def asks():
        from ray.dashboard.utils import get_address_for_submission_client  # noqa: PLC0415 (what Ray Train's guard uses)

        return get_address_for_submission_client(None)

    assert ray.get(asks.remote(), timeout=60) == "http://127.0.0.1:9"
