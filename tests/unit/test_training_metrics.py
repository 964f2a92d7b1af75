"""Every metric that early stopping can watch is scikit-learn's, or the formula of its page."""

import numpy as np
import pytest
import xgboost
from scipy import special
from sklearn import metrics
from sklearn.preprocessing import label_binarize

from sluiceway.config.experiment import ModelSection, TrainingSection
from sluiceway.training.boosting import Boosting, run_rounds
from sluiceway.training.checkpoints import NoCheckpoints
from sluiceway.training.params import (
    BINARY_METRICS,
    MULTICLASS_METRICS,
    REGRESSOR_METRICS,
    booster_params,
    kind_of,
    maximised,
)

N = 1500


PEERS = {
    ("binary", "auc"): metrics.roc_auc_score,
    ("binary", "logloss"): metrics.log_loss,
    ("binary", "error"): lambda y, s: 1 - metrics.accuracy_score(y, s > 0.5),
    ("multiclass", "mlogloss"): metrics.log_loss,
    ("multiclass", "merror"): lambda y, s: 1 - metrics.accuracy_score(y, s.argmax(axis=1)),
    ("regression", "rmse"): metrics.root_mean_squared_error,
    ("regression", "mae"): metrics.mean_absolute_error,
    ("regression", "rmsle"): metrics.root_mean_squared_log_error,
    ("regression", "mape"): metrics.mean_absolute_percentage_error,
    ("regression", "poisson-nloglik"): lambda y, s: np.mean([_poisson(a, b) for a, b in zip(y, s, strict=True)]),
    ("regression", "gamma-deviance"): lambda y, s: metrics.mean_gamma_deviance(y, s),
    ("regression", "quantile"): lambda y, s: metrics.mean_pinball_loss(y, s, alpha=0.3),
    ("regression", "mphe"): lambda y, s: np.mean(np.sqrt(1 + (s - y) ** 2) - 1),
}
OBJECTIVE = {
    "poisson-nloglik": "count:poisson",
    "gamma-deviance": "reg:gamma",
    "gamma-nloglik": "reg:gamma",
    "quantile": "reg:quantileerror",
    "mphe": "reg:pseudohubererror",
}


def _poisson(y, s):
    """Negative log-likelihood of a count; log(y!) by the gamma function."""
    return special.gammaln(y + 1) + s - y * np.log(s)


@pytest.fixture(scope="module")
def world():
    random = np.random.default_rng(8)
    x = random.normal(size=(N, 4)).astype(np.float32)
    signal = x[:, 0] - x[:, 1] + random.normal(size=N)
    return x, {
        "binary": (signal > 0).astype(np.float32),
        "multiclass": np.digitize(signal, [-1, 1]).astype(np.float32),
        "regression": (np.abs(signal) + 0.1).astype(np.float32),
    }


def boosted(world, kind, metric):
    x, labels = world
    y = labels[kind]
    if metric == "poisson-nloglik":
        y = np.floor(y)
    model = ModelSection(
        type="XGBRegressor" if kind == "regression" else "XGBClassifier",
        params={"max_depth": 3, "n_estimators": 12}
        | ({"objective": OBJECTIVE[metric]} if metric in OBJECTIVE else {})
        | ({"quantile_alpha": 0.3} if metric == "quantile" else {}),
    )
    classes = {"binary": 2, "multiclass": 3, "regression": 0}[kind]
    assert kind_of(model, classes) == kind
    training = TrainingSection(eval_metric=metric)
    params, rounds = booster_params(model, training, seed=1, nthread=1, classes=classes)
    matrix = xgboost.QuantileDMatrix(x[:1000], y[:1000], max_bin=256)
    watched = xgboost.DMatrix(x[1000:], y[1000:])
    plan = Boosting("x", params, rounds, metric, maximised(metric), None, 50)
    done = run_rounds(
        plan, lambda: matrix, watched, checkpoints=NoCheckpoints(), after_round=lambda number, value: None
    )
    return done.history, done.booster.predict(watched).astype(np.float64), y[1000:].astype(np.float64)


@pytest.mark.parametrize(("kind", "metric"), PEERS)
def test_metrics_are_scikit_learns(world, kind, metric):
    history, scores, y = boosted(world, kind, metric)
    if kind == "multiclass":
        scores /= scores.sum(axis=1, keepdims=True)
    assert history[-1] == pytest.approx(PEERS[kind, metric](y, scores), rel=2e-4)
    better = history[-1] > history[0] if maximised(metric) else history[-1] < history[0]
    assert better


def test_area_under_precision_and_recall_is_interpolated(world):
    history, scores, y = boosted(world, "binary", "aucpr")
    assert history[-1] == pytest.approx(metrics.average_precision_score(y, scores), abs=0.01)


def test_auc_of_several_classes_is_one_against_the_rest_weighted_by_their_rows(world):
    history, scores, y = boosted(world, "multiclass", "auc")
    one_hot = label_binarize(y, classes=[0, 1, 2])
    peer = metrics.roc_auc_score(one_hot, scores, average="weighted")
    assert history[-1] == pytest.approx(peer, abs=1e-4)


def test_no_metric_is_left_out():
    compared = {name for _, name in PEERS} | {"aucpr", "gamma-nloglik"}
    assert compared == {*BINARY_METRICS, *MULTICLASS_METRICS, *REGRESSOR_METRICS}
    gamma = {"gamma-nloglik"}  # scikit-learn has its deviance; the likelihood falls with it
    assert gamma <= set(REGRESSOR_METRICS)


def test_the_likelihood_of_the_gamma_distribution(world):
    history, scores, y = boosted(world, "regression", "gamma-nloglik")
    assert history[-1] == pytest.approx(np.mean(y / scores + np.log(scores)), rel=1e-4)
