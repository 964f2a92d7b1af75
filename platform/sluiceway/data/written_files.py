"""Data files that lie in a table's folder and are in no commit yet, and the log entry of ours that puts them in."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from sluiceway.data import commit_loop, delta_log
from sluiceway.data.delta_log import Action, LogState
from sluiceway.data.places import file_uri, path_below
from sluiceway.data.write_target import WriteTarget

_TIMES_WITHOUT_ZONE = "timestampNtz"
# What the old numbers of a protocol stand for, in the names that have to be listed when a feature joins them.
_WRITER_FEATURES = {
    2: ("appendOnly", "invariants"),
    3: ("checkConstraints",),
    4: ("changeDataFeed", "generatedColumns"),
}
_READER_BY_NAMES, _WRITER_BY_NAMES = 3, 7


@dataclass(frozen=True)
class WrittenFile:
    """A data file that lies in the table's folder and is in no commit yet.

    Attributes:
        path: within the folder, as the file system has it.
        size: bytes.
        modified: milliseconds since 1970.
        partition: text of each partition column's value, None for null.
        rows: how many.
        statistics: Delta's JSON.
    """

    path: str
    size: int
    modified: int
    partition: tuple[str | None, ...]
    rows: int
    statistics: str

    def identity(self, place: str) -> str:
        """Its absolute URI, spelled as the engine does.

        Args:
            place: whose folder it lies in.
        """
        return file_uri(place, quote(self.path, safe="/="))


@dataclass(frozen=True)
class Told:
    """What an entry says beside its files.

    Attributes:
        operation: in capital letters.
        metadata: our keys.
        batch_id: name of the delivery, or None.
        marks: further Delta transactions: names that say what was done here.
    """

    operation: str
    metadata: Mapping[str, Any]
    batch_id: str | None = None
    marks: Sequence[str] = ()


def write_files(
    target: WriteTarget,
    state: LogState,
    files: Sequence[WrittenFile],
    *,
    told: Told,
    remove: Iterable[Action] = (),
    lie_in: str | None = None,
) -> int:
    """Write the next version: files come in, others go, and columns that the target adds join the table.

    Args:
        target: what the files were written for.
        state: the version that this follows.
        files: that come in.
        told: what the entry says.
        remove: files that go, as the state has them.
        lie_in: the place of the files where that is another one: a branch's copy may name files of its table.

    Returns:
        the version.

    Raises:
        delta.CommitFailedError: somebody else wrote that version.
        UnsupportedTableError: the table asks for more than an entry of ours keeps.
    """
    gone = list(remove)
    delta_log.refuse_unwritable(state, uri=target.uri, removes=bool(gone))
    version = state.version + 1
    actions = [delta_log.commit_info(told.operation, told.metadata)]
    named = [commit_loop.BATCH_APP + told.batch_id] if told.batch_id else []
    now = int(time.time() * 1000)
    actions += [{"txn": {"appId": name, "version": version, "lastUpdated": now}} for name in (*named, *told.marks)]
    actions += _new_columns(target, state)
    actions += [delta_log.removal(add) for add in gone]
    actions += [_addition(file, target, lie_in or target.uri) for file in files]
    delta_log.write_entry(target.uri, version, actions, follows=state)
    return version


def _addition(file: WrittenFile, target: WriteTarget, place: str) -> Action:
    values = dict(zip(target.partition_by, file.partition, strict=True))
    path = path_below(target.uri, file.identity(place))
    given = {"path": path, "partitionValues": values, "size": file.size}
    return {"add": given | {"modificationTime": file.modified, "dataChange": True, "stats": file.statistics}}


def _new_columns(target: WriteTarget, state: LogState) -> list[Action]:
    """The table's columns as they stand, and those that it lacks behind them."""
    schema = json.loads(state.metadata["schemaString"])
    present = {field["name"] for field in schema["fields"]}
    wanted = json.loads(target.delta_schema().to_json())["fields"]
    new = [field for field in wanted if field["name"] in target.added and field["name"] not in present]
    if not new:
        return []
    actions: list[Action] = []
    if "timestamp_ntz" in json.dumps([field["type"] for field in new]):
        protocol = _with_times_without_zone(state.protocol)
        actions += [{"protocol": protocol}] if protocol != state.protocol else []
    text = json.dumps(schema | {"fields": [*schema["fields"], *new]}, separators=(",", ":"))
    return [*actions, {"metaData": state.metadata | {"schemaString": text}}]


def _with_times_without_zone(protocol: Action) -> Action:
    readers, writers = set(protocol.get("readerFeatures") or ()), set(protocol.get("writerFeatures") or ())
    number = int(protocol["minWriterVersion"])
    if number < _WRITER_BY_NAMES:
        writers = {name for since, names in _WRITER_FEATURES.items() if since <= number for name in names}
    return {
        "minReaderVersion": _READER_BY_NAMES,
        "minWriterVersion": _WRITER_BY_NAMES,
        "readerFeatures": sorted(readers | {_TIMES_WITHOUT_ZONE}),
        "writerFeatures": sorted(writers | {_TIMES_WITHOUT_ZONE}),
    }
