"""The curves that the report draws: scikit-learn's points, and bands that hold what they promise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm
from sklearn import metrics as theirs

from sluiceway.gates.drawn import CurvePoint, ReportData
from sluiceway.gates.report.curves import curves, curves_of_champion, roc_curve


def draw(n=3000, share=0.3, seed=1):
    random = np.random.default_rng(seed)
    labels = (random.random(n) < share).astype(float)
    return labels, 1 / (1 + np.exp(-(1.3 * labels + random.standard_normal(n))))


def test_curves_are_bounded_and_those_of_scikit_learn():
    labels, scores = draw()
    found = curves(labels, scores)
    assert (found.roc[0], found.roc[-1]) == (CurvePoint(0, 0, 0, 0), CurvePoint(1, 1, 1, 1))
    for points in (found.roc, found.precision_recall):
        assert 150 < len(points) <= 200
        assert all(p.low <= p.y <= p.high for p in points)
        assert [p.x for p in points] == sorted(p.x for p in points)
    false, true, _ = theirs.roc_curve(labels, scores, drop_intermediate=False)
    known = set(zip(false.round(5).tolist(), true.round(5).tolist(), strict=True))
    assert {(p.x, p.y) for p in found.roc} <= known
    precision, recall, _ = theirs.precision_recall_curve(labels, scores)
    known = set(zip(recall.round(5).tolist(), precision.round(5).tolist(), strict=True))
    assert {(p.x, p.y) for p in found.precision_recall} <= known
    assert found.precision_recall[-1].y == pytest.approx(labels.mean(), abs=1e-5)
    area = np.trapezoid([p.y for p in found.roc], [p.x for p in found.roc])
    assert area == pytest.approx(theirs.roc_auc_score(labels, scores), abs=1e-3)
    assert np.array_equal(roc_curve(labels == 1, scores), [(p.x, p.y) for p in found.roc])
    champion = curves_of_champion(labels, scores)
    assert (champion.roc_champion, champion.precision_recall_champion) == (found.roc, found.precision_recall)
    assert (champion.roc, champion.calibration) == ((), ())


def test_curves_of_rare_positives_keep_their_steep_part_and_ties_are_one_cut():
    labels, scores = draw(200_000, 0.002)
    steps = np.diff([p.y for p in curves(labels, scores).roc])
    assert steps.max() < 0.02
    tied = curves(labels, (scores > 0.6).astype(float) + (scores > 0.8))
    assert [len(tied.roc), len(tied.precision_recall)] == [4, 3]


def test_calibration_has_all_rows():
    found = curves(*draw()).calibration
    assert sum(b.n for b in found) == 3000
    assert all(b.low <= b.observed <= b.high for b in found)
    assert [b.predicted for b in found] == sorted(b.predicted for b in found)


def test_rows_of_one_class_or_none_have_no_curves():
    for labels in (np.ones(5), np.zeros(5), np.empty(0)):
        found = curves(labels, np.linspace(0, 1, len(labels)))
        assert (found.roc, found.precision_recall) == ((), ())
        assert roc_curve(labels, np.zeros(len(labels))).shape == (0, 2)
    assert curves(np.empty(0), np.empty(0)) == ReportData()


@pytest.mark.parametrize(("n", "share"), [(600, 0.3), (4000, 0.05)])
def test_bands_hold_the_true_curve_at_a_given_x(n, share):
    """Wilson's interval of the share at each cut would hold it in 75 to 85 % only where the curve is steep."""
    places = np.array([0.05, 0.2, 0.4, 0.7])
    false = norm.cdf(norm.ppf(places) - 1.3)  # at these recalls: scores of the classes are normal, 1.3 apart
    truth = {
        "roc": norm.cdf(1.3 + norm.ppf(places)),
        "precision_recall": share * places / (share * places + (1 - share) * false),
    }
    held, trials = {name: np.zeros(len(places)) for name in truth}, 400
    for seed in range(trials):
        found = curves(*draw(n, share, seed=seed))
        for name, exact in truth.items():
            x, low, high = (np.array([getattr(p, of) for p in getattr(found, name)]) for of in ("x", "low", "high"))
            held[name] += (np.interp(places, x, low) <= exact) & (exact <= np.interp(places, x, high))
    for name, counts in held.items():
        assert counts.min() / trials > 0.915, (name, counts / trials)
        assert counts.max() / trials < 0.985, (name, counts / trials)
