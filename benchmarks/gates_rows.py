"""The rows and models that the gates are measured with: made once, read by each side."""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import xgboost

from sluiceway.config.evaluation import EvaluationSection
from sluiceway.data.membership import row_hashes
from sluiceway.features.encode import encode_table
from sluiceway.features.schema import FeatureSchema, derive
from sluiceway.gates.column_facts import ColumnFacts, column_facts
from sluiceway.gates.context import GateContext
from sluiceway.registry import bundle

SEED = 11
JOB, FACTS = "job.json", "facts.json"
TEST, TRAIN = "test", "train"
CANDIDATE, CHAMPION = "candidate", "champion"
NUMBERS = tuple(f"f{number:02}" for number in range(16))
TEXTS = {"region": 4, "channel": 6, "carrier": 16, "airport": 200}
FEATURES = (*NUMBERS, *TEXTS)
TARGET, KEY, TIME = "late", "id", "seen_at"
AGES = ("18-25", "26-40", "41-65", "66-")
PROTECTED = ("region", "age_group")
GAINS = ("auc_roc", "average_precision", "ks")
FAR, FAR_FROM = "f00", 1.0
THRESHOLD = 0.4
DAY = 86_400
FIRST_DAY, DAYS = 1_700_000_000, 365
CHUNK = 250_000


@dataclass(frozen=True)
class Job:
    """What is judged.

    Attributes:
        rows: test rows, and as many training rows.
        fitted: rows that the models are fitted on.
        disturbed: test rows that are disturbed at most, as ``evaluation.robustness.rows``.
        resamples: bootstrap draws.
        threads: of a side, all of its processes together.
        store_mb: of Ray's object store.
    """

    rows: int
    fitted: int
    disturbed: int
    resamples: int = 500
    threads: int = 2
    store_mb: int = 2000

    @property
    def evaluation(self) -> EvaluationSection:
        """The configuration of the gates: every check that a classifier has, but for a replica's."""
        return EvaluationSection.model_validate(
            {
                "metrics": ("precision", "recall", "f1_score", "accuracy", "ks"),
                "thresholds": {"auc_roc": 0.7, "average_precision": 0.4, "log_loss": 0.6, "brier": 0.2},
                # KS has no formula for the difference of two models: it is what takes all the draws.
                "champion": {"margins": dict.fromkeys(GAINS, 0.01), "resamples": self.resamples},
                "fairness": {
                    "protected_attributes": PROTECTED,
                    "max_demographic_parity": 0.2,
                    "max_equal_opportunity": 0.2,
                    "max_equalized_odds": 0.2,
                },
                "robustness": {"rows": self.disturbed},
                "data_quality": {"max_age_days": 10_000},
                "slices": {"declared": [{"name": "far", "where": {FAR: (FAR_FROM, None)}}]},
                "timeout_seconds": 7200,
            }
        )

    def write(self, folder: Path) -> None:
        """For a side, which is another process."""
        (folder / JOB).write_text(json.dumps(asdict(self)))


def read_job(folder: Path) -> Job:
    """As :meth:`Job.write` wrote it."""
    return Job(**json.loads((folder / JOB).read_text()))


def make_rows(folder: Path, job: Job) -> None:
    """Write test and training rows, both models, and the facts of the rows that the champion was trained on."""
    train = _table(job.rows, 0)
    _write(folder, TRAIN, train)
    _write(folder, TEST, _table(job.rows, job.rows))
    # The champion's rows: other ones, of the same world.
    before = _table(job.fitted, 2 * job.rows)
    facts = column_facts(before, FEATURES, TARGET)
    (folder / FACTS).write_text(json.dumps([one.to_dict() for one in facts]))
    values = {name: _names(name, count) for name, count in TEXTS.items()}
    schema = derive(train.schema, categories=values, features=FEATURES)
    for name, rounds, rows in ((CANDIDATE, 100, train.slice(0, job.fitted)), (CHAMPION, 80, before)):
        bundle.write(_model(rows, schema, rounds, job.threads), folder / name)
    job.write(folder)


def read_rows(folder: Path, name: str) -> pa.Table:
    """Test or training rows in one piece, as the platform reads them."""
    with pa.memory_map(str(folder / f"{name}.arrow")) as source, pa.ipc.open_file(source) as file:
        return file.read_all().combine_chunks()


def read_facts(folder: Path) -> tuple[ColumnFacts, ...]:
    """What is remembered of the champion's training rows."""
    return tuple(ColumnFacts.from_dict(one) for one in json.loads((folder / FACTS).read_text()))


def context_of(folder: Path) -> GateContext:
    """What every gate gets, without rows."""
    job = read_job(folder)
    return GateContext(
        gate="",
        section=job.evaluation.performance,
        evaluation=job.evaluation,
        features=FEATURES,
        kinds={name: "category" if name in TEXTS else "numeric" for name in FEATURES},
        target=TARGET,
        threshold=THRESHOLD,
        key=(KEY,),
        time=TIME,
        seed=SEED,
        now=time.time(),
        reference=read_facts(folder),
    )


def cpu_seconds() -> float:
    """Of this process and all below it that still run: what a busy machine does not make longer."""
    here = psutil.Process()
    total = 0.0
    for process in [here, *here.children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            took = process.cpu_times()
            total += took.user + took.system
    return total


def _names(column: str, count: int) -> list[str]:
    return [f"{column}-{number:03}" for number in range(count)]


def _table(rows: int, start: int) -> pa.Table:
    """Rows with the numbers from ``start``: a key, a time, features, a protected column that is none, a truth."""
    return pa.concat_tables(
        _chunk(begin, min(CHUNK, start + rows - begin)) for begin in range(start, start + rows, CHUNK)
    ).combine_chunks()


def _chunk(start: int, rows: int) -> pa.Table:
    random = np.random.default_rng([SEED, start])
    columns: dict[str, Any] = {name: random.normal(size=rows) for name in NUMBERS}
    codes = {name: random.integers(0, count, rows) for name, count in TEXTS.items()}
    age = random.choice(len(AGES), rows, p=[0.1, 0.4, 0.4, 0.1])
    signal = columns["f00"] + 0.7 * columns["f01"] * columns["f02"] + np.sin(2 * columns["f03"])
    signal += 0.3 * (codes["carrier"] % 4) + 0.1 * (codes["airport"] % 7) + 0.5 * random.normal(size=rows)
    # Whole numbers, numbers with holes, and numbers of other sizes are what tables hold, too.
    columns["f12"] = np.rint(100 * np.exp(columns["f12"])).astype(np.int64)
    columns["f13"] = np.rint(5 * columns["f13"]).astype(np.int64)
    columns["f14"] = pa.array(columns["f14"], mask=random.random(rows) < 0.02)
    columns["f15"] = np.round(1e4 * np.exp(columns["f15"]), 2)
    for name, count in TEXTS.items():
        columns[name] = pa.DictionaryArray.from_arrays(codes[name], _names(name, count)).cast(pa.string())
    columns["age_group"] = pa.DictionaryArray.from_arrays(age, list(AGES)).cast(pa.string())
    columns[TIME] = (FIRST_DAY + random.integers(0, DAYS * DAY, rows)).astype("datetime64[s]").astype("datetime64[us]")
    columns[TARGET] = (signal > 1.5).astype(np.int8)
    keys = pa.table({KEY: np.arange(start, start + rows)})
    return pa.table({**columns, "__key__": row_hashes(keys, (KEY,))})


def _write(folder: Path, name: str, table: pa.Table) -> None:
    with pa.OSFile(str(folder / f"{name}.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as file:
        file.write_table(table)


def _model(rows: pa.Table, schema: FeatureSchema, rounds: int, threads: int) -> bundle.Bundle:
    matrix, _ = encode_table(rows, schema)
    options: dict[str, Any] = {"feature_types": schema.xgboost_types, "enable_categorical": True, "nthread": threads}
    data = xgboost.QuantileDMatrix(matrix, rows[TARGET].to_numpy(), **options)
    params = {"objective": "binary:logistic", "max_depth": 6, "eta": 0.1, "seed": SEED, "nthread": threads}
    booster = xgboost.train(params, data, rounds)
    decision = {"kind": "binary", "threshold": THRESHOLD, "target": TARGET}
    return bundle.Bundle(bytes(booster.save_raw("ubj")), schema.to_dict(), decision, {"rounds": rounds})
