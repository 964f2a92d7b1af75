"""Where data files lie: a branch's log names the files it has inherited by absolute URIs, its own by relative paths.

A branch's copy of a table is a folder ``<table>/_branches/<id>`` with a Delta log of its own: inside the table, so that
a merge can name its files by relative paths; below a name with an underscore, which no vacuum ever lists.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

import pyarrow as pa
import pyarrow.fs as pafs
from deltalake import DeltaTable

if TYPE_CHECKING:
    # Imported, it brings pandas along: a second that `sluiceway data log` has no use for.
    import pyarrow.dataset as pads

BRANCHES = "_branches"
_CLONE = re.compile(rf"(?P<main>.+)/{BRANCHES}/[0-9a-f]{{32}}")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://")
# What the engine leaves as it is in a URI. It takes a file out by its own spelling: by another one it would stay.
_PLAIN = "/!$&'()+,:;=@"


def clone_place(uri: str, branch_id: str) -> str:
    """Where a branch's copy of a table lives.

    Args:
        uri: the table, as :func:`sluiceway.data.tables.absolute` spells it.
        branch_id: 32 hex digits, never used for another branch.
    """
    return f"{uri}/{BRANCHES}/{branch_id}"


def main_of(uri: str) -> str:
    """The table that a place belongs to: itself, or the one that a branch's copy was made of."""
    found = _CLONE.fullmatch(uri)
    return found["main"] if found else uri


def is_clone(uri: str) -> bool:
    """Whether a place is a branch's copy of a table."""
    return _CLONE.fullmatch(uri) is not None


def file_uri(uri: str, path: str) -> str:
    """The identity of a data file: an absolute URI, encoded as in a log.

    Args:
        uri: of the table or copy whose log names the file.
        path: as the log has it.
    """
    if _SCHEME.match(path):
        return path
    return f"{_root(uri)}/{path}"


def file_uris(uri: str, paths: Iterable[str]) -> dict[str, str]:
    """The identity of each file of a log, by its path there."""
    root = _root(uri)
    return {path: path if _SCHEME.match(path) else f"{root}/{path}" for path in paths}


def path_below(uri: str, identity: str) -> str:
    """How the log at a place names a file: relative where the file lies below it, else its absolute URI."""
    root = _root(uri) + "/"
    return identity.removeprefix(root) if identity.startswith(root) else identity


def dataset(table: DeltaTable, uri: str) -> pads.Dataset:
    """The files of an open table as a dataset, wherever they lie; its fragments can be sent to other processes.

    Args:
        table: open.
        uri: its place, as :func:`sluiceway.data.tables.absolute` spells it.
    """
    return table.to_pyarrow_dataset(filesystem=filesystem(uri))


def filesystem(uri: str) -> pafs.FileSystem | None:
    """What readers of a branch's copy need: pyarrow glues every path to the copy's folder; None for other tables."""
    return pafs.PyFileSystem(_AbsoluteOrBelow(uri)) if is_clone(uri) else None


def filesystem_of(identity: str) -> pafs.FileSystem:
    """The filesystem that has a data file; :func:`plain_path` is its path there."""
    return pafs.FileSystem.from_uri(identity.rpartition("/")[0])[0]


def plain_path(identity: str) -> str:
    """The path that a filesystem of pyarrow knows a file by: no scheme, decoded once."""
    return unquote(_SCHEME.sub("", identity))


@functools.lru_cache(maxsize=64)  # asked for each file of a table, of which there may be a hundred thousand
def _root(uri: str) -> str:
    return quote(uri, safe=_PLAIN) if _SCHEME.match(uri) else "file://" + quote(uri, safe=_PLAIN)


class _AbsoluteOrBelow(pafs.FileSystemHandler):
    """Opens files by absolute URI, or by a path below a root; reads only."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._below, self._root = pafs.FileSystem.from_uri(_root(uri))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._uri,)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _AbsoluteOrBelow) and other._uri == self._uri

    def __hash__(self) -> int:
        return hash(self._uri)

    def _place(self, path: str) -> str:
        return _SCHEME.sub("", path) if _SCHEME.match(path) else f"{self._root}/{path}"

    def get_type_name(self) -> str:
        return "sluiceway-branch"

    def normalize_path(self, path: str) -> str:
        return path

    def get_file_info(self, paths: list[str]) -> list[pafs.FileInfo]:
        found = self._below.get_file_info([self._place(path) for path in paths])
        return [
            pafs.FileInfo(path, type=info.type, mtime=info.mtime, size=info.size)
            for path, info in zip(paths, found, strict=True)
        ]

    def open_input_file(self, path: str) -> pa.NativeFile:
        return self._below.open_input_file(self._place(path))

    def open_input_stream(self, path: str) -> pa.NativeFile:
        return self._below.open_input_stream(self._place(path))

    def get_file_info_selector(self, selector: pafs.FileSelector) -> list[pafs.FileInfo]:
        raise NotImplementedError

    def _refuse(self, *_given: Any, **_named: Any) -> Any:
        raise OSError("this filesystem reads only")

    create_dir = delete_dir = delete_dir_contents = delete_root_dir_contents = delete_file = _refuse
    move = copy_file = open_output_stream = open_append_stream = _refuse
