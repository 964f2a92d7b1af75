"""How far back a log reaches: as far as anybody needs, and no engine's clean-up may cut it shorter."""

from __future__ import annotations

import re

from deltalake import CommitProperties
from deltalake import exceptions as delta

from sluiceway.core.errors import ConflictError
from sluiceway.data import commit_loop, delta_log, tables
from sluiceway.data.keeping import Kept
from sluiceway.data.stored_files import delete_files, plain_root

_PROPERTY = "delta.logRetentionDuration"
_CLEANED = "delta.enableExpiredLogCleanup"
# What Delta's engines do where a table does not say.
_DEFAULT_DAYS = 30.0
_INTERVAL = re.compile(r"(?:interval\s+)?(\d+)\s*(week|day|hour|minute|second)s?", re.IGNORECASE)
_DAYS = {"week": 7.0, "day": 1.0, "hour": 1 / 24, "minute": 1 / 1440, "second": 1 / 86400}


def log_days(uri: str) -> float:
    """For how many days engines keep a table's log; infinite where they do not clean it up.

    Args:
        uri: the table.
    """
    told = tables.open_table(uri).metadata().configuration
    if str(told.get(_CLEANED, "true")).lower() == "false":
        return float("inf")
    return _days(str(told.get(_PROPERTY, "")))


def keep_log(uri: str) -> bool:
    """Let engines keep a table's log as long as those of our own tables; False where they do already.

    Old versions are read through the log; once it is cleaned up, nothing brings them back, whatever names them.

    Raises:
        ConflictError: somebody else wrote at the same moment.
    """
    wanted = commit_loop.CONFIGURATION[_PROPERTY]
    if log_days(uri) >= _days(wanted):
        return False
    told = commit_loop.metadata(
        message="keep the log for as long as versions are named", source="vacuum", batch_id=None, author=None
    )
    try:
        tables.open_table(uri).alter.set_table_properties(
            {_PROPERTY: wanted}, commit_properties=CommitProperties(custom_metadata=told, max_commit_retries=0)
        )
    except delta.CommitFailedError as error:
        raise ConflictError(f"somebody wrote to {uri} at the same moment", hint="run it again", table=uri) from error
    return True


def old_entries(kept: Kept, asked_from: int | None = None) -> list[str]:
    """The plain paths of what a log has from before the oldest version that stays.

    That version is read from the newest checkpoint before it, and the entries since; all that is older can go. The
    oldest comes first: a deletion that is cut off leaves a log that begins later, and no gap.

    Args:
        kept: the versions that stay.
        asked_from: the oldest version that is asked for the names of its files only, or None.
    """
    history = kept.history
    entries, checkpoints = delta_log.log_files(history.place)
    oldest = min([*kept.reasons, *([] if asked_from is None else [asked_from])])
    start = max((number for number in checkpoints if number <= oldest), default=None)
    if start is None:
        return []
    root = f"{plain_root(history.place)}/{delta_log.LOG}"
    names = [(number, f"{number:020d}.json") for number in entries if number < start]
    names += [(number, name) for number, found in checkpoints.items() if number < start for name in found]
    return [f"{root}/{name}" for _, name in sorted(names)]


def trim_log(kept: Kept, asked_from: int | None = None) -> int:
    """Delete what :func:`old_entries` names; gives how many files that was."""
    old = old_entries(kept, asked_from)
    for path in old:
        delete_files(kept.history.place, [path])
    return len(old)


def _days(interval: str) -> float:
    found = _INTERVAL.fullmatch(interval.strip())
    return float(found[1]) * _DAYS[found[2].lower()] if found else _DEFAULT_DAYS
