"""A repository of tables, as git has one of files: commits over all tables, branches, tags. There is no checkout.

The branch ``main`` is the tables themselves, plain Delta tables that anybody reads and writes. Every other branch
points at a commit until it is written to; then each table that is written gets a copy of its log (:mod:`.clone`).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from sluiceway.catalog.identity import CatalogIdentity
from sluiceway.catalog.lost_versions import LostVersionStore
from sluiceway.catalog.repository import RepositoryStore
from sluiceway.core.clock import Clock
from sluiceway.core.errors import DataError, InputError, ReferenceNotFoundError
from sluiceway.core.repository import BRANCH, MAIN, TAG, Commit, Pin, Ref, TrackedTable, new_commit
from sluiceway.data import tables
from sluiceway.data.clone import make_clone
from sluiceway.data.commit_graph import forebears, merge_bases
from sluiceway.data.digest import digest_of
from sluiceway.data.hooks import Hooks, hook_event
from sluiceway.data.known_by import make_known
from sluiceway.data.lost import refuse_lost_pins
from sluiceway.data.places import is_clone

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}")
_NUMBER = re.compile(r"[vV]\d+")
_COMMIT = re.compile(r"[0-9a-f]{7,64}")


@dataclass(frozen=True)
class Repository:
    """What can be asked of and done to a repository; merges are in :mod:`sluiceway.data.merging`.

    Attributes:
        store: the catalog's.
        clock: gives commits their times.
        hooks: what runs before and after changes.
        lost: versions whose files were deleted, which no new name may mean; None where nothing was ever deleted.
    """

    store: RepositoryStore
    clock: Clock
    hooks: Hooks = field(default_factory=Hooks)
    lost: LostVersionStore | None = None

    def add(self, uri: str, *, key: tuple[str, ...] = ()) -> TrackedTable:
        """Take a table in; the next commit holds it.

        Args:
            uri: the table.
            key: columns that tell its rows apart; a merge then finds rows that both sides put in.

        Raises:
            TableNotFoundError, UnsupportedTableError: there is no table, or its rows would be read wrongly.
            DataError: it is a branch's copy, or a column of the key is not there.
        """
        uri = tables.absolute(uri)
        if is_clone(uri):
            raise DataError(f"{uri} is a branch's copy of a table", hint="add the table itself", table=uri)
        columns = tables.arrow_schema(tables.open_table(uri)).names
        missing = [name for name in key if name not in columns]
        if missing:
            raise DataError(f"{uri} has no column {', '.join(missing)}", hint=f"its columns: {', '.join(columns)}")
        table = TrackedTable(uri, key)
        self.store.track(table, now=self._now())
        make_known(uri, CatalogIdentity(self.store.engine))
        return table

    def tracked(self, uri: str) -> TrackedTable:
        """A table of the repository.

        Raises:
            DataError: it was never added.
        """
        found = next((table for table in self.store.tracked() if table.uri == uri), None)
        if found is None:
            raise DataError(f"{uri} is not in the repository", hint="`sluiceway data add` takes it in", table=uri)
        return found

    def commit(
        self, branch: str = MAIN, *, message: str, author: str = "", metadata: Mapping[str, str] | None = None
    ) -> Commit:
        """Write down what every table is on a branch now. Where nothing has changed, the newest commit is given back.

        Raises:
            ReferenceNotFoundError: there is no such branch.
            InputError: the repository has no tables, or the branch is protected.
            ConflictError: the branch moved meanwhile.
        """
        head = self.head(branch) if branch != MAIN or self.store.ref(MAIN) else None
        if head is not None:
            refuse_protected(head)
        tree = self.present(branch)
        if not tree:
            raise InputError("the repository has no tables", hint="`sluiceway data add TABLE` takes one in")
        before = self.store.commit(head.commit) if head else None
        if before is not None and before.tree == tree:
            return before
        made = new_commit(
            parents=(before.id,) if before else (),
            tree=tree,
            message=message,
            author=author,
            metadata=metadata or {},
            created=self._now(),
        )
        changed = {uri: pin for uri, pin in tree.items() if before is None or before.tree.get(uri) != pin}
        event = hook_event(
            "commit", branch, source=made.id, message=message, author=author, metadata=metadata, tables=changed
        )
        self.hooks.before(event)
        self.store.publish(made, branch, expected=head.commit if head else None, now=self._now())
        self.hooks.after(event)
        return made

    def branch(self, name: str, at: str = MAIN) -> Ref:
        """Make a branch: one row, whatever the number and size of the tables.

        Args:
            name: a letter or underscore, then letters, digits, ``_ . -``.
            at: branch, tag or commit where it starts.

        Raises:
            InputError: the name is taken, is odd, or could be taken for a version or a commit.
            ReferenceNotFoundError: ``at`` is nothing, or files of its tables were deleted.
        """
        return self._name(name, BRANCH, at)

    def tag(self, name: str, at: str = MAIN) -> Ref:
        """Name a commit for good; raises what :meth:`branch` raises."""
        return self._name(name, TAG, at)

    def delete(self, name: str, kind: str) -> None:
        """Forget a branch or a tag; its commits, and what was merged from it, stay.

        Raises:
            ReferenceNotFoundError: there is none.
            InputError: it is main, or protected, or a merge into it is not finished.
        """
        found = self._ref(name, kind)
        if name == MAIN:
            raise InputError("main cannot be deleted: it is the tables themselves")
        refuse_protected(found)
        if any(record.dest == name for record in self.store.open_merges()):
            raise InputError(f"a merge into {name!r} is not finished", hint="`sluiceway data recover` finishes it")
        self.store.delete_ref(found.name)

    def protect(self, branch: str, *, protected: bool = True) -> None:
        """Let nothing move a branch: no write, commit or merge of ours; or let it again.

        Main's tables stay open to other programs' writers, which know nothing of it.
        """
        self._ref(branch, BRANCH)
        self.store.protect(branch, protected=protected)

    def head(self, branch: str) -> Ref:
        """A branch.

        Raises:
            ReferenceNotFoundError: there is none; the message has the nearest names.
        """
        return self._ref(branch, BRANCH)

    def find(self, name: str) -> Commit:
        """The commit that a branch, tag or the first digits of an id name; ``NAME~2`` is its second forebear.

        Raises:
            ReferenceNotFoundError: nothing has that name.
        """
        start, tilde, steps = name.partition("~")
        ref = self.store.ref(start)
        found = self.store.commit(ref.commit if ref else self._by_digits(start))
        if tilde and steps and not steps.isdigit():
            raise ReferenceNotFoundError(f"{name!r} is not NAME~NUMBER")
        for _ in range(int(steps or 1) if tilde else 0):
            if not found.parents:
                raise ReferenceNotFoundError(f"{name!r}: {start} does not reach back so far")
            found = self.store.commit(found.parents[0])
        return found

    def log(self, name: str = MAIN, *, limit: int | None = None) -> list[Commit]:
        """A commit and its forebears, each once, newest first."""
        waiting, seen, found = [self.find(name)], set[str](), list[Commit]()
        while waiting and (limit is None or len(found) < limit):
            waiting.sort(key=lambda commit: commit.created)
            commit = waiting.pop()
            if commit.id in seen:
                continue
            seen.add(commit.id)
            found.append(commit)
            waiting += [self.store.commit(parent) for parent in commit.parents if parent not in seen]
        return found

    def merge_base(self, one: str, other: str) -> str | None:
        """The id of the newest commit that both come from, or None."""
        parents = self.store.parents()
        best = merge_bases(forebears(one, parents) & forebears(other, parents), parents)
        return max(best, key=lambda commit: self.store.commit(commit).created) if best else None

    def present(self, branch: str) -> dict[str, Pin]:
        """What every table is on a branch now, committed or not."""
        if branch == MAIN:
            return {table.uri: newest_pin(table.uri) for table in self.store.tracked()}
        head = self.head(branch)
        copies = self.store.clones(head.id)
        tree = dict(self.store.commit(head.commit).tree)
        return tree | {uri: newest_pin(place) for uri, place in copies.items()}

    def place_to_write(self, uri: str, branch: str) -> str:
        """Where rows for a table go on a branch; makes the branch's copy at the first write.

        Raises:
            ReferenceNotFoundError: there is no such branch.
            DataError: the table is not in the repository, or not on the branch.
            InputError: the branch is protected.
        """
        uri = self.tracked(tables.absolute(uri)).uri
        head = self.store.ref(branch) if branch == MAIN else self.head(branch)
        if head is not None:
            refuse_protected(head)
        if branch == MAIN or head is None:
            return uri
        place = self.store.clone(head.id, uri)
        if place is not None:
            return place
        pin = self.store.commit(head.commit).tree.get(uri)
        if pin is None:
            raise DataError(
                f"{uri} was not there where {branch!r} begins", hint="commit it on main and merge main first", table=uri
            )
        place = make_clone(uri, head.id, uri=pin.uri, version=pin.version)
        self.store.keep_clone(head.id, uri, place, now=self._now())
        return place

    def refuse_closed(self, uri: str) -> None:
        """Refuse to write to a table of the repository while its branch main is protected.

        Raises:
            InputError: it is.
        """
        main = self.store.ref(MAIN)
        if main is not None and main.protected and any(table.uri == uri for table in self.store.tracked()):
            refuse_protected(main)

    def pin(self, uri: str, name: str) -> Pin | None:
        """What a table is under a branch, tag or commit; None where nothing has that name.

        A branch gives what was written to it last, a tag and a commit what they hold.
        """
        uri = tables.absolute(uri)
        ref = self.store.ref(name)
        start, tilde, _ = name.partition("~")
        known = self.store.ref(start) if tilde else ref
        if known is None and not (_COMMIT.fullmatch(start) and self.store.commits_named(start)):
            return None
        tree = self.present(name) if ref is not None and ref.kind == BRANCH else dict(self.find(name).tree)
        return tree.get(uri)

    def _name(self, name: str, kind: str, at: str) -> Ref:
        check_name(name)
        event = hook_event(kind, name, source=self._id(at))
        self.hooks.before(event)
        made = self.store.create_ref(name, kind, str(event["source"]), now=self._now())
        if self.lost is not None:
            try:
                # After it has its name: a vacuum writes down what goes, and then looks at the names once more.
                refuse_lost_pins(self.lost, self.store.commit(made.commit).tree.values())
            except ReferenceNotFoundError:
                self.store.delete_ref(name)
                raise
        self.hooks.after(event)
        return made

    def _id(self, name: str) -> str:
        ref = self.store.ref(name)
        return ref.commit if ref else self.find(name).id

    def _by_digits(self, name: str) -> str:
        found = self.store.commits_named(name) if _COMMIT.fullmatch(name) else []
        if len(found) == 1:
            return found[0]
        if found:
            raise ReferenceNotFoundError(f"several commits begin with {name!r}", hint="give more digits")
        raise self._unknown(name, self.store.refs())

    def _ref(self, name: str, kind: str) -> Ref:
        found = self.store.ref(name)
        if found is None or found.kind != kind:
            raise self._unknown(name, self.store.refs(kind))
        return found

    def _unknown(self, name: str, known: list[Ref]) -> ReferenceNotFoundError:
        names = [ref.name for ref in known]
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.4) or names[:5]
        hint = f"there are: {', '.join(near)}" if near else "the first `sluiceway data commit` makes main"
        return ReferenceNotFoundError(f"nothing in the repository is called {name!r}", hint=hint)

    def _now(self) -> float:
        return self.clock.now().timestamp()


def check_name(name: str) -> None:
    """Refuse odd names of branches and tags.

    Raises:
        InputError: it has other characters, or could be taken for a version or a commit.
    """
    if not _NAME.fullmatch(name) or _NUMBER.fullmatch(name) or _COMMIT.fullmatch(name) or ".." in name:
        raise InputError(
            f"{name!r} cannot be a name here",
            hint="a letter first, then letters, digits, _ . -; not v7 and not only the digits of a commit",
        )


def refuse_protected(branch: Ref) -> None:
    """Refuse to move a protected branch.

    Raises:
        InputError: it is protected.
    """
    if branch.protected:
        raise InputError(
            f"the branch {branch.name!r} is protected",
            hint="write to another branch, or open it with `sluiceway data protect --off`",
        )


def newest_pin(place: str, *, like: Pin | None = None) -> Pin:
    """The newest version of a table, or of a branch's copy of it; ``like`` that one, if it is, without its digest."""
    table = tables.open_table(place)
    if like is not None and (like.uri, like.version) == (place, table.version()):
        return like
    return Pin(place, table.version(), digest_of(table))
