"""Scores a version of a table by a registered model and appends the scores to a table: a batch once, in one commit."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from sluiceway.core.doors import Progress, SilentProgress
from sluiceway.core.errors import DataError
from sluiceway.data import commit_files
from sluiceway.data.commit_files import RUN, Delivery
from sluiceway.data.contract.load import contract_beside
from sluiceway.data.ingest import planning
from sluiceway.data.ingest.file_writer import delete_files_of
from sluiceway.data.ingest.sources import pieces_of
from sluiceway.data.ingest.write_share import Share
from sluiceway.data.places import main_of
from sluiceway.lifecycle.batch_plan import DIGEST, MODEL, ScorePlan, ScoreReport, report_of, report_of_commit
from sluiceway.lifecycle.ray_scores import ScoredShare, ScoreJob, free_cpus, scored
from sluiceway.lifecycle.score_pool import pool_of
from sluiceway.serving.scorer import BundleScorer
from sluiceway.training.plan import Cluster
from sluiceway.training.ray_resources import look_at_cluster

# Files up to this size are scored whole: to look for their parts costs more than it gives.
WHOLE_BYTES = 16 * 2**20
# So that the last shares of all actors end together.
SHARES_PER_CPU = 4
# Keys of the commit, beside those of every delivery.
DEVICE, UNSEEN = "sluiceway.device", "sluiceway.unseen"


def score(plan: ScorePlan, *, progress: Progress | None = None) -> ScoreReport:
    """Score the rows of a plan and commit the scores.

    Args:
        plan: what to do.
        progress: told how far it is.

    Returns:
        what was done; ``skipped`` where another run was faster with the same batch.

    Raises:
        ModelError: the model cannot be loaded.
        DataError: a row cannot be scored, or a score not be written; nothing was committed.
        ConflictError: other writers of the target won every race, or changed its columns meanwhile.
        BackendError: Ray failed, or a GPU is asked for and there is none.
    """
    progress = progress or SilentProgress()
    progress.stage("look at the model", str(plan.request.model))
    BundleScorer(plan.request.bundle, threads=1)  # what cannot be loaded is told here, and once
    cluster, target = look_at_cluster(), plan.target
    run = uuid.uuid4().hex[:12]
    shares = _shares(plan, run, cluster)
    pool = pool_of(
        cluster,
        free_cpus=free_cpus(),
        shares=len(shares),
        device=_device(plan, cluster),
        actors=plan.request.actors,
    )
    contract = contract_beside(main_of(target.uri))
    job = ScoreJob(run, plan.columns, plan.read, contract, pool.threads, pool.device)
    rows = plan.request.source.rows
    progress.stage("score", f"{rows:,} rows in {len(shares)} shares by {pool.actors} actors on {pool.device}")
    committed = False
    try:
        done = list(scored(shares, job, plan.request.bundle, pool, rows=rows, progress=progress))
        _refuse_other_count(done, plan)
        progress.stage("commit")
        report = _commit(plan, run, done, device=pool.device)
        committed = not report.skipped
    finally:
        if not committed:
            delete_files_of(target.uri, run)
    return report


def _shares(plan: ScorePlan, run: str, cluster: Cluster) -> list[Share]:
    pieces = pieces_of(plan.request.source, unopened=WHOLE_BYTES)
    work = list(planning.shares(pieces, cpus=int(cluster.cpus) * SHARES_PER_CPU))
    # The largest first: it must not be the one that everybody waits for.
    work.sort(key=lambda some: -sum(piece.size for piece in some))
    return [Share(plan.target, tuple(some), run, number) for number, some in enumerate(work)]


def _device(plan: ScorePlan, cluster: Cluster) -> str:
    """What was asked for; else a GPU for a model that was trained on one, where there is one."""
    if plan.request.device != "auto":
        return plan.request.device
    trained = (plan.request.bundle.lineage.get("config") or {}).get("device")
    return "cuda" if trained == "cuda" and cluster.gpus >= 1 else "cpu"


def _refuse_other_count(done: Sequence[ScoredShare], plan: ScorePlan) -> None:
    source, rows = plan.request.source, sum(one.rows for one in done)
    if rows != source.rows:
        raise DataError(
            f"version {source.version} of {source.uri} holds {rows:,} rows, its log says {source.rows:,}",
            hint="a data file was changed in place; restore it from a copy. Nothing was committed",
            table=source.uri,
        )


def _commit(plan: ScorePlan, run: str, done: Sequence[ScoredShare], *, device: str) -> ScoreReport:
    request, origin = plan.request, plan.columns.origin
    files = [file for one in done for file in one.written.files]
    unseen: Counter[str] = Counter()
    for one in done:
        unseen.update(one.unseen)
    told = {MODEL: str(request.model), DIGEST: origin.digest, DEVICE: device, UNSEEN: unseen.total(), RUN: run}
    where = f"{origin.source}@{origin.source_version}"
    rows = sum(one.rows for one in done)
    message = request.message or f"{rows:,} rows of {where} scored by {request.model}"
    delivery = Delivery(message, where, plan.batch_id, request.author, told)
    result = commit_files.add_files(plan.target, files, mode=commit_files.APPEND, delivery=delivery)
    if result.skipped:
        return report_of_commit(plan, result)
    report = report_of(plan, version=result.version, rows=result.rows)
    size = sum(file.size for file in files)
    return replace(report, device=device, files=len(files), bytes=size, unseen=dict(unseen))
