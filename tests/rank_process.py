"""Processes that train together as the ranks of a worker group do, joined by XGBoost's tracker and without Ray."""

from __future__ import annotations

import itertools
import multiprocessing
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xgboost
from xgboost.tracker import RabitTracker

from sluiceway.core.errors import SluicewayError
from sluiceway.training.loop import LoopResult, LoopSpec, boost
from sluiceway.training.matrices import MatrixMaker
from sluiceway.training.rows import Rows


def train_in_ranks(shards: Sequence[Rows], spec: LoopSpec) -> list[LoopResult]:
    """Run the loop on each shard in a process of its own; gives the results by rank.

    Raises:
        SluicewayError: the first rank's.
    """
    tracker = RabitTracker(host_ip="127.0.0.1", n_workers=len(shards), sortby="task")
    tracker.start()
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(len(shards)) as pool:
        arguments = tracker.worker_args()
        waiting = [pool.apply_async(_rank, (rank, shard, spec, arguments)) for rank, shard in enumerate(shards)]
        found = [each.get(timeout=120) for each in waiting]
    tracker.wait_for(timeout=30)
    for each in found:
        if isinstance(each, SluicewayError):
            raise each
    return found


def _rank(rank: int, shard: Rows, spec: LoopSpec, arguments: dict[str, Any]) -> LoopResult | SluicewayError:
    with xgboost.collective.CommunicatorContext(**arguments, dmlc_task_id=f"{rank:08d}"):
        try:
            with tempfile.TemporaryDirectory() as folder:
                maker = MatrixMaker(spec.params, spec.names, spec.types, Path(folder))
                return boost(shard, shard, spec=spec, emit=lambda event: None, stop=lambda: False, maker=maker)
        except SluicewayError as error:
            return error


def cut(rows: Rows, sizes: Sequence[int]) -> list[Rows]:
    """The rows in shards of so many rows each."""
    edges = np.cumsum([0, *sizes])
    assert edges[-1] == len(rows)
    return [
        Rows(*(value[start:end] if isinstance(value, np.ndarray) else value for value in vars(rows).values()))
        for start, end in itertools.pairwise(edges)
    ]
