"""Our metrics are scikit-learn's, and know which side is good."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import ks_2samp
from sklearn import metrics as theirs

from sluiceway.core.errors import ConfigError
from sluiceway.core.verdict import Direction
from sluiceway.gates import metric_kinds
from sluiceway.gates.metrics import check_names, compare, evaluate, known_metrics, measure, metric, usable
from sluiceway.gates.scored_rows import Doubt, PairedRows, ScoredRows
from sluiceway.gates.scorers import OF_CLUSTERS, scorer_metric, scorer_names

THRESHOLD = 0.4


@pytest.fixture(params=["continuous", "ties"])
def rows(request):
    random = np.random.default_rng(1)
    labels = (random.random(800) < 0.3).astype(float)
    scores = 1 / (1 + np.exp(-(labels * 1.5 - 1 + random.standard_normal(800))))
    return labels, scores.round(1) if request.param == "ties" else scores


OURS = {
    "auc_roc": lambda y, s: theirs.roc_auc_score(y, s),
    "average_precision": lambda y, s: theirs.average_precision_score(y, s),
    "ks": lambda y, s: ks_2samp(s[y == 1], s[y == 0]).statistic,
    "precision": lambda y, s: theirs.precision_score(y, s >= THRESHOLD),
    "recall": lambda y, s: theirs.recall_score(y, s >= THRESHOLD),
    "f1_score": lambda y, s: theirs.f1_score(y, s >= THRESHOLD),
    "accuracy": lambda y, s: theirs.accuracy_score(y, s >= THRESHOLD),
    "log_loss": lambda y, s: theirs.log_loss(y, np.clip(s, 1e-15, 1 - 1e-15)),
    "brier": lambda y, s: theirs.brier_score_loss(y, s),
    "mae": lambda y, s: theirs.mean_absolute_error(y, s),
    "rmse": lambda y, s: theirs.root_mean_squared_error(y, s),
    "r2": lambda y, s: theirs.r2_score(y, s),
    "pinball": lambda y, s: theirs.mean_pinball_loss(y, s, alpha=0.5),
    "pinball_0.9": lambda y, s: theirs.mean_pinball_loss(y, s, alpha=0.9),
    "pinball_.05": lambda y, s: theirs.mean_pinball_loss(y, s, alpha=0.05),
}


@pytest.mark.parametrize("name", OURS)
def test_same_as_scikit_learn(rows, name):
    value = evaluate(name, *rows, threshold=THRESHOLD)
    assert value == pytest.approx(OURS[name](*rows), rel=1e-9)
    measured = measure(name, *rows, threshold=THRESHOLD)
    assert measured.value == value
    assert measured.n == 800
    assert measured.low < value < measured.high


def test_every_metric_is_tested_above():
    assert {*known_metrics("binary"), *known_metrics("regression")} <= set(OURS)
    assert set(known_metrics("regression")) == {"mae", "rmse", "r2"}


def test_directions():
    losses = {name for name in known_metrics() if metric(name).direction is Direction.AT_MOST}
    assert losses == {"log_loss", "brier", "mae", "rmse"}
    assert metric("pinball_0.9").direction is Direction.AT_MOST
    assert metric("neg_log_loss").direction is Direction.AT_LEAST


def test_an_unknown_metric_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigError, match="auc_roc"):
        metric("auc_rco")
    with pytest.raises(ConfigError) as caught:
        check_names(["f_score", "accuracy", "recal", "f1"])
    assert len(caught.value.problems) == 2
    assert "f1_score" in caught.value.problems[0]
    assert "recall" in caught.value.problems[1]
    with pytest.raises(ConfigError, match="balanced_accuracy"):
        metric("balanced_acuracy")


@pytest.mark.parametrize("name", ["pinball_0", "pinball_0.0", "pinball_1", "pinball_1.5", "pinball_", "pinball_x"])
def test_a_quantile_lies_between_0_and_1(name):
    with pytest.raises(ConfigError, match=r"pinball_0\.9"):
        check_names([name])


def test_what_is_not_defined_has_no_value():
    ones, empty = np.ones(10), np.empty(0)
    for name in ("auc_roc", "average_precision", "accuracy", "log_loss", "r2", "matthews_corrcoef"):
        assert math.isnan(evaluate(name, empty, empty))
        assert measure(name, empty, empty).value is None
    assert math.isnan(evaluate("auc_roc", ones, np.arange(10.0)))
    assert math.isnan(evaluate("ks", ones, np.arange(10.0)))
    assert math.isnan(evaluate("accuracy", ones, ones, threshold=None))
    assert math.isnan(evaluate("balanced_accuracy", ones, ones, threshold=None))
    assert math.isnan(evaluate("brier", ones, np.full(10, np.nan)))
    assert math.isnan(evaluate("neg_mean_gamma_deviance", -ones, ones))
    assert evaluate("precision", ones, np.zeros(10)) == 0
    assert measure("precision", ones, np.zeros(10)).high == 0
    assert evaluate("log_loss", ones, np.zeros(10)) < 40
    rows = ScoredRows.of([0, 0, 1, 1, 1], [0.1, 0.6, 0.2, 0.7, 0.5], 0.5)
    assert rows.counts.tolist() == [1, 1, 1, 2]


def test_intervals_stay_where_the_metric_may_be():
    labels = np.repeat([0.0, 1.0], [60, 40])
    perfect = {name: measure(name, labels, labels * 0.98 + 0.01) for name in known_metrics("binary")}
    for name in ("auc_roc", "average_precision", "ks", "precision", "recall", "f1_score", "accuracy"):
        assert perfect[name].value == perfect[name].high == 1
        assert 0.85 < perfect[name].low < 1, name
    assert 0 < perfect["brier"].low <= perfect["brier"].high < 0.001
    exact = measure("rmse", labels, labels)
    assert (exact.value, exact.low, exact.high) == (0, 0, 0)
    assert measure("r2", labels, labels).low == 1
    random = np.random.default_rng(2)
    noise = random.standard_normal(100)
    assert measure("r2", noise, noise + 0.01 * random.standard_normal(100)).high < 1
    chance = measure("ks", labels, np.full(100, 0.5))
    assert (chance.value, chance.low) == (0, 0)


# scikit-learn's scorers

BINARY = {
    "matthews_corrcoef": lambda y, s: theirs.matthews_corrcoef(y, s >= THRESHOLD),
    "balanced_accuracy": lambda y, s: theirs.balanced_accuracy_score(y, s >= THRESHOLD),
    "jaccard": lambda y, s: theirs.jaccard_score(y, s >= THRESHOLD),
    "f1_macro": lambda y, s: theirs.f1_score(y, s >= THRESHOLD, average="macro"),
    "roc_auc": lambda y, s: theirs.roc_auc_score(y, s),
    "neg_log_loss": lambda y, s: -theirs.log_loss(y, s),
    "neg_brier_score": lambda y, s: -theirs.brier_score_loss(y, s),
}


@pytest.mark.parametrize("name", BINARY)
def test_a_scorer_of_a_binary_model(rows, name, monkeypatch):
    monkeypatch.setattr(metric_kinds, "SLOW_RESAMPLES", 40)
    labels, scores = rows[0][:300], np.clip(rows[1][:300], 0.01, 0.99)
    check_names([name], ("binary",))
    value = evaluate(name, labels, scores, threshold=THRESHOLD)
    assert value == pytest.approx(BINARY[name](labels, scores), rel=1e-12)
    measured = measure(name, labels, scores, threshold=THRESHOLD)
    assert measured.low < value < measured.high


def test_scorers_of_other_kinds_of_models(monkeypatch):
    monkeypatch.setattr(metric_kinds, "SLOW_RESAMPLES", 40)
    random = np.random.default_rng(3)
    truth = random.uniform(1, 5, 200)
    guess = truth + random.normal(0, 0.3, 200)
    for name, of in (
        ("explained_variance", theirs.explained_variance_score),
        ("neg_median_absolute_error", lambda y, s: -theirs.median_absolute_error(y, s)),
        ("neg_mean_absolute_percentage_error", lambda y, s: -theirs.mean_absolute_percentage_error(y, s)),
    ):
        check_names([name], ("regression",))
        measured = measure(name, truth, guess)
        assert measured.value == pytest.approx(of(truth, guess))
        assert measured.low < measured.value < measured.high
    places = random.integers(0, 3, 200)
    scores = softmax(np.eye(3)[places] + random.standard_normal((200, 3)), axis=1)
    for name, of in (
        ("balanced_accuracy", lambda y, s: theirs.balanced_accuracy_score(y, s.argmax(axis=1))),
        ("matthews_corrcoef", lambda y, s: theirs.matthews_corrcoef(y, s.argmax(axis=1))),
        ("top_k_accuracy", lambda y, s: theirs.top_k_accuracy_score(y, s, k=2)),
        ("roc_auc_ovo", lambda y, s: theirs.roc_auc_score(y, s, multi_class="ovo")),
    ):
        check_names([name], ("multiclass",))
        assert evaluate(name, places, scores) == pytest.approx(of(places, scores))


def test_a_scorer_that_makes_no_sense_for_the_model_is_refused():
    for name in OF_CLUSTERS:
        assert not any(usable(name, task) for task in ("binary", "multiclass", "regression"))
    for name, wrong in (
        ("neg_mean_squared_error", "binary"),
        ("explained_variance", "multiclass"),
        ("roc_auc", "multiclass"),
        ("f1", "multiclass"),
        ("f1_samples", "binary"),
        ("top_k_accuracy", "binary"),
        ("matthews_corrcoef", "regression"),
        ("neg_log_loss", "regression"),
    ):
        with pytest.raises(ConfigError) as caught:
            check_names([name], (wrong,))
        (problem,) = caught.value.problems
        assert f"there is no metric '{name}' for a {wrong} model" in problem


def test_every_scorer_has_a_place_or_is_known_to_have_none():
    of = {task: set(scorer_names([task])) for task in ("binary", "multiclass", "regression")}
    nowhere = set(theirs.get_scorer_names()) - of["binary"] - of["multiclass"] - of["regression"]
    assert nowhere == OF_CLUSTERS | {name for name in theirs.get_scorer_names() if name.endswith("_samples")}
    assert not of["regression"] & (of["binary"] | of["multiclass"])


def test_our_metric_wins_where_both_have_the_name():
    assert scorer_metric("accuracy", "binary") is not None
    assert isinstance(metric("accuracy", "binary"), metric_kinds.DecidedMetric)
    assert isinstance(metric("f1_macro", "multiclass"), metric_kinds.DecidedMetric)
    assert isinstance(metric("average_precision", "binary"), metric_kinds.SummedMetric)
    assert isinstance(metric("average_precision", "multiclass"), metric_kinds.ScoredMetric)


# two models on the same rows


@pytest.mark.parametrize("name", [*known_metrics("binary"), "matthews_corrcoef"])
def test_a_gain_is_the_difference_with_the_better_side_up(rows, name, monkeypatch):
    monkeypatch.setattr(metric_kinds, "SLOW_RESAMPLES", 60)
    labels, scores = rows
    worse = np.clip(scores + 0.3 * np.random.default_rng(4).standard_normal(len(scores)), 0.01, 0.99)
    good, bad = ScoredRows.of(labels, scores, THRESHOLD), ScoredRows.of(labels, worse, THRESHOLD)
    first, second, gain = compare(name, PairedRows(good, bad), Doubt())
    assert first == pytest.approx(evaluate(name, labels, scores, threshold=THRESHOLD))
    assert second == pytest.approx(evaluate(name, labels, worse, threshold=THRESHOLD))
    assert gain.value == pytest.approx(abs(first - second))
    assert gain.low < gain.value < gain.high
    assert (gain.high - gain.low) / 2 == pytest.approx(1.96 * gain.error, rel=0.2)
    _, _, back = compare(name, PairedRows(bad, good), Doubt())
    assert (back.value, back.low) == pytest.approx((-gain.value, -gain.high), abs=0.3 * gain.error)


@pytest.mark.parametrize("name", [*known_metrics("binary"), *known_metrics("regression")])
def test_the_same_scores_twice_have_an_interval_that_shrinks_with_the_rows(rows, name):
    labels, scores = rows
    widths = []
    for n in (100, 800):
        same = ScoredRows.of(labels[:n], scores[:n], THRESHOLD)
        _, _, gain = compare(name, PairedRows(same, same), Doubt())
        assert gain.value == 0
        assert gain.low < 0 < gain.high
        widths.append(gain.high - gain.low)
    assert widths[0] == pytest.approx(8 * widths[1], rel=0.6)


def test_each_model_decides_by_its_own_threshold():
    labels = np.tile([0.0, 1.0], 100)
    high, low = labels * 0.2 + 0.7, labels * 0.2 + 0.1
    both = PairedRows(ScoredRows.of(labels, high, 0.8), ScoredRows.of(labels, low, 0.2))
    assert compare("accuracy", both, Doubt())[:2] == (1, 1)
    one = PairedRows(ScoredRows.of(labels, high, 0.8), ScoredRows.of(labels, low, 0.8))
    assert compare("accuracy", one, Doubt())[:2] == (1, 0.5)
    none = PairedRows(ScoredRows.of(labels, high, 0.8), ScoredRows.of(labels, low, None))
    _, second, gain = compare("recall", none, Doubt())
    assert math.isnan(second)
    assert math.isnan(gain.value)


@pytest.mark.parametrize(("n", "low"), [(20, 1 + math.log(0.025) / 10), (200, 1 + math.log(0.025) / 100)])
def test_a_scorer_that_is_perfect_on_a_sample_is_not_known_to_be_perfect(n, low):
    labels = (np.arange(n) % 2).astype(float)
    found = measure("balanced_accuracy", labels, labels)
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(low)
