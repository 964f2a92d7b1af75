"""Calibrated scores pass; planted miscalibration is found by name; the estimates are what theory and others say."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, logit, softmax
from scipy.stats import norm
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss

from sluiceway.config.evaluation import CalibrationSection, EvaluationSection
from sluiceway.core.verdict import Status
from sluiceway.gates import catalogue
from sluiceway.gates.checks.calibration import GATE, calibration, run
from sluiceway.gates.context import GateContext
from sluiceway.gates.statistics.reliability import (
    Reliability,
    brier_parts,
    calibration_error,
    logistic_line,
    reliability,
    reliability_bins,
)
from sluiceway.training.calibrator import fit_calibrator

ERROR = "expected calibration error"
STRICT = CalibrationSection(max_error=0.05)


def draw(seed=1, n=8000, spread=2.0, centre=-0.5):
    """Labels and the chances that they were drawn by."""
    random = np.random.default_rng(seed)
    chances = expit(random.normal(centre, spread, n))
    return (random.random(n) < chances).astype(float), chances


def by_name(verdicts, text):
    (found,) = [v for v in verdicts if text in v.measurement.name]
    return found


# the gate


def test_calibrated_scores_pass():
    assert catalogue.explain(GATE).splitlines()[0] == "Does a probability of 0.2 come true in one of five?"
    for seed in range(5):
        verdicts = calibration(*draw(seed), section=STRICT)
        assert {v.status for v in verdicts} == {Status.PASS}
        judged = by_name(verdicts, ERROR)
        assert judged.measurement.low < judged.measurement.high < 0.03
        assert by_name(verdicts, "slope").measurement.low < 1.05
        assert by_name(verdicts, "slope").measurement.high > 0.95
        assert by_name(verdicts, "intercept").threshold is None


@pytest.mark.parametrize(
    "planted",
    [lambda p: p**2, lambda p: expit(2.5 * logit(p)), lambda p: p * 0.7],
    ids=["squared", "too sure", "too low"],
)
def test_planted_miscalibration_fails_by_name_and_the_calibrators_mend_it(planted):
    labels, chances = draw(2)
    verdicts = calibration(labels, planted(chances), section=STRICT)
    assert [v.measurement.name for v in verdicts if v.status is Status.FAIL] == [ERROR]
    assert "calibrator: isotonic" in by_name(verdicts, ERROR).reason
    assert "furthest off" in by_name(verdicts, ERROR).measurement.detail
    validation, seen = draw(3, 4000)
    for method in ("isotonic", "sigmoid"):
        calibrator = fit_calibrator(validation, planted(seen), method)
        fresh, chances = draw(4)
        mended = calibration(fresh, calibrator(planted(chances)), section=STRICT)
        assert {v.status for v in mended} == {Status.PASS}, method
        assert by_name(mended, ERROR).measurement.value < (0.02 if method == "isotonic" else 0.04), method


def test_the_reason_of_a_failure_fits_what_is_configured():
    labels, chances = draw(2)
    section = CalibrationSection(max_error=0.05, calibrator="isotonic")
    reason = by_name(calibration(labels, chances**3, section=section), ERROR).reason
    assert "in spite of calibrator: isotonic" in reason


def test_beyond_the_limit_by_chance_is_inconclusive_with_what_would_be_enough():
    labels, chances = draw(5, 400)
    section = CalibrationSection(max_error=0.05, bins=5)
    verdict = by_name(calibration(labels, np.clip(chances + 0.1, 0, 1), section=section), ERROR)
    assert verdict.measurement.value > 0.05
    assert verdict.status is Status.INCONCLUSIVE
    assert verdict.enough > 400
    few = by_name(calibration(labels[:99], chances[:99], section=CalibrationSection(bins=5)), ERROR)
    assert (few.status, few.enough) == (Status.INCONCLUSIVE, 100)


def test_nothing_and_what_is_no_probability():
    none = calibration(np.empty(0), np.empty(0), section=STRICT)
    assert {v.status for v in none} == {Status.INCONCLUSIVE}
    labels, chances = draw(6, 500)
    for wrong, told in ((np.full(500, np.nan), "no score"), (10 * chances, "no probabilities")):
        (verdict,) = calibration(labels, wrong, section=STRICT)
        assert (verdict.status, told in verdict.reason) == (Status.FAIL, True)
    one_class = calibration(np.zeros(500), np.full(500, 0.001), section=STRICT)
    assert by_name(one_class, ERROR).status is Status.PASS
    assert "no finite line" in by_name(one_class, "slope").measurement.detail
    (regression,) = calibration(np.arange(9.0), np.arange(9.0), section=STRICT, task="regression")
    assert (regression.status, regression.reason) == (Status.PASS, "a regression has none")


def test_several_classes_are_judged_by_the_decided_one_and_the_worst_is_named():
    random = np.random.default_rng(8)
    logits = 1.5 * random.standard_normal((9000, 3)) + np.array([0.5, 0, -0.5])
    true = softmax(logits, axis=1)
    labels = (random.random((9000, 1)) > true.cumsum(axis=1)).sum(axis=1).clip(0, 2).astype(float)
    given = {"section": STRICT, "task": "multiclass", "classes": ("bad", "fair", "good")}
    good = calibration(labels, true, **given)
    assert {v.status for v in good} == {Status.PASS}
    bold = calibration(labels, softmax(3 * logits, axis=1), **given)
    judged = by_name(bold, "of the decided class")
    assert judged.status is Status.FAIL
    assert "regularisation" in judged.reason
    tilted = softmax(logits + np.array([0, 0, 1.2]), axis=1)
    assert by_name(calibration(labels, tilted, **given), "largest").measurement.detail == "class good"


def gate_context(labels, scores, **given):
    return GateContext(
        gate="calibration",
        section=STRICT,
        evaluation=EvaluationSection(calibration=STRICT),
        features=("a",),
        kinds={"a": "numeric"},
        target="y",
        threshold=0.5,
        labels=labels,
        scores=scores,
        **given,
    )


def test_the_gate_judges_what_its_context_has():
    labels, chances = draw(9)
    output = run(gate_context(labels, chances))
    assert output.verdicts == calibration(labels, chances, section=STRICT)
    # What is drawn are the bins that are judged: both name the same furthest point.
    assert len(output.data.calibration) == STRICT.bins
    worst = max(output.data.calibration, key=lambda b: abs(b.observed - b.predicted))
    told = f"furthest off: {worst.predicted:.3f} predicted, {worst.observed:.3f} observed in {worst.n:,} rows"
    assert by_name(output.verdicts, ERROR).measurement.detail == told
    assert not run(gate_context(np.empty(0), np.empty(0))).data.calibration
    assert not run(gate_context(labels, np.full(len(labels), np.nan))).data.calibration
    (regression,) = run(gate_context(labels, labels * 5, task="regression")).verdicts
    assert regression.check == "calibration"
    several = run(gate_context(labels, np.column_stack([1 - chances, chances, 0 * chances]), task="multiclass"))
    assert {v.status for v in several.verdicts} == {Status.PASS}
    assert several.data.calibration


def test_no_interval_of_the_error_leaves_what_an_error_can_be():
    found = reliability(np.zeros(40), np.full(40, 0.999), 5)
    value, low, high = calibration_error(found)
    assert 0 <= low <= value <= high <= 1


# the statistics


def test_bins_are_those_of_scikit_learn():
    labels, chances = draw(10, 4000)
    bins = reliability_bins(labels, chances, 10)
    observed, predicted = calibration_curve(labels, chances, n_bins=10, strategy="quantile")
    np.testing.assert_allclose([b.observed for b in bins], observed, atol=2e-3)
    np.testing.assert_allclose([b.predicted for b in bins], predicted, atol=2e-3)
    assert [b.n for b in bins] == [400] * 10
    assert all(b.low < b.observed < b.high for b in bins)


def test_rows_of_one_score_are_never_parted_whatever_their_order():
    labels = np.sort(np.random.default_rng(1).integers(0, 2, 1000)).astype(float)
    scores = np.repeat([0.5, 0.2], [900, 100])
    bins = reliability_bins(labels, scores, 10)
    assert [(round(b.predicted, 9), b.n) for b in bins] == [(0.2, 100), (0.5, 900)]
    few = reliability(labels, np.repeat([0.1, 0.2, 0.3, 0.4], [240, 260, 253, 247]), 4)
    assert few.n.tolist() == [240, 260, 253, 247]
    one = reliability(labels, np.full(1000, 0.5), 10)
    assert one.n.tolist() == [1000]
    assert len(reliability(labels[:3], np.array([0.1, 0.2, 0.3]), 10).n) == 3


def test_under_perfect_calibration_hardly_an_error_is_left():
    plain, debiased, fails = [], [], 0
    for seed in range(300):
        labels, chances = draw(seed, 600)
        found = reliability(labels, chances, 15)
        plain.append(float((found.n / 600) @ np.abs(found.observed - found.predicted)))
        value, low, _ = calibration_error(found)
        debiased.append(value)
        fails += low > 0.02
    assert np.mean(plain) > 0.03
    assert np.mean(debiased) < 0.35 * np.mean(plain)
    assert fails <= 3


@pytest.mark.parametrize("apart", [0.06, 0.12, 0.2])
def test_a_true_error_is_estimated_and_covered(apart):
    random = np.random.default_rng(3)
    values, covered = [], 0
    for _ in range(300):
        scores = random.uniform(0.25, 0.75, 900)
        signs = np.where((scores * 20).astype(int) % 2 == 0, 1, -1)
        labels = (random.random(900) < scores + apart * signs).astype(float)
        value, low, high = calibration_error(bins_of(labels, scores))
        values.append(value)
        covered += low <= apart <= high
    assert np.mean(values) == pytest.approx(apart, abs=0.012)
    assert covered / 300 > 0.95


def bins_of(labels, scores):
    """Bins along the alternating signs above, ten of equal width."""
    place = (scores * 20).astype(int) - 5
    rows = np.bincount(place)
    predicted, observed = (np.bincount(place, weights=v) / rows for v in (scores, labels))
    return Reliability(rows, predicted, observed, np.sqrt(predicted * (1 - predicted) / rows))


def test_recalibration_is_a_logistic_regression_of_the_logits():
    labels, chances = draw(12, 3000)
    x = logit(chances) * 2 + 0.4
    line = logistic_line(x, labels)
    theirs = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(x[:, None], labels)
    assert line.slope == pytest.approx(theirs.coef_[0, 0], rel=1e-4)
    assert line.intercept == pytest.approx(theirs.intercept_[0], abs=1e-4)
    p = expit(line.intercept + line.slope * x)
    design = np.column_stack([np.ones(3000), x])
    covariance = np.linalg.inv(design.T @ (design * (p * (1 - p))[:, None]))
    assert [line.intercept_error, line.slope_error] == pytest.approx(np.sqrt(np.diag(covariance)), rel=1e-6)


def test_a_line_that_is_not_finite_is_none():
    x = np.array([-2.0, -1.0, 1.0, 2.0])
    assert logistic_line(x, np.array([0.0, 0.0, 1.0, 1.0])) is None
    assert logistic_line(x, np.ones(4)) is None
    assert logistic_line(np.ones(4), np.array([0.0, 1.0, 0.0, 1.0])) is None
    assert logistic_line(np.empty(0), np.empty(0)) is None


def test_the_parts_of_the_brier_score_add_up():
    random = np.random.default_rng(13)
    scores = random.choice([0.1, 0.3, 0.6, 0.9], 2000)
    labels = (random.random(2000) < scores**1.5).astype(float)
    apart, resolution, uncertainty = brier_parts(reliability(labels, scores, 4))
    assert apart - resolution + uncertainty == pytest.approx(brier_score_loss(labels, scores), abs=1e-12)
    shown = by_name(calibration(labels, scores, section=STRICT), "Brier")
    assert shown.measurement.value == pytest.approx(brier_score_loss(labels, scores))
    assert f"reliability {apart:.4g}, resolution {resolution:.4g}" in shown.measurement.detail


def test_the_interval_grows_with_what_is_asked_of_it():
    found = reliability(*draw(14, 2000), 10)
    value, low, high = calibration_error(found, alpha=0.05)
    wider = calibration_error(found, alpha=0.001)
    assert wider[0] == value
    plain = float((found.n / 2000) @ np.abs(found.observed - found.predicted))
    assert value < plain
    assert wider[2] - plain == pytest.approx((high - plain) * norm.ppf(0.9995) / norm.ppf(0.975))
    assert low >= 0
