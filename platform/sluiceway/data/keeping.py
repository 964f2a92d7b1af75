"""Which versions of a table are needed, by whom, and which files they need; pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sluiceway.data.log_history import LogHistory

NEWEST, RECENT = "the newest version", "the newest within the retention"


class Kind(StrEnum):
    """Of what somebody is who needs a version."""

    NAME = "name"
    """A tag or a registered model: a promise."""
    BRANCH = "branch"
    """A branch, which can be moved on."""
    WORK = "work"
    """A reader, a run, a merge: it ends by itself."""
    LOG = "log"
    """A later merge or comparison: it asks which files a version had, and reads none of them."""


@dataclass(frozen=True)
class Need:
    """Somebody who needs a version.

    Attributes:
        place: the table, or a branch's copy of it.
        version: which.
        why: for people, e.g. ``tag h1``.
        kind: of what.
    """

    place: str
    version: int
    why: str
    kind: Kind = Kind.WORK


@dataclass(frozen=True)
class Kept:
    """The versions of one log that stay readable.

    Attributes:
        history: the log.
        reasons: who needs a version, by version; no version without one.
    """

    history: LogHistory
    reasons: Mapping[int, tuple[str, ...]]

    @property
    def lost(self) -> tuple[int, ...]:
        """The versions that nobody needs."""
        return tuple(v for v in range(self.history.first, self.history.newest + 1) if v not in self.reasons)


def keep(histories: Iterable[LogHistory], needs: Collection[Need], *, since: float) -> list[Kept]:
    """Which versions have to stay readable.

    Args:
        histories: the logs of a table and of the branches' copies that are alive.
        needs: who needs what; what is said of other places, and of versions that the log has lost, counts for nothing.
        since: UTC epoch seconds; what was the newest version at any time from then on stays. A version whose time
            nobody knows is taken for recent.
    """
    found = []
    for history in histories:
        reasons: dict[int, list[str]] = {history.newest: [NEWEST]}
        for need in needs:
            if need.kind is Kind.LOG:
                continue
            if need.place == history.place and history.first <= need.version <= history.newest:
                reasons.setdefault(need.version, []).append(need.why)
        for version in range(history.first, history.newest):
            # Readers that began while it was the newest may still read it.
            followed = history.times.get(version + 1)
            if followed is None or followed >= since:
                reasons.setdefault(version, []).append(RECENT)
        found.append(Kept(history, {v: tuple(dict.fromkeys(why)) for v, why in sorted(reasons.items())}))
    return found


def needed_files(kept: Iterable[Kept]) -> set[str]:
    """The plain paths that the kept versions need, those of their change feed among them."""
    needed: set[str] = set()
    for one in kept:
        history, versions = one.history, sorted(one.reasons)
        for path, spans in history.spans.items():
            if any(_meets_any(span.first, span.end, versions) for span in spans):
                needed.add(path)
        needed.update(path for path, version in history.changes.items() if version in one.reasons)
    return needed


def known_files(histories: Iterable[LogHistory]) -> set[str]:
    """The plain paths that a log names or has named: nobody is about to commit them."""
    known: set[str] = set()
    for history in histories:
        known.update(history.spans, history.changes)
    return known


def _meets_any(first: int, end: int | None, versions: Sequence[int]) -> bool:
    place = bisect_left(versions, first)
    return place < len(versions) and (end is None or versions[place] < end)
