"""What a merge, a revert and a cherry-pick do to one table: the change from base to source, put onto the present.

Files are known by their absolute URIs, and never change once they are written; so a table's version is a set of files.
"""

from __future__ import annotations

import enum
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sluiceway.data.delta_log import Action, LogState
from sluiceway.data.places import file_uris

SCHEMA, PARTITIONS, CONFIGURATION = "schemaString", "partitionColumns", "configuration"


# Properties that judge no row and change no reader's answer: how long logs and files stay, how large files become, what
# statistics they get. Two sides may differ in them, and each goes on with its own.
HOUSEKEEPING = (
    "delta.logRetentionDuration",
    "delta.deletedFileRetentionDuration",
    "delta.enableExpiredLogCleanup",
    "delta.checkpoint",
    "delta.targetFileSize",
    "delta.tuneFileSizesForRewrites",
    "delta.autoOptimize",
    "delta.dataSkipping",
    "delta.randomizeFilePrefixes",
    "delta.randomPrefixLength",
    "delta.setTransactionRetentionDuration",
)
# Of the Delta transactions that say of a file that an erasure has replaced it.
ERASED = "sluiceway.erased:"


class Strategy(enum.StrEnum):
    """What happens to a table that both sides changed in ways that exclude each other."""

    FAIL = "fail"
    SOURCE_WINS = "source-wins"
    DEST_WINS = "dest-wins"


@dataclass(frozen=True)
class Side:
    """A version of a table, by the files that it holds.

    Attributes:
        files: the content of ``add`` by absolute URI.
        metadata: of the table.
        protocol: of the table.
        erased: what :func:`erased_mark` gives for files that an erasure has replaced, in every log alike.
    """

    files: Mapping[str, Action]
    metadata: Action
    protocol: Action
    erased: frozenset[str] = frozenset()

    @property
    def shape(self) -> tuple[Any, ...]:
        """What readers and writers see beside the rows; not how a table keeps house."""
        schema = self.metadata.get(SCHEMA)
        told = self.metadata.get(CONFIGURATION) or {}
        return (
            json.loads(schema) if schema else None,
            tuple(self.metadata.get(PARTITIONS) or ()),
            {name: value for name, value in told.items() if not name.startswith(HOUSEKEEPING)},
        )


NOTHING = Side({}, {}, {})


@dataclass(frozen=True)
class Change:
    """What has to be done to the destination; empty where nothing is.

    Attributes:
        add: files to put in, by URI.
        remove: files to take out, by URI.
        metadata: to replace the destination's, or None.
    """

    add: Mapping[str, Action]
    remove: Mapping[str, Action]
    metadata: Action | None = None

    def __bool__(self) -> bool:
        return bool(self.add or self.remove or self.metadata)


@dataclass(frozen=True)
class Conflict:
    """Why the change does not fit the destination.

    Attributes:
        reason: for people.
        files: that both sides took out or rewrote, by URI.
        keys: that both sides put in; at most a few.
    """

    reason: str
    files: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()


def side(uri: str, state: LogState) -> Side:
    """A version of a table by absolute URIs.

    Args:
        uri: whose log it is.
        state: of the version.
    """
    identities = file_uris(uri, state.adds)
    erased = frozenset(name for name in state.transactions if name.startswith(ERASED))
    return Side({identities[path]: add for path, add in state.adds.items()}, state.metadata, state.protocol, erased)


def erased_mark(run: str, identity: str) -> str:
    """The Delta transaction of a log in which an erasure has replaced a file.

    Args:
        run: of the erasure; it puts the same new file into every log.
        identity: of the old file.
    """
    return f"{ERASED}{run}:{_digits(identity)}"


def _digits(identity: str) -> str:
    return hashlib.sha256(identity.encode()).hexdigest()[:32]


def merge_table(
    base: Side, source: Side, dest: Side, *, conflict: Conflict | None, strategy: Strategy = Strategy.SOURCE_WINS
) -> Change:
    """Put the change from base to source onto the destination; nothing is read or written.

    Args:
        base: where both come from.
        source: what is to come in.
        dest: what is there now.
        conflict: what was found; None where the change fits.
        strategy: of a conflict; who fails does not come here.

    Returns:
        the change.
    """
    if conflict is not None:
        return Change({}, {}) if strategy is Strategy.DEST_WINS else replace_all(source, dest)
    return Change(
        add={uri: add for uri, add in source.files.items() if uri not in base.files and uri not in dest.files},
        remove={uri: add for uri, add in base.files.items() if uri not in source.files and uri in dest.files},
        metadata=source.metadata if source.shape != base.shape and source.shape != dest.shape else None,
    )


def replace_all(source: Side, dest: Side) -> Change:
    """Make the destination hold what the source holds."""
    return Change(
        add={uri: add for uri, add in source.files.items() if uri not in dest.files},
        remove={uri: add for uri, add in dest.files.items() if uri not in source.files},
        metadata=source.metadata if source.shape != dest.shape else None,
    )


def find_conflict(base: Side, source: Side, dest: Side) -> Conflict | None:
    """What both sides did that excludes each other, without looking at rows.

    Both took the same file out: it was rewritten or deleted from on both sides, and one of them would be lost. Equal
    changes of both sides are none; nor is an erasure, which puts the same new files into both. Both changed columns or
    properties: nobody can say which is meant.
    """
    if source.files.keys() == dest.files.keys() and source.shape == dest.shape:
        return None
    if source.shape != base.shape and dest.shape not in (base.shape, source.shape):
        return Conflict(f"both sides changed columns or properties ({_differing(source, dest)})")
    added = source.files.keys() - base.files.keys()
    if dest.shape != base.shape and source.shape == base.shape and _stricter(base, dest) and added - dest.files.keys():
        told = _differing(base, dest)
        return Conflict(
            f"the destination has got stricter rules since ({told}), which the incoming rows were not checked by"
        )
    gone = base.files.keys() - dest.files.keys()
    same = {mark.rpartition(":")[2] for mark in source.erased & dest.erased}
    both = (base.files.keys() - source.files.keys()) & gone
    twice = {uri for uri in both if _digits(uri) not in same} if same else both
    if not twice or added == dest.files.keys() - base.files.keys():
        return None
    return Conflict("both sides rewrote or removed the same files", files=tuple(sorted(twice)))


def _differing(one: Side, other: Side) -> str:
    """The names of what two shapes do not have in common."""
    (schema, partitions, told), (others, other_partitions, other_told) = one.shape, other.shape
    columns = {field["name"]: field for field in (schema or {}).get("fields", [])}
    other_columns = {field["name"]: field for field in (others or {}).get("fields", [])}
    names = sorted(
        {name for name in columns.keys() | other_columns.keys() if columns.get(name) != other_columns.get(name)}
        | {name for name in told.keys() | other_told.keys() if told.get(name) != other_told.get(name)}
    )
    return ", ".join(names) or ("partition columns" if partitions != other_partitions else "the order of columns")


def _stricter(base: Side, dest: Side) -> bool:
    """Whether rows that fitted the base may not fit the destination: anything but a new column that may be null."""
    before, after = base.shape, dest.shape
    if before[1:] != after[1:]:
        return True
    old = {field["name"]: field for field in before[0]["fields"]} if before[0] else {}
    new = {field["name"]: field for field in after[0]["fields"]}
    return any(new.get(name) != field for name, field in old.items()) or any(
        not field["nullable"] for name, field in new.items() if name not in old
    )
