"""Ranks that train together against one process on the same rows: uneven, single and empty shards."""

import dataclasses

import numpy as np
import pytest
import xgboost
from sklearn.metrics import roc_auc_score

from rank_process import cut, train_in_ranks
from sluiceway.core.errors import DataError
from sluiceway.training.loop import LoopSpec, boost
from sluiceway.training.rows import Rows

pytestmark = pytest.mark.integration

N = 2001
TYPES = ("q", "q", "c", "q")
KINDS = {
    "binary": ("binary:logistic", "logloss", 2),
    "multiclass": ("multi:softprob", "mlogloss", 3),
    "regression": ("reg:squarederror", "rmse", 0),
}


def rows_of(kind, *, weighted=False):
    random = np.random.default_rng(4)
    x = random.normal(size=(N, 4)).astype(np.float32)
    x[:, 3] = 7  # a column of one value
    x[:, 2] = random.integers(0, 6, N)  # a category
    x[random.random(x.shape) < 0.05] = np.nan
    signal = np.nan_to_num(x[:, 0] - x[:, 1]) + (x[:, 2] == 4) + random.normal(size=N) * 0.5
    y = {"binary": signal > 0, "multiclass": np.digitize(signal, [-1, 1]), "regression": signal}[kind]
    fold = random.integers(0, 3, N).astype(np.uint8)
    weight = random.random(N).astype(np.float32) if weighted else None
    return Rows(x, y.astype(np.float32), fold, np.zeros(N, np.uint8), np.arange(N, dtype=np.uint64), weight)


def spec_of(kind, **given):
    objective, metric, classes = KINDS[kind]
    params = {
        "objective": objective,
        "eval_metric": metric,
        "tree_method": "hist",
        "max_bin": 256,
        "max_depth": 4,
        "eta": 0.3,
        "nthread": 1,
        "seed": 1,
    } | ({"num_class": classes} if classes > 2 else {})
    settings = {"rounds": 15, "early_stopping": None, "maximise": False, "folds": 3, "every": 0} | given
    return LoopSpec(params, kind=kind, classes=classes, names=None, types=TYPES, **settings)


def alone(rows, spec):
    return boost(rows, rows, spec=spec, emit=lambda event: None, stop=lambda: False)


@pytest.mark.parametrize("kind", KINDS)
def test_one_worker_grows_the_trees_of_plain_xgboost(kind):
    rows, spec = rows_of(kind), spec_of(kind)
    result = alone(rows, spec)
    everything = xgboost.QuantileDMatrix(rows.x, rows.y, max_bin=256, feature_types=TYPES)
    peer = xgboost.train(dict(spec.params), everything, 15)
    assert result.model == bytes(peer.save_raw("ubj"))
    for number, report in enumerate(result.folds):
        own = rows.fold == number
        train = xgboost.QuantileDMatrix(rows.x[~own], rows.y[~own], max_bin=256, ref=everything, feature_types=TYPES)
        watched = xgboost.DMatrix(rows.x[own], rows.y[own], feature_types=TYPES)
        history = {}
        fold = xgboost.train(
            dict(spec.params), train, 15, evals=[(watched, "v")], evals_result=history, verbose_eval=False
        )
        assert list(report.history) == history["v"][spec.metric]
        np.testing.assert_array_equal(result.oof[own], fold.predict(watched))


@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param((1001, 1000), id="two"),
        pytest.param((501, 499, 1, 1000), id="four, odd and one row"),
        pytest.param((2001, 0), id="an empty one", marks=pytest.mark.soak),
        pytest.param((0, 1, 2000, 0), id="two empty ones"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_ranks_find_what_one_process_finds(kind, sizes):
    rows, spec = rows_of(kind, weighted=kind == "regression"), spec_of(kind)
    one, ranks = alone(rows, spec), train_in_ranks(cut(rows, sizes), spec)
    assert len({result.model for result in ranks}) == 1
    assert [fold.rows for fold in ranks[0].folds] == [fold.rows for fold in one.folds]
    for mine, theirs in zip(ranks[0].folds, one.folds, strict=True):
        assert mine.metric == pytest.approx(theirs.metric, abs=1e-3)
    assert all(result.folds[0].history == ranks[0].folds[0].history for result in ranks)
    oof = np.concatenate([result.oof for result in ranks if len(result.oof)])
    assert len(oof) == N
    if kind == "binary":
        assert roc_auc_score(rows.y, oof) == pytest.approx(roc_auc_score(rows.y, one.oof), abs=2e-3)
    booster = xgboost.Booster(model_file=bytearray(ranks[0].model))
    assert booster.num_boosted_rounds() == 15


def test_ranks_on_disk_and_one_without_rows():
    rows, spec = rows_of("binary", weighted=True), spec_of("binary")
    one = alone(rows, spec)
    shards = [dataclasses.replace(shard, on_disk=True) for shard in cut(rows, (1200, 0, 801))]
    ranks = train_in_ranks(shards, spec)
    assert len({result.model for result in ranks}) == 1
    for mine, theirs in zip(ranks[0].folds, one.folds, strict=True):
        assert mine.metric == pytest.approx(theirs.metric, abs=2e-3)


def test_a_fold_of_one_class_is_seen_by_all_ranks():
    rows = rows_of("binary")
    rows.y[rows.fold == 1] = 0
    with pytest.raises(DataError, match="fold 2 of 3 have the label 0"):
        train_in_ranks(cut(rows, (1000, 1001)), spec_of("binary"))


@pytest.mark.parametrize("kind", ["binary", "regression"])
def test_a_fold_whose_rows_all_have_no_weight(kind):
    rows = rows_of(kind, weighted=True)
    rows.weight[rows.fold == 1] = 0
    with pytest.raises(DataError, match=r"all \d+ rows of fold 2 of 3 have the weight 0") as caught:
        train_in_ranks(cut(rows, (1000, 1001)), spec_of(kind))
    assert "data.weight" in caught.value.hint


def test_a_fold_of_one_class_among_the_rows_with_a_weight():
    rows = rows_of("binary", weighted=True)
    rows.weight[(rows.fold == 1) & (rows.y == 1)] = 0
    with pytest.raises(DataError, match=r"rows with a weight of fold 2 of 3 have the label 0"):
        train_in_ranks(cut(rows, (2001,)), spec_of("binary"))
