"""What a worker sets up for the loop: the rows in order, matrices in memory or on disk, checkpoints."""

from __future__ import annotations

import ctypes
import functools
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import xgboost

from sluiceway.core.errors import BackendError
from sluiceway.data.membership import fold_place
from sluiceway.training.checkpoints import CheckpointFolder, Checkpoints, NoCheckpoints
from sluiceway.training.job import Job
from sluiceway.training.matrices import MatrixMaker
from sluiceway.training.rows import Disk, Rows, RowSource, arrange

_PREFIX = "sluiceway-rows-"


@dataclass(frozen=True)
class Workplace:
    """A worker's rows and tools.

    Attributes:
        train: rows of the training part.
        validation: rows of the validation part.
        maker: of matrices.
        checkpoints: where boosters are kept.
    """

    train: Rows
    validation: Rows
    maker: MatrixMaker
    checkpoints: Checkpoints


@contextmanager
def workplace(source: RowSource, job: Job) -> Iterator[Workplace]:
    """Arrange a worker's rows; what lies on disk is gone afterwards.

    Raises:
        BackendError: the job asks for a GPU, and XGBoost finds none here, or for more disk than is free.
    """
    check_device(str(job.spec.params.get("device", "cpu")))
    folder = _own_folder() if job.disk_rows else None
    try:
        train, validation = arrange(
            source,
            width=job.width,
            weighted=job.weighted,
            refold=functools.partial(balanced_folds, job.fold_cuts, job.seed) if job.fold_cuts else None,
            disk=None if folder is None else Disk(folder, job.disk_rows),
        )
        # What reading has held goes back before the matrices need as much.
        pa.default_memory_pool().release_unused()
        spec = job.spec
        checkpoints = CheckpointFolder(job.checkpoints) if job.checkpoints else NoCheckpoints()
        yield Workplace(train, validation, MatrixMaker(spec.params, spec.names, spec.types, folder), checkpoints)
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _own_folder() -> Path:
    """A folder for rows on this node's disk, after those of workers that were killed are gone."""
    space = Path("/proc/self/ns/pid")  # process numbers mean nothing in another container on the same disk
    here = f"{_PREFIX}{socket.gethostname()}-{space.readlink().name.strip('pid:[]') if space.exists() else 0}-"
    for left in Path(tempfile.gettempdir()).glob(f"{here}*"):
        owner = left.name.removeprefix(here).partition("-")[0]
        if owner.isdigit() and space.exists() and not Path(f"/proc/{owner}").exists():
            shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{here}{os.getpid()}-"))


def balanced_folds(cuts: dict[int, list[int]], seed: int, key: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Folds that hold the same number of rows of each class, give or take one.

    Args:
        cuts: by class the places, in the random order of the folds, where each fold but the first begins.
        seed: of that order.
        key: shape (n,), uint64.
        y: shape (n,), float32: the class.

    Returns:
        shape (n,), uint8.
    """
    place = fold_place(key, seed)
    folds = np.zeros(len(key), np.uint8)
    for label, edges in cuts.items():
        of_class = y == label
        folds[of_class] = np.searchsorted(np.array(edges, np.uint64), place[of_class], side="right")
    return folds


def check_device(device: str) -> None:
    """See that there is a GPU where XGBoost is told to use one: it would go on with the CPU, and say so in a log only.

    All ranks of a group ask each other: one that ended alone would leave the others waiting.

    Raises:
        BackendError: there is none, or this XGBoost was built without CUDA.
    """
    if not device.startswith("cuda"):
        return
    problem = missing_gpu()
    if xgboost.collective.is_distributed():
        wrong = xgboost.collective.allreduce(np.array([float(bool(problem))]), xgboost.collective.Op.SUM)[0]
        problem = problem or (f"{int(wrong)} other workers cannot use one" if wrong else "")
    if problem:
        hint = "look at nvidia-smi on the worker's node and at its driver, or set training.device: cpu"
        raise BackendError(f"training.device is cuda, and {problem}", hint=hint)


def missing_gpu() -> str:
    """Why this process cannot use a GPU, or an empty text."""
    if not xgboost.build_info().get("USE_CUDA"):
        return "the worker's XGBoost was built without CUDA"
    return "" if _cuda_devices() else "the worker's process sees no GPU"


def _cuda_devices() -> int:
    """As the driver library counts them; CUDA_VISIBLE_DEVICES, which Ray sets, counts."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    return count.value if cuda.cuInit(0) == 0 and cuda.cuDeviceGetCount(ctypes.byref(count)) == 0 else 0
