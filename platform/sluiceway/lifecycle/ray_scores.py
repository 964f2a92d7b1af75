"""Scores the files of a version by a pool of actors: each has the model, reads, scores and writes share by share.

Ray Data hands out the shares and keeps the pool alive; the rows themselves never travel. What an actor reads it scores
in batches of a few megabytes and writes into files of the target: neither the object store nor the driver holds a row.
"""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import ray
import ray.data
from ray.data import ActorPoolStrategy
from ray.data.exceptions import ExecutionTimeoutError
from ray.exceptions import RayError
from ray.experimental import internal_kv

from sluiceway.core.doors import Progress
from sluiceway.core.errors import BackendError, DataError, SluicewayError
from sluiceway.data.contract.model import Contract
from sluiceway.data.ingest.pieces import batches_of
from sluiceway.data.ingest.planning import REASON
from sluiceway.data.ingest.write_share import Share, WrittenShare, judged, write_share
from sluiceway.features.encode import encode_table
from sluiceway.lifecycle.score_columns import ScoreColumns, unseen_categories
from sluiceway.lifecycle.score_pool import Pool
from sluiceway.registry.bundle import Bundle
from sluiceway.serving.scorer import BundleScorer
from sluiceway.training.workplace import missing_gpu

# Ray starts a process again that died, and begins its share again, for ever; what kills every process must not.
TRIES = 3
_TRIED = b"sluiceway-scores"
DEAD = (
    "nothing was committed; run it again. The actors' logs are in Ray's session folder; where the system kills them "
    "for their memory, give fewer --actors"
)
_SHARE, _DONE = "share", "done"


@dataclass(frozen=True)
class ScoreJob:
    """What every actor needs to know.

    Attributes:
        run: 12 hex digits in the names of all files of this try.
        columns: of the scored rows.
        read: columns of the source.
        contract: that scored rows have to fit, or None.
        threads: of an actor.
        device: ``cpu`` or ``cuda``.
    """

    run: str
    columns: ScoreColumns
    read: tuple[str, ...]
    contract: Contract | None
    threads: int
    device: str


@dataclass(frozen=True)
class ScoredShare:
    """What became of a share.

    Attributes:
        number: of the share.
        written: its files.
        unseen: values that are categories which the model does not know, by column.
    """

    number: int
    written: WrittenShare
    unseen: Mapping[str, int] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """How many were scored."""
        return sum(file.rows for file in self.written.files)


def free_cpus() -> float:
    """How many CPUs of the cluster nobody holds now."""
    return float(ray.available_resources().get("CPU", 0.0))


def scored(
    shares: Sequence[Share], job: ScoreJob, bundle: Bundle, pool: Pool, *, rows: int, progress: Progress
) -> Iterator[ScoredShare]:
    """Score shares, each once.

    Args:
        shares: the work, in the order in which it is begun; each has a number of its own.
        job: how.
        bundle: the model.
        pool: by whom.
        rows: of all shares, for the progress.
        progress: told how far it is.

    Returns:
        one for each share, as they are done.

    Raises:
        DataError: a value cannot be scored or written; files of the shares that are done lie there.
        BackendError: Ray failed, or processes died again and again.
    """
    waiting, seen = {share.number for share in shares}, 0
    with closing(_results(shares, job, bundle, pool)) as results:
        for packed in results:
            found = pickle.loads(packed)
            if isinstance(found, SluicewayError):
                raise found
            if found.number not in waiting:
                raise BackendError(f"share {found.number} came back twice; nothing was committed")
            waiting.remove(found.number)
            yield found
            seen += found.rows
            progress.advance(f"{seen:,} of {rows:,} rows", seen / max(rows, 1))
    if waiting:
        raise BackendError(f"{len(waiting)} of {len(shares)} shares never came back; nothing was committed")


def _results(shares: Sequence[Share], job: ScoreJob, bundle: Bundle, pool: Pool) -> Generator[bytes, None, None]:
    items = [{_SHARE: pickle.dumps(share)} for share in shares]
    dataset = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
        ShareScorer,
        fn_constructor_args=(job, ray.put(bundle)),
        # A share is long: a second one that waits for the same actor is one that another could have begun.
        compute=ActorPoolStrategy(size=pool.actors, max_tasks_in_flight_per_actor=1),
        batch_size=1,
        batch_format="pyarrow",
        num_cpus=pool.cpus,
        num_gpus=pool.gpus or None,
    )
    dataset.context.max_consecutive_actor_init_deaths = TRIES
    batches = iter(dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0))
    try:
        with closing(batches):
            for batch in batches:
                yield from batch[_DONE].to_pylist()
    except (RayError, ExecutionTimeoutError) as error:
        told = str(error).strip().splitlines() or ["no message"]
        raise BackendError(f"the rows could not be scored: {type(error).__name__}: {told[-1]}", hint=DEAD) from error
    finally:
        with suppress(RayError):  # where Ray itself is gone, so is what was written down there
            internal_kv._internal_kv_del(job.run, del_by_prefix=True, namespace=_TRIED)


class ShareScorer:
    """One process of the pool, with the model loaded.

    Args:
        job: what to do.
        bundle: reference to the model in Ray's object store.
    """

    def __init__(self, job: ScoreJob, bundle: Any) -> None:
        self._job = job
        self._unseen: Counter[str] = Counter()
        started = f"{job.run}-{ray.get_runtime_context().get_actor_id()}"
        # As an answer: what is raised here Ray would log, and try again.
        self._unfit = self._problem(started)
        if self._unfit is None:
            self._scorer = BundleScorer(ray.get(bundle), threads=job.threads, device=job.device)
            internal_kv._internal_kv_del(started, namespace=_TRIED)

    def _problem(self, started: str) -> BackendError | None:
        if _nth_time(started) > TRIES:
            return BackendError(f"{TRIES} processes died one after the other while they loaded the model", hint=DEAD)
        # XGBoost would go on with the CPU, and say so in a log only.
        missing = missing_gpu() if self._job.device == "cuda" else ""
        if missing:
            hint = "look at nvidia-smi on the worker's node and at its driver, or give --device cpu"
            return BackendError(f"scoring on a GPU was asked for, and {missing}", hint=hint)
        return None

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Do some shares.

        Args:
            batch: a column ``share``, pickled :class:`Share` each.

        Returns:
            a column ``done``: a pickled :class:`ScoredShare`, or the error that the driver is to raise.
        """
        done = [pickle.dumps(self._done(pickle.loads(packed))) for packed in batch[_SHARE].to_pylist()]
        return pa.table({_DONE: pa.array(done, pa.binary())})

    def _done(self, share: Share) -> ScoredShare | SluicewayError:
        if self._unfit is not None:
            return self._unfit
        if _nth_time(f"{share.run}-{share.number}") > TRIES:
            where = ", ".join(sorted({piece.where for piece in share.pieces})[:3])
            return BackendError(f"{TRIES} processes died while they scored {where}", hint=DEAD)
        self._unseen.clear()
        try:
            return ScoredShare(share.number, write_share(share, self._scored), dict(self._unseen))
        except SluicewayError as error:
            return error

    def _scored(self, piece: Any) -> Iterator[pa.RecordBatch]:
        for batch in batches_of(piece, columns=self._job.read):
            try:
                matrix, unseen = encode_table(batch, self._scorer.schema)
            except DataError as error:
                raise type(error)(f"{piece.where}: {error.message}", hint=error.hint, **error.fields) from error
            if unseen:
                self._unseen.update(unseen_categories(batch, matrix, self._scorer.schema))
            scores = self._scorer.score_matrix(matrix)
            rows = self._job.columns.rows(batch, scores, self._scorer.decide(scores))
            if self._job.contract is not None:
                _refuse_misfits(rows, self._job.contract, where=piece.where)
            yield rows


def _nth_time(key: str) -> int:
    """How often this was begun, with this time: what dies tells nobody, so it is written down before."""
    times = int(internal_kv._internal_kv_get(key, namespace=_TRIED) or 0) + 1
    internal_kv._internal_kv_put(key, str(times), namespace=_TRIED)
    return times


def _refuse_misfits(rows: pa.RecordBatch, contract: Contract, *, where: str) -> None:
    _, broken = judged(rows, contract, batch_id=None, where=where)
    if broken.num_rows:
        raise DataError(
            f"{broken.num_rows:,} scores of {where} break the contract of the table that they go to, for example: "
            f"{broken[REASON][0].as_py()}",
            hint="nothing was committed; correct the contract, or let the scores go to another table",
        )
