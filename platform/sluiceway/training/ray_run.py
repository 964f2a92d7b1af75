"""Cross-validate and train rows that Ray Data can read; the engine is chosen here."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

import ray

from sluiceway.config.experiment import DataSection, ModelSection, TrainingSection
from sluiceway.core.doors import Progress
from sluiceway.core.errors import DataError
from sluiceway.features.schema import FeatureSchema
from sluiceway.training.loop import Event, LoopSpec
from sluiceway.training.params import booster_params, place_constraints
from sluiceway.training.plan import Plan, plan_run, require_gpus
from sluiceway.training.ray_errors import cause_of
from sluiceway.training.ray_group import run_group
from sluiceway.training.ray_resources import look_at_cluster
from sluiceway.training.ray_task import Job, run_task
from sluiceway.training.report import TrainReport
from sluiceway.training.rows import encode_block


def train_dataset(
    read: Callable[[], ray.data.Dataset],
    *,
    data: DataSection,
    model: ModelSection,
    training: TrainingSection,
    seed: int,
    oof_uri: str,
    schema: FeatureSchema,
    progress: Progress,
) -> TrainReport:
    """As :func:`sluiceway.training.trainer.train`, for rows from anywhere.

    Args:
        read: gives the rows: features, target, ``__part__`` (0 train, 1 validation, 2 test), ``__fold__``,
            ``__key__``; it is called after everything that can be refused without rows.
        data: names the target.
        model: the estimator.
        training: folds, stopping, workers.
        seed: of boosting.
        oof_uri: Delta table of the out-of-fold predictions, or empty.
        schema: of the features.
        progress: told of folds and rounds.
    """
    began = time.perf_counter()
    cluster = look_at_cluster()
    make_spec = functools.partial(_spec, model=model, training=training, seed=seed, schema=schema)
    make_spec(threads=1)
    require_gpus(training, cluster)
    progress.advance("reading and encoding the rows")
    encoded = _encoded(read(), schema=schema, target=data.target, binary=model.type == "XGBClassifier")
    rows = encoded.count()
    if rows == 0:
        raise DataError("there are no rows to train on", hint="look at data.path and data.version")
    plan = plan_run(training, cluster, rows=rows, features=len(schema.names))
    read_seconds = time.perf_counter() - began
    job = Job(make_spec(threads=plan.threads), len(schema.names), oof_uri, data.path)
    progress.advance(f"{rows:,} rows read; starting {_told(plan)}")
    emit = functools.partial(_show, progress, job.spec.metric)
    if plan.engine == "task":
        blocks = [ref for bundle in encoded.iter_internal_ref_bundles() for ref in bundle.block_refs]
        outcome = run_task(blocks, job, plan, emit=emit)
    else:
        cuts = [rows * rank // plan.workers for rank in range(1, plan.workers)]
        outcome = run_group(encoded.split_at_indices(cuts), job, plan, emit=emit)
    total = time.perf_counter() - began
    return TrainReport(
        model=outcome.model,
        schema=schema,
        rounds=outcome.rounds,
        folds=outcome.folds,
        metric_name=job.spec.metric,
        validation=outcome.validation,
        oof_uri=oof_uri,
        rows=outcome.rows,
        seconds={"read": read_seconds, **outcome.seconds, "total": total},
        engine=plan.engine,
        why=plan.why,
    )


def _spec(
    *, model: ModelSection, training: TrainingSection, seed: int, schema: FeatureSchema, threads: int
) -> LoopSpec:
    params, rounds = booster_params(model, training, seed=seed, nthread=threads)
    readable = all(not set("[]<") & set(name) for name in schema.names)  # XGBoost refuses these in names
    return LoopSpec(
        params=place_constraints(params, schema.names),
        rounds=rounds,
        early_stopping=training.early_stopping_rounds,
        folds=training.folds,
        binary=model.type == "XGBClassifier",
        names=schema.names if readable else None,
        types=tuple(schema.xgboost_types),
        every=int(training.verbose),
    )


def _encoded(
    dataset: ray.data.Dataset, *, schema: FeatureSchema, target: str, binary: bool
) -> ray.data.MaterializedDataset:
    """Encode where the blocks are; the results stay in the object store, in the order of the rows."""
    encode: Any = functools.partial(encode_block, schema=schema, target=target, binary=binary)
    encoded = dataset.map_batches(encode, batch_format="pyarrow", batch_size=None, zero_copy_batch=True)
    encoded.context.execution_options.preserve_order = True
    encoded.context.raise_original_map_exception = True  # Ray's wrapper loses its cause between processes
    try:
        return encoded.materialize()
    except ray.exceptions.RayError as error:
        raise cause_of(error, "reading the rows") from error


def _told(plan: Plan) -> str:
    workers = "one Ray task" if plan.engine == "task" else f"{plan.workers} Ray Train workers"
    return f"{workers} ({plan.why})"


def _show(progress: Progress, metric: str, event: Event) -> None:
    """One line of an event, and the share of the work that it means: the final fit counts as a fold."""
    of, fold = event["of"], event.get("fold")
    done = event.get("round", 0)
    parts = of + 1
    if fold is None:
        total = event.get("final")
        text = f"final model, {total} rounds" if total else f"final model round {done}"
        share = of / parts
    else:
        within = 1.0 if event.get("done") else done / event["rounds"]
        text = f"fold {fold + 1}/{of}" + (f" round {done}" if done else "")
        share = (fold + within) / parts
    if "value" in event:
        text += f" {metric} {event['value']:.3f}"
    progress.advance(text, share)
