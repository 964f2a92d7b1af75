"""The table that training is measured with, and what a side of a comparison is told about it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from sluiceway.config.experiment import DataSection, ModelSection, SplitSection, TrainingSection
from sluiceway.core.references import TableVersion
from sluiceway.data.commit import append
from sluiceway.data.digest import version_digest

CHUNK = 500_000
SEED = 11
# Nearly all rows are trained on, so that every side has the same work.
SPLIT = SplitSection(train=0.98, validation=0.01, test=0.01)
JOB = "job.json"


@dataclass(frozen=True)
class Job:
    """What is trained.

    Attributes:
        rows: about so many of the training part.
        features: floats of the table.
        rounds: of each fold and of the final fit; nothing stops early, so that every side does all of them.
        depth: of a tree.
        folds: of the cross-validation.
        threads: of a side, all of its processes together.
        workers: of ours, as ``training.workers``.
        memory: limit of one of our workers, as ``training.memory_per_worker``, or None.
        store_mb: of Ray's object store.
    """

    rows: int
    features: int
    rounds: int = 100
    depth: int = 8
    folds: int = 5
    threads: int = 2
    workers: int | str = "auto"
    memory: int | None = None
    store_mb: int = 2000

    @property
    def names(self) -> tuple[str, ...]:
        """The features."""
        return tuple(f"f{number:02}" for number in range(self.features))

    @property
    def table_rows(self) -> int:
        """Rows of the table, of which the training part has ``rows``."""
        return round(self.rows / SPLIT.train)

    @property
    def params(self) -> dict[str, object]:
        """Of ``xgboost.train``, for the peers."""
        return {
            "objective": "binary:logistic",
            "tree_method": "hist",
            "eval_metric": "auc",
            "max_depth": self.depth,
            "max_bin": 256,
            "eta": 0.1,
            "nthread": self.threads,
            "seed": SEED,
        }

    def sections(self, folder: Path) -> tuple[DataSection, ModelSection, TrainingSection]:
        """The same, as our configuration says it."""
        data = DataSection(path=table_uri(folder), features=self.names, target="target", key=("id",), split=SPLIT)
        model = ModelSection(params={"n_estimators": self.rounds, "max_depth": self.depth, "learning_rate": 0.1})
        training = TrainingSection(
            folds=self.folds,
            early_stopping_rounds=None,
            eval_metric="auc",
            max_bin=256,
            workers=self.workers,
            memory_per_worker=self.memory,
        )
        return data, model, training

    def write(self, folder: Path) -> None:
        """For a side, which is another process."""
        (folder / JOB).write_text(json.dumps(asdict(self)))


def read_job(folder: Path) -> Job:
    """As :meth:`Job.write` wrote it."""
    return Job(**json.loads((folder / JOB).read_text()))


def table_uri(folder: Path) -> str:
    """Of the table in a folder."""
    return str(folder / "table")


def pinned(folder: Path) -> TableVersion:
    """The table's one version."""
    uri = table_uri(folder)
    rows = read_job(folder).table_rows
    return TableVersion(uri, 0, version_digest(uri, 0), rows, "newest")


def make_table(folder: Path, job: Job, *, single: bool = False) -> None:
    """Write the table in one commit, a chunk at a time: doubles, a noisy target, a key, a fold for who splits by one.

    Args:
        folder: empty.
        job: how many.
        single: floats of 4 bytes instead of doubles.
    """
    kind = pa.float32() if single else pa.float64()
    schema = pa.schema(
        [("id", pa.int64()), *((name, kind) for name in job.names), ("target", pa.int8()), ("fold", pa.int8())]
    )
    chunks = (_chunk(start, job, schema) for start in range(0, job.table_rows, CHUNK))
    reader = pa.RecordBatchReader.from_batches(schema, (batch for chunk in chunks for batch in chunk.to_batches()))
    append(table_uri(folder), reader, message="rows to train on", source="made here")
    job.write(folder)


def _chunk(start: int, job: Job, schema: pa.Schema) -> pa.Table:
    rows = min(CHUNK, job.table_rows - start)
    random = np.random.default_rng(start)
    x = random.normal(size=(job.features, rows))
    signal = x[0] + 0.7 * x[1] * x[2] + np.sin(2 * x[3]) + random.normal(size=rows)
    ids = np.arange(start, start + rows)
    return pa.table([ids, *x, (signal > 0.2).astype(np.int8), (ids % job.folds).astype(np.int8)], schema=schema)
