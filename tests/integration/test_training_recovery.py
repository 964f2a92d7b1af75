"""Workers and drivers that die in the middle: what is done stays done, and the model is the undisturbed one."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import psutil
import pyarrow as pa
import pytest
import ray

from ray_head import clean_environment
from sluiceway.catalog.tags import TagStore
from sluiceway.config.experiment import DataSection, ModelSection, TrainingSection
from sluiceway.config.load import load_settings
from sluiceway.core.errors import BackendError
from sluiceway.data import commit, references
from sluiceway.features.schema import Feature, FeatureSchema
from sluiceway.lifecycle.candidate import build_candidate
from sluiceway.training.ray_errors import cause_of, worker_was_lost
from sluiceway.training.ray_run import train_dataset
from sluiceway.training.recipe import Recipe
from sluiceway.training.trainer import train
from sluiceway.wiring.context import build_context

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("ray_cluster")]

SCHEMA = FeatureSchema((Feature("a", "numeric"), Feature("b", "numeric")))
DATA = DataSection(path="made here", features=("a", "b"), target="late")
MODEL = ModelSection(
    params={"n_estimators": 300, "max_depth": 5, "learning_rate": 0.05, "subsample": 0.8, "colsample_bytree": 0.5}
)
TRAINING = TrainingSection(folds=3, early_stopping_rounds=None, verbose=1, checkpoint_rounds=20)


def rows_of_all_parts(n=8_000):
    random = np.random.default_rng(2)
    a, b = random.normal(size=(2, n))
    return pa.table(
        {
            "a": a,
            "b": b,
            "late": (a + b**2 + random.normal(size=n) > 1).astype(np.int8),
            "__part__": random.choice(3, n, p=[0.7, 0.2, 0.1]).astype(np.uint8),
            "__fold__": random.integers(0, 3, n).astype(np.uint8),
            "__key__": random.integers(0, 2**64, n, dtype=np.uint64),
        }
    )


def kill_a_worker(title):
    """SIGKILL for one of this session's workers whose title begins so."""
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error, IndexError):
            if child.cmdline()[0].startswith(title):
                child.send_signal(signal.SIGKILL)
                return
    raise AssertionError(f"no process is called {title}")


class Heard:
    """Remembers what is told, and kills a worker when a fold tells of a round."""

    def __init__(self, title="", *, fold=0, times=0):
        self.title, self.fold, self.times, self.lines = title, fold, times, []

    def stage(self, name, detail=""):
        pass

    def advance(self, text, fraction=None):
        self.lines.append(text)
        found = re.match(r"fold (\d)/3 round (\d+)", text)
        if self.times and found and int(found[1]) == self.fold:
            self.times -= 1
            kill_a_worker(self.title)


@contextlib.contextmanager
def killing_at_the_first_checkpoint(title, folder, fold):
    """Kills a worker as soon as a fold has a checkpoint; gives what the checkpoints before it were then."""
    before, over = {}, threading.Event()

    def watch():
        while not over.wait(0.002):
            if list(folder.glob(f"*/fold-{fold}")):
                before.update({path.name: path.stat().st_mtime_ns for path in folder.glob("*/fold-*")})
                before.pop(f"fold-{fold}")
                kill_a_worker(title)
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield before
    finally:
        over.set()
        watcher.join()


def recipe_of(rounds, data=DATA, **given):
    training = TRAINING.model_copy(update=given)
    model = MODEL.model_copy(update={"params": {**MODEL.params, "n_estimators": rounds}})
    return Recipe(data, model, training, 42, SCHEMA, (0, 1))


def fit(progress, checkpoints="", *, rounds=600, **given):
    recipe = recipe_of(rounds, **given)
    table = rows_of_all_parts()
    return train_dataset(
        lambda: ray.data.from_arrow(table), recipe, oof_uri="", progress=progress, checkpoints=str(checkpoints)
    )


@pytest.mark.parametrize(
    ("workers", "title"),
    [
        pytest.param(1, "ray::_train", id="one task"),
        pytest.param(2, "ray::RayTrainWorker", id="a group of two", marks=pytest.mark.soak),
    ],
)
def test_a_worker_killed_in_the_third_fold_costs_few_rounds(tmp_path, workers, title):
    undisturbed = fit(Heard(), workers=workers)
    heard = Heard()
    with killing_at_the_first_checkpoint(title, tmp_path, 2) as before:
        report = fit(heard, tmp_path, workers=workers)
    assert report.restarts == 1
    assert any("a worker was lost" in line for line in heard.lines)
    assert report.model == undisturbed.model
    assert [fold.history for fold in report.folds] == [fold.history for fold in undisturbed.folds]
    assert [fold.metric for fold in report.folds] == [fold.metric for fold in undisturbed.folds]
    again = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*/fold-[01]")}
    assert len(again) == 2
    assert again == before  # nobody trained these folds again


def test_a_killed_task_that_read_its_rows_itself_reads_them_again(tmp_path, catalog):
    uri = str(tmp_path / "table")
    table = rows_of_all_parts().drop_columns(["__part__", "__fold__", "__key__"])
    commit.append(uri, table.append_column("id", pa.array(range(len(table)))), message="m", source="t")
    version = references.resolve(uri, None, tags=TagStore(catalog))
    recipe = recipe_of(600, DATA.model_copy(update={"path": uri, "key": ("id",)}))
    undisturbed = train(version, recipe, oof_uri="", progress=Heard())
    heard = Heard()
    kept = tmp_path / "kept"
    kept.mkdir()
    with killing_at_the_first_checkpoint("ray::_train", kept, 2) as before:
        report = train(version, recipe, oof_uri="", progress=heard, checkpoints=str(kept))
    assert any("it reads the rows" in line for line in heard.lines)
    assert report.restarts == 1
    assert report.model == undisturbed.model
    assert {path.name: path.stat().st_mtime_ns for path in kept.glob("*/fold-[01]")} == before


def test_it_gives_up_after_so_many_workers(tmp_path):
    killer = Heard("ray::_train", fold=1, times=2)
    with pytest.raises(BackendError, match="the training task failed") as caught:
        fit(killer, tmp_path, rounds=3_000, retries=1, checkpoint_rounds=5_000)
    assert "training.memory_per_worker" in caught.value.hint
    assert killer.times == 0


@pytest.mark.soak
def test_a_checkpoint_that_cannot_be_written_ends_a_group_and_is_its_error(tmp_path):
    (tmp_path / "kept").symlink_to(tmp_path / "nowhere")
    heard = Heard()
    with pytest.raises(BackendError, match="a checkpoint cannot be written into"):
        fit(heard, tmp_path / "kept", workers=2, retries=1)
    assert not [line for line in heard.lines if "a worker was lost" in line]


def test_folds_side_by_side_find_the_same_and_outlive_a_worker(tmp_path):
    one_by_one = fit(Heard(), rounds=800, cpus_per_worker=1)
    killer = Heard("ray::_train", fold=2, times=1)
    report = fit(killer, tmp_path, rounds=800, parallel_folds=2, cpus_per_worker=1)
    assert "2 folds run side by side" in report.why
    assert report.restarts == 1
    assert report.model == one_by_one.model
    assert [fold.history for fold in report.folds] == [fold.history for fold in one_by_one.folds]
    np.testing.assert_array_equal(report.validation.scores, one_by_one.validation.scores)


def test_out_of_memory_names_the_remedy():
    @ray.remote(max_retries=0)
    def hungry():
        return np.ones(1 << 60, np.uint8)

    with pytest.raises(ray.exceptions.RayTaskError) as caught:
        ray.get(hungry.remote())
    told = cause_of(caught.value, "the training task")
    assert told.message == "the training task ran out of memory"
    assert "training.memory_per_worker" in told.hint
    assert not worker_was_lost(caught.value)
    killed = ray.exceptions.OutOfMemoryError("Task was killed due to the node running low on memory.")
    assert cause_of(killed, "the training task").message == "the training task ran out of memory"
    assert not worker_was_lost(killed)


CONFIG = """
experiment: {{name: recovered, seed: 3}}
data: {{path: {table}, features: [a, b], target: late, key: [id]}}
model: {{params: {{n_estimators: 900, max_depth: 6, learning_rate: 0.02, subsample: 0.8}}}}
training: {{folds: 3, early_stopping_rounds: null, checkpoint_rounds: 25, cpus_per_worker: 1}}
platform: {{state: {state}, ray: {{num_cpus: 1, object_store_mb: 100}}}}
"""


@pytest.mark.soak
def test_a_killed_driver_goes_on_where_it_was(tmp_path):
    table = rows_of_all_parts().drop_columns(["__part__", "__fold__", "__key__"])
    commit.append(
        str(tmp_path / "table"), table.append_column("id", pa.array(range(len(table)))), message="m", source="t"
    )
    config = tmp_path / "killed.yaml"
    config.write_text(CONFIG.format(table=tmp_path / "table", state=tmp_path / "killed"))

    first = _train(config, tmp_path / "first.json")
    kept = tmp_path / "killed" / "checkpoints"
    deadline = time.monotonic() + 240
    while not list(kept.glob("*/*/fold-2")):
        assert first.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait(30)
    done = {path: path.stat().st_mtime_ns for path in kept.glob("*/*/fold-[01]")}
    assert len(done) == 2

    second = _train(config, tmp_path / "second.json")
    seen = {}
    while second.poll() is None:
        for path in kept.glob("*/*/fold-[01]"):
            seen[path] = path.stat().st_mtime_ns
        time.sleep(0.02)
    assert second.returncode == 0, (tmp_path / "second.json").read_text()
    assert seen == done  # they were there and nobody wrote them again
    assert not list(kept.glob("*"))  # what is done is cleared away
    told = json.loads((tmp_path / "second.json").read_text())
    config.write_text(CONFIG.format(table=tmp_path / "table", state=tmp_path / "undisturbed"))
    context = build_context(load_settings(config))  # in the session's Ray
    undisturbed = build_candidate(context, context.version())
    assert told["training"]["model_digest"] == undisturbed.training["model_digest"]


def _train(config, output):
    program = [sys.executable, "-c", "from sluiceway.cli.main import main; main()"]
    with output.open("w") as out:
        return subprocess.Popen(
            [*program, "train", str(config), "--json"],
            stdout=out,
            stderr=subprocess.DEVNULL,
            env=clean_environment(),
            start_new_session=True,
        )
