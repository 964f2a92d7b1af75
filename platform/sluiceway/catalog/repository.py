"""The repository of tables: commits, and the names that point at them.

A commit is the versions of all tables at one moment; it is named by its content and never changes. Branches and tags
are names: a new one is one row, whatever the number and size of the tables. A branch moves by compare-and-set only.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import asdict, dataclass, field

import sqlalchemy as sa

from sluiceway.catalog.dialect import insert, reaching
from sluiceway.catalog.schema import repository_clones as clones
from sluiceway.catalog.schema import repository_commits as commits
from sluiceway.catalog.schema import repository_merges as merges
from sluiceway.catalog.schema import repository_refs as refs
from sluiceway.catalog.schema import repository_tables as tables
from sluiceway.core.errors import BackendError, ConflictError, InputError
from sluiceway.core.repository import BRANCH, MOVED, OPEN, Commit, MergeRecord, Pin, Ref, TrackedTable


@dataclass(frozen=True)
class RepositoryStore:
    """Reads and writes the repository; each call is one transaction."""

    engine: sa.Engine = field(repr=False)

    def track(self, table: TrackedTable, *, now: float) -> None:
        """Take a table in, or set its key anew."""
        values = {"uri": table.uri, "key": json.dumps(table.key), "created": now}
        statement = insert(self.engine, tables).values(values)
        statement = statement.on_conflict_do_update(
            index_elements=[tables.c.uri], set_={"key": statement.excluded["key"]}
        )
        with reaching(self.engine), self.engine.begin() as connection:
            connection.execute(statement)

    def tracked(self) -> list[TrackedTable]:
        """The tables, by URI."""
        with reaching(self.engine), self.engine.connect() as connection:
            rows = connection.execute(sa.select(tables.c.uri, tables.c.key).order_by(tables.c.uri))
            return [TrackedTable(uri, tuple(json.loads(key))) for uri, key in rows]

    def ref(self, name: str) -> Ref | None:
        """A branch or tag, or None."""
        with reaching(self.engine), self.engine.connect() as connection:
            row = connection.execute(sa.select(refs).where(refs.c.name == name)).mappings().first()
        return _ref(row) if row else None

    def refs(self, kind: str | None = None) -> list[Ref]:
        """Branches and tags, by name."""
        query = sa.select(refs).order_by(refs.c.name)
        if kind is not None:
            query = query.where(refs.c.kind == kind)
        with reaching(self.engine), self.engine.connect() as connection:
            return [_ref(row) for row in connection.execute(query).mappings()]

    def create_ref(self, name: str, kind: str, commit: str, *, now: float) -> Ref:
        """Point a new name at a commit: one row.

        Raises:
            InputError: the name is taken.
        """
        made = Ref(name, kind, commit, uuid.uuid4().hex, created=now)
        try:
            with reaching(self.engine), self.engine.begin() as connection:
                connection.execute(refs.insert().values(**_ref_row(made)))
        except sa.exc.IntegrityError as error:
            raise InputError(f"the name {name!r} is taken", hint="choose another, or delete that one first") from error
        return made

    def delete_ref(self, name: str) -> bool:
        """Forget a name; False where there was none, or it is protected."""
        statement = refs.delete().where(refs.c.name == name, refs.c.protected == 0)
        with reaching(self.engine), self.engine.begin() as connection:
            return connection.execute(statement).rowcount == 1

    def protect(self, name: str, *, protected: bool) -> bool:
        """Protect a branch, or no longer; False where there is none."""
        statement = refs.update().where(refs.c.name == name, refs.c.kind == BRANCH).values(protected=int(protected))
        with reaching(self.engine), self.engine.begin() as connection:
            return connection.execute(statement).rowcount == 1

    def publish(self, commit: Commit, branch: str, *, expected: str | None, now: float, merge: str = "") -> None:
        """Write a commit and move the branch to it, in one transaction.

        Args:
            commit: what to write.
            branch: what to move.
            expected: where the branch points now; None makes the branch.
            now: UTC epoch seconds.
            merge: the record that has moved with it, or empty; one that somebody else has ended publishes nothing.

        Raises:
            ConflictError: the branch has moved since, is protected, or exists already; or the merge has ended.
        """
        try:
            with reaching(self.engine), self.engine.begin() as connection:
                connection.execute(insert(self.engine, commits).values(**_commit_row(commit)).on_conflict_do_nothing())
                if expected is None:
                    made = Ref(branch, BRANCH, commit.id, uuid.uuid4().hex, created=now)
                    connection.execute(refs.insert().values(**_ref_row(made)))
                else:
                    self._move(connection, branch, expected=expected, commit=commit.id)
                if merge:
                    self._end(connection, merge, result=commit.id)
        except sa.exc.IntegrityError as error:
            raise ConflictError(f"the branch {branch!r} was made by somebody else", hint="run it again") from error

    def commit(self, commit_id: str) -> Commit:
        """A commit.

        Raises:
            BackendError: the catalog has lost it.
        """
        with reaching(self.engine), self.engine.connect() as connection:
            row = connection.execute(sa.select(commits).where(commits.c.id == commit_id)).mappings().first()
        if row is None:
            raise BackendError(f"the catalog has no commit {commit_id}", hint="restore the catalog from a backup")
        return _commit(row)

    def parents(self) -> dict[str, tuple[str, ...]]:
        """The parents of every commit, by id."""
        query = sa.select(commits.c.id, commits.c.parents)
        with reaching(self.engine), self.engine.connect() as connection:
            return {row.id: tuple(json.loads(row.parents)) for row in connection.execute(query)}

    def commits_named(self, prefix: str) -> list[str]:
        """Ids that begin with some digits; at most two."""
        query = sa.select(commits.c.id).where(commits.c.id.startswith(prefix, autoescape=True)).limit(2)
        with reaching(self.engine), self.engine.connect() as connection:
            return [row.id for row in connection.execute(query)]

    def clone(self, branch_id: str, uri: str) -> str | None:
        """Where a branch's copy of a table is, or None where it has none yet."""
        query = sa.select(clones.c.place).where(clones.c.branch_id == branch_id, clones.c.uri == uri)
        with reaching(self.engine), self.engine.connect() as connection:
            return connection.execute(query).scalar()

    def clones(self, branch_id: str) -> dict[str, str]:
        """A branch's copies by the URI of the table."""
        query = sa.select(clones.c.uri, clones.c.place).where(clones.c.branch_id == branch_id)
        with reaching(self.engine), self.engine.connect() as connection:
            return {row.uri: row.place for row in connection.execute(query)}

    def keep_clone(self, branch_id: str, uri: str, place: str, *, now: float) -> None:
        """Write down a branch's copy of a table."""
        values = {"branch_id": branch_id, "uri": uri, "place": place, "created": now}
        with reaching(self.engine), self.engine.begin() as connection:
            connection.execute(insert(self.engine, clones).values(**values).on_conflict_do_nothing())

    def begin_merge(self, record: MergeRecord) -> None:
        """Write down a merge before it touches anything."""
        with reaching(self.engine), self.engine.begin() as connection:
            connection.execute(merges.insert().values(**asdict(record)))

    def open_merges(self) -> list[MergeRecord]:
        """Merges that were begun and not ended, the oldest first."""
        return self._merges(OPEN)

    def untold_merges(self) -> list[MergeRecord]:
        """Merges whose branch has moved and whose hooks may not have run yet, the oldest first."""
        return self._merges(MOVED)

    def end_merge(self, merge_id: str, status: str) -> None:
        """Say how a merge ended."""
        with reaching(self.engine), self.engine.begin() as connection:
            connection.execute(merges.update().where(merges.c.id == merge_id).values(status=status))

    def merge_record(self, merge_id: str) -> MergeRecord:
        """A merge that was begun."""
        with reaching(self.engine), self.engine.connect() as connection:
            row = connection.execute(sa.select(merges).where(merges.c.id == merge_id)).mappings().one()
        return MergeRecord(**row)

    def _merges(self, status: str) -> list[MergeRecord]:
        query = sa.select(merges).where(merges.c.status == status).order_by(merges.c.created)
        with reaching(self.engine), self.engine.connect() as connection:
            return [MergeRecord(**row) for row in connection.execute(query).mappings()]

    def _end(self, connection: sa.Connection, merge_id: str, *, result: str) -> None:
        where = (merges.c.id == merge_id, merges.c.status == OPEN)
        if connection.execute(merges.update().where(*where).values(status=MOVED, result=result)).rowcount != 1:
            raise ConflictError("another process has ended this merge", hint="look at the branch's history")

    def _move(self, connection: sa.Connection, branch: str, *, expected: str, commit: str) -> None:
        where = (refs.c.name == branch, refs.c.kind == BRANCH, refs.c.commit_id == expected, refs.c.protected == 0)
        if connection.execute(refs.update().where(*where).values(commit_id=commit)).rowcount != 1:
            raise ConflictError(
                f"the branch {branch!r} has moved since, or is protected", hint="look at `sluiceway data log` again"
            )


def _commit_row(commit: Commit) -> dict[str, object]:
    tree = {uri: [pin.uri, pin.version, pin.digest] for uri, pin in commit.tree.items()}
    return {
        "id": commit.id,
        "parents": json.dumps(commit.parents),
        "tree": json.dumps(tree),
        "message": commit.message,
        "author": commit.author,
        "metadata": json.dumps(dict(commit.metadata)),
        "created": commit.created,
    }


def _commit(row: sa.RowMapping) -> Commit:
    tree = {uri: Pin(*pin) for uri, pin in json.loads(row["tree"]).items()}
    parents, metadata = tuple(json.loads(row["parents"])), json.loads(row["metadata"])
    return Commit(row["id"], parents, tree, row["message"], row["author"], metadata, row["created"])


def _ref_row(ref: Ref) -> dict[str, object]:
    return {
        "name": ref.name,
        "kind": ref.kind,
        "commit_id": ref.commit,
        "id": ref.id,
        "protected": int(ref.protected),
        "created": ref.created,
    }


def _ref(row: sa.RowMapping) -> Ref:
    return Ref(row["name"], row["kind"], row["commit_id"], row["id"], bool(row["protected"]), row["created"])
