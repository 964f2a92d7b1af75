"""What is told of a worker group that failed: rarely the error that was noticed last."""

import pytest
import ray
from ray.exceptions import RayTaskError
from ray.train import WorkerGroupError
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError
from xgboost.core import XGBoostError

from sluiceway.core.errors import BackendError, ConfigError, DataError
from sluiceway.training.ray_errors import cause_of, of_the_parameters, worker_was_lost

GONE = WorkerHealthCheckFailedError("A worker health check failed.", ray.exceptions.ActorDiedError())
KILLED = WorkerHealthCheckFailedError(
    "A worker health check failed.",
    ray.exceptions.OutOfMemoryError("Task was killed due to the node running low on memory.\nMemory: 7.6GB / 8GB"),
)
LEFT_ALONE = XGBoostError(
    "[11:18:50] /src/xgboost/src/collective/result.cc:83: [histogram.h:197|11:18:50]:\n\n"
    "- [allreduce.cc:135|11:18:50]: Ring Allreduce failed.\nStack trace:\n  [bt] (0) libxgboost.so"
)
REFUSED = XGBoostError(
    "[11:18:50] /src/xgboost/src/objective/regression_obj.cu:41: label must be in [0,1]\nStack trace:\n  [bt] (0)"
)
NO_FILE = XGBoostError(
    "[11:18:50] /w/xgboost/dmlc-core/src/io/local_filesys.cc:209: Check failed: allow_null:  LocalFileSystem::Open "
    '"/tmp/rows/pages-0.page": No such file or directory\nStack trace:\n  [bt] (0) libxgboost.so'
)
NO_PAGE = XGBoostError(
    "[11:18:50] /w/xgboost/src/common/io.cc:245: Check failed: fd >= 0 (-1 vs. 0) : Failed to open:/tmp/rows/p.page. "
    "Too many open files\nStack trace:\n  [bt] (0) libxgboost.so"
)


@pytest.mark.parametrize(
    ("ranks", "kind", "told"),
    [
        ((GONE, LEFT_ALONE), BackendError, "the training group failed: ActorDiedError: The actor died unexpectedly"),
        ((LEFT_ALONE, GONE), BackendError, "the training group failed: ActorDiedError: The actor died unexpectedly"),
        ((LEFT_ALONE,), BackendError, "the training group failed: a worker lost the others"),
        ((KILLED,), BackendError, "the training group ran out of memory"),
        ((KILLED, LEFT_ALONE), BackendError, "the training group ran out of memory"),
        ((LEFT_ALONE, KILLED), BackendError, "the training group ran out of memory"),
        ((REFUSED, LEFT_ALONE), ConfigError, "XGBoost refuses what it is given: label must be in [0,1]"),
        ((LEFT_ALONE, REFUSED), ConfigError, "XGBoost refuses what it is given: label must be in [0,1]"),
        ((LEFT_ALONE, ConfigError("so it is")), ConfigError, "so it is"),
        (
            (LEFT_ALONE, NO_FILE),
            BackendError,
            "the training group cannot use its disk: Check failed: allow_null:  Local",
        ),
        ((NO_PAGE,), BackendError, "the training group cannot use its disk: Check failed: fd >= 0 (-1 vs. 0) : Failed"),
        ((OSError(28, "No space left on device"),), BackendError, "the training group cannot use its disk: [Errno 28]"),
        ((OSError("60 requested and 8 written"),), BackendError, "the training group cannot use its disk: 60 request"),
        ((OSError("a socket"),), BackendError, "the training group failed: OSError: a socket"),
    ],
)
def test_the_cause_of_a_groups_end(ranks, kind, told):
    found = cause_of(WorkerGroupError("boom", dict(enumerate(ranks))), "the training group")
    assert type(found) is kind
    assert found.message.startswith(told)


def test_who_was_lost():
    assert worker_was_lost(WorkerGroupError("boom", {0: GONE, 1: LEFT_ALONE}))
    assert not worker_was_lost(WorkerGroupError("boom", {0: KILLED}))


@pytest.mark.parametrize(
    ("error", "settled"),
    [
        (REFUSED, True),
        (ValueError("the metric of a fold is nan"), True),
        (DataError("no row"), True),
        (ConfigError("no such parameter"), True),
        (ray.exceptions.OutOfMemoryError("node out of memory"), False),
        (OSError(28, "No space left on device"), False),
        (MemoryError(), False),
        (BackendError("training.device is cuda, and the worker's process sees no GPU"), False),
        (ray.exceptions.ActorDiedError(), False),
        (XGBoostError("[11:18:50] /src/x.cu:1: cudaErrorMemoryAllocation: out of memory"), False),
        (XGBoostError("[11:18:50] /src/x.cu:1: cudaErrorDevicesUnavailable"), False),
        (XGBoostError("std::bad_alloc"), False),
        (XGBoostError("[11:18:50] /src/io.cc:70: Check failed: No space left on device"), False),
        (NO_FILE, False),
        (NO_PAGE, False),
        (RayTaskError("step", "a traceback", NO_FILE).as_instanceof_cause(), False),
        (RayTaskError("step", "a traceback", REFUSED).as_instanceof_cause(), True),
    ],
)
def test_only_what_the_parameters_cause_is_settled(error, settled):
    assert of_the_parameters(error) is settled
