"""All that a log still says: which versions there are, how old they are, and from when to when it had a file."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from sluiceway.core.errors import DataError
from sluiceway.data import delta_log
from sluiceway.data.places import file_uri, plain_path

# Entries are small and a store far away.
READERS = 16


@dataclass(frozen=True)
class Span:
    """A file's time in a table.

    Attributes:
        first: the first version that has it.
        end: the first version that has it no more; None while it is live.
    """

    first: int
    end: int | None = None

    def meets(self, version: int) -> bool:
        """Whether a version has the file."""
        return self.first <= version and (self.end is None or version < self.end)


@dataclass(frozen=True)
class LogHistory:
    """A log, read through.

    Attributes:
        place: the table, or a branch's copy of it.
        table_id: the table's own id; another one at the same place is another table.
        first: the oldest version that can be read.
        newest: the newest.
        times: when each version was made, UTC epoch seconds; those are missing whose commit does not say.
        spans: by plain path; a file that went and came back has several.
        changes: files of the change feed, by plain path, with the version whose feed they are.
    """

    place: str
    table_id: str
    first: int
    newest: int
    times: Mapping[int, float]
    spans: Mapping[str, tuple[Span, ...]]
    changes: Mapping[str, int] = field(default_factory=dict)

    def files_of(self, version: int) -> set[str]:
        """The plain paths of a version's files."""
        return {path for path, spans in self.spans.items() if any(span.meets(version) for span in spans)}


def read_history(place: str) -> LogHistory:
    """Read a log from its oldest readable version on.

    Args:
        place: the table, as :func:`sluiceway.data.tables.absolute` spells it.

    Raises:
        DataError: an entry is missing or cannot be read; nobody can say then what old versions need.
    """
    entries, checkpoints = delta_log.log_files(place)
    if not entries and not checkpoints:
        raise DataError(f"there is no Delta table at {place}", hint="check the path", table=place)
    newest = max([*entries, *checkpoints])
    first = 0 if 0 in entries else min(checkpoints, default=-1)
    wanted = range(first if 0 in entries else first + 1, newest + 1)
    missing = [number for number in wanted if number not in entries]
    if first < 0 or missing:
        lacking = missing[0] if missing else 0
        raise DataError(
            f"the log of {place} lacks version {lacking}, so nobody can say which files it needs",
            hint="restore the log from a backup; nothing was deleted",
            table=place,
        )
    reading = _Reading(place)
    if 0 not in entries:
        state = delta_log.replay(place, first)
        reading.start(first, state)
    with ThreadPoolExecutor(READERS) as readers:
        for number, actions in zip(wanted, readers.map(lambda n: delta_log.read_entry(place, n), wanted), strict=True):
            reading.take(number, actions)
    return LogHistory(place, reading.table_id, first, newest, reading.times, reading.spans(), reading.changes)


class _Reading:
    def __init__(self, place: str) -> None:
        self._place = place
        self._live: dict[str, int] = {}
        self._past: dict[str, list[Span]] = {}
        self.table_id = ""
        self.times: dict[int, float] = {}
        self.changes: dict[str, int] = {}

    def start(self, version: int, state: delta_log.LogState) -> None:
        self.table_id = str(state.metadata.get("id", ""))
        self._live = {self._path(path): version for path in state.adds}

    def take(self, version: int, actions: list[delta_log.Action]) -> None:
        for action in actions:
            if "remove" in action:
                path = self._path(action["remove"]["path"])
                began = self._live.pop(path, None)
                if began is not None:
                    self._past.setdefault(path, []).append(Span(began, version))
        for action in actions:
            if "add" in action:
                self._live.setdefault(self._path(action["add"]["path"]), version)
            elif "cdc" in action:
                self.changes[self._path(action["cdc"]["path"])] = version
            elif "metaData" in action:
                self.table_id = str(action["metaData"].get("id", ""))
            elif "commitInfo" in action and isinstance(action["commitInfo"].get("timestamp"), int):
                self.times[version] = action["commitInfo"]["timestamp"] / 1000

    def spans(self) -> dict[str, tuple[Span, ...]]:
        for path, began in self._live.items():
            self._past.setdefault(path, []).append(Span(began))
        return {path: tuple(spans) for path, spans in self._past.items()}

    def _path(self, logged: str) -> str:
        return plain_path(file_uri(self._place, logged))
