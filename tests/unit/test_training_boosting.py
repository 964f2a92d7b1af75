"""One booster: as XGBoost's own training makes it, and the same after it was given up and taken up again."""

import numpy as np
import pytest
import xgboost

from sluiceway.training.boosting import Boosting, best_round, run_rounds
from sluiceway.training.checkpoints import CheckpointFolder, NoCheckpoints

BASE = {"tree_method": "hist", "max_bin": 64, "max_depth": 4, "eta": 0.2, "nthread": 1, "seed": 11, "verbosity": 1}
KINDS = {
    "binary": {"objective": "binary:logistic", "eval_metric": "auc"},
    "multiclass": {"objective": "multi:softprob", "num_class": 3, "eval_metric": "mlogloss"},
    "regression": {"objective": "reg:squarederror", "eval_metric": "rmse"},
    "median": {"objective": "reg:absoluteerror", "eval_metric": "mae"},
}
SAMPLING = {
    "none": {},
    "rows": {"subsample": 0.7},
    "columns": {"colsample_bytree": 0.6, "colsample_bynode": 0.8},
    "all": {"subsample": 0.5, "colsample_bylevel": 0.7, "grow_policy": "lossguide", "max_leaves": 12},
    "forest": {"subsample": 0.6, "num_parallel_tree": 3},
}


@pytest.fixture(scope="module")
def matrices():
    random = np.random.default_rng(5)
    x = random.normal(size=(1500, 6)).astype(np.float32)
    x[random.random(x.shape) < 0.1] = np.nan
    signal = np.nan_to_num(x[:, 0]) + np.nan_to_num(x[:, 1] * x[:, 2]) + random.normal(size=1500)
    labels = {
        "binary": signal > 0,
        "multiclass": np.digitize(signal, [-0.7, 0.7]),
        "regression": signal,
        "median": signal,
    }

    def make(kind):
        y = labels[kind].astype(np.float32)
        train = xgboost.QuantileDMatrix(x[:1000], y[:1000], max_bin=64)
        return train, xgboost.DMatrix(x[1000:], y[1000:])

    return make


def plan(kind, *, rounds=40, patience=None, every=8, maximise=None, **params):
    settings = BASE | KINDS[kind] | params
    metric = settings["eval_metric"]
    return Boosting("fold-0", settings, rounds, metric, maximise or metric == "auc", patience, every)


def run(the_plan, matrices, *, checkpoints=None, after_round=lambda done, value: None):
    train, watched = matrices
    kept = checkpoints or NoCheckpoints()
    return run_rounds(the_plan, lambda: train, watched, checkpoints=kept, after_round=after_round)


def raw(booster):
    return bytes(booster.save_raw("ubj"))


class Cut(Exception):
    pass


@pytest.mark.parametrize("kind", KINDS)
def test_the_trees_are_those_of_xgboost(kind, matrices):
    train, watched = matrices(kind)
    history = {}
    settings = BASE | KINDS[kind]
    peer = xgboost.train(settings, train, 30, evals=[(watched, "v")], evals_result=history, verbose_eval=False)
    ours = run(plan(kind, rounds=30), matrices(kind))
    assert raw(ours.booster) == raw(peer)
    assert list(ours.history) == history["v"][settings["eval_metric"]]


@pytest.mark.parametrize("kind", ["binary", "regression"])
def test_it_stops_where_xgboost_stops(kind, matrices):
    train, watched = matrices(kind)
    settings = BASE | KINDS[kind] | {"eta": 0.5}
    peer = xgboost.train(settings, train, 200, evals=[(watched, "v")], early_stopping_rounds=6, verbose_eval=False)
    ours = run(plan(kind, rounds=200, patience=6, eta=0.5, every=1000), matrices(kind))
    assert ours.rounds == peer.num_boosted_rounds() < 200
    assert best_round(ours.history, maximise=kind == "binary") == peer.best_iteration


@pytest.mark.parametrize(
    ("kind", "sampling"), [("binary", sampling) for sampling in SAMPLING] + [(kind, "all") for kind in list(KINDS)[1:]]
)
def test_taken_up_again_it_is_the_same(kind, sampling, matrices, tmp_path):
    the_plan = plan(kind, **SAMPLING[sampling])
    whole = run(the_plan, matrices(kind))
    for cut in (3, 8, 39):
        kept = CheckpointFolder(tmp_path / str(cut))
        done = []

        def until(number, value, cut=cut, done=done):
            done.append(number)
            if number == cut:
                raise Cut

        with pytest.raises(Cut):
            run(the_plan, matrices(kind), checkpoints=kept, after_round=until)
        again = run(the_plan, matrices(kind), checkpoints=kept, after_round=lambda n, value, done=done: done.append(n))
        assert raw(again.booster) == raw(whole.booster)
        assert again.history == whole.history
        assert len(done) - 40 == cut % 8  # no more than the rounds since the last checkpoint


def test_what_is_done_is_not_done_again(matrices, tmp_path):
    the_plan = plan("binary", rounds=200, patience=5, eta=0.5)
    kept = CheckpointFolder(tmp_path)
    once = run(the_plan, matrices("binary"), checkpoints=kept)

    def never(done, value):
        raise AssertionError("a round was boosted")

    def build():
        raise AssertionError("a matrix was built")

    _, watched = matrices("binary")
    again = run_rounds(the_plan, build, watched, checkpoints=kept, after_round=never)
    assert raw(again.booster) == raw(once.booster)
    assert again.history == once.history


def test_it_goes_on_from_a_base(matrices):
    base = run(plan("binary", rounds=10), matrices("binary"))
    more = plan("binary", rounds=5)
    more = Boosting(**{**vars(more), "base": raw(base.booster)})
    longer = run(more, matrices("binary"))
    assert longer.rounds == 5
    assert longer.booster.num_boosted_rounds() == 15
    assert raw(longer.booster[:10]) == raw(base.booster[:10])
    assert longer.history[-1] > base.history[0]


def test_the_best_round_is_the_first_of_equals():
    assert best_round((0.1, 0.3, 0.3, 0.2), maximise=True) == 1
    assert best_round((0.1, 0.05, 0.05), maximise=False) == 1
