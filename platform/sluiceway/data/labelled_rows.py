"""The labelled rows of a version, for a process that reads them by itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from sluiceway.core.references import TableVersion
from sluiceway.data import tables
from sluiceway.data.placing import Placing, label, unique
from sluiceway.data.scan import AHEAD, batch_rows, dataset_of, files_in, gone


@dataclass(frozen=True)
class LabelledRows:
    """What training sees of a version.

    Attributes:
        version: of a table.
        columns: that training needs.
        placing: where rows belong.
    """

    version: TableVersion
    columns: tuple[str, ...]
    placing: Placing

    @property
    def read(self) -> list[str]:
        """What has to be read of the table."""
        return unique([*self.columns, *self.placing.columns])

    def count(self) -> int:
        """Rows of all parts, by the table's log alone."""
        table = tables.open_table(self.version.uri, version=self.version.version)
        live = files_in(table)
        rows = live["num_records"].to_pylist()
        return sum(rows) if None not in rows else dataset_of(table, live).count_rows()

    def placed(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Some of the columns, and where each row belongs, batch by batch in the order of the table."""
        for batch in self.plain(unique([*columns, *self.placing.columns])):
            yield label(batch, columns=columns, placing=self.placing)

    def plain(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Some of the columns, batch by batch; the rows are in the same order as those of :meth:`placed`.

        Raises:
            DataError: a data file is gone.
        """
        table = tables.open_table(self.version.uri, version=self.version.version)
        # The log's own order is that of its newest checkpoint, which any writer may write between two passes.
        dataset = dataset_of(table, files_in(table).sort_by("path"))
        scanner = dataset.scanner(
            columns=list(columns), batch_size=batch_rows(len(columns)), batch_readahead=AHEAD, fragment_readahead=1
        )
        try:
            for batch in scanner.to_batches():
                if batch.num_rows:
                    yield pa.Table.from_batches([batch])
        except FileNotFoundError as error:
            raise gone(self.version.uri, error) from error
