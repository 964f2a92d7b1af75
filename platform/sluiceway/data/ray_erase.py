"""Takes a person's rows out of a table: of every branch's newest version by a commit, of history by deleting files.

In an order that a crash cannot harm: the newest versions first, by commits; then versions that are going to be lost are
written down; then files go. Each step looks at what is there, so a call that was cut off is finished by the next one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from sluiceway.catalog.claim import claim
from sluiceway.catalog.erasures import ErasureRecord, ErasureStore
from sluiceway.core.doors import Progress, SilentProgress
from sluiceway.core.errors import ConflictError, HookRefusedError, InputError
from sluiceway.core.repository import BRANCH, MAIN, Pin
from sluiceway.data import tables
from sluiceway.data.commit_files import Delivery
from sluiceway.data.erase import (
    ErasePlan,
    Erasure,
    Left,
    Reach,
    entries_that_name,
    identities,
    keys_digest,
    plan_erasure,
)
from sluiceway.data.ingest.planning import quarantine_uri
from sluiceway.data.keeping import Kind, Need
from sluiceway.data.known_by import refuse_other_catalogs
from sluiceway.data.log_history import read_history
from sluiceway.data.optimize import CARE
from sluiceway.data.places import is_clone
from sluiceway.data.ray_replace import Replacements
from sluiceway.data.ray_rewrite import find_rows
from sluiceway.data.repository import Repository
from sluiceway.data.rewrite import fitted_keys
from sluiceway.data.stored_files import delete_files
from sluiceway.data.vacuum import CareDoors, Retention, stored_table, write_down
from sluiceway.data.write_target import target_of

ERASE = "erase"
SOURCE = "erase"


@dataclass(frozen=True)
class EraseRequest:
    """Whose rows, and what may break.

    Attributes:
        keys: columns of the key, one row a person or thing; brought to the table's types.
        reason: why; goes into the commits.
        author: who.
        break_names: versions that only tags and models name lose their files, too.
        apply: False only looks.
    """

    keys: pa.Table
    reason: str = ""
    author: str = ""
    break_names: bool = False
    apply: bool = False


@dataclass(frozen=True)
class EraseDoors:
    """What an erasure works with.

    Attributes:
        care: gives who needs what, by the table's URI.
        repository: the branches.
        erasures: where it is written down.
    """

    care: Callable[[str], CareDoors]
    repository: Repository
    erasures: ErasureStore


def erase(
    uri: str, request: EraseRequest, doors: EraseDoors, *, progress: Progress | None = None
) -> tuple[Erasure, ...]:
    """Take the rows of some keys out of a table, its branches and its history; out of its quarantine table, too.

    Args:
        uri: the table.
        request: whose rows, and what may break.
        doors: what it works with.
        progress: told how far it is.

    Returns:
        what was done, or would be, and what was not reached: of the table, and of its quarantine where it has one.

    Raises:
        InputError: no keys, the place is a branch's copy, or another catalog has names for it.
        DataError: the table has no such column, only grows, or a log or a file cannot be read.
        ConflictError: somebody else cleans the table up, or versions were named again and again.
        BackendError: the store, the catalog, the registry or Ray failed; a repeated call goes on.
    """
    uri = tables.absolute(uri)
    if is_clone(uri):
        raise InputError(f"{uri} is a branch's copy of a table", hint="erase from the table itself")
    if not request.keys.num_rows:
        raise InputError("no keys were given", hint="for example --key customer=42")
    found = [_erase(uri, request, doors, progress or SilentProgress())]
    beside = quarantine_uri(uri)
    if tables.is_table(beside):
        found.append(_erase(beside, request, doors, progress or SilentProgress()))
    return tuple(found)


def _erase(uri: str, request: EraseRequest, doors: EraseDoors, progress: Progress) -> Erasure:
    keys = fitted_keys(request.keys, target_of(tables.open_table(uri), uri=uri))
    care = doors.care(uri)
    refuse_other_catalogs(uri, care.catalog)
    work = _Work(uri, keys, request, care, doors.repository, progress)
    if not request.apply:
        return work.look()
    with claim(care.leases, CARE + uri, clock=care.clock):
        done = work.do()
    now = care.clock.now().timestamp()
    doors.erasures.record(ErasureRecord(uri, keys_digest(keys), request.author, request.reason, done.document(), now))
    return done


@dataclass(frozen=True)
class _Work:
    uri: str
    keys: pa.Table
    request: EraseRequest
    care: CareDoors
    repository: Repository
    progress: Progress

    def look(self) -> Erasure:
        reach = self._reach()
        heads = {place: rows for _, place, rows in self._heads(reach)}
        living = {self.uri, *self.care.copies()}
        # Branches are going to be moved on, and the newest versions with them.
        needs = [need for need in self._needs() if need.kind is not Kind.BRANCH]
        plan = plan_erasure(reach, needs, living, break_names=self.request.break_names, moved_on=True)
        return Erasure(
            self.uri,
            self.keys.num_rows,
            heads,
            len(plan.going),
            reach.size_of(plan.going),
            {},
            (*plan.left, *self._closed(reach)),
            plan.broken,
            applied=False,
        )

    def do(self) -> Erasure:
        reach = self._reach()
        closed = tuple(self._closed(reach))
        rows = dict(self._drop(reach))
        reach = self._reach()
        reach, plan, lost = self._settled(reach)
        self.progress.stage("delete", f"{len(plan.going)} files")
        delete_files(self.uri, plan.going)
        named = entries_that_name(self.uri, plan.going, self.keys)
        log = (
            (Left(f"{named} entries of the log", "name keys in statistics; `data vacuum --log` drops old ones"),)
            if named
            else ()
        )
        return Erasure(
            self.uri,
            self.keys.num_rows,
            rows,
            len(plan.going),
            reach.size_of(plan.going),
            {place: tuple(sorted(versions)) for place, versions in lost.items() if versions},
            (*plan.left, *closed, *log),
            plan.broken,
            applied=True,
        )

    def _reach(self) -> Reach:
        """Every file at the table's place, whatever refers to it, with the rows of the keys that it has."""
        self.progress.stage("look for the rows", self.uri)
        stored = stored_table(self.uri)
        histories = tuple(read_history(place) for place in (self.uri, *sorted(stored.copies)))
        files = {file.path: file for file in stored.files if file.path.endswith(".parquet")}
        names = identities(files, self.uri)
        found = find_rows(list(names), self.keys, progress=self.progress)
        rows = {names[identity]: count for identity, count in found.items() if count}
        known = {path for history in histories for path in (*history.spans, *history.changes)}
        retention = Retention(self.care.clock.now().timestamp())
        young = {path for path in rows if path not in known and not retention.abandoned(files[path])}
        return Reach(histories, rows, {path: files[path].size for path in rows}, frozenset(young))

    def _heads(self, reach: Reach) -> Iterator[tuple[str, str, int]]:
        """Branch, place and rows of every newest version that has rows; the table itself first."""
        main = next(one for one in reach.histories if one.place == self.uri)
        rows = reach.in_version(self.uri, main.newest)
        if rows:
            yield MAIN, self.uri, rows
        for name, pin in self._branches():
            rows = reach.in_version(pin.uri, pin.version)
            if rows and name != MAIN:
                yield name, pin.uri, rows

    def _branches(self) -> Iterator[tuple[str, Pin]]:
        repository = self.repository
        for ref in repository.store.refs(BRANCH):
            pin = repository.present(ref.name).get(self.uri)
            if pin is not None:
                yield ref.name, pin

    def _closed(self, reach: Reach) -> Iterator[Left]:
        for name, place, rows in self._heads(reach):
            ref = self.repository.store.ref(name)
            if ref is not None and ref.protected:
                yield Left(f"the branch {name}, {place}", "it is protected: `data protect --off` opens it", rows)

    def _drop(self, reach: Reach) -> Iterator[tuple[str, int]]:
        """Take the rows out of the newest versions, and let branches point at these."""
        repository, request = self.repository, self.request
        message = f"erase {self.keys.num_rows:,} keys: {request.reason or 'no reason given'}"
        said = Delivery(message, SOURCE, author=request.author or None)
        new = Replacements(self.uri, self.keys, self.progress)
        try:
            for name, _, _ in list(self._heads(reach)):
                ref = repository.store.ref(name)
                if ref is not None and ref.protected:
                    continue
                self.progress.stage("erase", name)
                place = self.uri if name == MAIN else repository.place_to_write(self.uri, name)
                yield place, new.put(place, reach.rows, said)
        finally:
            new.clear()
        tracked = {table.uri for table in repository.store.tracked()}
        for name, _ in list(self._branches()) if self.uri in tracked else []:
            self._commit(name, reach)

    def _commit(self, name: str, reach: Reach) -> None:
        """A branch points at a commit; where that has the rows, it is followed by one that has them no more.

        Where a hook refuses it, the branch goes on to need its version, and the plan says so.
        """
        repository = self.repository
        ref = repository.head(name)
        pin = repository.store.commit(ref.commit).tree.get(self.uri)
        if pin is not None and not ref.protected and reach.in_version(pin.uri, pin.version):
            with contextlib.suppress(HookRefusedError):
                repository.commit(name, message=f"erase {self.keys.num_rows:,} keys", author=self.request.author)

    def _settled(self, reach: Reach) -> tuple[Reach, ErasePlan, Mapping[str, set[int]]]:
        """What goes, after everybody who could need it was asked once more; it is written down as lost by then."""
        care = self.care
        now = care.clock.now().timestamp()
        for _ in range(5):
            living = {self.uri, *care.copies()}
            plan = plan_erasure(reach, self._needs(), living, break_names=self.request.break_names)
            fresh = write_down(reach.histories, plan.going, care.lost, why=ERASE, now=now)
            again = plan_erasure(reach, self._needs(), living, break_names=self.request.break_names)
            newest = (read_history(one.place) for one in reach.histories if one.place in living)
            live = {path for history in newest for path in history.files_of(history.newest)}
            if set(plan.going) <= set(again.going) and live.isdisjoint(plan.going):
                return reach, plan, fresh
            for place, versions in fresh.items():
                care.lost.forget(place, versions)
            reach = self._reach()
        raise ConflictError(f"versions of {self.uri} were named again and again", hint="run it again")

    def _needs(self) -> Sequence[Need]:
        # Commits that branches have left are history: from no time on do they count.
        return self.care.ask(float("inf"))
