"""What a repository of tables is made of: commits, names, and the tables that they pin."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

BRANCH, TAG = "branch", "tag"
# The branch whose tables are the tables themselves.
MAIN = "main"
# Of a merge: written down; its branch has moved; whoever wants to hear of it has; taken back.
OPEN, MOVED, DONE, UNDONE = "open", "moved", "done", "undone"


@dataclass(frozen=True)
class TrackedTable:
    """A table of the repository.

    Attributes:
        uri: absolute path or URI.
        key: columns that tell its rows apart, or none.
    """

    uri: str
    key: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pin:
    """One table in a commit.

    Attributes:
        uri: whose log has the version: the table, or a branch's copy of it.
        version: Delta version number.
        digest: level-1 digest.
    """

    uri: str
    version: int
    digest: str


@dataclass(frozen=True)
class Commit:
    """The versions of all tables at one moment.

    Attributes:
        id: 64 hex digits: sha256 over the canonical JSON of everything below.
        parents: ids; two of a merge, none of the first.
        tree: what each table was, by the table's URI.
        message: why.
        author: who.
        metadata: keys and values of the committer's.
        created: UTC epoch seconds.
    """

    id: str
    parents: tuple[str, ...]
    tree: Mapping[str, Pin]
    message: str
    author: str
    metadata: Mapping[str, str]
    created: float


@dataclass(frozen=True)
class Ref:
    """A branch or a tag.

    Attributes:
        name: the name, one namespace for both.
        kind: ``branch`` or ``tag``.
        commit: where it points.
        id: 32 hex digits, never used again: its copies of tables lie below it.
        protected: nothing moves it.
        created: UTC epoch seconds.
    """

    name: str
    kind: str
    commit: str
    id: str
    protected: bool = False
    created: float = 0.0


@dataclass(frozen=True)
class MergeRecord:
    """A merge on its way, written before its first table is touched.

    Attributes:
        id: also the application of its Delta transactions.
        dest: the branch that moves.
        base, source: commits; the change between them comes in.
        onto: the commit that the branch pointed at.
        body: JSON: what the new commit will say.
        status: ``open``; ``moved`` until the hooks after it have run; ``done`` or ``undone``.
        created: UTC epoch seconds.
        result: the commit that it made, once the branch has moved.
    """

    id: str
    dest: str
    base: str
    source: str
    onto: str
    body: str
    status: str
    created: float
    result: str = ""


def new_commit(
    *,
    parents: Sequence[str],
    tree: Mapping[str, Pin],
    message: str,
    author: str,
    metadata: Mapping[str, str],
    created: float,
) -> Commit:
    """A commit with its id."""
    unnamed = Commit("", tuple(parents), dict(tree), message, author, dict(metadata), created)
    text = json.dumps(asdict(unnamed), sort_keys=True, separators=(",", ":"))
    return replace(unnamed, id=hashlib.sha256(text.encode()).hexdigest())
