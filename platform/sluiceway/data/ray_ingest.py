"""Rows from files, tables and frames into a Delta table: Ray tasks write the files, one commit brings them in."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray
import ray.data
from ray.exceptions import RayError

from sluiceway.core.doors import Progress, SilentProgress
from sluiceway.core.errors import BackendError, SluicewayError
from sluiceway.data import commit_files, tables
from sluiceway.data.commit_files import Delivery
from sluiceway.data.commit_loop import CommitResult
from sluiceway.data.contract.load import FILE_NAME, read_contract
from sluiceway.data.contract.model import Contract
from sluiceway.data.ingest import planning
from sluiceway.data.ingest.file_writer import delete_files_of
from sluiceway.data.ingest.keys import refuse_bad_keys
from sluiceway.data.ingest.request import BY_KEY, IngestReport, IngestRequest, report_of_earlier
from sluiceway.data.ingest.write_share import Share, WrittenShare, fitted_batches, judged, write_share
from sluiceway.data.places import main_of
from sluiceway.data.ray_sources import Source, find, read_piece
from sluiceway.data.write_target import WriteTarget

# How many rows went to quarantine, in the commit's metadata.
QUARANTINED = "sluiceway.quarantined"
# Enough that a CPU has its next task at hand.
TASKS_PER_CPU = 2


def ingest(
    sources: Sequence[Source], uri: str, request: IngestRequest, *, progress: Progress | None = None
) -> IngestReport:
    """Bring rows into a table in one commit.

    Args:
        sources: where the rows are; all of them are one delivery.
        uri: folder or URI of the table; made where there is none.
        request: how.
        progress: told how far it is.

    Returns:
        what was done.

    Raises:
        InputError: a source, a value or the table does not fit; nothing was committed and no file is left.
        ConflictError: other writers were faster, or changed the table meanwhile.
        BackendError: Ray failed.
    """
    request.check()
    uri = tables.absolute(uri)
    earlier = report_of_earlier(uri, request)
    if earlier:
        return earlier
    progress = progress or SilentProgress()
    progress.stage("look at the sources")
    table = planning.existing_target(uri)
    found = [find(one, request, table) for one in sources]
    target = planning.planned_target(uri, table, [(one.name, one.schema) for one in found], request)
    pieces = [piece for one in found for piece in one.pieces]
    types = {field.name: str(field.type) for one in found if not one.typed for field in one.schema}
    source = ", ".join(one.name for one in found)
    if request.mode in BY_KEY:
        report = _by_key(target, pieces, request, source=source, progress=progress)
    else:
        report = _by_files(target, pieces, request, source=source, progress=progress)
    return replace(report, types=types)


def _by_files(
    target: WriteTarget, pieces: Sequence[Any], request: IngestRequest, *, source: str, progress: Progress
) -> IngestReport:
    run = uuid.uuid4().hex[:12]
    contract = _contract(target.uri)
    quarantine = None if contract is None else planning.quarantine_target(target)
    shared = Share(target, (), run, 0, request.evolve, contract, quarantine, request.batch_id)
    work = list(planning.shares(pieces, cpus=_cpus()))
    progress.stage("write", f"{len(pieces)} pieces in {len(work)} tasks")
    committed = False
    try:
        written = list(_written([replace(shared, pieces=p, number=n) for n, p in enumerate(work)], progress))
        progress.stage("commit")
        report = _commit(target, quarantine, written, request, source=source, run=run)
        committed = report.refused is None and not report.skipped
    finally:
        if not committed:
            for uri in (target.uri, *([quarantine.uri] if quarantine else [])):
                delete_files_of(uri, run)
    return report


def _commit(
    target: WriteTarget,
    quarantine: WriteTarget | None,
    written: Sequence[WrittenShare],
    request: IngestRequest,
    *,
    source: str,
    run: str,
) -> IngestReport:
    files = [file for share in written for file in share.files]
    bad = [file for share in written for file in share.quarantined]
    rows, rejected = sum(file.rows for file in files), sum(file.rows for file in bad)
    if rejected and request.strict:
        example = next(share.example for share in written if share.example)
        return _refused(target.uri, request, rejected, example)
    # By key, files are written for a new table only: beside rows of somebody else keys could come twice.
    mode = commit_files.CREATE if request.mode in BY_KEY else request.mode
    delivery = request.delivery(source=source, done=f"{request.mode}: {rows:,} rows of {source}", run=run)
    if rejected and quarantine is not None:
        # First: rows that are in neither table would be lost. A delivery that comes again finds it done.
        commit_files.add_files(quarantine, bad, mode=commit_files.APPEND, delivery=delivery)
        delivery = replace(delivery, more={**delivery.more, QUARANTINED: rejected})
    result = commit_files.add_files(target, files, mode=mode, delivery=delivery)
    return IngestReport(
        target.uri,
        result.version,
        request.mode,
        result.rows,
        skipped=result.skipped,
        files=len(files),
        bytes=sum(file.size for file in files),
        quarantined=rejected,
        added_columns=target.added,
    )


def _refused(uri: str, request: IngestRequest, rejected: int, example: str | None) -> IngestReport:
    why = f"{rejected:,} rows break the contract of {uri}, for example: {example}"
    return IngestReport(uri, None, request.mode, 0, quarantined=rejected, refused=why)


def _by_key(
    target: WriteTarget, pieces: Sequence[Any], request: IngestRequest, *, source: str, progress: Progress
) -> IngestReport:
    contract = None if request.mode == commit_files.DELETE else _contract(target.uri)
    progress.stage("look at the keys")
    checked = _result(_check.remote(target, pieces, request, contract), uri=target.uri)
    if checked.rejected:
        return _refused(target.uri, request, checked.rejected, checked.example)
    if not target.exists:  # every row is new
        return _by_files(target, pieces, request, source=source, progress=progress)
    progress.stage(request.mode, f"{checked.rows:,} rows")
    delivery = request.delivery(source=source, done=f"{request.mode}: {checked.rows:,} rows of {source}")
    result, numbers = _result(_merge.remote(target, pieces, request, delivery, checked.rows), uri=target.uri)
    return IngestReport(target.uri, result.version, request.mode, result.rows, skipped=result.skipped, **numbers)


@dataclass(frozen=True)
class _Checked:
    rows: int
    rejected: int = 0
    example: str | None = None


@ray.remote(max_retries=2)
def _write(share: Share) -> WrittenShare:
    return write_share(share, read_piece)


@ray.remote(max_retries=2)
def _check(target: WriteTarget, pieces: Sequence[Any], request: IngestRequest, contract: Contract | None) -> _Checked:
    keys = replace(target, schema=planning.key_schema(target, request.key))

    def read() -> Iterator[pa.RecordBatch]:
        for piece in pieces:
            yield from fitted_batches(read_piece(piece, request.key), keys, where=piece.where)

    rows = refuse_bad_keys(read, request.key)
    if contract is None:
        return _Checked(rows)
    rejected, example = 0, None
    for piece in pieces:
        for batch in fitted_batches(read_piece(piece), target, where=piece.where):
            _, broken = judged(batch, contract, batch_id=request.batch_id, where=piece.where)
            rejected += broken.num_rows
            example = example or (broken[planning.REASON][0].as_py() if broken.num_rows else None)
    return _Checked(rows, rejected, example)


# Not again by itself: it may have committed before it died. The same delivery may be sent again by its batch id.
@ray.remote(max_retries=0)
def _merge(
    target: WriteTarget, pieces: Sequence[Any], request: IngestRequest, delivery: Delivery, rows: int
) -> tuple[CommitResult, dict[str, int]]:
    delete = request.mode == commit_files.DELETE
    wanted = replace(target, schema=planning.key_schema(target, request.key)) if delete else target
    # The engine says itself where null may not be, and it compares schemas by their nullability.
    loose = pa.schema([field.with_nullable(True) for field in wanted.schema])

    def batches() -> Iterator[pa.RecordBatch]:
        for piece in pieces:
            read = read_piece(piece, request.key if delete else None)
            for batch in fitted_batches(read, wanted, where=piece.where):
                yield pa.RecordBatch.from_arrays(batch.columns, schema=loose)

    return commit_files.merge(
        target.uri,
        lambda: pa.RecordBatchReader.from_batches(loose, batches()),
        rows=rows,
        key=request.key,
        mode=request.mode,
        delivery=delivery,
    )


def _written(shares: Sequence[Share], progress: Progress) -> Iterator[WrittenShare]:
    """What the tasks have written, as they finish; when it fails, none of them writes any more.

    So that little is left to wait for then, few are started at a time. None is cancelled: Ray kills the driver where it
    cancels a task that ends in the same moment (2.60, "Tried to complete task that was not pending").
    """
    to_come = list(reversed(shares))
    running: list[Any] = []
    most = TASKS_PER_CPU * _cpus()
    try:
        while to_come or running:
            while to_come and len(running) < most:
                running.append(_write.remote(to_come.pop()))
            (ready, *_), running = ray.wait(running)
            yield _result(ready, uri=shares[0].target.uri)
            done = len(shares) - len(to_come) - len(running)
            progress.advance(f"{done} of {len(shares)} tasks", done / len(shares))
    finally:
        if running:
            ray.wait(running, num_returns=len(running))


def _result(task: Any, *, uri: str) -> Any:
    """What a task gives.

    Raises:
        SluicewayError: the same that the task raised.
        BackendError: Ray failed, or the task did for another reason.
    """
    try:
        return ray.get(task)
    except RayError as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, SluicewayError):
            raise cause from error
        raise BackendError(f"the rows for {uri} could not be written: {error}", table=uri) from error


def _contract(uri: str) -> Contract | None:
    path = Path(main_of(uri)) / FILE_NAME
    return read_contract(path) if "://" not in uri and path.is_file() else None


def _cpus() -> int:
    return int(ray.cluster_resources().get("CPU", 1))
