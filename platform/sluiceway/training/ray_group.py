"""The engine for more rows than one worker holds: all folds and the final fit in one Ray Train worker group."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import ray
from ray.train import DataConfig, RunConfig, ScalingConfig
from ray.train.xgboost import XGBoostTrainer
from sklearn.metrics import roc_auc_score

from sluiceway.core.errors import BackendError
from sluiceway.training.loop import Emit, Event, boost
from sluiceway.training.oof import MOST_VALIDATION_ROWS, keep_oof, oof_table
from sluiceway.training.plan import Plan
from sluiceway.training.ray_errors import cause_of
from sluiceway.training.ray_resources import reserve_cpus
from sluiceway.training.ray_task import Job, Outcome
from sluiceway.training.report import FoldReport, ScoredRows
from sluiceway.training.rows import arrange

POLL_SECONDS = 0.5
# An interrupted driver waits no longer than this for progress that may never come.
PATIENCE_SECONDS = 5.0


class _Mailbox:
    """Takes progress and predictions from the ranks: Ray Train's reports hold boosting to a round per 2 s."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._kept: dict[int, tuple[pa.Table, pa.Table]] = {}

    def tell(self, event: Event) -> None:
        self._events.append(event)

    def take(self) -> list[Event]:
        events, self._events = self._events, []
        return events

    def keep(self, rank: int, oof: pa.Table, validation: pa.Table) -> None:
        self._kept[rank] = (oof, validation)

    def finish(self, job: Job) -> tuple[dict[int, float], ScoredRows, dict[str, int], float]:
        """Write the predictions of all ranks; give exact metrics, validation rows, counts and seconds."""
        pairs = [self._kept[rank] for rank in sorted(self._kept)]
        oof = pa.concat_tables([pair[0] for pair in pairs]).sort_by("key_hash")
        validation = pa.concat_tables([pair[1] for pair in pairs]).sort_by("key_hash")
        seconds = keep_oof(job.oof_uri, oof, version=job.version)
        few = validation.slice(0, MOST_VALIDATION_ROWS)
        scored = ScoredRows(few["label"].to_numpy(), few["score"].to_numpy())
        exact = _exact_auc(oof) if job.spec.metric == "auc" else {}
        return exact, scored, {"train": len(oof), "validation": len(validation)}, seconds


def _exact_auc(oof: pa.Table) -> dict[int, float]:
    """AUC of each fold; among ranks XGBoost only averages the ranks' own."""
    fold, label, score = (oof[name].to_numpy() for name in ("fold", "label", "score"))
    return {int(f): float(roc_auc_score(label[fold == f], score[fold == f])) for f in np.unique(fold)}


def run_group(shards: Sequence[ray.data.Dataset], job: Job, plan: Plan, *, emit: Emit) -> Outcome:
    """Train in one Ray Train worker group.

    Ray's own split cuts all shards to the length of the shortest and promises no order, so the shards are cut before:
    each is a dataset of its own, handed out whole, and rank i takes ``shard-i``. They hold nothing but blocks that lie
    in the object store: to read them needs no CPU, of which the group may have reserved all.

    Args:
        shards: materialised encoded rows, one for each rank; some may be empty.
        job: what to train.
        plan: workers, threads and GPUs.
        emit: called on the driver with each progress event.

    Raises:
        SluicewayError: as the loop raised it.
        BackendError: the group failed.
    """
    mailbox = ray.remote(_Mailbox).options(num_cpus=0).remote()
    storage = tempfile.mkdtemp(prefix="sluiceway-train-")
    asked = time.time()
    trainer = XGBoostTrainer(
        _train_rank,
        train_loop_config={"job": job, "mailbox": mailbox},
        scaling_config=ScalingConfig(
            num_workers=plan.workers, use_gpu=bool(plan.gpus), resources_per_worker=_resources(plan)
        ),
        datasets={f"shard-{rank}": shard for rank, shard in enumerate(shards)},
        dataset_config=DataConfig(datasets_to_split=[]),
        run_config=RunConfig(name="training", storage_path=storage),
    )
    try:
        result = _fit(trainer, mailbox, emit)
        exact, validation, rows, kept = ray.get(mailbox.finish.remote(job))
    except (ray.exceptions.RayError, ray.train.TrainingFailedError) as error:
        raise cause_of(error, "the training group") from error
    finally:
        ray.kill(mailbox)
        shutil.rmtree(storage, ignore_errors=True)
    seconds = dict(result["seconds"])
    started = max(seconds.pop("began") - asked, 0.0)
    folds = tuple(_with_exact(report, exact) for report in result["folds"])
    return Outcome(
        model=result["model"],
        rounds=result["rounds"],
        folds=folds,
        validation=validation,
        rows=rows,
        seconds={"start": started, **seconds, "oof": kept},
    )


def _resources(plan: Plan) -> dict[str, float]:
    return {"CPU": reserve_cpus(plan)} | ({"GPU": float(plan.gpus)} if plan.gpus else {})


def _with_exact(report: FoldReport, exact: dict[int, float]) -> FoldReport:
    return replace(report, metric=exact.get(report.fold, report.metric))


def _fit(trainer: XGBoostTrainer, mailbox: Any, emit: Emit) -> dict[str, Any]:
    """Run the group; its progress is fetched beside it."""
    done = threading.Event()

    def listen() -> None:
        while not done.wait(POLL_SECONDS):
            for event in ray.get(mailbox.take.remote()):
                emit(event)

    listener = threading.Thread(target=listen, name="training-progress", daemon=True)
    listener.start()
    try:
        value = trainer.fit().return_value
    finally:
        done.set()
        listener.join(PATIENCE_SECONDS)
    if value is None:
        raise BackendError("the training group ended without a model")
    return dict(value)


def _train_rank(config: dict[str, Any]) -> dict[str, Any] | None:
    """What every rank runs; rank 0 gives the model back, all of them their predictions."""
    job, mailbox = config["job"], config["mailbox"]
    began = time.time()
    rank = ray.train.get_context().get_world_rank()
    shard = ray.train.get_dataset_shard(f"shard-{rank}")
    train, validation = arrange(shard.iter_batches(batch_format="pyarrow", batch_size=None), width=job.width)
    loaded = time.time() - began

    def tell(event: Event) -> None:
        if rank == 0:
            mailbox.tell.remote(event)

    result = boost(train, validation, spec=job.spec, emit=tell, stop=lambda: False)
    ray.get(mailbox.keep.remote(rank, oof_table(train, result.oof), oof_table(validation, result.validation)))
    if rank > 0:
        return None
    seconds = {"began": began, "load": loaded, **result.seconds}
    return {"model": result.model, "rounds": result.rounds, "folds": result.folds, "seconds": seconds}
