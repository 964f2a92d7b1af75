"""Features that do not fit in memory, in the order of the rows, in a file that is mapped."""

from __future__ import annotations

import logging
import mmap
import shutil
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from sluiceway.core.errors import BackendError

MOST_OPEN = 200  # files at a time
# What rows took on disk at the peak, with XGBoost's pages: bytes a value and bytes a row, from 2 to 600 features.
OF_A_VALUE, OF_A_GAPPY_VALUE, OF_A_ROW = 7.6, 12.0, 13.0

_log = logging.getLogger(__name__)


def require_disk(folder: Path, *, rows: int, width: int) -> None:
    """Fail before anything is written where rows and their pages cannot fit: XGBoost ends the process then.

    How much they need depends on how many values are missing, which nobody knows yet: where there is room for rows
    without gaps, and none for a tenth of gaps, that is logged.

    Args:
        folder: where they are to lie.
        rows: how many.
        width: number of features.

    Raises:
        BackendError: too little is free even for rows without gaps.
    """
    need, most = (rows * (each * width + OF_A_ROW) for each in (OF_A_VALUE, OF_A_GAPPY_VALUE))
    free = shutil.disk_usage(folder).free
    told = f"rows that are trained from disk need {need / 1e9:.2f} GB or more in {folder}"
    hint = "give the worker's node a TMPDIR with more room, or raise training.memory_per_worker or training.workers"
    if free < need:
        raise BackendError(f"{told}, and {free / 1e9:.2f} GB are free", hint=hint)
    if free < most:
        _log.warning(
            "%s, up to %.2f GB where a tenth of the values is missing, and %.2f GB are free: XGBoost may end the "
            "process; %s",
            told,
            most / 1e9,
            free / 1e9,
            hint,
        )


def scatter_to_disk(
    pieces: Iterable[np.ndarray], place: np.ndarray, *, width: int, path: Path, batch_rows: int
) -> np.ndarray:
    """Write rows to their places in a file, with no more than a batch of them in memory.

    Rows arrive in any order, and to write each to its place would move the whole file through memory again and again.
    So they are first appended to one file for each stretch of places, then each stretch is put in order and written.

    Args:
        pieces: shape (m, width) each, float32; n rows together.
        place: shape (n,), int64: where each row belongs, in the order of the pieces.
        width: number of features.
        path: of the file; files beside it begin with its name and are gone afterwards.
        batch_rows: rows of a stretch, at least; there are 200 stretches at most.

    Returns:
        shape (n, width), float32, a memory map in mode ``r+``; an ordinary empty array for no rows.
    """
    n = len(place)
    if n == 0:
        return np.empty((0, width), np.float32)
    batch_rows = max(batch_rows, -(-n // MOST_OPEN))
    stretches = [path.with_name(f"{path.name}.{i}") for i in range(-(-n // batch_rows))]
    stretch_of = place // batch_rows
    _part(pieces, stretch_of, stretches)
    order = np.argsort(stretch_of, kind="stable")
    edges = np.searchsorted(stretch_of[order], np.arange(len(stretches) + 1))
    with path.open("wb") as file:
        for number, stretch in enumerate(stretches):
            unordered = np.fromfile(stretch, np.float32).reshape(-1, width)
            stretch.unlink()
            ordered = np.empty_like(unordered)
            ordered[place[order[edges[number] : edges[number + 1]]] - number * batch_rows] = unordered
            ordered.tofile(file)
    return np.memmap(path, np.float32, mode="r+", shape=(n, width))


def _part(pieces: Iterable[np.ndarray], stretch_of: np.ndarray, stretches: list[Path]) -> None:
    start = 0
    with ExitStack() as stack:
        files = [stack.enter_context(stretch.open("wb")) for stretch in stretches]
        for piece in pieces:
            numbers = stretch_of[start : start + len(piece)]
            start += len(piece)
            order = np.argsort(numbers, kind="stable")
            edges = np.searchsorted(numbers[order], np.arange(len(stretches) + 1))
            for number in np.flatnonzero(np.diff(edges)):
                np.ascontiguousarray(piece[order[edges[number] : edges[number + 1]]]).tofile(files[number])


def forget(x: np.ndarray) -> None:
    """Let the system have the memory that it keeps a mapped file in; a no-op for other arrays."""
    mapped = getattr(x, "_mmap", None)
    if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)
