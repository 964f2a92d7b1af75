"""Batches of scores on a real Ray and real tables: they equal the booster's, arrive once, or not at all."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pytest
import xgboost

import batch_scores
from batch_scores import commits, each_once, held, pinned, plan, predicted, rows, table_of, unknown, unnamed_files
from ingest_victim import Victims, victims
from ray_head import clean_environment
from serving_models import CARRIERS, GRADES, train_grades, train_small
from sluiceway.catalog.repository import RepositoryStore
from sluiceway.core.clock import SystemClock
from sluiceway.core.errors import BackendError, ConflictError, DataError, SchemaMismatchError
from sluiceway.data import commit, commit_files, history
from sluiceway.data.ingest import planning
from sluiceway.data.repository import Repository
from sluiceway.registry.bundle import Bundle
from sluiceway.serving.scorer import BundleScorer

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("ray_cluster")]

PARTS = 4
CONTRACT = """
apiVersion: v3.1.0
kind: DataContract
id: scores
version: 1.0.0
status: active
schema:
  - name: scores
    properties:
      - name: score
        logicalType: number
        logicalTypeOptions:
          maximum: {most}
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return train_small(tmp_path_factory.mktemp("models"), seed=1)


@pytest.fixture
def shares_of_a_file(monkeypatch):
    """A share for each file, however small."""
    monkeypatch.setattr(planning, "SMALL_TASK_BYTES", 1)


@pytest.fixture
def source(tmp_path):
    return table_of(tmp_path / "flights", *(rows(500, seed=seed, first=seed * 500) for seed in range(PARTS)))


def score(planned, progress=None):
    from sluiceway.lifecycle import batch_score  # noqa: PLC0415 (brings Ray)

    return batch_score.score(planned, progress=progress)


class Heard:
    """Remembers what is told, and does something once some rows are done."""

    def __init__(self, once=None):
        self.once, self.stages, self.lines = once, [], []

    def stage(self, name, detail=""):
        self.stages.append(f"{name} {detail}")

    def advance(self, text, fraction=None):
        self.lines.append((text, fraction))
        if self.once is not None and fraction:
            once, self.once = self.once, None
            once()


@pytest.mark.usefixtures("shares_of_a_file")
def test_scores_equal_the_boosters_and_say_where_they_come_from(tmp_path, source, model):
    target, heard = tmp_path / "scores", Heard()
    done = score(plan(source, model.bundle, target, keep=("id", "carrier=airline"), author="ann"), heard)
    assert (done.version, done.rows, done.skipped, done.device) == (0, 2000, False, "cpu")
    given = batch_scores.held(source.uri)
    assert done.unseen == {"carrier": unknown(given)}
    found = held(target)
    assert each_once(target, source)
    np.testing.assert_allclose(found["score"].to_numpy(), predicted(model.booster, given), atol=1e-6)
    assert found["decision"].to_pylist() == [int(score >= 0.5) for score in found["score"].to_pylist()]
    assert found["airline"].equals(given["carrier"])
    (stamp,) = found["scored_at"].unique().to_pylist()
    assert stamp.tzinfo is not None
    told = {"model": "late", "model_version": "3", "model_digest": model.bundle.digest, "source": source.uri}
    told |= {"source_version": source.version, "batch_id": done.batch_id}
    assert {name: found[name].unique().to_pylist() for name in told} == {name: [value] for name, value in told.items()}
    (info,) = history.log(str(target))
    assert (info.rows, info.batch_id, info.author) == (2000, done.batch_id, "ann")
    assert info.metadata["sluiceway.model"] == "late@3"
    assert info.metadata["sluiceway.unseen"] == unknown(given)
    assert done.files == PARTS
    assert heard.lines[0] == ("500 of 2,000 rows", 0.25)
    assert heard.lines[-1] == ("2,000 of 2,000 rows", 1.0)
    assert "2,000 rows in 4 shares by 2 actors on cpu" in heard.stages[1]


def test_the_same_batch_again_writes_nothing(tmp_path, source, model):
    target = tmp_path / "scores"
    first = score(plan(source, model.bundle, target))
    again = score(plan(source, model.bundle, target))
    assert (again.skipped, again.version, again.rows) == (True, first.version, first.rows)
    assert (commits(target), unnamed_files(target)) == (1, [])
    assert each_once(target, source)


def test_the_next_version_of_the_table_is_the_next_batch(tmp_path, source, model):
    target = tmp_path / "scores"
    score(plan(source, model.bundle, target))
    more = table_of(source.uri, rows(100, seed=9, first=5000))
    assert score(plan(more, model.bundle, target)).rows == 2100
    named = score(plan(more, model.bundle, target, batch_id="today"))
    assert (named.batch_id, named.version) == ("today", 2)
    assert held(target)["source_version"].to_pylist().count(more.version) == 4200


def test_several_classes_have_a_probability_each(tmp_path, source):
    model = train_grades(tmp_path / "models", seed=1)
    target = tmp_path / "scores"
    score(plan(source, model.bundle, target))
    found, expected = held(target), predicted(model.booster, batch_scores.held(source.uri))
    probabilities = [dict(row) for row in found["probabilities"].to_pylist()]
    got = np.array([[row[grade] for grade in GRADES] for row in probabilities])
    np.testing.assert_allclose(got, expected, atol=1e-6)
    np.testing.assert_allclose(found["score"].to_numpy(), expected.max(axis=1), atol=1e-6)
    assert found["decision"].to_pylist() == [GRADES[place] for place in expected.argmax(axis=1)]


def test_a_regression_decides_nothing_and_a_calibrator_is_obeyed(tmp_path, source, model):
    schema, kind = model.bundle.schema, {"kind": "regression", "threshold": None, "target": "delay"}
    score(plan(source, Bundle(model.bundle.model, schema, kind, {}), tmp_path / "values"))
    found = held(tmp_path / "values")
    given = batch_scores.held(source.uri)
    raw = predicted(model.booster, given)
    np.testing.assert_allclose(found["score"].to_numpy(), raw, atol=1e-6)
    assert "decision" not in found.column_names
    table = {"scores": [0.0, 0.5, 1.0], "values": [0.1, 0.2, 0.9]}
    calibrated = Bundle(model.bundle.model, schema, {**model.bundle.decision, "calibrator": table}, {})
    score(plan(source, calibrated, tmp_path / "scores"))
    expected = BundleScorer(calibrated).score(given)
    np.testing.assert_allclose(held(tmp_path / "scores")["score"].to_numpy(), expected, atol=1e-6)
    np.testing.assert_allclose(expected, np.interp(raw, table["scores"], table["values"]), atol=1e-6)


def test_a_partitioned_table_and_one_of_large_files_are_read_whole(tmp_path, model, monkeypatch):
    from sluiceway.lifecycle import batch_score  # noqa: PLC0415 (brings Ray)

    source = table_of(tmp_path / "flights", rows(3000, seed=4), partition_by=("carrier",))
    score(plan(source, model.bundle, tmp_path / "scores"))
    given = batch_scores.held(source.uri)
    np.testing.assert_allclose(
        held(tmp_path / "scores")["score"].to_numpy(), predicted(model.booster, given), atol=1e-6
    )
    monkeypatch.setattr(batch_score, "WHOLE_BYTES", 0)  # every file is one whose row groups are looked at
    again = score(plan(source, model.bundle, tmp_path / "again"))
    assert again.rows == 3000
    assert held(tmp_path / "again")["score"].equals(held(tmp_path / "scores")["score"])


def test_scores_of_a_branch_go_to_a_branch(tmp_path, catalog, source, model):
    lake = Repository(RepositoryStore(catalog), SystemClock())
    score(plan(source, model.bundle, tmp_path / "scores"))
    for uri in (source.uri, str(tmp_path / "scores")):
        lake.add(uri, key=("id",))
    lake.commit(message="first")
    lake.branch("exp")
    commit.append(lake.place_to_write(source.uri, "exp"), rows(50, seed=7, first=9000), message="more", source="test")
    place = lake.place_to_write(str(tmp_path / "scores"), "exp")
    branch = pinned(lake.pin(source.uri, "exp").uri)
    assert score(plan(branch, model.bundle, place)).rows == 2050
    assert held(place).num_rows == 4050
    assert held(tmp_path / "scores").num_rows == 2000


def test_a_target_keeps_its_partitions_and_its_rules(tmp_path, source, model):
    target = tmp_path / "scores"
    score(plan(source, model.bundle, target, batch_id="old"))
    first = held(target)
    partitioned = tmp_path / "partitioned"
    commit.append(str(partitioned), first, message="made", source="test", partition_by=("batch_id",))
    score(plan(source, model.bundle, partitioned, batch_id="new"))
    assert {path.parent.name for path in partitioned.glob("*/*.parquet")} == {"batch_id=old", "batch_id=new"}
    (target / "_contract.yaml").write_text(CONTRACT.format(most=0.5))
    with pytest.raises(DataError, match=r"break the contract of the table that they go to.*0\.5"):
        score(plan(source, model.bundle, target, batch_id="new"))
    assert (commits(target), unnamed_files(target)) == (1, [])
    (target / "_contract.yaml").write_text(CONTRACT.format(most=1))
    assert score(plan(source, model.bundle, target, batch_id="new")).version == 1


def test_a_row_that_cannot_be_scored_stops_the_batch(tmp_path, model):
    bad = rows(10, seed=3).set_column(1, "delay", pa.array([1.0] * 9 + [float("inf")]))
    source = table_of(tmp_path / "flights", rows(100, seed=2, first=100), bad)
    with pytest.raises(DataError, match="'delay' holds an infinite value"):
        score(plan(source, model.bundle, tmp_path / "scores"))
    assert not (tmp_path / "scores").exists()


def test_a_data_file_that_is_gone_is_named(tmp_path, source, model):
    gone = next(Path(source.uri).glob("*.parquet"))
    gone.unlink()
    with pytest.raises(DataError, match=gone.name):
        score(plan(source, model.bundle, tmp_path / "scores"))
    assert not (tmp_path / "scores").exists()


def test_a_table_that_changes_meanwhile_takes_no_scores(tmp_path, source, model):
    target = tmp_path / "scores"
    planned = plan(source, model.bundle, target)
    commit.append(str(target), pa.table({"id": [1], "note": ["mine"]}), message="other", source="test")
    with pytest.raises(SchemaMismatchError, match=r"a batch of scores does not fit .*: score is not in the table"):
        plan(source, model.bundle, target)
    with pytest.raises(ConflictError, match="were changed while the files were written"):
        score(planned)
    assert unnamed_files(target) == []


# Killed, and twice at once.


@pytest.fixture(scope="module")
def victim(ray_cluster):
    with victims(_token()) as started:
        yield started


def _token() -> dict[str, str]:
    return {name: os.environ[name] for name in os.environ if name.startswith("RAY_AUTH")}


def killable(victim: Victims, source, model, target, **given):
    import ray  # noqa: PLC0415 (collected without Ray, too)

    return victim.score(
        source=dataclasses.asdict(source),
        bundle=str(model.folder),
        uri=str(target),
        address=ray.get_runtime_context().gcs_address,
        **given,
    )


STEPS = [
    pytest.param("some files are written", marks=pytest.mark.soak),
    "begin: commit",
    pytest.param("committed: table", marks=pytest.mark.soak),
]


@pytest.mark.parametrize("at", STEPS)
def test_a_driver_that_is_killed_at_any_step_costs_a_run_and_no_row(tmp_path, source, model, victim, at):
    target = tmp_path / "scores"
    assert killable(victim, source, model, target, kill=at) == {"killed": signal.SIGKILL}
    done = at == "committed: table"
    assert target.joinpath("_delta_log").exists() == done
    again = score(plan(source, model.bundle, target))
    assert again.skipped == done
    assert each_once(target, source)
    assert commits(target) == 1
    # What the killed one has written lies there, in no version, until a vacuum.
    assert bool(unnamed_files(target)) == (not done)


class Stuck:
    """A data file that nobody can read: whoever opens it waits."""

    def __init__(self, source):
        self.path = sorted(Path(source.uri).glob("*.parquet"))[0]
        self.kept = self.path.with_suffix(".kept")
        self.path.rename(self.kept)
        os.mkfifo(self.path)

    def free(self):
        self.kept.replace(self.path)


class Killer:
    """Kills all that score whenever the last share was begun by another process."""

    def __init__(self, times, then):
        self.times, self.then, self.thread = times, then, threading.Thread(target=self._run)

    def stage(self, name, detail=""):
        pass

    def advance(self, text, fraction=None):
        if fraction == 0.75:  # the others are done, the last one is stuck
            self.thread.start()

    def _run(self):
        for time in range(1, self.times + 1):
            while len(tries()) < PARTS or max(tries()) < time:
                threading.Event().wait(0.05)
            if time == self.times:
                self.then()
            kill_scorers()


def tries() -> list[int]:
    """How often each share was begun."""
    from ray.experimental import internal_kv  # noqa: PLC0415 (collected without Ray, too)

    names = internal_kv._internal_kv_list(b"", namespace=b"sluiceway-scores")
    shares = [name for name in names if len(name.rpartition(b"-")[2]) < 8]  # the others are of actors
    return [int(internal_kv._internal_kv_get(name, namespace=b"sluiceway-scores") or 0) for name in shares]


def kill_scorers() -> None:
    """SIGKILL for this session's actors that score."""
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error, IndexError):
            if child.cmdline()[0].startswith("ray::MapWorker(MapBatches(ShareScorer"):
                child.send_signal(signal.SIGKILL)


@pytest.mark.usefixtures("shares_of_a_file")
def test_a_worker_that_is_killed_costs_its_share_and_no_row(tmp_path, source, model):
    stuck = Stuck(source)
    killer = Killer(1, stuck.free)
    done = score(plan(source, model.bundle, tmp_path / "scores"), killer)
    killer.thread.join()
    assert (done.rows, done.skipped) == (2000, False)
    assert each_once(tmp_path / "scores", source)


@pytest.mark.soak
@pytest.mark.usefixtures("shares_of_a_file")
def test_a_share_that_kills_every_worker_ends_the_batch(tmp_path, source, model):
    stuck = Stuck(source)
    killer = Killer(3, lambda: None)
    with pytest.raises(BackendError, match=f"3 processes died while they scored .*{stuck.path.name}"):
        score(plan(source, model.bundle, tmp_path / "scores"), killer)
    killer.thread.join()
    assert not (tmp_path / "scores" / "_delta_log").exists()


@pytest.mark.soak
def test_of_two_drivers_at_once_one_commits(tmp_path, source, model, victim):
    target = tmp_path / "scores"
    with victims(_token()) as other, ThreadPoolExecutor(2) as both:
        told = list(both.map(lambda one: killable(one, source, model, target), (victim, other)))
    assert sorted(one["skipped"] for one in told) == [False, True]
    assert len({one["batch_id"] for one in told}) == 1
    assert each_once(target, source)
    assert (commits(target), unnamed_files(target)) == (1, [])


def test_a_driver_that_finds_its_batch_done_at_the_commit_takes_its_files_away(tmp_path, source, model, monkeypatch):
    target, add_files = tmp_path / "scores", commit_files.add_files
    faster = []

    def overtaken(*given, **named):
        monkeypatch.setattr(commit_files, "add_files", add_files)
        faster.append(score(plan(source, model.bundle, target)))
        return add_files(*given, **named)

    monkeypatch.setattr(commit_files, "add_files", overtaken)
    slower = score(plan(source, model.bundle, target))
    assert [one.skipped for one in (*faster, slower)] == [False, True]
    assert slower.version == faster[0].version
    assert each_once(target, source)
    assert (commits(target), unnamed_files(target)) == (1, [])


# GPUs.


def test_a_gpu_has_to_be_there(tmp_path, source, model):
    with pytest.raises(BackendError, match="the Ray cluster has none"):
        score(plan(source, model.bundle, tmp_path / "scores", device="cuda"))
    assert not (tmp_path / "scores").exists()


def printed(folder: Path, mode: str) -> dict[str, str]:
    environment = clean_environment() | {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    script = Path(batch_scores.__file__).with_name("gpu_scores.py")
    command = [sys.executable, str(script), mode, str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.soak
def test_a_gpu_that_a_cluster_only_says_it_has_scores_nothing(tmp_path):
    found = printed(tmp_path, "claimed")
    assert found["asked"] == "scoring on a GPU was asked for, and the worker's process sees no GPU"
    assert found["by the model's training"] == found["asked"]
    assert found["cpu all the same"] == "cpu"


@pytest.mark.gpu
def test_a_real_gpu_scores_what_the_booster_scores(tmp_path):
    assert printed(tmp_path, "real") == {"device": "cuda", "equal": True}


@pytest.mark.filterwarnings("ignore")  # without a GPU XGBoost says that it takes the CPU
def test_the_matrix_of_a_gpu_gives_the_same_scores(model):
    """Without a GPU XGBoost walks the trees on the CPU, from the matrix that it would take to the GPU."""
    matrix = np.column_stack([np.linspace(-40, 60, 3000), np.full(3000, np.nan), np.arange(3000) % len(CARRIERS)])
    matrix = matrix.astype(np.float32)
    found = BundleScorer(model.bundle, threads=1, device="cuda").score_matrix(matrix)
    data = xgboost.DMatrix(matrix, feature_types=batch_scores.TYPES, enable_categorical=True)
    np.testing.assert_allclose(found, model.booster.predict(data), atol=1e-6)
