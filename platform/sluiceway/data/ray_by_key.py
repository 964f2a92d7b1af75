"""Deliveries that name rows by key: a look at their keys first; then the engine merges them, or files are written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import ray

from sluiceway.data import commit_files
from sluiceway.data.commit_files import Delivery
from sluiceway.data.commit_loop import CommitResult
from sluiceway.data.contract.model import Contract
from sluiceway.data.file_rows import file_batches
from sluiceway.data.ingest import planning
from sluiceway.data.ingest.keys import refuse_bad_keys
from sluiceway.data.ingest.request import IngestRequest
from sluiceway.data.ingest.write_share import fitted_batches, judged
from sluiceway.data.ray_sources import read_piece
from sluiceway.data.write_target import WriteTarget
from sluiceway.data.written_files import WrittenFile


@dataclass(frozen=True)
class KeyedRows:
    """A delivery by key, as the tasks of it need it.

    Attributes:
        target: the table.
        pieces: where the rows are.
        request: how.
        contract: that rows have to fit to be taken, or None.
    """

    target: WriteTarget
    pieces: Sequence[Any]
    request: IngestRequest
    contract: Contract | None

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The rows that are taken, in these columns of the table; None is all."""
        for piece in self.pieces:
            for kept, _ in self._judged(piece, columns):
                yield kept if columns is None else kept.select(list(columns))

    def misfits(self) -> Iterator[pa.RecordBatch]:
        """The rows that break the contract, with the reason."""
        for piece in self.pieces:
            for _, broken in self._judged(piece, None):
                if broken.num_rows:
                    yield broken

    def _judged(self, piece: Any, columns: Sequence[str] | None) -> Iterator[tuple[pa.RecordBatch, pa.RecordBatch]]:
        narrow = columns is not None and self.contract is None
        schema = planning.key_schema(self.target, columns or ()) if narrow else self.target.schema
        wanted = replace(self.target, schema=schema)
        read = read_piece(piece, columns if narrow else None)
        for batch in fitted_batches(read, wanted, where=piece.where, partial=self.request.evolve):
            if self.contract is None:
                yield batch, batch.slice(0, 0)
            else:
                yield judged(batch, self.contract, batch_id=self.request.batch_id, where=piece.where)


@dataclass(frozen=True)
class CheckedKeys:
    """What was found when the keys were looked at.

    Attributes:
        rows: that are taken.
        rejected: that break the contract.
        example: why the first of these does.
    """

    rows: int
    rejected: int = 0
    example: str | None = None


@ray.remote(max_retries=2)
def check_keys(given: KeyedRows) -> CheckedKeys:
    """Refuse keys that are null or come twice among the rows that are taken; count these and the others."""
    rows = refuse_bad_keys(lambda: given.batches(given.request.key), given.request.key)
    rejected, example = 0, None
    for broken in given.misfits() if given.contract is not None else ():
        rejected += broken.num_rows
        example = example or broken[planning.REASON][0].as_py()
    return CheckedKeys(rows, rejected, example)


@ray.remote(max_retries=2)
def keys_of_rows(given: KeyedRows) -> pa.Table:
    """The keys of the rows that are taken."""
    schema = planning.key_schema(given.target, given.request.key)
    return pa.Table.from_batches(given.batches(given.request.key), schema)


@ray.remote(max_retries=2)
def keys_of_files(target: WriteTarget, files: Sequence[WrittenFile], key: Sequence[str]) -> pa.Table:
    """The keys of the rows in files that are in no commit yet."""
    schema = planning.key_schema(target, key)
    batches: list[pa.RecordBatch] = []
    for file in files:
        values = dict(zip(target.partition_by, file.partition, strict=True))
        batches.extend(file_batches(file.identity(target.uri), schema, partition=values))
    return pa.Table.from_batches(batches, schema)


# Not again by itself: it may have committed before it died. The same delivery may be sent again by its batch id.
@ray.remote(max_retries=0)
def merge_rows(given: KeyedRows, delivery: Delivery, rows: int) -> tuple[CommitResult, dict[str, int]]:
    """Merge the rows that are taken by the engine, or delete by their keys."""
    target, request = given.target, given.request
    delete = request.mode == commit_files.DELETE
    schema = planning.key_schema(target, request.key) if delete else target.schema
    # The engine says itself where null may not be, and it compares schemas by their nullability.
    loose = pa.schema([field.with_nullable(True) for field in schema])

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in given.batches(request.key if delete else None):
            yield pa.RecordBatch.from_arrays(batch.columns, schema=loose)

    return commit_files.merge(
        target.uri,
        lambda: pa.RecordBatchReader.from_batches(loose, batches()),
        rows=rows,
        key=request.key,
        mode=request.mode,
        delivery=delivery,
    )
