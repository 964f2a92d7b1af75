"""Reads and writes a Delta log as it stands: what the engine's Python interface leaves out.

The pinned engine can take no file out of a table by a transaction of ours, and gives statistics only parsed. So a merge
reads the log's own entries, and writes its entry itself: "create only", which one of two writers always loses.
"""

from __future__ import annotations

import io
import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import obstore
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake import exceptions as delta
from obstore.exceptions import AlreadyExistsError
from obstore.store import LocalStore, from_url

from sluiceway.core.errors import DataError, UnsupportedTableError
from sluiceway.data.create_only import refuse_unsafe_store, unwritable

LOG = "_delta_log"
ENGINE = "sluiceway"
_ROWS = re.compile(r'"numRecords":\s*(\d+)')
_ENTRY = re.compile(r"(\d{20})\.json")
_CHECKPOINT = re.compile(r"(\d{20})\.checkpoint(?:\.\d{10}\.\d{10})?\.parquet")
# What a writer has to know to keep a table's promises, and we do: it adds and removes whole files, whose rows other
# writers have checked under the same rules.
WRITER_FEATURES = frozenset(
    {"appendOnly", "invariants", "checkConstraints", "changeDataFeed", "generatedColumns", "timestampNtz"}
)
NEWEST_LEGACY_WRITER = 4

Action = dict[str, Any]
_encode = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(frozen=True)
class LogState:
    """A version of a table, from its log.

    Attributes:
        version: which.
        protocol: the action's content.
        metadata: the content of ``metaData``.
        adds: live files by path as the log has it; the content of ``add``, statistics as JSON text.
        transactions: newest version by application.
    """

    version: int
    protocol: Action
    metadata: Action
    adds: Mapping[str, Action]
    transactions: Mapping[str, int] = field(default_factory=dict)


def replay(uri: str, version: int) -> LogState:
    """Read a version's log: the newest checkpoint before it, and the entries since.

    Args:
        uri: the table, as :func:`sluiceway.data.tables.absolute` spells it.
        version: which; it exists.

    Raises:
        DataError: entries are missing, or the table is.
    """
    store = _store_of(uri)
    present, checkpoints = log_files(uri)
    start = max((number for number in checkpoints if number <= version), default=-1)
    state = _Replayed()
    for name in sorted(checkpoints.get(start, [])):
        state.take_checkpoint(bytes(obstore.get(store, f"{LOG}/{name}").bytes()))
    missing = [number for number in range(start + 1, version + 1) if number not in present]
    if missing:
        raise DataError(
            f"the log of {uri} lacks version {missing[0]}",
            hint="entries were cleaned up; use a newer version",
            table=uri,
        )
    for number in range(start + 1, version + 1):
        state.take_entry(bytes(obstore.get(store, f"{LOG}/{number:020d}.json").bytes()))
    return LogState(version, state.protocol, state.metadata, state.adds, state.transactions)


def log_files(uri: str) -> tuple[set[int], dict[int, list[str]]]:
    """The versions that have an entry, and the names of the checkpoints' files by version.

    Raises:
        DataError: the table is gone.
    """
    names = [str(meta["path"]).rpartition("/")[2] for part in obstore.list(_store_of(uri), LOG) for meta in part]
    checkpoints: dict[int, list[str]] = {}
    for found in filter(None, map(_CHECKPOINT.fullmatch, names)):
        checkpoints.setdefault(int(found[1]), []).append(found[0])
    return {int(found[1]) for found in map(_ENTRY.fullmatch, names) if found}, checkpoints


def newest_version(uri: str) -> int | None:
    """The newest version by the names of the log's files, or None where there is no log; opens nothing."""
    if "://" not in uri and not Path(uri).is_dir():
        return None
    entries, checkpoints = log_files(uri)
    return max([*entries, *checkpoints], default=None)


def read_entry(uri: str, version: int) -> list[Action]:
    """The actions of one version's own entry, in their order.

    Raises:
        DataError: it was cleaned up, or the table is gone.
    """
    try:
        content = bytes(obstore.get(_store_of(uri), f"{LOG}/{version:020d}.json").bytes())
    except FileNotFoundError as error:
        raise DataError(
            f"the log of {uri} lacks version {version}", hint="entries were cleaned up", table=uri
        ) from error
    return _actions(content)


def read_commit_info(uri: str, version: int) -> Action | None:
    """What a version's own entry says of its commit: nothing where its writer left that out, None where it is gone."""
    try:
        content = bytes(obstore.get(_store_of(uri), f"{LOG}/{version:020d}.json").bytes())
    except FileNotFoundError:
        return None
    # Of an entry that brings many files only one line is looked into.
    lines = (json.loads(line) for line in content.splitlines() if b'"commitInfo"' in line)
    return next((dict(line["commitInfo"]) for line in lines if "commitInfo" in line), {})


def rows_of(add: Action) -> int | None:
    """How many rows a file has by its statistics, or None where they do not say."""
    text = add.get("stats") or "{}"
    found = _ROWS.search(text)
    if found is not None and text.count('"numRecords"') == 1:  # a merge asks thousands of files
        return int(found[1])
    rows = json.loads(text).get("numRecords")
    return None if rows is None else int(rows)


def write_entry(uri: str, version: int, actions: Iterable[Action], *, follows: LogState | None = None) -> None:
    """Write one version of a table, or lose to the writer who was first.

    Args:
        uri: the table.
        version: the one after that which the actions were planned on.
        actions: in the form of the log, ``commitInfo`` first.
        follows: the version before, where it is known; it says when a checkpoint is due.

    Raises:
        delta.CommitFailedError: the version is there already.
        DataError: the store cannot write "create only", or not at all.
    """
    text = "\n".join(map(_encode, actions)) + "\n"
    refuse_unsafe_store(uri)
    try:
        obstore.put(_store_of(uri, make=True), f"{LOG}/{version:020d}.json", text.encode(), mode="create")
    except AlreadyExistsError as error:
        raise delta.CommitFailedError(f"version {version} of {uri} was written by somebody else") from error
    except (obstore.exceptions.BaseError, OSError, NotImplementedError) as error:
        raise unwritable(uri, error) from error
    if version:  # the first is asked for by an interval of one only; a copy of many files would be opened for it
        _checkpoint(uri, version, follows)


def commit_info(operation: str, metadata: Mapping[str, Any]) -> Action:
    """The first action of an entry.

    Args:
        operation: in capital letters, e.g. ``MERGE BRANCH``.
        metadata: our keys.
    """
    now = int(time.time() * 1000)
    return {
        "commitInfo": {"timestamp": now, "operation": operation, "operationParameters": {}, "engineInfo": ENGINE}
        | dict(metadata)
    }


def removal(add: Action) -> Action:
    """The action that takes a file out; with its size, which the change feed asks for."""
    given = {"path": add["path"], "deletionTimestamp": int(time.time() * 1000), "dataChange": True}
    sizes = {"partitionValues": add.get("partitionValues") or {}, "size": add["size"]}
    return {"remove": given | {"extendedFileMetadata": True} | sizes}


def refuse_unwritable(state: LogState, *, uri: str, removes: bool) -> None:
    """Refuse a table whose promises an entry of ours could break.

    Args:
        state: the version that is to be followed.
        uri: for the message.
        removes: whether files are to be taken out.

    Raises:
        UnsupportedTableError: its protocol asks for more, or it only grows.
    """
    needed = int(state.protocol.get("minWriterVersion", 0))
    features = set(state.protocol.get("writerFeatures") or ())
    unknown = sorted(features - WRITER_FEATURES)
    if unknown or (NEWEST_LEGACY_WRITER < needed < 7):
        asked = ", ".join(unknown) or f"writer version {needed}"
        raise UnsupportedTableError(
            f"{uri} asks its writers for {asked}, which are not known here", hint="write a plain copy", table=uri
        )
    only_grows = (state.metadata.get("configuration") or {}).get("delta.appendOnly") == "true"
    if removes and only_grows:
        raise UnsupportedTableError(
            f"{uri} only grows (delta.appendOnly), and this would take rows out of it",
            hint="set delta.appendOnly to false, on purpose",
            table=uri,
        )


def _store_of(uri: str, *, make: bool = False) -> Any:
    """The object store at a table's place; its options come from the environment, as the engine's do."""
    if "://" in uri:
        return from_url(uri)
    if not make and not Path(uri).is_dir():
        raise DataError(f"there is no table at {uri} any more", hint="bring its folder back", table=uri)
    return LocalStore(uri, mkdir=make)


class _Replayed:
    """The state while entries are taken."""

    def __init__(self) -> None:
        self.protocol: Action = {}
        self.metadata: Action = {}
        self.adds: dict[str, Action] = {}
        self.transactions: dict[str, int] = {}

    def take_entry(self, text: bytes) -> None:
        for action in _actions(text):
            self._take(action)

    def take_checkpoint(self, content: bytes) -> None:
        table = pq.read_table(io.BytesIO(content))
        for name in ("protocol", "metaData", "txn"):
            if name in table.schema.names:
                for value in table[name].drop_null().to_pylist(maps_as_pydicts="strict"):
                    self._take({name: value})
        if "add" in table.schema.names:
            for chunk in table["add"].drop_null().chunks:
                self.adds |= {add["path"]: add for add in _structs(chunk)}

    def _take(self, action: Action) -> None:
        if "add" in action:
            add = {name: value for name, value in action["add"].items() if value is not None}
            self.adds[add["path"]] = add
        if "remove" in action:
            self.adds.pop(action["remove"]["path"], None)
        if "metaData" in action:
            self.metadata = action["metaData"]
        if "protocol" in action:
            self.protocol = {name: value for name, value in action["protocol"].items() if value is not None}
        if "txn" in action:
            self.transactions[action["txn"]["appId"]] = int(action["txn"]["version"])


def _structs(rows: pa.StructArray) -> Iterator[Action]:
    """Rows as dictionaries, without what is null: column by column, four times as fast as row by row."""
    # What is parsed beside its text is not what an entry has.
    names = [field.name for field in rows.type]
    columns = {name: column for name, column in zip(names, rows.flatten(), strict=True) if not name.endswith("_parsed")}
    told = {name: _plain(column) for name, column in columns.items() if column.null_count < len(column)}
    for values in zip(*told.values(), strict=True):
        yield {name: value for name, value in zip(told, values, strict=True) if value is not None}


def _plain(column: pa.Array) -> list[Any]:
    """Values of Python; of a map its pairs, each by itself."""
    if not pa.types.is_map(column.type):
        return list(column.to_pylist(maps_as_pydicts="strict"))
    keys, items, ends = column.keys.to_pylist(), _plain(column.items), column.offsets.to_pylist()
    pairs = (dict(zip(keys[a:b], items[a:b], strict=True)) for a, b in pairwise(ends))
    return [pair if valid else None for pair, valid in zip(pairs, column.is_valid().to_pylist(), strict=True)]


def _actions(entry: bytes) -> list[Action]:
    # Not as bytes: json would look for the encoding in every line. Not by splitlines: a text may hold its other breaks.
    return [json.loads(line) for line in entry.decode().split("\n") if line.strip()]


def _checkpoint(uri: str, version: int, follows: LogState | None) -> None:
    told = follows.metadata.get("configuration") if follows else DeltaTable(uri).metadata().configuration
    if (version + 1) % int((told or {}).get("delta.checkpointInterval", "100")) == 0:
        table = DeltaTable(uri)
        if table.version() == version:
            table.create_checkpoint()
