"""What is known of the rows of data files, so that no file is read twice for its digest.

A data file is never overwritten, so what is kept stays true; what a digest is, :mod:`sluiceway.data` says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import sqlalchemy as sa

from sluiceway.catalog.dialect import insert, reaching
from sluiceway.catalog.schema import file_digests
from sluiceway.core.row_digest import RowDigest

# Bounds how long one transaction holds SQLite's only write lock.
FILES_PER_TRANSACTION = 5_000


class FileDigestStore:
    """Reads and writes digests of files."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def known(self, table_uri: str, *, format_name: str) -> dict[str, RowDigest]:
        """All files of a table whose digest is kept, by path.

        Raises:
            BackendError: the catalog cannot be read.
        """
        columns = (file_digests.c.path, file_digests.c.rows, file_digests.c.low, file_digests.c.high)
        query = sa.select(*columns).where(file_digests.c.table_uri == table_uri, file_digests.c.format == format_name)
        with reaching(self._engine), self._engine.connect() as connection:
            return {
                path: RowDigest(rows, int(low, 16), int(high, 16))
                for path, rows, low, high in connection.execute(query)
            }

    def keep(self, table_uri: str, found: Mapping[str, RowDigest], *, format_name: str) -> None:
        """Keep digests by path; one that is there stays as it is.

        Raises:
            BackendError: the catalog cannot be written.
        """
        rows = [
            {"table_uri": table_uri, "path": path, "format": format_name}
            | {"rows": one.rows, "low": f"{one.low:016x}", "high": f"{one.high:016x}"}
            for path, one in found.items()
        ]
        for start in range(0, len(rows), FILES_PER_TRANSACTION):
            with reaching(self._engine), self._engine.begin() as connection:
                statement = insert(self._engine, file_digests).on_conflict_do_nothing()
                connection.execute(statement, rows[start : start + FILES_PER_TRANSACTION])

    def forget(self, table_uri: str, paths: Iterable[str]) -> None:
        """Forget files, e.g. because they were deleted.

        Raises:
            BackendError: the catalog cannot be written.
        """
        gone = list(paths)
        with reaching(self._engine), self._engine.begin() as connection:
            for start in range(0, len(gone), 500):
                part = gone[start : start + 500]
                connection.execute(
                    file_digests.delete().where(file_digests.c.table_uri == table_uri, file_digests.c.path.in_(part))
                )
