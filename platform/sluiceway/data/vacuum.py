"""Deletes the files that no version needs any more: of a table, and of the branches' copies that lie in it.

What is needed is said by :mod:`.keeping` from whole logs and from the catalog; whatever cannot be read stops it. The
engine's own vacuum is not used: it knows nothing of branches, tags and models, and never looks into ``_branches``.

In what order: the versions that are going to be lost are written down, then everybody who could need them is asked once
more, then files go. Who names a version looks at what was written down *after* it has named it, so one of the two
always sees the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sluiceway.catalog.claim import claim
from sluiceway.catalog.identity import CatalogIdentity
from sluiceway.catalog.leases import LeaseStore
from sluiceway.catalog.lost_versions import LostVersionStore
from sluiceway.core.clock import Clock
from sluiceway.core.doors import Progress, SilentProgress
from sluiceway.core.errors import ConflictError, DataError, InputError
from sluiceway.data import delta_log, tables
from sluiceway.data.keeping import NEWEST, RECENT, Kept, Kind, Need, keep, known_files, needed_files
from sluiceway.data.known_by import FOLDER, refuse_other_catalogs
from sluiceway.data.log_history import LogHistory, read_history
from sluiceway.data.log_retention import keep_log, trim_log
from sluiceway.data.optimize import CARE
from sluiceway.data.places import is_clone, main_of
from sluiceway.data.stored_files import StoredFile, delete_files, delete_log, list_files, plain_root

VACUUM = "vacuum"
DEFAULT_RETAIN_SECONDS = 7 * 86_400.0
# A reader that has asked for the newest version has opened it, and a commit that was planned is made, within this.
LEAST_RETAIN_SECONDS = 3_600.0
# Files that no log names may be those of a writer who has not committed yet; ours are done within this.
LONGEST_WRITE_SECONDS = 86_400.0
ATTEMPTS = 5
_OURS = ".parquet"


@dataclass(frozen=True)
class Retention:
    """What stays although nobody names it.

    Attributes:
        now: UTC epoch seconds.
        seconds: what was the newest version within these stays.
        quiet: nobody reads or writes the table now, so nothing is kept for somebody who might.
    """

    now: float
    seconds: float = DEFAULT_RETAIN_SECONDS
    quiet: bool = False

    @property
    def since(self) -> float:
        """What was the newest version at any time from then on stays, UTC epoch seconds."""
        return self.now - self.seconds

    def refuse_short(self) -> None:
        """Refuse a window in which readers and writers lose what they work on.

        Raises:
            InputError: it is shorter than an hour, and nobody has said that the table is quiet.
        """
        if self.seconds < 0:
            raise InputError(f"{self.seconds / 3600:g} hours cannot be kept", hint="0 keeps only what somebody names")
        if self.seconds < LEAST_RETAIN_SECONDS and not self.quiet:
            raise InputError(
                f"{self.seconds / 3600:g} hours are too short: readers would lose what they have just opened",
                hint="keep at least 1 hour; or say --quiet where nobody reads or writes the table now",
            )

    def abandoned(self, file: StoredFile) -> bool:
        """Whether a file that no log names is too old to be committed yet."""
        return self.quiet or file.modified < self.now - max(self.seconds, LONGEST_WRITE_SECONDS)


@dataclass(frozen=True)
class VacuumPlan:
    """What would be deleted, and why the rest stays.

    Attributes:
        uri: the table.
        kept: for the table and each living copy, which versions stay and why.
        files: to delete, in versions that nobody needs.
        abandoned: to delete, in no version at all.
        waiting: in no version either, but young: somebody may be about to commit them.
        dead: copies of branches that are gone; their logs go, too.
        foreign: files that are not Parquet; left alone.
        log_from: the oldest version of the table that later merges ask the log for, or None.
    """

    uri: str
    kept: tuple[Kept, ...]
    files: tuple[StoredFile, ...]
    abandoned: tuple[StoredFile, ...]
    waiting: tuple[StoredFile, ...]
    dead: tuple[str, ...]
    foreign: int
    log_from: int | None = None

    @property
    def size(self) -> int:
        """Bytes that are going to be free."""
        return sum(file.size for file in (*self.files, *self.abandoned))


@dataclass(frozen=True)
class CareDoors:
    """What a clean-up of one table asks, and where it writes down what it does.

    Attributes:
        ask: gives everybody who needs a version; called with the time since when commits count, UTC epoch seconds.
        copies: gives the living branches by the place of their copy.
        catalog: that is asked, and where it is written down what goes.
        lost: the same catalog's versions whose files are gone.
        leases: one cleans a table up at a time.
        clock: for the lease.
        progress: told how far it is.
    """

    ask: Callable[[float], Sequence[Need]]
    copies: Callable[[], Mapping[str, str]]
    catalog: CatalogIdentity
    lost: LostVersionStore
    leases: LeaseStore
    clock: Clock
    progress: Progress = field(default_factory=SilentProgress)


@dataclass(frozen=True)
class Vacuumed:
    """What was deleted.

    Attributes:
        plan: the files, and why the others stayed.
        log_files: of the log's old end, how many.
        log_kept: engines keep the log longer from now on, for the versions that somebody has named.
    """

    plan: VacuumPlan
    log_files: int = 0
    log_kept: bool = False


def plan_vacuum(uri: str, doors: CareDoors, retention: Retention) -> VacuumPlan:
    """What a vacuum would do now; changes nothing.

    Args:
        uri: the table.
        doors: who needs what.
        retention: what stays although nobody names it.

    Raises:
        InputError: the retention is too short, the place is a branch's copy, or another catalog has names for it.
        DataError: a log cannot be read whole, or another table lies in this one.
        BackendError: the store, the catalog or the registry do not answer.
    """
    retention.refuse_short()
    uri = tables.absolute(uri)
    if is_clone(uri):
        raise InputError(f"{uri} is a branch's copy of a table", hint="vacuum the table; copies lie in it")
    tables.open_table(uri)  # refuses what we would read wrongly
    refuse_other_catalogs(uri, doors.catalog)
    doors.progress.stage("ask who needs what", uri)
    needs, copies = doors.ask(retention.since), doors.copies()
    # Listed before the logs are read: a file that is committed in between is named by a log then.
    doors.progress.stage("list the files")
    stored = stored_table(uri)
    doors.progress.stage("read the logs", f"{len(stored.files):,} files, {len(stored.copies):,} copies of branches")
    wanted = set(copies) | {need.place for need in needs if need.kind is not Kind.LOG}
    asked = {need.place for need in needs if need.kind is Kind.LOG}
    alive = [read_history(place) for place in (uri, *sorted(stored.copies & wanted))]
    dead = [read_history(place) for place in sorted(stored.copies - wanted)]
    kept = keep(alive, needs, since=retention.since)
    needed = needed_files(kept)
    # A branch that was forgotten a moment ago is somebody's mistake, perhaps.
    recent = [history for history in dead if _newest_time(history) >= retention.since and not retention.quiet]
    for history in recent:
        needed |= history.files_of(history.newest)
    known = known_files([*alive, *dead])
    parquet = [file for file in stored.files if file.path.endswith(_OURS)]
    free = [file for file in parquet if file.path not in needed]
    unnamed = [file for file in free if file.path not in known]
    return VacuumPlan(
        uri,
        tuple(kept),
        tuple(file for file in free if file.path in known),
        tuple(file for file in unnamed if retention.abandoned(file)),
        tuple(file for file in unnamed if not retention.abandoned(file)),
        tuple(history.place for history in dead if history not in recent and history.place not in asked),
        sum(1 for file in stored.files if not file.path.endswith(_OURS) and f"/{FOLDER}/" not in file.path),
        min((need.version for need in needs if need.kind is Kind.LOG and need.place == uri), default=None),
    )


def vacuum(uri: str, doors: CareDoors, retention: Retention, *, trim: bool = False) -> Vacuumed:
    """Delete what nobody needs; what a crash has left is done by the next one.

    Args:
        uri: the table.
        doors: who needs what, and where it is written down.
        retention: what stays although nobody names it.
        trim: delete the old end of the log, too.

    Raises:
        ConflictError: somebody else cleans the table up, or versions were named again and again.
        InputError, BackendError: as :func:`plan_vacuum`; nothing was deleted then, or some of it by the last.
    """
    uri = tables.absolute(uri)
    retention.refuse_short()
    with claim(doors.leases, CARE + uri, clock=doors.clock):
        plan = _vacuumed(uri, doors, retention)
        main = plan.kept[0]
        named = any(set(reasons) - {NEWEST, RECENT} for reasons in main.reasons.values())
        return Vacuumed(plan, trim_log(main, plan.log_from) if trim else 0, keep_log(uri) if named else False)


def _vacuumed(uri: str, doors: CareDoors, retention: Retention) -> VacuumPlan:
    for _ in range(ATTEMPTS):
        plan = plan_vacuum(uri, doors, retention)
        if not (plan.files or plan.abandoned or plan.dead):
            return plan
        going = [file.path for file in plan.files]
        fresh = write_down([kept.history for kept in plan.kept], going, doors.lost, why=VACUUM, now=retention.now)
        again = plan_vacuum(uri, doors, retention)
        # Newer versions may have come and others may have been named; what goes must still be free.
        free = {file.path for file in (*again.files, *again.abandoned)}
        if all(file.path in free for file in (*plan.files, *plan.abandoned)) and set(plan.dead) <= set(again.dead):
            doors.progress.stage("delete", f"{len(plan.files) + len(plan.abandoned):,} files")
            _delete(plan)
            return plan
        for place, versions in fresh.items():
            doors.lost.forget(place, versions)
    raise ConflictError(f"versions of {uri} were named while they were about to be deleted", hint="run it again")


def write_down(
    histories: Iterable[LogHistory], going: Iterable[str], lost: LostVersionStore, *, why: str, now: float
) -> dict[str, set[int]]:
    """Write down which versions are about to lose a file, before they do.

    Args:
        histories: the logs.
        going: plain paths of the files.
        lost: the catalog's.
        why: ``vacuum`` or ``erase``.
        now: UTC epoch seconds.

    Returns:
        those that were not written down before, by place: what is to be forgotten where the files stay after all.
    """
    paths, fresh = list(going), {}
    for history in histories:
        hit = {
            version
            for path in paths
            for span in history.spans.get(path, ())
            for version in range(span.first, history.newest + 1 if span.end is None else span.end)
        }
        fresh[history.place] = hit - lost.of(history.place, history.table_id)
        lost.record(history.place, hit, table_id=history.table_id, why=why, now=now)
    return fresh


def _delete(plan: VacuumPlan) -> None:
    delete_files(plan.uri, [file.path for file in (*plan.files, *plan.abandoned)])
    # Last: as long as a log is there, the next vacuum knows what its files were.
    for place in plan.dead:
        delete_log(place)


@dataclass(frozen=True)
class StoredTable:
    """What lies at a table's place, whatever its log says.

    Attributes:
        files: those of no log.
        copies: places of branches' copies.
    """

    files: tuple[StoredFile, ...]
    copies: frozenset[str]


def stored_table(uri: str) -> StoredTable:
    """List a table's place.

    Args:
        uri: the table, as :func:`sluiceway.data.tables.absolute` spells it.

    Raises:
        DataError: another table lies in it, whose files no log of this one names.
    """
    root = plain_root(uri)
    files, logs = [], set()
    for file in list_files(uri):
        above, inside, _ = file.path.partition(f"/{delta_log.LOG}/")
        if inside:
            logs.add(uri + above.removeprefix(root))
        else:
            files.append(file)
    copies = {place for place in logs if main_of(place) == uri != place}
    others = sorted(logs - copies - {uri})
    if others:
        raise DataError(f"another table lies in {uri}: {others[0]}", hint="move it out; nothing was deleted", table=uri)
    return StoredTable(tuple(files), frozenset(copies))


def _newest_time(history: LogHistory) -> float:
    return history.times.get(history.newest, float("inf"))
