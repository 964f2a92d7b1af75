"""Keys to look rows up by: exact, whatever the columns, and without a Python object for each row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sluiceway.core.errors import DataError


class KeySet:
    """Distinct keys; one with a null in it is no key and is left out.

    Each column's values are numbered, and the numbers of a row's columns are joined one by one to that of its key. So a
    look-up compares values, never hashes of them: a row of another key is never taken for one of these.
    """

    def __init__(self, keys: pa.Table) -> None:
        """Number the keys.

        Args:
            keys: their columns, in the types of the rows that will be looked up.

        Raises:
            DataError: there is no column, or values of one cannot be compared.
        """
        if not keys.num_columns:
            raise DataError("a key needs at least one column")
        self.columns = tuple(keys.column_names)
        whole = keys.drop_null()
        self._values: list[Any] = [_comparable(whole[name], name).unique() for name in self.columns]
        self._joined: list[np.ndarray] = []
        code = self._number(whole, 0)
        for column in range(1, len(self.columns)):
            pairs = code * max(len(self._values[column]), 1) + self._number(whole, column)
            self._joined.append(np.unique(pairs))
            code = np.searchsorted(self._joined[-1], pairs)
        self._size = len(self._joined[-1]) if self._joined else len(self._values[0])

    def __len__(self) -> int:
        """How many keys there are."""
        return self._size

    def find(self, rows: pa.RecordBatch | pa.Table) -> np.ndarray:
        """The number of each row's key.

        Args:
            rows: with the columns of the key among theirs.

        Returns:
            shape (rows,), int64: from 0 to the number of keys, or -1 where the row has none of them.
        """
        if not self._size:
            return np.full(rows.num_rows, -1, np.int64)
        code = self._number(rows, 0)
        for column, known in enumerate(self._joined, start=1):
            own = self._number(rows, column)
            pairs = code * len(self._values[column]) + own
            place = np.minimum(np.searchsorted(known, pairs), len(known) - 1)
            code = np.where((code >= 0) & (own >= 0) & (known[place] == pairs), place, -1)
        return code

    def _number(self, rows: pa.RecordBatch | pa.Table, column: int) -> np.ndarray:
        name = self.columns[column]
        found = pc.index_in(_comparable(rows[name], name), value_set=self._values[column])
        return np.asarray(pc.fill_null(found, -1).to_numpy(), np.int64)


def _comparable(values: Any, name: str) -> Any:
    kind = values.type
    if pa.types.is_nested(kind) or pa.types.is_dictionary(kind):
        raise DataError(f"column {name} is {kind}, which cannot be a key", hint="name columns of plain values")
    # So that -0.0 is 0.0, as comparisons have it and hashes do not.
    return pc.add(values, pa.scalar(0, kind)) if pa.types.is_floating(kind) else values
