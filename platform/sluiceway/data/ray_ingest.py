"""Rows from files, tables and frames into a Delta table: Ray tasks write the files, one commit brings them in."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import ray

from sluiceway.core.doors import Progress, SilentProgress
from sluiceway.data import commit_files, tables
from sluiceway.data.commit_files import Delivery
from sluiceway.data.contract.load import contract_beside
from sluiceway.data.ingest import planning
from sluiceway.data.ingest.file_writer import delete_files_of
from sluiceway.data.ingest.request import BY_KEY, IngestReport, IngestRequest, report_of_earlier
from sluiceway.data.ingest.write_share import Share, WrittenShare, write_share
from sluiceway.data.places import is_clone, main_of
from sluiceway.data.ray_by_key import CheckedKeys, KeyedRows, check_keys, keys_of_files, keys_of_rows, merge_rows
from sluiceway.data.ray_rewrite import DELETE, MERGE, replaced
from sluiceway.data.ray_sources import Source, find, read_piece
from sluiceway.data.ray_work import cpus, in_turn, result_of
from sluiceway.data.rewrite import Replaced, Rewriting
from sluiceway.data.write_target import WriteTarget

# How many rows went to quarantine, in the commit's metadata.
QUARANTINED = "sluiceway.quarantined"


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
    contract = contract_beside(main_of(target.uri))
    quarantine = None if contract is None else planning.quarantine_target(target)
    share = Share(target, (), run, 0, request.evolve, contract, quarantine, request.batch_id)
    committed = False
    try:
        written = _written(share, pieces, progress)
        progress.stage("commit")
        report = _commit(share, written, request, source=source)
        committed = report.refused is None and not report.skipped
    finally:
        if not committed:
            for uri in (target.uri, *([quarantine.uri] if quarantine else [])):
                delete_files_of(uri, run)
    return report


def _written(share: Share, pieces: Sequence[Any], progress: Progress) -> list[WrittenShare]:
    work = list(planning.shares(pieces, cpus=cpus()))
    progress.stage("write", f"{len(pieces)} pieces in {len(work)} tasks")
    numbered = [replace(share, pieces=some, number=number) for number, some in enumerate(work)]
    return list(in_turn(_write.remote, numbered, uri=share.target.uri, progress=progress))


def _commit(share: Share, written: Sequence[WrittenShare], request: IngestRequest, *, source: str) -> IngestReport:
    target = share.target
    files = [file for one in written for file in one.files]
    rows = sum(file.rows for file in files)
    rejected = sum(file.rows for one in written for file in one.quarantined)
    if rejected and request.strict:
        example = next(one.example for one in written if one.example)
        return _refused(target.uri, request, rejected, example)
    delivery = request.delivery(source=source, done=f"{request.mode}: {rows:,} rows of {source}", run=share.run)
    delivery = _quarantined(share, written, delivery)
    if request.mode in BY_KEY and target.exists:
        keys = result_of(keys_of_files.remote(target, files, request.key), uri=target.uri)
        job = Rewriting(target, keys, MERGE, delivery, share.run, rows, tuple(files), cpus=cpus())
        report = _replaced_report(target.uri, request, replaced(job))
    else:
        # By key, beside rows of somebody else, keys could come twice.
        mode = commit_files.CREATE if request.mode in BY_KEY else request.mode
        result = commit_files.add_files(target, files, mode=mode, delivery=delivery)
        report = IngestReport(target.uri, result.version, request.mode, result.rows, skipped=result.skipped)
    size = sum(file.size for file in files)
    return replace(report, files=len(files), bytes=size, quarantined=rejected, added_columns=target.added)


def _quarantined(share: Share, written: Sequence[WrittenShare], delivery: Delivery) -> Delivery:
    """Commit the misfits, if there are any; the delivery of the other rows, which says how many went beside."""
    bad = [file for one in written for file in one.quarantined]
    if not bad or share.quarantine is None:
        return delivery
    # First: rows that are in neither table would be lost. A delivery that comes again finds it done.
    commit_files.add_files(share.quarantine, bad, mode=commit_files.APPEND, delivery=delivery)
    return replace(delivery, more={**delivery.more, QUARANTINED: sum(file.rows for file in bad)})


def _refused(uri: str, request: IngestRequest, rejected: int, example: str | None) -> IngestReport:
    why = f"{rejected:,} rows break the contract of {uri}, for example: {example}"
    return IngestReport(uri, None, request.mode, 0, quarantined=rejected, refused=why)


def _by_key(
    target: WriteTarget, pieces: Sequence[Any], request: IngestRequest, *, source: str, progress: Progress
) -> IngestReport:
    delete = request.mode == commit_files.DELETE
    given = KeyedRows(target, pieces, request, None if delete else contract_beside(main_of(target.uri)))
    progress.stage("look at the keys")
    checked: CheckedKeys = result_of(check_keys.remote(given), uri=target.uri)
    if checked.rejected and request.strict:
        return _refused(target.uri, request, checked.rejected, checked.example)
    progress.stage(request.mode, f"{checked.rows:,} rows")
    # Every row is new, or the engine cannot do it: rewrite files that a branch has inherited, or add columns meanwhile.
    if not delete and (not target.exists or is_clone(target.uri) or target.added):
        return _by_files(target, pieces, request, source=source, progress=progress)
    run = uuid.uuid4().hex[:12]
    delivery = request.delivery(source=source, done=f"{request.mode}: {checked.rows:,} rows of {source}", run=run)
    if is_clone(target.uri):
        keys = result_of(keys_of_rows.remote(given), uri=target.uri)
        found = replaced(Rewriting(target, keys, DELETE, delivery, run, checked.rows, cpus=cpus()), progress=progress)
        return _replaced_report(target.uri, request, found)
    if checked.rejected:
        delivery = _misfits_beside(given, delivery, run=run, progress=progress)
    result, numbers = result_of(merge_rows.remote(given, delivery, checked.rows), uri=target.uri)
    report = IngestReport(target.uri, result.version, request.mode, result.rows, skipped=result.skipped, **numbers)
    return replace(report, quarantined=checked.rejected)


def _misfits_beside(given: KeyedRows, delivery: Delivery, *, run: str, progress: Progress) -> Delivery:
    """Write and commit the rows that break the contract, before the engine merges the others."""
    quarantine = planning.quarantine_target(given.target)
    share = Share(
        given.target, (), run, 0, contract=given.contract, quarantine=quarantine, batch=delivery.batch_id, beside=True
    )
    try:
        return _quarantined(share, _written(share, given.pieces, progress), delivery)
    finally:  # those that were committed stay
        delete_files_of(quarantine.uri, run)


def _replaced_report(uri: str, request: IngestRequest, found: Replaced) -> IngestReport:
    report = IngestReport(uri, found.version, request.mode, found.rows, skipped=found.skipped)
    if found.skipped:
        return report
    if request.mode == commit_files.DELETE:
        return replace(report, inserted=0, updated=0, deleted=found.deleted)
    return replace(report, inserted=found.rows - found.met, updated=found.deleted, deleted=0)


@ray.remote(max_retries=2)
def _write(share: Share) -> WrittenShare:
    return write_share(share, read_piece)
