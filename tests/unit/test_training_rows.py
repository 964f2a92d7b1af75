"""Rows in one order, in memory and on disk, from blocks of any size."""

import dataclasses
import shutil
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import xgboost

from sluiceway.core.errors import BackendError
from sluiceway.training.encoded import FOLD, KEY, PART, SINCE, WEIGHT, X, Y
from sluiceway.training.floats_on_disk import forget, require_disk, scatter_to_disk
from sluiceway.training.loop import LoopSpec, boost
from sluiceway.training.matrices import MatrixMaker, predict_rows
from sluiceway.training.rows import Disk, EncodedBlocks, arrange

WIDTH = 3


def block(n, *, seed=0, weighted=False, keys=None):
    random = np.random.default_rng(seed)
    x = random.normal(size=(n, WIDTH)).astype(np.float32)
    x[random.random(x.shape) < 0.1] = np.nan
    signal = np.nan_to_num(x[:, 0] - x[:, 1]) + 0.3 * random.normal(size=n)
    columns = {
        X: pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), WIDTH),
        Y: (signal > 0).astype(np.float32),
        PART: random.choice(3, n, p=[0.7, 0.2, 0.1]).astype(np.uint8),
        FOLD: random.integers(0, 3, n).astype(np.uint8),
        KEY: random.integers(0, 2**64, n, dtype=np.uint64) if keys is None else keys.astype(np.uint64),
    }
    if weighted:
        columns[WEIGHT] = random.random(n).astype(np.float32)
    return pa.table(columns)


def fields(rows):
    return [None if value is None else np.asarray(value) for name, value in vars(rows).items() if name != "on_disk"]


def assert_same(one, other):
    for mine, theirs in zip(fields(one), fields(other), strict=True):
        assert (mine is None) == (theirs is None)
        if mine is not None:
            np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("weighted", [False, True])
def test_blocks_of_any_size_give_the_same_rows(weighted):
    table = block(1001, weighted=weighted)
    train, validation = arrange(EncodedBlocks(lambda: [table], WIDTH), width=WIDTH, weighted=weighted)
    assert len(train) == (table[PART].to_numpy() == 0).sum()
    assert (np.diff(train.key.astype(object)) >= 0).all()
    assert (train.weight is not None) == weighted
    shuffled = table.take(np.random.default_rng(1).permutation(1001))
    pieces = [shuffled[:1], shuffled[1:1], shuffled[1:500], shuffled[500:]]
    for one, other in zip(
        arrange(EncodedBlocks(lambda: pieces, WIDTH), width=WIDTH, weighted=weighted), (train, validation), strict=True
    ):
        assert_same(one, other)


def test_each_row_keeps_what_belongs_to_it():
    table = block(500, weighted=True)
    train, _ = arrange(EncodedBlocks(lambda: [table[:333], table[333:]], WIDTH), width=WIDTH, weighted=True)
    where = {int(key): row for row, key in enumerate(table[KEY].to_numpy())}
    raw = np.array(table[X].to_pylist(), np.float32)
    for place, key in enumerate(train.key):
        row = where[int(key)]
        np.testing.assert_array_equal(train.x[place], raw[row])
        assert train.y[place] == table[Y][row].as_py()
        assert train.fold[place] == table[FOLD][row].as_py()
        assert train.weight[place] == np.float32(table[WEIGHT][row].as_py())


def test_twins_are_ordered_by_their_content():
    table = block(60, keys=np.repeat(np.arange(6), 10))
    once = arrange(EncodedBlocks(lambda: [table], WIDTH), width=WIDTH, weighted=False)
    again = arrange(EncodedBlocks(lambda: [table[41:], table[:41]], WIDTH), width=WIDTH, weighted=False)
    for one, other in zip(once, again, strict=True):
        assert_same(one, other)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 1000])
@pytest.mark.parametrize("batch", [1, 7, 64, 5000])
def test_on_disk_they_are_the_same(tmp_path, n, batch):
    table = block(n, keys=np.random.default_rng(3).integers(0, max(n // 2, 1), n))  # many twins
    memory = arrange(EncodedBlocks(lambda: [table[: n // 3], table[n // 3 :]], WIDTH), width=WIDTH, weighted=False)
    disk = arrange(
        EncodedBlocks(lambda: [table[: n // 3], table[n // 3 :]], WIDTH),
        width=WIDTH,
        weighted=False,
        disk=Disk(tmp_path, batch),
    )
    for one, other in zip(memory, disk, strict=True):
        assert_same(one, other)
        assert other.on_disk
        forget(other.x)
        np.testing.assert_array_equal(other.x, one.x)
    assert not list(tmp_path.glob("*.*"))  # nothing is left beside the two files


def test_a_disk_without_room_is_told_before_anything_is_written(tmp_path, monkeypatch):
    table = block(1000)
    rows = int((table[PART].to_numpy() < 2).sum())
    need = rows * (7.6 * WIDTH + 13)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=need - 1))
    blocks = EncodedBlocks(lambda: [table], WIDTH)
    with pytest.raises(BackendError, match=rf"need 0\.00 GB or more in {tmp_path}, and 0\.00 GB are free"):
        arrange(blocks, width=WIDTH, weighted=False, disk=Disk(tmp_path, 64))
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=need + 1))
    assert arrange(blocks, width=WIDTH, weighted=False, disk=Disk(tmp_path, 64))[0].on_disk


@pytest.mark.parametrize(
    ("width", "dense", "gaps"),  # what rows took at the peak, in shares of their floats: none and a tenth missing
    [(2, 3.52, 4.59), (4, 2.70, 3.76), (10, 2.21, 3.27), (100, 1.94, 3.01), (200, 1.91, 2.98)],
)
def test_rows_are_refused_for_what_they_need_for_certain_and_warned_of_for_the_rest(
    tmp_path, monkeypatch, caplog, width, dense, gaps
):
    floats = 1_000_000 * width * 4

    def begin(free):
        caplog.clear()
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free * floats))
        require_disk(tmp_path, rows=1_000_000, width=width)
        return caplog.messages

    with pytest.raises(BackendError, match="or more in"):
        begin(dense * 0.97)
    for free in (dense * 1.03, gaps * 0.97):
        assert len(begin(free)) == 1
        assert f"up to {(12 * width + 13) / 1000:.2f} GB where a tenth" in caplog.messages[0]
    assert begin(gaps * 1.04) == []


def test_scattering_needs_no_more_files_than_a_process_may_open(tmp_path):
    x = np.arange(3000, dtype=np.float32).reshape(1000, 3)
    place = np.random.default_rng(0).permutation(1000)
    found = scatter_to_disk([x[:10], x[10:]], place, width=3, path=tmp_path / "x", batch_rows=1)
    np.testing.assert_array_equal(found[place], x)


def test_folds_can_be_said_anew():
    table = block(200)
    train, validation = arrange(
        EncodedBlocks(lambda: [table], WIDTH),
        width=WIDTH,
        weighted=False,
        refold=lambda key, y: (key % 5).astype(np.uint8),
    )
    np.testing.assert_array_equal(train.fold, (train.key % 5).astype(np.uint8))
    assert set(validation.fold) <= {0, 1, 2}


def test_rows_in_time_order_are_trained_on_from_a_fold_on():
    table = block(300)
    since = np.where(table[FOLD].to_numpy() == 0, 1, 2).astype(np.uint8)
    train, _ = arrange(
        EncodedBlocks(lambda: [table.append_column(SINCE, pa.array(since))], WIDTH), width=WIDTH, weighted=False
    )
    assert not train.trained_in(0).any()
    assert (train.trained_in(1) == (train.fold == 0)).all()
    assert (train.trained_in(2) == (train.fold != 2)).all()


def spec(**given):
    params = {"objective": "binary:logistic", "eval_metric": "auc", "max_bin": 64, "nthread": 1, "seed": 3, "eta": 0.3}
    settings = {"rounds": 20, "early_stopping": 5, "maximise": True, "folds": 3, "kind": "binary", "classes": 2}
    return LoopSpec(params, names=None, types=("q",) * WIDTH, every=0, **settings | given)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("final", ["refit", "best_fold"])
def test_training_from_disk_finds_what_training_in_memory_finds(tmp_path, weighted, final):
    table = block(6000, weighted=weighted)
    the_spec = spec(final=final)
    run = {"spec": the_spec, "emit": lambda event: None, "stop": lambda: False}
    memory = boost(*arrange(EncodedBlocks(lambda: [table], WIDTH), width=WIDTH, weighted=weighted), **run)
    rows = arrange(EncodedBlocks(lambda: [table], WIDTH), width=WIDTH, weighted=weighted, disk=Disk(tmp_path, 500))
    maker = MatrixMaker(the_spec.params, None, the_spec.types, tmp_path)
    disk = boost(*rows, maker=maker, **run)
    for one, other in zip(memory.folds, disk.folds, strict=True):
        assert other.metric == pytest.approx(one.metric, abs=1e-3)
        assert other.rows == one.rows
    assert disk.validation.shape == memory.validation.shape
    booster = xgboost.Booster(model_file=bytearray(disk.model))
    np.testing.assert_allclose(predict_rows(booster, rows[1]), disk.validation, rtol=1e-6)


def test_weights_count():
    table = block(3000)
    heavy = (table[Y].to_numpy() * 9 + 1).astype(np.float32)
    train, validation = arrange(EncodedBlocks(lambda: [table], WIDTH), width=WIDTH, weighted=False)
    weighted, _ = arrange(
        EncodedBlocks(lambda: [table.append_column(WEIGHT, pa.array(heavy))], WIDTH), width=WIDTH, weighted=True
    )
    run = {"spec": spec(early_stopping=None), "emit": lambda event: None, "stop": lambda: False}
    plain, loaded = boost(train, validation, **run), boost(weighted, validation, **run)
    assert loaded.validation.mean() > plain.validation.mean() + 0.1
    doubled = dataclasses.replace(train, weight=np.full(len(train), 1, np.float32))
    assert boost(doubled, validation, **run).validation == pytest.approx(plain.validation, abs=1e-5)


def test_rows_that_are_not_there_have_weights_and_a_disk_too(tmp_path):
    empty = block(0, weighted=True)
    for train in arrange(EncodedBlocks(lambda: [empty], WIDTH), width=WIDTH, weighted=True, disk=Disk(tmp_path, 10)):
        assert train.on_disk
        assert train.weight is not None
        assert train.weight.shape == (0,)
