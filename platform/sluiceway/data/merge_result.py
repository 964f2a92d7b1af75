"""What a branch would hold after a commit or a merge that has not happened yet, as a version that can be read.

Rules about a whole table (keys, volume, age) hold or break in what comes of a merge, not in what comes in. So where the
destination has moved, the result gets a Delta log of its own, beside those of the branches, while somebody looks at it.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import obstore
from obstore.store import from_url

from sluiceway.core.errors import DataError
from sluiceway.core.repository import Pin
from sluiceway.data import delta_log
from sluiceway.data.merge_table import changes_of, planned_change, side_of
from sluiceway.data.places import clone_place, path_below
from sluiceway.data.repository import Repository
from sluiceway.data.three_way import Side, Strategy


@dataclass(frozen=True)
class Result:
    """One table as it would be.

    Attributes:
        side: its files, columns and protocol.
        incoming: those of its files that the branch does not hold yet, by URI.
        pin: the version that is just this; None where there is none yet.
    """

    side: Side
    incoming: frozenset[str]
    pin: Pin | None

    def same(self, other: Result | None) -> bool:
        """Whether another is the same table."""
        return other is not None and _same(self.side, other.side)


def results_of(repository: Repository, event: Mapping[str, Any]) -> dict[str, Result]:
    """What a branch would hold of every table that changes.

    Args:
        repository: where.
        event: of a ``commit`` or a ``merge``, before it, as hooks are told it.

    Returns:
        the results by the table's URI; a table that the merge would leave as it is has none.

    Raises:
        DataError: the source of a merge does not have a table that it takes rows from.
    """
    if event["kind"] == "commit":
        head = repository.store.ref(event["branch"])
        before = repository.store.commit(head.commit).tree if head else {}
        pins = {uri: Pin(told["uri"], told["version"], told["digest"]) for uri, told in event["tables"].items()}
        return {uri: _committed(before.get(uri), pin) for uri, pin in pins.items()}
    source = repository.store.commit(event["source"]).tree
    found = {}
    for uri, sides in changes_of(repository, event["base"], event["source"]).items():
        if uri not in source:
            raise DataError(f"{event['source'][:12]} has no table {uri}", table=uri)
        strategy = Strategy(event["strategy"])
        dest, change = planned_change(repository, uri, event["branch"], sides, strategy=strategy)
        if not change:
            continue
        files = {file: add for file, add in dest.files.items() if file not in change.remove} | dict(change.add)
        metadata = dest.metadata if change.metadata is None else change.metadata
        made = replace(dest, files=files, metadata=metadata, protocol=dest.protocol or sides[1].protocol)
        found[uri] = Result(made, frozenset(change.add), source[uri] if _same(made, sides[1]) else None)
    return found


@contextmanager
def readable(uri: str, result: Result) -> Iterator[Pin]:
    """A version that holds a result, as long as the context lasts; it copies no rows.

    Args:
        uri: the table.
        result: of it.
    """
    if result.pin is not None:
        yield result.pin
        return
    # Under a name that no branch has: what a crash leaves here is nobody's, and only a log.
    place = clone_place(uri, uuid.uuid4().hex)
    adds = ({"add": add | {"path": path_below(place, file)}} for file, add in result.side.files.items())
    first = [delta_log.commit_info("PREVIEW", {}), {"protocol": result.side.protocol}]
    try:
        delta_log.write_entry(place, 0, [*first, {"metaData": result.side.metadata | {"id": uuid.uuid4().hex}}, *adds])
        yield Pin(place, 0, "")
    finally:
        _forget(place)


def _committed(before: Pin | None, pin: Pin) -> Result:
    side = side_of(pin)
    return Result(side, frozenset(side.files.keys() - side_of(before).files.keys()), pin)


def _same(one: Side, other: Side) -> bool:
    return one.files.keys() == other.files.keys() and one.shape == other.shape


def _forget(place: str) -> None:
    if "://" not in place:
        shutil.rmtree(place, ignore_errors=True)
        return
    store = from_url(place)
    obstore.delete(store, [str(meta["path"]) for part in obstore.list(store) for meta in part])
