"""Rows for the load generator: streamed from a table version, never all in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from sluiceway.config.deployment import ReplaySection
from sluiceway.core.errors import DataError
from sluiceway.core.references import TableVersion
from sluiceway.data.membership import TEST
from sluiceway.data.ray_read import labelled_dataset, labelled_rows, read_version
from sluiceway.gates.asked_rows import plain_rows
from sluiceway.lifecycle.context import Context

BATCH_ROWS = 1024
PART_COLUMN = "__part__"


class ReplayRows:
    """(features, outcome) of each row; every iteration reads the version anew, in the same order."""

    def __init__(self, context: Context, replay: ReplaySection, *, trained_on: TableVersion) -> None:
        self._context = context
        self._where: Mapping[str, int | str] = replay.where
        if replay.path is None:
            # Nothing that the model was trained on: the test part of its own version.
            self._version, self._where = trained_on, {**replay.where, PART_COLUMN: TEST}
        else:
            self._version = context.version(replay.version, table=replay.path)

    def __iter__(self) -> Iterator[tuple[dict[str, Any], float | str]]:
        data = self._context.data
        found = False
        for batch in self._dataset().iter_batches(batch_size=BATCH_ROWS, batch_format="pyarrow"):
            chosen = _filter(batch, self._where)
            outcomes = _outcomes(chosen[data.target])
            for row, outcome in zip(plain_rows(chosen.select(list(data.features))), outcomes, strict=True):
                found = True
                yield row, outcome
        if not found:
            raise DataError(
                f"no row of {self._version.uri}@{self._version.ref} matches {dict(self._where)}",
                hint="check deployment.replay.where",
            )

    def _dataset(self) -> Any:
        data = self._context.data
        if PART_COLUMN in self._where:
            extra = tuple(name for name in self._where if name != PART_COLUMN and name not in data.features)
            rows = labelled_rows(
                self._version,
                data=data,
                seed=self._context.experiment.seed,
                n_folds=self._context.training.folds,
                extra_columns=extra,
            )
            return labelled_dataset(rows)
        return read_version(self._version, columns=[*dict.fromkeys((*data.features, data.target, *self._where))])


def _outcomes(column: pa.ChunkedArray) -> list[Any]:
    """As clients send them: text for classes that are text, else numbers."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    return list((column if text else column.cast(pa.float64())).to_pylist())


def _filter(batch: pa.Table, where: Mapping[str, int | str]) -> pa.Table:
    for column, value in where.items():
        batch = batch.filter(pc.equal(batch[column], pa.scalar(value, type=batch[column].type)))
    return batch
