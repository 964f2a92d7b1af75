"""The work of one task: read pieces, make their rows fit, judge them, write them into files of the table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from sluiceway.data.contract.model import Contract
from sluiceway.data.contract.rows import row_problems
from sluiceway.data.ingest.constraints import ConstraintCheck
from sluiceway.data.ingest.file_writer import FileWriter
from sluiceway.data.ingest.fit import fitted, refuse_misfit, refuse_nulls
from sluiceway.data.ingest.planning import BATCH, REASON, SOURCE
from sluiceway.data.write_target import WriteTarget
from sluiceway.data.written_files import WrittenFile

Batches = Callable[[Any], Iterable[pa.RecordBatch]]


@dataclass(frozen=True)
class Share:
    """What one task is to do.

    Attributes:
        target: the table.
        pieces: what to read; each has ``where``, its name for errors.
        run: 12 hex digits in the names of all files of this ingest.
        number: of the task.
        partial: columns that a piece lacks are null.
        contract: that rows have to fit, or None.
        quarantine: where those go that do not; None where there is no contract.
        batch: name of the delivery, for the quarantine.
        beside: only the rows for the quarantine are written.
    """

    target: WriteTarget
    pieces: Sequence[Any]
    run: str
    number: int
    partial: bool = False
    contract: Contract | None = None
    quarantine: WriteTarget | None = None
    batch: str | None = None
    beside: bool = False


@dataclass(frozen=True)
class WrittenShare:
    """What one task has written.

    Attributes:
        files: of the table.
        quarantined: files of the quarantine.
        example: why the first of these rows does not fit.
    """

    files: tuple[WrittenFile, ...]
    quarantined: tuple[WrittenFile, ...] = ()
    example: str | None = None


def write_share(share: Share, read: Batches) -> WrittenShare:
    """Do the work of one task; where it fails, its files are gone.

    Args:
        share: what to do.
        read: gives the batches of a piece.

    Raises:
        SchemaMismatchError: a piece has other columns or types than the table.
        DataError: a value does not parse or fit, is null where it may not be, or breaks a constraint.
    """
    target = share.target
    example: str | None = None
    with ExitStack() as stack:
        writer = stack.enter_context(FileWriter(target, run=share.run, number=share.number))
        rejected = None
        if share.quarantine is not None:
            rejected = stack.enter_context(FileWriter(share.quarantine, run=share.run, number=share.number))
        check = stack.enter_context(ConstraintCheck(target.constraints, target.schema, table=target.uri))
        for piece in share.pieces:
            for batch in fitted_batches(read(piece), target, where=piece.where, partial=share.partial):
                kept = batch
                if share.contract is not None and rejected is not None:
                    kept, broken = judged(batch, share.contract, batch_id=share.batch, where=piece.where)
                    if broken.num_rows:
                        example = example or broken[REASON][0].as_py()
                        rejected.add(fitted(broken, rejected.schema, where=piece.where), where=piece.where)
                if share.beside:
                    continue
                refuse_nulls(kept, where=piece.where)
                check.add(kept)
                writer.add(kept, where=piece.where)
            if target.constraints:
                check.judge(where=piece.where)
        return WrittenShare(tuple(writer.finish()), tuple(rejected.finish()) if rejected is not None else (), example)


def fitted_batches(
    batches: Iterable[pa.RecordBatch], target: WriteTarget, *, where: str, partial: bool = False
) -> Iterator[pa.RecordBatch]:
    """Batches in the columns, types and order of a table; nulls are not looked at."""
    schema = None
    for batch in batches:
        if batch.schema != schema:
            refuse_misfit(batch.schema, target.schema, table=target.uri, where=where, partial=partial)
            schema = batch.schema
        yield fitted(batch, target.schema, where=where)


def judged(
    batch: pa.RecordBatch, contract: Contract, *, batch_id: str | None, where: str
) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """The rows that fit a contract, and those that do not with the reason, the delivery and the source."""
    reasons = row_problems(batch, contract)
    if reasons.null_count == len(reasons):
        return batch, batch.slice(0, 0)
    fits = pc.is_null(reasons)
    broken = batch.filter(pc.invert(fits))
    count = broken.num_rows
    more = {
        REASON: reasons.drop_null(),
        BATCH: pa.repeat(pa.scalar(batch_id, pa.string()), count),
        SOURCE: pa.repeat(pa.scalar(where, pa.string()), count),
    }
    arrays = [*broken.columns, *more.values()]
    return batch.filter(fits), pa.RecordBatch.from_arrays(arrays, names=[*broken.schema.names, *more])
