"""The calibrator: fitted as scipy and Platt have it, small, rising, and strict JSON; in the decision and before it."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from sluiceway.config.evaluation import CalibrationSection, EvaluationSection
from sluiceway.core.calibrator import Calibrator
from sluiceway.core.errors import ConfigError, DataError, ModelError
from sluiceway.core.references import TableVersion
from sluiceway.gates.statistics.auc import auc
from sluiceway.lifecycle.candidate import candidate_key, decision_of
from sluiceway.lifecycle.preflight import check_evaluation
from sluiceway.training.calibrator import MOST_POINTS, fit_calibrator
from sluiceway.training.report import ScoredRows
from sluiceway.training.threshold import choose

METHODS = ("isotonic", "sigmoid")


def draw(seed=1, n=5000, centre=-1.0):
    """Labels and scores that are too extreme, as float32, as a booster gives them."""
    random = np.random.default_rng(seed)
    logits = random.normal(centre, 2, n)
    labels = (random.random(n) < expit(logits)).astype(np.float32)
    return labels, expit(2 * logits + 0.5).astype(np.float32)


def true(scores):
    return expit((logit(scores.astype(np.float64)) - 0.5) / 2)


def points(calibrator):
    table = json.loads(json.dumps(calibrator.to_dict(), allow_nan=False))
    return np.array(table["scores"]), np.array(table["values"])


@pytest.mark.parametrize("method", METHODS)
def test_a_fit_gives_back_the_chances_with_a_small_rising_table(method):
    labels, scores = draw(n=50_000)
    calibrator = fit_calibrator(labels, scores, method)
    x, y = points(calibrator)
    assert 2 <= len(x) <= MOST_POINTS
    assert (np.diff(x) > 0).all()
    assert (np.diff(y) >= 0).all()
    assert y[0] > 0
    assert y[-1] < 1
    fresh, scores = draw(2)
    given = calibrator(scores)
    assert given.dtype == np.float64
    assert np.abs(given - true(scores)).mean() < 0.015
    assert auc(fresh, given) == pytest.approx(auc(fresh, scores), abs=1e-3)
    assert len(np.unique(given)) > 0.9 * len(np.unique(scores))
    again = fit_calibrator(labels, scores := draw(n=50_000)[1], method)
    assert again.to_dict() == calibrator.to_dict()


def test_isotonic_follows_scikit_learns():
    labels, scores = draw(3, 20_000)
    theirs = IsotonicRegression(out_of_bounds="clip").fit(scores.astype(np.float64), labels)
    ours = fit_calibrator(labels, scores, "isotonic")
    grid = np.quantile(scores, np.linspace(0.02, 0.98, 200)).astype(np.float64)
    assert np.abs(ours(grid) - theirs.predict(grid)).mean() < 0.01
    assert np.abs(ours(grid) - theirs.predict(grid)).max() < 0.06
    assert ours(scores).mean() == pytest.approx(labels.mean(), abs=0.005)


@pytest.mark.parametrize(("intercept", "slope"), [(0, 1), (-1, 0.1), (1, 0.5), (-3, 2), (5, 6), (0, 15)])
def test_a_sigmoid_is_written_down_to_a_ten_thousandth(intercept, slope):
    random = np.random.default_rng(4)
    logits = random.uniform(-14, 14, 20_000)
    labels = random.random(20_000) < expit(intercept + slope * logits)
    calibrator = fit_calibrator(labels, expit(logits), "sigmoid")
    assert len(points(calibrator)[0]) <= MOST_POINTS
    hits, misses = labels.sum(), (~labels).sum()
    targets = np.where(labels, (hits + 1) / (hits + 2), 1 / (misses + 2))
    theirs = LogisticRegression(C=np.inf, tol=1e-12, max_iter=5000).fit(
        np.concatenate([logits, logits])[:, None],
        np.repeat([1, 0], 20_000),
        sample_weight=np.concatenate([targets, 1 - targets]),
    )
    fine = np.linspace(-30, 16, 30_000)
    meant = expit(theirs.intercept_[0] + theirs.coef_[0, 0] * fine)
    assert theirs.coef_[0, 0] > 0.5 * slope
    assert np.abs(calibrator(expit(fine)) - meant).max() < 1e-4


def test_platts_targets_keep_a_perfect_separation_finite():
    labels = np.repeat([0.0, 1.0], 50)
    calibrator = fit_calibrator(labels, np.where(labels > 0, 0.9, 0.2), "sigmoid")
    np.testing.assert_allclose(calibrator(np.array([0.2, 0.9])), [1 / 52, 51 / 52], atol=1e-4)


def test_no_score_becomes_certain():
    labels = np.repeat([0.0, 1.0], 500)
    scores = np.concatenate([np.linspace(0, 0.4, 500), np.linspace(0.6, 1, 500)])
    given = fit_calibrator(labels, scores, "isotonic")(np.array([0.0, 1.0]))
    np.testing.assert_allclose(given, [0.5 / 501, 1 - 0.5 / 501])


@pytest.mark.parametrize("method", METHODS)
def test_scores_that_say_nothing_or_the_opposite_become_the_share_of_positives(method):
    labels, scores = draw(5)
    for wrong in (np.full(len(labels), 0.3), 1 - scores):
        given = fit_calibrator(labels, wrong, method)(np.array([0.0, 0.3, 1.0]))
        np.testing.assert_allclose(given, labels.mean(), atol=2e-3)


@pytest.mark.parametrize("method", METHODS)
def test_rare_events_and_scores_at_the_very_ends(method):
    random = np.random.default_rng(6)
    scores = np.append(random.beta(0.2, 20, 20_000), [0.0, 1.0, 1e-30])
    labels = random.random(len(scores)) < scores / 3
    calibrator = fit_calibrator(labels, scores, method)
    given = calibrator(np.array([0.0, 1e-38, 1.0]))
    assert np.isfinite(given).all()
    assert (given >= 0).all()
    assert (given <= 1).all()
    assert calibrator(scores).mean() == pytest.approx(labels.mean(), rel=0.2)


@pytest.mark.parametrize("labels", [np.zeros(50), np.ones(50), np.empty(0)])
def test_one_class_alone_is_refused(labels):
    with pytest.raises(DataError, match="calibrator"):
        fit_calibrator(labels, np.linspace(0, 1, len(labels)), "isotonic")


def test_a_batch_gives_what_its_rows_give_one_by_one():
    labels, scores = draw(7)
    calibrator = fit_calibrator(labels, scores, "isotonic")
    together = calibrator(scores)
    alone = np.array([calibrator(scores[i : i + 1])[0] for i in range(300)])
    np.testing.assert_array_equal(together[:300], alone)
    assert np.isnan(calibrator(np.array([np.nan])))[0]


@pytest.mark.parametrize(
    ("scores", "values", "told"),
    [
        ([], [], "scores is not a list"),
        ("ab", [1.0], "scores is not a list"),
        ([0.1, 0.2], [0.1], "2 scores and 1 values"),
        ([0.2, 0.2], [0.1, 0.2], r"scores\[1\] is 0.2, not above"),
        ([0.1, 0.2], [0.3, 0.2], r"values\[1\] is 0.2, below"),
        ([0.1, 0.2], [-0.1, 0.2], "not within 0 and 1"),
        ([0.1, 0.2], [0.1, 1.2], "not within 0 and 1"),
        ([0.1, float("nan")], [0.1, 0.2], r"scores\[1\] is nan"),
        ([0.1, 0.2], [0.1, True], r"values\[1\] is True"),
        ([0.1, "x"], [0.1, 0.2], r"scores\[1\] is 'x'"),
    ],
)
def test_a_table_that_is_none_is_refused(scores, values, told):
    with pytest.raises(ModelError, match=told):
        Calibrator(scores, values)


# where it is fitted


def context(**evaluation):
    return SimpleNamespace(evaluation=EvaluationSection(**evaluation), data=SimpleNamespace(target="late"))


def report(labels, scores, kind="binary"):
    return SimpleNamespace(kind=kind, classes=("a", "b", "c"), validation=ScoredRows(labels, scores, np.empty((0, 1))))


def test_the_threshold_is_chosen_on_calibrated_scores():
    labels, scores = draw(8)
    plain = decision_of(context(), report(labels, scores))
    assert set(plain) == {"kind", "threshold", "target"}
    for method in METHODS:
        asked = context(calibration={"calibrator": method})
        decision = decision_of(asked, report(labels, scores))
        calibrator = Calibrator.of(decision)
        assert calibrator.to_dict() == fit_calibrator(labels, scores, method).to_dict()
        assert decision["threshold"] == choose(labels, calibrator(scores), asked.evaluation.decision)
        assert decision["threshold"] != plain["threshold"]


def test_a_model_is_trained_anew_for_another_calibrator(monkeypatch):
    monkeypatch.setattr("sluiceway.lifecycle.candidate.base_of", lambda _: None)

    def key(method):
        asked = context(calibration={"calibrator": method})
        asked.data.model_dump = lambda **_: {}
        asked.experiment = asked.model = asked.training = None
        return candidate_key(asked, TableVersion("/t", 3, "d", 10, "3"))

    assert len({key(method) for method in ("none", *METHODS)}) == 3


def test_other_kinds_have_no_calibrator_and_asking_for_one_is_refused_before_training():
    labels, scores = draw(9, 50)
    for kind in ("multiclass", "regression"):
        asked = context(calibration={"calibrator": "isotonic"})
        assert "calibrator" not in decision_of(asked, report(labels, scores, kind))
        with pytest.raises(ConfigError) as refused:
            check_evaluation(asked.evaluation, kind)
        assert "evaluation.calibration.calibrator" in refused.value.problems[0]
        assert kind in refused.value.problems[0]
        check_evaluation(EvaluationSection(), kind)
    section = EvaluationSection(calibration=CalibrationSection(calibrator="sigmoid"))
    check_evaluation(section)
    check_evaluation(section, "binary")
    check_evaluation(section, "binary", "multiclass")
