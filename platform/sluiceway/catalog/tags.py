"""Names for versions of tables."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from sluiceway.catalog.schema import tags
from sluiceway.core.errors import ConflictError, DataError, ReferenceNotFoundError


@dataclass(frozen=True)
class Tag:
    """A name for one version of one table.

    Attributes:
        table_uri: absolute path or URI.
        name: the name; not a number, or it could be taken for a version.
        version: Delta version number.
        digest: level-1 digest of that version when the tag was set.
        created: UTC epoch seconds.
        message: why.
    """

    table_uri: str
    name: str
    version: int
    digest: str
    created: float
    message: str


class TagStore:
    """Reads and writes tags; each call is one transaction."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def set(
        self, table_uri: str, name: str, version: int, digest: str, message: str, now: float, *, move: bool = False
    ) -> Tag:
        """Name a version. Naming the same version again changes nothing.

        Args:
            table_uri: absolute path or URI of the table.
            name: the name.
            version: Delta version number.
            digest: level-1 digest of that version.
            message: why.
            now: UTC epoch seconds.
            move: let a name that is taken go over to this version.

        Raises:
            DataError: the name could be taken for a version number, or it names another version and ``move`` is off.
            ConflictError: another process set it at the same moment.
        """
        if not name.strip() or name.lstrip("vV-+").isdigit() or any(c in name for c in "@/"):
            raise DataError(f"{name!r} cannot be a tag", hint="use a name that is no version number and has no @ or /")
        tag = Tag(table_uri, name, version, digest, now, message)
        present = self.get(table_uri, name)
        if present and (present.version, present.digest) == (version, digest):
            return present
        if present and not move:
            raise DataError(
                f"the tag {name!r} of {table_uri} already names version {present.version}",
                hint="move it on purpose, or choose another name",
            )
        self._store(tag, present=present)
        return tag

    def get(self, table_uri: str, name: str) -> Tag | None:
        """The tag, or None."""
        query = sa.select(tags).where(*_is(table_uri, name))
        with self._engine.connect() as connection:
            row = connection.execute(query).mappings().first()
        return Tag(**row) if row else None

    def list(self, table_uri: str) -> list[Tag]:
        """The tags of a table, newest version first, then by name."""
        query = sa.select(tags).where(tags.c.table_uri == table_uri).order_by(tags.c.version.desc(), tags.c.name)
        with self._engine.connect() as connection:
            return [Tag(**row) for row in connection.execute(query).mappings()]

    def delete(self, table_uri: str, name: str) -> None:
        """Forget a tag; the version stays.

        Raises:
            ReferenceNotFoundError: there is no such tag.
        """
        with self._engine.begin() as connection:
            gone = connection.execute(tags.delete().where(*_is(table_uri, name))).rowcount
        if not gone:
            raise ReferenceNotFoundError(f"{table_uri} has no tag {name!r}")

    def _store(self, tag: Tag, *, present: Tag | None) -> None:
        values = tag.__dict__
        try:
            with self._engine.begin() as connection:
                if present is None:
                    connection.execute(tags.insert().values(**values))
                    return
                unchanged = (tags.c.version == present.version) & (tags.c.digest == present.digest)
                where = (*_is(tag.table_uri, tag.name), unchanged)
                moved = connection.execute(tags.update().where(*where).values(**values)).rowcount
        except sa.exc.IntegrityError as error:
            raise ConflictError(f"the tag {tag.name!r} was set by another process", hint="look at it again") from error
        if not moved:
            raise ConflictError(f"the tag {tag.name!r} was moved by another process", hint="look at it again")


def _is(table_uri: str, name: str) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    return tags.c.table_uri == table_uri, tags.c.name == name
