"""The files that lie at a table's place, whatever its log says; listed and deleted where a store has them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import obstore
from obstore.store import from_url

from sluiceway.core.errors import BackendError
from sluiceway.data.delta_log import LOG

# Of one request to delete: what S3 takes.
BATCH = 1_000
# At the same time: a store is far away.
REQUESTS = 32


@dataclass(frozen=True)
class StoredFile:
    """A file.

    Attributes:
        path: plain, as :func:`sluiceway.data.places.plain_path` gives it: no scheme, not encoded.
        size: bytes.
        modified: UTC epoch seconds, by the store's clock.
    """

    path: str
    size: int
    modified: float


def list_files(uri: str) -> Iterator[StoredFile]:
    """The files at a place and below it, those of logs among them; in no order.

    Args:
        uri: as :func:`sluiceway.data.tables.absolute` spells it.

    Raises:
        BackendError: the store does not answer.
    """
    return _listed(uri, below="")


def missing_files(uri: str, paths: Iterable[str]) -> list[str]:
    """Those of some files at a place that are not there.

    Args:
        uri: the place.
        paths: plain, all below it.

    Raises:
        BackendError: the store does not answer.
    """
    if "://" not in uri:
        return [path for path in paths if not Path(path).exists()]
    root, store = plain_root(uri), from_url(uri)

    def is_missing(path: str) -> bool:
        try:
            obstore.head(store, path.removeprefix(root + "/"))
        except FileNotFoundError:
            return True
        return False

    try:
        with ThreadPoolExecutor(REQUESTS) as asking:
            wanted = list(paths)
            return [path for path, gone in zip(wanted, asking.map(is_missing, wanted), strict=True) if gone]
    except obstore.exceptions.BaseError as error:
        raise BackendError(f"the files of {uri} cannot be looked at: {error}", hint="check the rights") from error


def delete_files(uri: str, paths: Iterable[str]) -> int:
    """Delete files at a place; one that is gone already is a no-op.

    Args:
        uri: the place.
        paths: plain, all below it.

    Returns:
        how many were asked for.

    Raises:
        BackendError: the store refused; those before are deleted.
    """
    wanted = list(paths)
    root = plain_root(uri)
    outside = [path for path in wanted if not path.startswith(root + "/")]
    if outside:
        raise ValueError(f"{outside[0]} does not lie below {uri}")
    try:
        if "://" not in uri:
            for path in wanted:
                Path(path).unlink(missing_ok=True)
            _prune_folders(root, {str(Path(path).parent) for path in wanted})
            return len(wanted)
        store = from_url(uri)
        for start in range(0, len(wanted), BATCH):
            obstore.delete(store, [path.removeprefix(root + "/") for path in wanted[start : start + BATCH]])
    except FileNotFoundError:
        pass  # somebody was faster
    except (OSError, obstore.exceptions.BaseError) as error:
        raise BackendError(
            f"files of {uri} cannot be deleted: {error}", hint="check the rights; a repeated call goes on"
        ) from error
    return len(wanted)


def delete_log(uri: str) -> None:
    """Delete the log at a place: it is no table any more. What else lies there stays.

    Raises:
        BackendError: the store refused.
    """
    delete_files(uri, sorted(file.path for file in _listed(uri, below=LOG)))


def plain_root(uri: str) -> str:
    """The plain path of a place."""
    return uri.partition("://")[2] if "://" in uri else uri


def _listed(uri: str, *, below: str) -> Iterator[StoredFile]:
    try:
        yield from (_remote if "://" in uri else _local)(uri, below)
    except (OSError, obstore.exceptions.BaseError) as error:
        raise BackendError(f"the files of {uri} cannot be listed: {error}", hint="check the rights") from error


def _local(uri: str, below: str) -> Iterator[StoredFile]:
    for folder, _, names in os.walk(Path(uri) / below, onerror=_raise):
        for name in names:
            path = os.path.join(folder, name)  # noqa: PTH118 (a million files: pathlib takes five times as long)
            try:
                facts = os.lstat(path)
            except FileNotFoundError:
                continue
            yield StoredFile(path, facts.st_size, facts.st_mtime)


def _remote(uri: str, below: str) -> Iterator[StoredFile]:
    root = plain_root(uri)
    for part in obstore.list(from_url(uri), below or None):
        for meta in part:
            yield StoredFile(f"{root}/{meta['path']}", int(meta["size"]), meta["last_modified"].timestamp())


def _raise(error: OSError) -> Any:
    if not isinstance(error, FileNotFoundError):
        raise error


def _prune_folders(root: str, folders: set[str]) -> None:
    """Remove folders of partitions that are empty now, and those above them."""
    for folder in sorted(folders, key=len, reverse=True):
        while folder.startswith(root + "/"):
            try:
                Path(folder).rmdir()
            except OSError:
                break
            folder = str(Path(folder).parent)
