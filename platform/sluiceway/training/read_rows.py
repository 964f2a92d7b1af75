"""Rows that the process that trains on them reads by itself, from a version of a table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sluiceway.core.errors import DataError
from sluiceway.data.labelled_rows import LabelledRows
from sluiceway.features.encode import encode_table
from sluiceway.features.schema import FeatureSchema
from sluiceway.training.encoded import PART, VALIDATION, Target, place_block


@dataclass(frozen=True)
class ReadRows:
    """A source of rows (:class:`sluiceway.training.rows.RowSource`); each pass reads the columns that it needs.

    Attributes:
        rows: of the version.
        schema: of the features.
        target: what is predicted.
    """

    rows: LabelledRows
    schema: FeatureSchema
    target: Target
    _kept: list[np.ndarray] = field(default_factory=list)

    def places(self) -> Iterator[pa.Table]:
        """Labels, and where rows belong; the test part is left behind.

        Raises:
            DataError: there are no rows; a label or a weight cannot be one.
        """
        self._kept.clear()
        weight = [] if self.target.weight is None else [self.target.weight]
        for batch in self.rows.placed([self.target.column, *weight]):
            kept = pc.less_equal(batch[PART], pa.scalar(VALIDATION, pa.uint8()))
            self._kept.append(kept.to_numpy())
            yield place_block(batch.filter(kept), self.target)
        if not any(kept.any() for kept in self._kept):
            raise no_rows()

    def features(self) -> Iterator[np.ndarray]:
        """The encoded features of the rows of the last :meth:`places`, in their order.

        Raises:
            DataError: the files do not hold as many rows as before.
        """
        kept = np.concatenate(self._kept)
        start = 0
        for batch in self.rows.plain(self.schema.names):
            mask = pa.array(kept[start : start + len(batch)])
            start += len(batch)
            if len(mask) < len(batch):
                break
            yield encode_table(batch.filter(mask), self.schema)[0]
        if start != len(kept):
            raise DataError(f"{self.rows.version.uri} had {len(kept):,} rows, and other ones when it was read again")


def no_rows() -> DataError:
    """There is nothing to train on."""
    return DataError(
        "there are no rows to train on",
        hint="look at data.path and data.version, and at data.split: its shares, and its gap",
    )
