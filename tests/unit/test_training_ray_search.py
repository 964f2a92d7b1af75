"""What a trial makes of a fault: its parameters', or the machine's."""

from __future__ import annotations

import json
import math
from contextlib import ExitStack
from types import SimpleNamespace

import numpy as np
import pytest
from ray import cloudpickle
from ray.exceptions import RayTaskError

from sluiceway.config.experiment import TrainingSection
from sluiceway.config.search import SearchSection
from sluiceway.core.errors import BackendError
from sluiceway.training import ray_search
from sluiceway.training.nodes import Node
from sluiceway.training.plan import Cluster
from sluiceway.training.ray_search import plan_trials
from sluiceway.training.trials import Trial


def trained(monkeypatch, fold) -> Trial:
    """The first fold of a trial whose training gives, or raises, that."""
    one = ray_search._FoldByFold.__new__(ray_search._FoldByFold)
    one._job, one._opened = SimpleNamespace(folds=3, deadline=math.inf), ExitStack()
    one._trial = Trial(0, {}, (), "running", 0.0)

    def train(_):
        if isinstance(fold, Exception):
            raise fold
        return fold

    monkeypatch.setattr(one, "_train", train)
    return one._trained()


@pytest.mark.parametrize(
    ("fold", "settled", "told"),
    [
        (ValueError("label must be positive"), True, "label must be positive"),
        (np.inf, True, "the metric of a fold is inf"),
        (BackendError("training.device is cuda, and the worker's process sees no GPU"), False, "sees no GPU"),
        (ValueError("std::bad_alloc"), False, "bad_alloc"),
    ],
)
def test_only_what_its_parameters_cause_settles_a_trial(monkeypatch, fold, settled, told):
    trial = trained(monkeypatch, fold)
    assert (trial.status, trial.is_settled) == ("failed", settled)
    assert told in trial.error


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), MemoryError(), None])
def test_what_ends_a_trial_s_worker_settles_nothing(tmp_path, error):
    file, heard = tmp_path / "error.pkl", []
    if error is not None:  # as a worker's error comes from Ray
        file.write_bytes(cloudpickle.dumps(RayTaskError("step", "a traceback", error).as_instanceof_cause()))
    told = {"trial": json.dumps(Trial(3, {}, (), "running", 0.0).to_dict())}
    ended = SimpleNamespace(pickled_error_file=str(file), config=told)
    ray_search._Listener(heard.append, set()).on_trial_error(1, [], ended)
    assert [(one.number, one.status, one.lost, one.is_settled) for one in heard] == [(3, "failed", True, False)]


def test_rows_that_a_gpu_cannot_hold_are_refused_before_a_trial_begins():
    cluster = Cluster((Node(cpus=8.0, memory=64e9, gpus=1.0),))
    training = TrainingSection(device="cuda", memory_per_worker="1GB")
    prepared = SimpleNamespace(cluster=cluster, rows=100_000_000, width=20, fold_cuts={})
    recipe = SimpleNamespace(training=training)
    search = SearchSection(space={"max_depth": {"whole": [2, 9]}}, trials=4)
    with pytest.raises(BackendError, match="rows cannot be trained from disk on a GPU"):
        plan_trials(prepared, recipe, search, deadline=math.inf)
