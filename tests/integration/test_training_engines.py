"""Both engines on a real cluster of 2 CPUs: one Ray task, and Ray Train with two workers."""

import contextlib
import dataclasses
import os
import time

import numpy as np
import psutil
import pyarrow as pa
import pytest
import ray
import xgboost
from deltalake import DeltaTable
from sklearn.metrics import roc_auc_score

from sluiceway.config.experiment import DataSection, ModelSection, TrainingSection
from sluiceway.core.errors import BackendError, ConfigError, DataError
from sluiceway.features.schema import Feature, FeatureSchema
from sluiceway.training import ray_task
from sluiceway.training.ray_run import train_dataset
from sluiceway.training.recipe import Recipe

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("ray_cluster")]

SCHEMA = FeatureSchema((Feature("a", "numeric"), Feature("b", "numeric"), Feature("c", "category", ("x", "y", "z"))))
DATA = DataSection(path="made here", features=("a", "b", "c"), target="late")
MODEL = ModelSection(params={"n_estimators": 60, "max_depth": 4, "learning_rate": 0.2})
TRAINING = TrainingSection(folds=3, early_stopping_rounds=8, verbose=1)


class Heard:
    """A progress that remembers."""

    def __init__(self):
        self.lines = []

    def stage(self, name, detail=""):
        self.lines.append((name, None))

    def advance(self, text, fraction=None):
        self.lines.append((text, fraction))


def rows(n=6000, *, seed=1, folds=3):
    random = np.random.default_rng(seed)
    a, b = random.normal(size=(2, n))
    c = random.choice(["x", "y", "z"], n)
    late = a + (c == "y") * 1.5 - 0.7 + random.normal(size=n) > 0
    return pa.table(
        {
            "a": pa.array(a, mask=random.random(n) < 0.1),
            "b": b,
            "c": pa.array(c, mask=random.random(n) < 0.05),
            "late": late.astype(np.int8),
            "__part__": random.choice(3, n, p=[0.7, 0.2, 0.1]).astype(np.uint8),
            "__fold__": random.integers(0, folds, n).astype(np.uint8),
            "__key__": random.integers(0, 2**64, n, dtype=np.uint64),
        }
    )


def fit(tables, *, data=DATA, model=MODEL, training=TRAINING, schema=SCHEMA, classes=(0, 1), **named):
    recipe = Recipe(data, model, training, 42, schema, () if model.type == "XGBRegressor" else classes)
    named = {"oof_uri": "", "progress": Heard()} | named
    return train_dataset(lambda: ray.data.from_arrow(tables), recipe, **named)


def test_one_task(tmp_path):
    table = rows()
    heard = Heard()
    report = fit([table[:1000], table[1000:1001], table[1001:]], oof_uri=str(tmp_path / "oof"), progress=heard)
    part = table["__part__"].to_numpy()
    assert report.engine == "task"
    assert "one worker has" in report.why
    assert report.rows == {"train": (part == 0).sum(), "validation": (part == 1).sum()}
    assert len(report.validation.labels) == (part == 1).sum()
    assert roc_auc_score(report.validation.labels, report.validation.scores) > 0.8
    assert xgboost.Booster(model_file=bytearray(report.model)).num_boosted_rounds() == report.rounds

    fit([table[:2000]], oof_uri=str(tmp_path / "oof"))  # a later run of the same rows, or of others
    oof = DeltaTable(str(tmp_path / "oof"), version=report.oof_version).to_pyarrow_table()
    assert set(oof.schema.names) == {"key_hash", "fold", "label", "score"}
    keys = oof["key_hash"].to_numpy().view(np.uint64)
    np.testing.assert_array_equal(np.sort(keys), np.sort(table["__key__"].to_numpy()[part == 0]))
    for fold in report.folds:
        own = oof["fold"].to_numpy() == fold.fold
        score = roc_auc_score(oof["label"].to_numpy()[own], oof["score"].to_numpy()[own])
        assert fold.metric == pytest.approx(score, abs=1e-6)

    text = [line for line, _ in heard.lines]
    assert any(line.startswith("fold 3/3 round ") and " auc 0." in line for line in text)
    shares = [share for _, share in heard.lines if share is not None]
    assert shares == sorted(shares)
    assert set(report.seconds) == {"read", "start", "load", "build", "folds", "final", "oof", "total"}


def test_the_same_rows_give_the_same_bytes():
    table = rows()
    model = MODEL.model_copy(update={"params": {**MODEL.params, "subsample": 0.7, "colsample_bytree": 0.7}})
    once = fit([table], model=model)
    again = fit([table[4000:], table[:10], table[10:4000]], model=model)
    assert once.model == again.model
    assert [dataclasses.replace(f, seconds=0, build_seconds=0) for f in once.folds] == [
        dataclasses.replace(f, seconds=0, build_seconds=0) for f in again.folds
    ]


@pytest.mark.soak  # workers without Ray are in `test_training_ranks.py`, a group of two in `test_training_recovery.py`
@pytest.mark.parametrize("lost", [pytest.param(0, id="even"), pytest.param(1, id="a rank without training rows")])
def test_two_workers_find_what_one_task_finds(tmp_path, lost):
    table = rows()
    if lost:  # the second half of the rows, one worker's share, is of the validation part
        part = np.where(np.arange(6000) < 3000, 0, 1).astype(np.uint8)
        table = table.set_column(4, "__part__", pa.array(part))
    heard = Heard()
    training = TRAINING.model_copy(update={"workers": 2})
    group = fit([table], training=training, oof_uri=str(tmp_path / "oof"), progress=heard)
    task = fit([table])
    assert (group.engine, task.engine) == ("group", "task")
    assert group.rows == task.rows
    assert group.metric == pytest.approx(task.metric, abs=1e-3)
    for one, other in zip(group.folds, task.folds, strict=True):
        assert one.rows == other.rows
    part = table["__part__"].to_numpy()
    oof = DeltaTable(str(tmp_path / "oof")).to_pyarrow_table()
    keys = oof["key_hash"].to_numpy().view(np.uint64)
    np.testing.assert_array_equal(np.sort(keys), np.sort(table["__key__"].to_numpy()[part == 0]))
    assert roc_auc_score(group.validation.labels, group.validation.scores) == pytest.approx(
        roc_auc_score(task.validation.labels, task.validation.scores), abs=5e-3
    )
    assert any(line.startswith("fold 3/3") for line, _ in heard.lines)
    assert group.seconds["start"] > 0


@pytest.mark.soak
def test_four_workers_on_half_a_cpu_each_find_what_one_task_finds():
    table = rows()
    group = fit([table], training=TRAINING.model_copy(update={"workers": 4, "cpus_per_worker": 0.5}))
    task = fit([table])
    assert (group.engine, task.engine) == ("group", "task")
    assert group.rows == task.rows
    assert group.metric == pytest.approx(task.metric, abs=1e-3)
    assert roc_auc_score(group.validation.labels, group.validation.scores) == pytest.approx(
        roc_auc_score(task.validation.labels, task.validation.scores), abs=5e-3
    )


def test_a_fold_of_one_class_is_the_callers_error():
    table = rows(600)
    late = np.where(table["__fold__"].to_numpy() == 1, 0, table["late"].to_numpy()).astype(np.int8)
    with pytest.raises(DataError, match="fold 2 of 3 have the label 0") as caught:
        fit([table.set_column(3, "late", pa.array(late))])
    assert type(caught.value) is DataError


def test_a_bad_label_found_while_reading():
    table = rows(600)
    with pytest.raises(DataError, match="'late' has values other than 0 and 1") as caught:
        fit([table.set_column(3, "late", pa.array(np.full(600, 7, np.int8)))])
    assert type(caught.value) is DataError


def test_no_rows():
    with pytest.raises(DataError, match="no rows"):
        fit([rows(10)[:0]])


def test_what_is_refused_before_anything_is_read():
    def unread():
        raise AssertionError("it was read")

    def refused(model=MODEL, training=TRAINING, data=DATA):
        recipe = Recipe(data, model, training, 1, SCHEMA, () if model.type == "XGBRegressor" else (0, 1))
        train_dataset(unread, recipe, oof_uri="", progress=Heard())

    if ray.cluster_resources().get("GPU", 0) == 0:
        with pytest.raises(BackendError, match="needs 1 GPU; the Ray cluster has 0"):
            refused(training=TrainingSection(device="cuda"))
    with pytest.raises(ConfigError, match="learning_rate"):
        refused(model=ModelSection(params={"learning_rat": 1}))
    with pytest.raises(BackendError, match="cpus_per_worker is 64; the largest node has"):
        refused(training=TrainingSection(cpus_per_worker=64))
    with pytest.raises(BackendError, match=r"memory_per_worker is 1000000\.00 GB"):
        refused(training=TrainingSection(memory_per_worker="1000TB"))
    by_group = DataSection(path="x", features=("a",), target="late", group=("b",), split={"by": "group"})
    with pytest.raises(ConfigError, match=r"stratified cannot be with data\.split\.by: group"):
        refused(training=TrainingSection(fold_by="stratified"), data=by_group)
    with pytest.raises(ConfigError, match="stratified needs classes, and a regressor has none"):
        refused(ModelSection(type="XGBRegressor"), TrainingSection(fold_by="stratified"))


@pytest.mark.parametrize(("held", "workers"), [(0.6, 1), pytest.param(0.1, 2, marks=pytest.mark.soak)])
def test_it_runs_beside_an_actor_that_stays(held, workers):
    @ray.remote(num_cpus=held)
    class Replica:
        def ready(self):
            return True

    replica = Replica.remote()
    assert ray.get(replica.ready.remote())
    try:
        found = fit([rows(1000)], training=TRAINING.model_copy(update={"workers": workers}))
        assert found.engine == ("task" if workers == 1 else "group")
    finally:
        ray.kill(replica)


def test_regression():
    table = rows()
    table = table.set_column(3, "late", pa.array(table["b"].to_numpy() * 3 + 1))
    report = fit([table], model=ModelSection(type="XGBRegressor", params=MODEL.params))
    assert report.metric_name == "rmse"
    assert report.metric < 0.5


def test_a_driver_that_gives_up_ends_the_task():
    class Impatient(Heard):
        def advance(self, text, fraction=None):
            if text.startswith("fold 1/3"):
                raise KeyboardInterrupt

    endless = ModelSection(params={"n_estimators": 1_000_000, "learning_rate": 0.001})
    patient = TRAINING.model_copy(update={"early_stopping_rounds": None})
    before = ray.cluster_resources()["CPU"]
    with pytest.raises(KeyboardInterrupt):
        fit([rows(1000)], model=endless, training=patient, progress=Impatient())
    deadline = time.monotonic() + 60
    while ray.available_resources().get("CPU", 0) < before and time.monotonic() < deadline:
        time.sleep(0.2)
    assert ray.available_resources().get("CPU", 0) == before
    assert fit([rows(1000)]).engine == "task"  # boosting is over, the threads are free


def test_a_task_that_does_not_hear_that_it_is_given_up_is_killed(monkeypatch):
    @ray.remote(num_cpus=2, num_returns="streaming", max_retries=0)
    def deaf():
        yield os.getpid()
        while True:
            with contextlib.suppress(BaseException):
                time.sleep(60)

    monkeypatch.setattr(ray_task, "PATIENCE_SECONDS", 1.0)
    stream = deaf.remote()
    process = psutil.Process(ray.get(next(stream)))
    time.sleep(1)  # asked before it is deaf it would end, and its worker stay
    ray_task._end(stream)
    process.wait(30)
