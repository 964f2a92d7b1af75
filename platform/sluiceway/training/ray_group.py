"""The engine for more rows than one worker holds: all folds and the final fit in one Ray Train worker group."""

from __future__ import annotations

import math
import shutil
import tempfile
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import xgboost
from ray.train import DataConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.xgboost import XGBoostTrainer
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from sklearn.metrics import roc_auc_score

from sluiceway.core.errors import BackendError, SluicewayError
from sluiceway.training.job import MOST_SAMPLE_ROWS, Job, Outcome, scored_rows
from sluiceway.training.loop import Emit, Event, boost
from sluiceway.training.oof import KeptOof, keep_oof, oof_table, scores_of
from sluiceway.training.plan import Plan
from sluiceway.training.ray_errors import cause_of
from sluiceway.training.ray_resources import START_SECONDS, reserve_cpus, waiting_event
from sluiceway.training.report import FoldReport, ScoredRows
from sluiceway.training.rows import EncodedBlocks, RowSource
from sluiceway.training.workplace import workplace

POLL_SECONDS = 0.5
_BEGUN: Event = {"begun": True}
# An interrupted driver waits no longer than this for progress that may never come.
PATIENCE_SECONDS = 5.0


class _Mailbox:
    """Takes progress and predictions from the ranks: Ray Train's reports hold boosting to a round per 2 s."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._starts = 0
        self._kept: dict[int, tuple[pa.Table, pa.Table, np.ndarray]] = {}
        self._error: SluicewayError | None = None

    def start(self) -> None:
        """A group begins: the first, or one in place of a group that lost a worker."""
        self._starts += 1
        self._events.append(_BEGUN)
        if self._starts > 1:
            self._events.append({"restart": self._starts - 1})

    def tell(self, event: Event) -> None:
        self._events.append(event)

    def take(self) -> list[Event]:
        events, self._events = self._events, []
        return events

    def keep(self, rank: int, oof: pa.Table, validation: pa.Table, sample: np.ndarray) -> None:
        self._kept[rank] = (oof, validation, sample)

    def fail(self, error: SluicewayError) -> None:
        """Why a rank leaves; the first one counts."""
        self._error = self._error or error

    def error(self) -> SluicewayError | None:
        return self._error

    def finish(self, job: Job) -> _Joined:
        """Write the predictions of all ranks."""
        kept = [self._kept[rank] for rank in sorted(self._kept)]
        oof = pa.concat_tables([each[0] for each in kept]).sort_by("key_hash")
        validation = pa.concat_tables([each[1] for each in kept])
        sample = np.concatenate([each[2] for each in kept])
        # As in one task: in the order of the unsigned keys. A rank's sample is of its first rows in that order.
        order = np.argsort(validation["key_hash"].to_numpy().view(np.uint64), kind="stable")
        firsts = np.concatenate(
            [np.arange(len(each[2])) + start for each, start in zip(kept, _starts(kept), strict=True)]
        )
        found = {int(row): number for number, row in enumerate(firsts)}
        chosen = [found[int(row)] for row in order[:MOST_SAMPLE_ROWS] if int(row) in found]
        scored = scored_rows(
            validation["label"].to_numpy()[order], scores_of(validation)[order], sample[np.array(chosen, int)]
        )
        written = keep_oof(job.oof_uri, oof, version=job.version)
        exact = _exact_auc(oof) if job.spec.metric == "auc" and job.spec.kind == "binary" else {}
        return _Joined(exact, scored, {"train": len(oof), "validation": len(validation)}, written, self._starts - 1)


@dataclass(frozen=True)
class _Joined:
    """What all ranks made together; ``rows`` counts training rows that a fold validates."""

    exact: dict[int, float]
    validation: ScoredRows
    rows: dict[str, int]
    oof: KeptOof
    restarts: int


def _starts(kept: Sequence[tuple[pa.Table, pa.Table, np.ndarray]]) -> list[int]:
    lengths = [len(each[1]) for each in kept]
    return [sum(lengths[:rank]) for rank in range(len(lengths))]


def _exact_auc(oof: pa.Table) -> dict[int, float]:
    """AUC of each fold; among ranks XGBoost only averages the ranks' own."""
    fold, label, score = (oof[name].to_numpy() for name in ("fold", "label", "score"))
    weight = oof["weight"].to_numpy() if "weight" in oof.column_names else np.ones(len(fold), np.float32)
    return {
        int(number): float(
            roc_auc_score(label[fold == number], score[fold == number], sample_weight=weight[fold == number])
        )
        for number in np.unique(fold)
    }


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
    # Beside the driver: a node that is lost with some ranks would take all ranks' predictions with it.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    mailbox = ray.remote(_Mailbox).options(num_cpus=0, scheduling_strategy=here).remote()
    storage = tempfile.mkdtemp(prefix="sluiceway-train-")
    asked = time.time()
    cpus = reserve_cpus(plan)
    trainer = XGBoostTrainer(
        _train_rank,
        train_loop_config={"job": job, "mailbox": mailbox},
        scaling_config=ScalingConfig(
            num_workers=plan.workers, use_gpu=bool(plan.gpus), resources_per_worker=_resources(plan, cpus)
        ),
        datasets={f"shard-{rank}": shard for rank, shard in enumerate(shards)},
        dataset_config=DataConfig(datasets_to_split=[]),
        run_config=RunConfig(
            name="training", storage_path=storage, failure_config=FailureConfig(max_failures=job.retries)
        ),
    )
    try:
        result = _fit(trainer, mailbox, emit, waiting=waiting_event(plan, cpus))
        joined: _Joined = ray.get(mailbox.finish.remote(job))
    except (ray.exceptions.RayError, ray.train.TrainingFailedError) as error:
        raise _told_by_a_rank(mailbox) or cause_of(error, "the training group") from error
    finally:
        ray.kill(mailbox)
        shutil.rmtree(storage, ignore_errors=True)
    seconds = dict(result["seconds"])
    started = max(result["began"] - asked, 0.0)
    folds = tuple(_with_exact(report, joined.exact) for report in result["folds"])
    return Outcome(
        model=result["model"],
        rounds=result["rounds"],
        folds=folds,
        validation=joined.validation,
        rows={**joined.rows, "train": result["rows"]},
        seconds={"start": started, **seconds, "oof": joined.oof.seconds},
        restarts=joined.restarts,
        oof_version=joined.oof.version,
    )


def _told_by_a_rank(mailbox: Any) -> SluicewayError | None:
    try:
        told: SluicewayError | None = ray.get(mailbox.error.remote())
    except ray.exceptions.RayError:
        return None  # it is gone itself
    return told


def _resources(plan: Plan, cpus: float) -> dict[str, float]:
    return {"CPU": cpus} | {name: float(n) for name, n in (("GPU", plan.gpus), ("memory", plan.memory)) if n}


def _with_exact(report: FoldReport, exact: dict[int, float]) -> FoldReport:
    return replace(report, metric=exact.get(report.fold, report.metric))


def _fit(trainer: XGBoostTrainer, mailbox: Any, emit: Emit, *, waiting: Event) -> dict[str, Any]:
    """Run the group; its progress is fetched beside it. ``waiting`` is told where it has not begun for long."""
    done = threading.Event()

    def take() -> bool:
        events = ray.get(mailbox.take.remote())
        for event in events:
            if event != _BEGUN:
                emit(event)
        return bool(events)

    def listen() -> None:
        late = time.monotonic() + START_SECONDS
        while not done.wait(POLL_SECONDS):
            if take():
                late = math.inf
            elif time.monotonic() > late:
                late = math.inf
                emit(waiting)

    listener = threading.Thread(target=listen, name="training-progress", daemon=True)
    listener.start()
    try:
        value = trainer.fit().return_value
    except SystemExit as error:  # what Ray Train makes of a ctrl-C
        raise KeyboardInterrupt from error
    finally:
        done.set()
        listener.join(PATIENCE_SECONDS)
    take()
    if value is None:
        raise BackendError("the training group ended without a model")
    found = dict(value)
    if "error" in found:
        raise found["error"]
    return found


def _train_rank(config: dict[str, Any]) -> dict[str, Any]:
    """What every rank runs; rank 0 gives the model back, all of them their predictions."""
    job, mailbox = config["job"], config["mailbox"]
    began = time.time()
    rank = ray.train.get_context().get_world_rank()
    told = ray.get(mailbox.error.remote())
    if told is not None:  # it would be raised again: no reason for another group
        return {"error": told}
    shard = ray.train.get_dataset_shard(f"shard-{rank}")
    if rank == 0:
        ray.get(mailbox.start.remote())

    def blocks() -> Iterable[pa.Table]:
        found: Iterable[pa.Table] = shard.iter_batches(batch_format="pyarrow", batch_size=None)
        return found

    def tell(event: Event) -> None:
        if rank == 0:
            mailbox.tell.remote(event)

    try:
        return _train_rows(EncodedBlocks(blocks, job.width), job, rank, mailbox, tell) | {"began": began}
    except SluicewayError as error:
        ray.get(mailbox.fail.remote(error))  # before the other ranks notice that one is gone
        if isinstance(error, BackendError):
            raise  # of one rank's disk or device: Ray ends the others, which may wait for it for ever
        return {"error": error}  # of the rows: all ranks raise it
    except xgboost.core.XGBoostError:
        told = ray.get(mailbox.error.remote())
        if told is None:
            raise
        return {"error": told}


def _train_rows(source: RowSource, job: Job, rank: int, mailbox: Any, tell: Emit) -> dict[str, Any]:
    asked = time.time()
    with workplace(source, job) as place:
        loaded = time.time() - asked
        result = boost(
            place.train,
            place.validation,
            spec=job.spec,
            emit=tell,
            stop=lambda: False,
            maker=place.maker,
            checkpoints=place.checkpoints,
        )
        sample = np.array(place.validation.x[:MOST_SAMPLE_ROWS], np.float32)
        oof, validation = oof_table(place.train, result.oof), oof_table(place.validation, result.validation)
    ray.get(mailbox.keep.remote(rank, oof, validation, sample))
    rows = int(xgboost.collective.allreduce(np.array([len(place.train)], np.float64), xgboost.collective.Op.SUM)[0])
    seconds = {"load": loaded, **result.seconds}
    return {"model": result.model, "rounds": result.rounds, "folds": result.folds, "seconds": seconds, "rows": rows}
