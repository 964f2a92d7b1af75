"""The loop on a GPU; without Ray, so that it runs wherever there is a device, XGBoost and this package."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from sluiceway.training.checkpoints import CheckpointFolder
from sluiceway.training.loop import LoopSpec, boost
from sluiceway.training.rows import Rows

pytestmark = [pytest.mark.integration, pytest.mark.gpu]

N = 60_000
TYPES = ("q", "q", "q", "q", "q", "c")


@pytest.fixture(scope="module")
def rows():
    random = np.random.default_rng(0)
    x = random.normal(size=(N, 6)).astype(np.float32)
    x[:, 5] = random.integers(0, 7, N)
    x[random.random(x.shape) < 0.05] = np.nan
    signal = np.nan_to_num(x[:, 0]) + np.nan_to_num(x[:, 1] * x[:, 2]) + (x[:, 5] == 3) + random.normal(size=N)
    fold = random.integers(0, 3, N).astype(np.uint8)
    key = np.arange(N, dtype=np.uint64)
    return Rows(x, (signal > 0).astype(np.float32), fold, np.zeros(N, np.uint8), key)


def spec(device, **given):
    params = {
        "objective": "binary:logistic",
        "eval_metric": "auc",
        "tree_method": "hist",
        "device": device,
        "max_bin": 256,
        "max_depth": 6,
        "eta": 0.2,
        "nthread": 4,
        "seed": 7,
        "subsample": 0.8,
        "colsample_bytree": 0.8,
    }
    settings = {"rounds": 60, "early_stopping": 20, "maximise": True, "folds": 3, "kind": "binary", "classes": 2}
    return LoopSpec(params, names=None, types=TYPES, every=0, checkpoint_rounds=10, **settings | given)


def run(rows, the_spec, **named):
    named = {"emit": lambda event: None, "stop": lambda: False} | named
    return boost(rows, rows, spec=the_spec, **named)


def test_a_gpu_finds_what_a_cpu_finds(rows):
    cpu, gpu = run(rows, spec("cpu")), run(rows, spec("cuda"))
    for one, other in zip(cpu.folds, gpu.folds, strict=True):
        assert other.metric == pytest.approx(one.metric, abs=2e-3)
        own = rows.fold == other.fold
        assert other.metric == pytest.approx(roc_auc_score(rows.y[own], gpu.oof[own]), abs=1e-5)


@pytest.mark.parametrize("final", ["refit", "average"])
def test_the_same_twice_and_after_a_stop(rows, tmp_path, final):
    once, twice = run(rows, spec("cuda", final=final)), run(rows, spec("cuda", final=final))
    assert once.model == twice.model
    asked = []

    def stop():
        asked.append(1)
        return len(asked) == 75

    kept = CheckpointFolder(tmp_path)
    with pytest.raises(Exception, match="nobody waits"):
        run(rows, spec("cuda", final=final), checkpoints=kept, stop=stop)
    again = run(rows, spec("cuda", final=final), checkpoints=kept)
    assert again.model == once.model
    assert np.array_equal(again.oof, once.oof)
