"""Boosters that a run keeps while it trains, so that a lost worker costs no more than the rounds since."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
import zlib
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Protocol

from sluiceway.core.errors import BackendError

STALE_SECONDS = 7 * 86_400.0
_CHECK_BYTES = 4


class Checkpoints(Protocol):
    """Named bytes that outlive a worker."""

    def load(self, name: str) -> bytes | None:
        """What was saved last, or None."""

    def save(self, name: str, data: bytes) -> None:
        """Put it in place of what was saved before, all or nothing."""


class NoCheckpoints:
    """Keeps nothing."""

    def load(self, name: str) -> bytes | None:
        """None."""
        return None

    def save(self, name: str, data: bytes) -> None:
        """Let it go."""


class CheckpointFolder:
    """Checkpoints as files of a folder, which all workers of a run see or only the one that makes them.

    Args:
        folder: of one run alone; made with the first file.
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)

    def load(self, name: str) -> bytes | None:
        """What was saved last; None where nothing was, or where the file is damaged.

        Raises:
            BackendError: it is there and cannot be read.
        """
        try:
            whole = (self._folder / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise BackendError(
                f"a checkpoint cannot be read from {self._folder}: {error.strerror or error}",
                hint="give leave to read there, or delete that folder: the same command then begins anew",
            ) from error
        check, data = whole[:_CHECK_BYTES], whole[_CHECK_BYTES:]
        return data if check == _check(data) else None

    def save(self, name: str, data: bytes) -> None:
        """Write a file beside the old one, then put it in its place.

        Raises:
            BackendError: it cannot be written.
        """
        try:
            self._write(name, data)
        except OSError as error:
            raise BackendError(
                f"a checkpoint cannot be written into {self._folder}: {error.strerror or error}",
                hint="make room or give leave to write there; the same command goes on from the last checkpoint",
            ) from error

    def _write(self, name: str, data: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        handle, beside = tempfile.mkstemp(prefix=f".{name}-", dir=self._folder)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(_check(data) + data)
                file.flush()
                os.fsync(file.fileno())
            Path(beside).replace(self._folder / name)
        except BaseException:
            Path(beside).unlink(missing_ok=True)
            raise


def run_folder(root: str, *parts: object) -> str:
    """The folder of a run whose boosters depend on these parts and on XGBoost, so that no other run takes them up.

    Args:
        root: of all runs on the same rows.
        parts: whatever the trees depend on, with a representation that tells it all.
    """
    return f"{root}/{hashlib.sha256(repr((metadata.version('xgboost'), *parts)).encode()).hexdigest()[:16]}"


def forget_checkpoints(folder: str | Path) -> None:
    """Delete the checkpoints of a run that is done, and those beside it that nobody has touched for a week."""
    shutil.rmtree(folder, ignore_errors=True)
    parent = Path(folder).parent
    if parent.is_dir():
        for other in parent.iterdir():
            if other.is_dir() and time.time() - _last_touched(other) > STALE_SECONDS:
                shutil.rmtree(other, ignore_errors=True)


def _last_touched(folder: Path) -> float:
    """Of the folder or anything in it; what another process deletes meanwhile does not count."""
    times = [0.0]
    for path in (folder, *folder.rglob("*")):
        with suppress(FileNotFoundError):
            times.append(path.stat().st_mtime)
    return max(times)


def _check(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(_CHECK_BYTES, "big")
