"""Boosters from elsewhere: what they say of themselves, the rows that try all of their branches, and what is used."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xgboost

from sluiceway.core.errors import ModelError
from sluiceway.training.foreign_booster import ForeignBooster, size_of


def frame(n=300):
    random = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "delay": random.normal(10, 20, n).round(1),
            "carrier": pd.Categorical(random.choice(["UA", "AA", "B6"], n)),
            "hour": random.integers(0, 24, n),
        }
    )


def labels(rows):
    return ((rows.delay > 10) ^ (rows.carrier == "AA") ^ (rows.hour > 12)).astype(int)


@pytest.fixture(scope="module")
def booster():
    rows = frame()
    data = xgboost.DMatrix(rows, labels(rows), enable_categorical=True)
    return xgboost.train({"objective": "binary:logistic", "max_depth": 4, "nthread": 1}, data, 10)


@pytest.mark.parametrize("form", ["ubj", "json"])
def test_a_booster_says_what_it_is_and_sees(booster, form):
    found = ForeignBooster(bytes(booster.save_raw(form)), where="a file")
    assert (found.kind, found.objective, found.classes, found.features) == ("binary", "binary:logistic", 0, 3)
    assert (found.names, found.types) == (("delay", "carrier", "hour"), ("float", "c", "int"))
    assert found.categories == {1: ("AA", "B6", "UA")}
    assert set(found.largest_category) == {1}
    assert (found.rounds, found.left_out) == (10, 0)
    assert size_of(found.ubjson()) == (10, 10)


def test_trees_are_counted_beside_rounds():
    rows = frame()
    params = {"objective": "multi:softprob", "num_class": 3, "max_depth": 2, "nthread": 1}
    several = xgboost.train(params, xgboost.DMatrix(rows[["delay", "hour"]], rows.hour % 3), 4)
    found = ForeignBooster(bytes(several.save_raw("ubj")), where="a file")
    assert (found.kind, found.classes) == ("multiclass", 3)
    assert size_of(found.ubjson()) == (4, 12)


def test_the_drawn_rows_reach_every_leaf_that_rows_can_reach(booster):
    found = ForeignBooster(bytes(booster.save_raw("ubj")), where="a file")
    rows = xgboost.DMatrix(
        found.sample(rows=5000),
        feature_names=list(found.names),
        feature_types=list(found.types),
        enable_categorical=True,
    )
    reached = booster.predict(rows, pred_leaf=True)
    for number, tree in enumerate(booster.get_dump()):
        leaves = tree.count("leaf=")
        assert len(np.unique(reached[:, number])) >= 0.9 * leaves, (number, leaves)
    assert np.array_equal(found.sample(), found.sample(), equal_nan=True)
    assert np.isnan(found.sample()).any(axis=0).all()


def test_an_estimator_that_stopped_early_is_used_to_its_best_round(tmp_path):
    rows, random = frame(), np.random.default_rng(2)
    noise = labels(rows) ^ (random.random(len(rows)) < 0.3)
    estimator = xgboost.XGBClassifier(
        n_estimators=80, learning_rate=0.8, n_jobs=1, early_stopping_rounds=4, enable_categorical=True
    )
    estimator.fit(rows[:200], noise[:200], eval_set=[(rows[200:], noise[200:])], verbose=False)
    estimator.save_model(tmp_path / "m.ubj")
    found = ForeignBooster((tmp_path / "m.ubj").read_bytes(), where="a file")
    assert found.left_out == 4
    assert found.rounds == estimator.best_iteration + 1
    matrix = np.column_stack([rows.delay, rows.carrier.cat.codes, rows.hour]).astype(np.float32)
    assert np.array_equal(found.predict(matrix), estimator.predict_proba(rows)[:, 1].astype(float))
    estimator.get_booster().save_model(tmp_path / "bare.ubj")
    bare = ForeignBooster((tmp_path / "bare.ubj").read_bytes(), where="a file")
    assert (bare.rounds, bare.left_out) == (found.rounds + 4, 0)


def test_bytes_that_would_end_the_process_are_refused_before_xgboost_sees_them():
    for content in (b"", b" ", b"\x80\x04K\x01.", b"PK\x03\x04", b"binf" + b"\0" * 20):
        with pytest.raises(ModelError):
            ForeignBooster(content, where="a file")
