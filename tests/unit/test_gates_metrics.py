"""Our metrics are scikit-learn's, and know which side is good."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import ks_2samp
from sklearn import metrics as theirs

from sluiceway.core.errors import ConfigError
from sluiceway.core.verdict import Direction
from sluiceway.gates.metrics import check_names, evaluate, known_metrics, measure, metric

THRESHOLD = 0.4


@pytest.fixture(params=["continuous", "ties"])
def rows(request):
    random = np.random.default_rng(1)
    labels = (random.random(800) < 0.3).astype(float)
    scores = 1 / (1 + np.exp(-(labels * 1.5 - 1 + random.standard_normal(800))))
    return labels, scores.round(1) if request.param == "ties" else scores


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("auc_roc", lambda y, s: theirs.roc_auc_score(y, s)),
        ("average_precision", lambda y, s: theirs.average_precision_score(y, s)),
        ("ks", lambda y, s: ks_2samp(s[y == 1], s[y == 0]).statistic),
        ("precision", lambda y, s: theirs.precision_score(y, s >= THRESHOLD)),
        ("recall", lambda y, s: theirs.recall_score(y, s >= THRESHOLD)),
        ("f1_score", lambda y, s: theirs.f1_score(y, s >= THRESHOLD)),
        ("accuracy", lambda y, s: theirs.accuracy_score(y, s >= THRESHOLD)),
        ("log_loss", lambda y, s: theirs.log_loss(y, np.clip(s, 1e-15, 1 - 1e-15))),
        ("brier", lambda y, s: theirs.brier_score_loss(y, s)),
        ("mae", lambda y, s: theirs.mean_absolute_error(y, s)),
        ("rmse", lambda y, s: theirs.root_mean_squared_error(y, s)),
        ("r2", lambda y, s: theirs.r2_score(y, s)),
    ],
)
def test_same_as_scikit_learn(rows, name, expected):
    value = evaluate(name, *rows, threshold=THRESHOLD)
    assert value == pytest.approx(expected(*rows), rel=1e-9)
    measured = measure(name, *rows, threshold=THRESHOLD)
    assert measured.value == value
    assert measured.n == 800
    assert measured.low < value < measured.high


def test_every_metric_is_tested_above():
    assert len({*known_metrics("binary"), *known_metrics("regression")}) == 12
    assert set(known_metrics("regression")) == {"mae", "rmse", "r2"}


def test_directions():
    losses = {name for name in known_metrics() if metric(name).direction is Direction.AT_MOST}
    assert losses == {"log_loss", "brier", "mae", "rmse"}


def test_an_unknown_metric_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigError, match="auc_roc"):
        metric("auc_rco")
    with pytest.raises(ConfigError) as caught:
        check_names(["f1", "accuracy", "recal"])
    assert len(caught.value.problems) == 2
    assert "f1_score" in caught.value.problems[0]
    assert "recall" in caught.value.problems[1]


def test_what_is_not_defined_has_no_value():
    ones, empty = np.ones(10), np.empty(0)
    for name in ("auc_roc", "average_precision", "accuracy", "log_loss", "r2"):
        assert math.isnan(evaluate(name, empty, empty))
        assert measure(name, empty, empty).value is None
    assert math.isnan(evaluate("auc_roc", ones, np.arange(10.0)))
    assert math.isnan(evaluate("ks", ones, np.arange(10.0)))
    assert math.isnan(evaluate("accuracy", ones, ones, threshold=None))
    assert math.isnan(evaluate("brier", ones, np.full(10, np.nan)))
    assert evaluate("precision", ones, np.zeros(10)) == 0
    assert evaluate("log_loss", ones, np.zeros(10)) < 40
