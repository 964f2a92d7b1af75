"""CHECK constraints, judged by the engine itself on rows that it does not write.

A constraint is SQL of the engine. So the columns that it may speak of go into a file beside, which is made a Delta
table for the engine to ask: as in its own writer, a row passes only where the expression is true.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable, QueryBuilder, Schema
from deltalake import exceptions as delta
from deltalake.transaction import AddAction, create_table_with_add_actions

from sluiceway.core.errors import DataError, UnsupportedTableError


class ConstraintCheck:
    """Collects rows and judges them when asked; a context whose files go with it."""

    def __init__(self, constraints: Sequence[tuple[str, str]], schema: pa.Schema, *, table: str) -> None:
        """Prepare.

        Args:
            constraints: name and expression of each.
            schema: of the rows.
            table: its URI, for errors.
        """
        self._constraints = tuple(constraints)
        spoken = " ".join(text for _, text in constraints).casefold()
        # More columns than needed do no harm, one too few would be an error of the engine.
        names = [name for name in schema.names if name.casefold() in spoken] or schema.names[:1]
        self._schema = pa.schema([schema.field(name) for name in names])
        self._table = table
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._writer: Any = None
        self._rows = self._number = 0

    def __enter__(self) -> Self:
        """Make room for the rows, where there is a constraint."""
        if self._constraints:
            self._folder = tempfile.TemporaryDirectory(prefix="sluiceway-check-")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Delete the rows."""
        if self._writer is not None:
            self._writer.close()
        if self._folder is not None:
            self._folder.cleanup()

    def add(self, batch: pa.RecordBatch) -> None:
        """Take rows of the schema."""
        if self._folder is None or not batch.num_rows:
            return
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._path(), self._schema, compression="none")
        self._writer.write_batch(batch.select(self._schema.names))
        self._rows += batch.num_rows

    def judge(self, *, where: str) -> None:
        """Refuse the rows since the last time if one of them breaks a constraint.

        Raises:
            DataError: one does; names the constraint, how many rows, and one of them.
            UnsupportedTableError: the engine cannot judge the constraint.
        """
        if self._writer is None or self._folder is None:
            return
        self._writer.close()
        path, place = self._path(), str(Path(self._folder.name) / f"table-{self._number}")
        action = AddAction(str(path), path.stat().st_size, {}, 0, True, json.dumps({"numRecords": self._rows}))
        self._writer, self._rows, self._number = None, 0, self._number + 1
        # Without NOT NULL: that is checked before, and would let the engine simplify an expression.
        loose = pa.schema([pa.field(one.name, one.type) for one in self._schema])
        create_table_with_add_actions(place, Schema.from_arrow(loose), [action], mode="error")
        for name, text in self._constraints:
            self._judge_one(QueryBuilder().register("data", DeltaTable(place)), name, text, where=where)
        path.unlink()

    def _path(self) -> Path:
        return Path(self._folder.name if self._folder else "") / f"rows-{self._number}.parquet"

    def _judge_one(self, engine: QueryBuilder, name: str, text: str, *, where: str) -> None:
        try:
            broken = f"FROM data WHERE ({text}) IS NOT TRUE"
            count = pa.table(engine.execute(f"SELECT count(*) AS n {broken}").read_all())["n"][0].as_py()
            if not count:
                return
            example = pa.table(engine.execute(f"SELECT * {broken} LIMIT 1").read_all()).to_pylist()[0]
        except delta.DeltaError as error:
            raise UnsupportedTableError(
                f"constraint {name} ({text}) of {self._table} cannot be judged: {error}", table=self._table
            ) from error
        raise DataError(
            f"{where}: {count:,} rows break the constraint {name} ({text}) of {self._table}, for example {example}",
            hint="correct or leave out these rows; nothing was committed",
            table=self._table,
            constraint=name,
        )
