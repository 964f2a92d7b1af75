"""Cross-validate and train rows that Ray Data can read; the engine is chosen here."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray

from sluiceway.core.doors import Progress
from sluiceway.core.errors import ConfigError
from sluiceway.data.labelled_rows import LabelledRows
from sluiceway.features.schema import FeatureSchema
from sluiceway.training.checkpoints import run_folder
from sluiceway.training.encoded import Target, encode_block
from sluiceway.training.job import Job, Outcome
from sluiceway.training.legacy import check_legacy
from sluiceway.training.plan import (
    Cluster,
    Plan,
    plan_run,
    reads_alone,
    require_cpus,
    require_gpus,
    require_memory,
    require_room,
)
from sluiceway.training.ray_balance import fold_cuts
from sluiceway.training.ray_blocks import stored_blocks
from sluiceway.training.ray_errors import cause_of
from sluiceway.training.ray_group import run_group
from sluiceway.training.ray_legacy import run_legacy
from sluiceway.training.ray_resources import look_at_cluster, refuse_client
from sluiceway.training.ray_task import run_task
from sluiceway.training.read_rows import ReadRows, no_rows
from sluiceway.training.recipe import Recipe
from sluiceway.training.report import TrainReport
from sluiceway.training.shown import Shown


@dataclass(frozen=True)
class Prepared:
    """Rows that were read and encoded once, in the object store, and what is to be made of them.

    Attributes:
        dataset: of the encoded blocks.
        blocks: their references, in the order of the rows.
        rows: of the training and the validation part.
        width: number of features.
        fold_cuts: see :class:`sluiceway.training.job.Job`.
        cluster: that they were read on.
        seconds: that reading took.
    """

    dataset: ray.data.MaterializedDataset
    blocks: list[ray.ObjectRef]
    rows: int
    width: int
    fold_cuts: dict[int, list[int]]
    cluster: Cluster
    seconds: float


def prepare(read: Callable[[], ray.data.Dataset], recipe: Recipe, *, progress: Progress) -> Prepared:
    """Read and encode the rows, after everything that can be refused without rows.

    Args:
        read: gives the rows: features, target, weight, ``__part__`` (0 train, 1 validation, 2 test), ``__fold__``,
            ``__key__``, and ``__since__`` for rows in time order.
        recipe: what is trained.
        progress: told of it.

    Raises:
        ConfigError: parameters, metric or folds do not fit.
        DataError: there are no rows, or labels or weights that nothing can be learnt from.
        BackendError: the cluster lacks what the configuration asks for.
    """
    return _prepared(read, recipe, _checked_cluster(recipe), progress)


def train_dataset(
    read: Callable[[], ray.data.Dataset],
    recipe: Recipe,
    *,
    oof_uri: str,
    progress: Progress,
    checkpoints: str = "",
    alone: Callable[[], LabelledRows] | None = None,
) -> TrainReport:
    """As :func:`sluiceway.training.trainer.train`, for rows from anywhere.

    Args:
        read: see :func:`prepare`.
        recipe: what is trained.
        oof_uri: as there.
        progress: as there.
        checkpoints: as there.
        alone: gives the same rows for one task that reads them by itself; left out, all rows go through ``read``.
    """
    began = time.perf_counter()
    cluster = _checked_cluster(recipe)
    source = alone() if alone is not None else None
    width = len(recipe.schema.names)
    if source is not None:
        rows = source.count()
        plan = plan_run(recipe.training, cluster, rows=rows, features=width)
        if reads_alone(plan, recipe.training, rows=rows, features=width):
            require_room(plan, cluster)
            job = _job(recipe, plan, oof_uri=oof_uri, checkpoints=checkpoints, cuts={})
            progress.advance(f"starting {_told(plan)}; it reads the rows, {rows:,} with those of the test part")
            seconds = time.perf_counter() - began
            run = functools.partial(run_task, ReadRows(source, recipe.schema, recipe.target), job, plan)
            return _report(run, recipe, job, plan, progress=progress, read_seconds=seconds, began=began)
    prepared = _prepared(read, recipe, cluster, progress)
    plan = plan_run(recipe.training, cluster, rows=prepared.rows, features=width)
    require_gpus(recipe.training, cluster, workers=plan.workers)
    require_room(plan, cluster)
    require_memory(recipe.training, rows=prepared.rows, features=width, workers=plan.workers)
    job = _job(recipe, plan, oof_uri=oof_uri, checkpoints=checkpoints, cuts=prepared.fold_cuts)
    progress.advance(f"{prepared.rows:,} rows read; starting {_told(plan)}")
    run = functools.partial(_run, prepared, job, plan)
    return _report(run, recipe, job, plan, progress=progress, read_seconds=prepared.seconds, began=began)


def _checked_cluster(recipe: Recipe) -> Cluster:
    """The cluster, after everything that can be refused without rows."""
    refuse_client()
    cluster = look_at_cluster()
    training = recipe.training
    recipe.loop_spec(threads=1)
    check_folding(recipe)
    require_gpus(training, cluster, workers=1 if training.workers == "auto" else training.workers)
    require_cpus(training, cluster)
    if training.engine == "xgboost_ray":
        check_legacy(training, base=recipe.base)
    return cluster


def _prepared(read: Callable[[], ray.data.Dataset], recipe: Recipe, cluster: Cluster, progress: Progress) -> Prepared:
    began = time.perf_counter()
    training = recipe.training
    progress.advance("reading and encoding the rows")
    encoded = _encoded(read(), schema=recipe.schema, target=recipe.target)
    rows = encoded.count()
    if rows == 0:
        raise no_rows()
    blocks = [ref for bundle in encoded.iter_internal_ref_bundles() for ref in bundle.block_refs]
    cuts = fold_cuts(blocks, folds=training.folds, seed=recipe.seed) if training.fold_by == "stratified" else {}
    return Prepared(encoded, blocks, rows, len(recipe.schema.names), cuts, cluster, time.perf_counter() - began)


def _job(recipe: Recipe, plan: Plan, *, oof_uri: str, checkpoints: str, cuts: dict[int, list[int]]) -> Job:
    spec = recipe.loop_spec(threads=plan.threads)
    return Job(
        spec=spec,
        width=len(recipe.schema.names),
        oof_uri=oof_uri,
        version=recipe.data.path,
        fold_cuts=cuts,
        seed=recipe.seed,
        checkpoints=run_folder(checkpoints, spec, spec.base, plan.workers, plan.disk_rows > 0, plan.together)
        if checkpoints
        else "",
        retries=recipe.training.retries,
        disk_rows=plan.disk_rows,
        weighted=recipe.data.weight is not None,
        together=plan.together,
    )


def _report(
    run: Callable[..., Outcome],
    recipe: Recipe,
    job: Job,
    plan: Plan,
    *,
    progress: Progress,
    read_seconds: float,
    began: float,
) -> TrainReport:
    spec = job.spec
    outcome = run(emit=Shown(progress, spec.metric, spec.folds))
    return TrainReport(
        model=outcome.model,
        schema=recipe.schema,
        kind=spec.kind,
        classes=recipe.classes,
        rounds=outcome.rounds,
        folds=outcome.folds,
        metric_name=spec.metric,
        validation=outcome.validation,
        oof_uri=job.oof_uri,
        rows=outcome.rows,
        seconds={"read": read_seconds, **outcome.seconds, "total": time.perf_counter() - began},
        engine=plan.engine,
        why=plan.why,
        restarts=outcome.restarts,
        oof_version=outcome.oof_version,
    )


def check_folding(recipe: Recipe) -> None:
    """Refuse folds that cannot be, or that would undo what the split is for.

    Raises:
        ConfigError: folds are to be stratified where there are no classes, groups must stay together, or time goes
            forward.
    """
    by = recipe.data.split.by
    if recipe.training.fold_by != "stratified":
        return
    if not recipe.classes:
        problem = "training.fold_by: stratified needs classes, and a regressor has none; leave it out"
    elif by != "row":
        problem = f"training.fold_by: stratified cannot be with data.split.by: {by}; leave it out: folds are by {by}"
    else:
        return
    raise ConfigError("the folds do not fit", problems=(problem,))


def _run(prepared: Prepared, job: Job, plan: Plan, *, emit: Shown) -> Outcome:
    if plan.engine == "group":
        cuts = [prepared.rows * rank // plan.workers for rank in range(1, plan.workers)]
        return run_group(prepared.dataset.split_at_indices(cuts), job, plan, emit=emit)
    if plan.engine == "xgboost_ray":
        return run_legacy(prepared.blocks, job, plan, emit=emit)
    return run_task(stored_blocks(prepared.blocks, prepared.width), job, plan, emit=emit)


def _encoded(dataset: ray.data.Dataset, *, schema: FeatureSchema, target: Target) -> ray.data.MaterializedDataset:
    """Encode where the blocks are; the results stay in the object store, in the order of the rows."""
    encode: Any = functools.partial(encode_block, schema=schema, target=target)
    encoded = dataset.map_batches(encode, batch_format="pyarrow", batch_size=None, zero_copy_batch=True)
    encoded.context.execution_options.preserve_order = True
    encoded.context.raise_original_map_exception = True  # Ray's wrapper loses its cause between processes
    try:
        return encoded.materialize()
    except ray.exceptions.RayError as error:
        raise cause_of(error, "reading the rows") from error


def _told(plan: Plan) -> str:
    workers = f"{plan.workers} Ray Train workers" if plan.engine == "group" else "one Ray task"
    if plan.parallel > 1:
        workers = "a Ray task for each fold"
    if plan.engine == "xgboost_ray":
        workers = f"xgboost-ray in an environment of its own, actors: {plan.workers}"
    return f"{workers} ({plan.why})"
