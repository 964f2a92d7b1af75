"""What an erasure has to reach, and what it cannot: which files may go, and who needs the others."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import pyarrow as pa

from sluiceway.data import delta_log
from sluiceway.data.keeping import NEWEST, Kept, Kind, Need, keep
from sluiceway.data.log_history import LogHistory
from sluiceway.data.places import file_uri, plain_path

# Where copies of rows may be that no table's log knows of; told with every erasure.
NOT_LOOKED_AT = (
    "backups and older object versions of the storage",
    "models that were trained on the rows, and reports and out-of-fold predictions about them",
    "prediction records, and tables that were made from this one",
)


@dataclass(frozen=True)
class Left:
    """Rows that stay.

    Attributes:
        where: for people.
        why: who needs them, or what hinders.
        rows: how many, counted a file; 0 where nobody has counted.
    """

    where: str
    why: str
    rows: int = 0


@dataclass(frozen=True)
class Reach:
    """What an erasure finds at one moment.

    Attributes:
        histories: the logs of the table and of all copies that lie in it.
        rows: the rows of the keys by the plain path of each file that has some, in a log or not.
        sizes: of these files, bytes.
        unnamed: of these files, those that no log names and that may be committed yet.
    """

    histories: tuple[LogHistory, ...]
    rows: Mapping[str, int]
    sizes: Mapping[str, int]
    unnamed: frozenset[str] = frozenset()

    def size_of(self, paths: Iterable[str]) -> int:
        """Bytes of some of these files together."""
        return sum(self.sizes[path] for path in paths)

    def in_version(self, place: str, version: int) -> int:
        """How many of the rows a version has; 0 for a place that nobody knows."""
        history = next((one for one in self.histories if one.place == place), None)
        if history is None:
            return 0
        spans = ((self.rows[path], history.spans.get(path, ())) for path in self.rows)
        return sum(rows for rows, found in spans if any(span.meets(version) for span in found))


@dataclass(frozen=True)
class ErasePlan:
    """Which files go, and which stay because of whom.

    Attributes:
        going: plain paths.
        left: what stays.
        broken: names (tags, models) whose versions lose files, on purpose.
    """

    going: tuple[str, ...]
    left: tuple[Left, ...]
    broken: tuple[str, ...] = ()


def plan_erasure(
    reach: Reach, needs: Sequence[Need], living: Collection[str], *, break_names: bool, moved_on: bool = False
) -> ErasePlan:
    """Decide about the files that hold the rows.

    Args:
        reach: what was found.
        needs: who needs what.
        living: places of the table and of living branches' copies; of others nobody needs the newest version.
        break_names: what only tags and models name goes, too.
        moved_on: decide as if the newest versions had the rows no more.
    """
    alive = [history for history in reach.histories if history.place in living]
    # Nothing is kept for having been the newest a while ago: that is what is to be erased.
    never = float("inf")
    strong = keep(alive, [need for need in needs if not (break_names and need.kind is Kind.NAME)], since=never)
    named = keep(alive, [need for need in needs if need.kind is Kind.NAME], since=never) if break_names else []
    left, stays = list[Left](), set[str](reach.unnamed)
    for kept in strong:
        for version, reasons in kept.reasons.items():
            if moved_on and reasons == (NEWEST,):
                continue
            hit = _hit(kept, version, reach.rows)
            stays |= hit
            if hit:
                rows = sum(reach.rows[path] for path in hit)
                left.append(Left(f"version {version} of {kept.history.place}", ", ".join(reasons), rows))
    if reach.unnamed:
        rows = sum(reach.rows[path] for path in reach.unnamed)
        left.append(Left(f"{len(reach.unnamed)} files that are in no version", "may be committed yet", rows))
    going = tuple(sorted(set(reach.rows) - stays))
    broken = {
        reason
        for kept in named
        for version, reasons in kept.reasons.items()
        if _hit(kept, version, reach.rows) & set(going)
        for reason in reasons
    }
    return ErasePlan(going, tuple(left), tuple(sorted(broken - {NEWEST})))


def keys_digest(keys: pa.Table) -> str:
    """An identity of some keys that does not tell them: sha256 over their sorted JSON.

    Keys that somebody could guess one by one are not hidden by it.
    """
    rows = sorted(json.dumps(row, sort_keys=True, default=str) for row in keys.to_pylist())
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def entries_that_name(place: str, gone: Iterable[str], keys: pa.Table) -> int:
    """How many entries of a log name one of the keys as the smallest or largest value of a file that is gone.

    Args:
        place: whose log.
        gone: plain paths of deleted files.
        keys: columns of the key.
    """
    paths = set(gone)
    wanted = {name: {_as_logged(value) for value in keys[name].to_pylist()} for name in keys.column_names}
    entries, _ = delta_log.log_files(place)
    found = 0
    for version in entries:
        adds = (action["add"] for action in delta_log.read_entry(place, version) if "add" in action)
        hit = (add for add in adds if plain_path(file_uri(place, add["path"])) in paths)
        found += any(_names(json.loads(add.get("stats") or "{}"), wanted) for add in hit)
    return found


@dataclass(frozen=True)
class Erasure:
    """What was done.

    Attributes:
        uri: the table.
        keys: how many.
        rows: taken out of the newest versions, by place.
        files: that were deleted because versions before had the rows.
        size: of these, bytes.
        lost: versions that can be read no more, by place.
        left: what was not reached.
        broken: names whose versions lost files, on purpose.
        applied: False where this is only what would be done.
    """

    uri: str
    keys: int
    rows: Mapping[str, int]
    files: int
    size: int
    lost: Mapping[str, tuple[int, ...]]
    left: tuple[Left, ...]
    broken: tuple[str, ...]
    applied: bool
    not_looked_at: tuple[str, ...] = field(default=NOT_LOOKED_AT)

    @property
    def complete(self) -> bool:
        """True where no row of the keys is left in what was looked at."""
        return not self.left

    def document(self) -> dict[str, Any]:
        """JSON-ready, without the keys."""
        return {
            **self.__dict__,
            "rows": dict(self.rows),
            "lost": {place: list(versions) for place, versions in self.lost.items()},
            "left": [dict(one.__dict__) for one in self.left],
            "complete": self.complete,
        }


def identities(paths: Iterable[str], uri: str) -> dict[str, str]:
    """The plain path of each data file by its identity.

    Args:
        paths: plain, as a store lists them.
        uri: of the table that they lie in.
    """
    scheme = f"{uri.partition('://')[0]}://" if "://" in uri else "file://"
    return {scheme + quote(path): path for path in paths}


def _hit(kept: Kept, version: int, rows: Mapping[str, int]) -> set[str]:
    # Not those of the change feed: a version can be read without it.
    spans = kept.history.spans
    return {path for path in rows if any(span.meets(version) for span in spans.get(path, ()))}


def _names(statistics: Mapping[str, Any], wanted: Mapping[str, set[str]]) -> bool:
    bounds = [statistics.get(which) or {} for which in ("minValues", "maxValues")]
    return any(
        _as_logged(bound[name]) in values for bound in bounds for name, values in wanted.items() if name in bound
    )


def _as_logged(value: Any) -> str:
    return str(value)
