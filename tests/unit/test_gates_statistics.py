"""Intervals cover as often as they say, tests err no more often than they say, and known answers come out."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import ks_2samp
from sklearn.metrics import average_precision_score, roc_auc_score

from sluiceway.core.traffic import LATENCY_BOUNDS_SECONDS
from sluiceway.gates.statistics.auc import auc, auc_difference, auc_interval, auc_parts, auc_variance, macro_auc_parts
from sluiceway.gates.statistics.average_precision import average_precision, average_precision_parts
from sluiceway.gates.statistics.distances import histogram, psi, psi_categories, quantile_edges
from sluiceway.gates.statistics.intervals import (
    MOST_ROWS,
    bootstrap,
    bootstrap_counts,
    deviations,
    percentiles,
    quantile,
    quantile_from_counts,
    quantile_n_needed,
    rule_of_three,
    student,
    wilson,
)
from sluiceway.gates.statistics.joint_counts import JointCounts
from sluiceway.gates.statistics.ks import ks, ks_interval
from sluiceway.gates.statistics.planning import rows_needed
from sluiceway.gates.statistics.proportions import Pairs, independent_difference, paired_difference
from sluiceway.gates.statistics.ranked import (
    AUC,
    AVERAGE_PRECISION,
    KS,
    WEIGHT_OF_BYTE,
    RankedRows,
    ranked_draws,
    row_weights,
)


def scored(random, n, share=0.3, gap=1.0):
    labels = (random.random(n) < share).astype(float)
    return labels, labels * gap + random.standard_normal(n)


def test_auc_is_scikit_learns_also_with_ties():
    random = np.random.default_rng(1)
    for digits in (8, 1, 0):
        labels, scores = scored(random, 500)
        scores = scores.round(digits)
        assert auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
        assert auc_variance(labels, scores)[0] == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert math.isnan(auc(np.ones(5), np.arange(5)))
    assert math.isnan(auc_variance(np.ones(5), np.arange(5))[0])


def test_delong_variance_is_the_definition():
    random = np.random.default_rng(2)
    labels, scores = scored(random, 60)
    scores = scores.round(1)
    positive, negative = scores[labels == 1], scores[labels == 0]
    wins = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
    expected = wins.mean(axis=1).var(ddof=1) / len(positive) + wins.mean(axis=0).var(ddof=1) / len(negative)
    assert auc_variance(labels, scores)[1] == pytest.approx(expected, rel=1e-12)


def placements(labels, scores):
    """DeLong's structural components by their definition, of the positive and of the negative rows."""
    positive, negative = scores[labels == 1], scores[labels == 0]
    wins = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
    return wins.mean(axis=1), wins.mean(axis=0)


def test_the_variance_of_a_paired_difference_is_delongs_definition():
    random = np.random.default_rng(12)
    labels, first = scored(random, 80)
    second = (first + random.standard_normal(80)).round(1)
    first = first.round(1)
    expected = 0.0
    for one, other in zip(placements(labels, first), placements(labels, second), strict=True):
        covariance = np.cov(one, other)
        expected += (covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]) / len(one)
    found = auc_parts(labels, first) - auc_parts(labels, second)
    assert (found**2).sum() == pytest.approx(expected, rel=1e-12)
    assert found.sum() == pytest.approx(0, abs=1e-12)
    assert not (auc_parts(labels, first) - auc_parts(labels, first)).any()


def test_parts_of_an_auc_that_cannot_be_told():
    assert np.isnan(auc_parts(np.ones(5), np.arange(5.0))).all()
    assert np.isnan(auc_parts(np.array([1, 0, 0]), np.arange(3.0))).all()
    assert auc_parts(np.repeat([0, 1], 3), np.repeat([0.0, 1.0], 3)).tolist() == [0] * 6
    two = np.column_stack([1 - np.arange(6) / 9, np.arange(6) / 9])
    labels = np.array([0, 1, 0, 1, 1, 0])
    assert macro_auc_parts(labels, two) == pytest.approx(auc_parts(labels, two[:, 1]))


def test_auc_intervals_cover():
    random = np.random.default_rng(3)
    truth = 0.7602499389065233  # Phi(1 / sqrt(2))
    inside = differs = 0
    for _ in range(400):
        first, second = scored(random, 200), scored(random, 150)
        _, low, high = auc_interval(*first)
        inside += low <= truth <= high
        _, low, high = auc_difference(first, second)
        differs += not low <= 0 <= high
    assert 0.92 <= inside / 400 <= 0.98
    assert 0.02 <= differs / 400 <= 0.08


def test_a_perfect_auc_still_has_an_interval():
    labels = np.repeat([0.0, 1.0], 50)
    value, low, high = auc_interval(labels, labels)
    assert (value, high) == (1.0, 1.0)
    assert 0.9 < low < 0.95
    assert auc_interval(np.repeat([0.0, 1.0], [50, 1]), np.arange(51.0))[0] == 1.0


def test_wilson_known_values():
    # Newcombe, Statistics in Medicine 17 (1998), 857-872, table I, method 3.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=1e-4)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
    assert wilson(29, 29) == pytest.approx((0.8830, 1.0), abs=1e-4)
    assert wilson(0, 0) == (0.0, 1.0)


def test_none_of_n_is_not_never():
    assert rule_of_three(100) == pytest.approx(-math.log(0.025) / 100)
    assert 1 - (1 - rule_of_three(1000)) ** 1000 == pytest.approx(0.975, abs=1e-3)
    assert rule_of_three(0) == rule_of_three(1) == 1.0
    assert student(2.0, 10**7) == pytest.approx(2 * 1.959964, rel=1e-5)
    assert student(1.0, 3) == pytest.approx(3.1824, rel=1e-4)
    assert student(1.0, 0) == math.inf


def test_a_byte_is_a_weight_of_mean_one_and_variance_one():
    weights = np.frombuffer(WEIGHT_OF_BYTE, dtype=np.uint8).astype(float)
    assert len(weights) == 256
    assert (weights.mean(), weights.var()) == (1.0, 1.0)
    drawn = row_weights(np.random.default_rng(1), 20, 5000).astype(float)
    assert drawn.mean() == pytest.approx(1, abs=0.02)
    assert drawn.var() == pytest.approx(1, abs=0.03)
    assert drawn.sum(axis=1).std() == pytest.approx(math.sqrt(5000), rel=0.5)


@pytest.mark.parametrize("digits", [8, 1, 0])
def test_weighed_rows_are_repeated_rows(digits):
    random = np.random.default_rng(13)
    labels, scores = scored(random, 300)
    scores = scores.round(digits)
    ranked = RankedRows.of(labels, scores)
    weights = row_weights(random, 6, 300)
    found = ranked.metrics(weights)
    for drawn, row in zip(weights, found, strict=True):
        rows = np.repeat(ranked.order, drawn)
        y, s = labels[rows], scores[rows]
        assert row[AUC] == pytest.approx(roc_auc_score(y, s), abs=1e-12)
        assert row[AVERAGE_PRECISION] == pytest.approx(average_precision_score(y, s), abs=1e-12)
        assert row[KS] == pytest.approx(ks_2samp(s[y == 1], s[y == 0]).statistic, abs=1e-12)
    backwards = RankedRows.of(labels, -scores).observed()
    assert backwards[KS] == pytest.approx(ks_2samp(scores[labels == 1], scores[labels == 0]).statistic, abs=1e-12)


def test_a_resample_without_a_class_has_no_metric():
    ranked = RankedRows.of(np.array([1, 0, 0]), np.array([0.3, 0.2, 0.1]))
    found = ranked.metrics(np.array([[0, 1, 1], [2, 0, 0], [1, 1, 0]], dtype=np.uint8))
    assert np.isnan(found[:2]).all()
    assert found[2].tolist() == [1, 1, 1]
    assert np.isnan(RankedRows.of(np.zeros(3), np.arange(3.0)).observed()).all()


def test_weights_spread_as_rows_that_are_drawn():
    random = np.random.default_rng(14)
    labels, scores = scored(random, 400)
    drawn = ranked_draws(labels, [scores], resamples=1500, seed=3)[0]
    for place, formula in ((AUC, auc), (AVERAGE_PRECISION, average_precision), (KS, ks)):
        rows = deviations(lambda r, f=formula: f(labels[r], scores[r]), 400, resamples=1500, seed=4)
        assert drawn[:, place].std() == pytest.approx(rows.std(), rel=0.1)
        assert drawn[:, place].mean() - formula(labels, scores) == pytest.approx(rows.mean(), abs=0.2 * rows.std())


def test_weights_spread_as_the_formulas_say():
    random = np.random.default_rng(18)
    labels, first = scored(random, 1500)
    second = first + 0.5 * random.standard_normal(1500)
    drawn = ranked_draws(labels, [first, second], resamples=1000, seed=3)
    for place, parts in ((AUC, auc_parts), (AVERAGE_PRECISION, lambda y, s: average_precision_parts(y, s)[0])):
        one, other = parts(labels, first), parts(labels, second)
        assert drawn[0, :, place].std() == pytest.approx(math.sqrt((one**2).sum()), rel=0.1)
        assert (drawn[0] - drawn[1])[:, place].std() == pytest.approx(math.sqrt(((one - other) ** 2).sum()), rel=0.1)


@pytest.mark.parametrize("digits", [8, 1, 0])
def test_the_jackknife_of_average_precision_is_leaving_out_each_row(digits):
    random = np.random.default_rng(19)
    labels, scores = scored(random, 90)
    scores = scores.round(digits)
    left = [average_precision_score(np.delete(labels, i), np.delete(scores, i)) for i in range(90)]
    parts, excess = average_precision_parts(labels, scores)
    assert parts == pytest.approx((np.mean(left) - left) * math.sqrt(89 / 90), abs=1e-12)
    assert excess == pytest.approx(89 * (np.mean(left) - average_precision_score(labels, scores)), abs=1e-10)
    assert math.isnan(average_precision_parts(np.array([1, 0, 0]), np.arange(3.0))[1])


def test_a_largest_distance_is_too_large_by_what_is_taken_off():
    random = np.random.default_rng(20)
    truth = 2 * 0.6914624612740131 - 1  # of classes one standard deviation apart: 2 Phi(1 / 2) - 1
    found = []
    for _ in range(300):
        labels, scores = scored(random, 400)
        low, high = ks_interval(labels, scores)
        found.append((ks(labels, scores), (low + high) / 2, low <= truth <= high))
    value, centre, held = np.mean(found, axis=0)
    assert value - truth > 0.015
    assert centre == pytest.approx(truth, abs=0.01)
    assert 0.92 <= held <= 0.98


def test_a_distance_over_a_few_scores_is_hardly_too_large():
    random = np.random.default_rng(21)
    labels = (random.random(500) < 0.4).astype(float)
    three = random.random(500) < np.where(labels == 1, 0.7, 0.3)
    low, high = ks_interval(labels, three.astype(float))
    value = ks(labels, three.astype(float))
    assert abs(value - (low + high) / 2) < 0.1 * (high - low)
    assert ks_interval(labels, -three.astype(float)) == pytest.approx((low, high), abs=0.02)
    assert math.isnan(ks_interval(np.ones(4), np.arange(4.0))[0])
    noise = random.random(500)
    assert ks_interval(labels, noise)[0] == 0
    perfect = ks_interval(labels, labels)
    assert (0.97 < perfect[0] < 1, perfect[1]) == (True, 1.0)


def test_two_models_are_weighed_alike_and_blocks_change_nothing(monkeypatch):
    random = np.random.default_rng(15)
    labels, scores = scored(random, 120)
    other = scores + random.standard_normal(120)
    both = ranked_draws(labels, [scores, other], resamples=40, seed=5)
    same = ranked_draws(labels, [scores, scores * 2 + 1], resamples=40, seed=5)
    assert np.array_equal(same[0], same[1])
    assert np.array_equal(both[0], same[0])
    assert np.corrcoef(both[0, :, AUC], both[1, :, AUC])[0, 1] > 0.4
    assert (both[0] - both[1]).std(axis=0)[AUC] == pytest.approx(
        math.sqrt(((auc_parts(labels, scores) - auc_parts(labels, other)) ** 2).sum()), rel=0.4
    )
    monkeypatch.setattr("sluiceway.gates.statistics.ranked.CELLS", 1)
    assert ranked_draws(labels, [scores, other], resamples=40, seed=5)[:, :, AUC].mean() == pytest.approx(
        both[:, :, AUC].mean(), abs=0.02
    )


def test_a_part_of_many_rows_tells_the_error_of_all():
    n = 2 * MOST_ROWS
    values = np.random.default_rng(16).standard_normal(n)
    drawn = deviations(lambda rows: float(values[rows].mean()), n, resamples=150, seed=1)
    assert drawn.std() == pytest.approx(1 / math.sqrt(n), rel=0.2)
    assert np.array_equal(drawn, deviations(lambda rows: float(values[rows].mean()), n, resamples=150, seed=1))
    assert math.isnan(percentiles(np.array([1.0, np.nan, np.nan]), alpha=0.05)[0])
    assert percentiles(np.array([1.0, 3.0, np.nan]), alpha=1.0) == (2.0, 2.0)


def accuracy(counts):
    return (counts[..., 0] + counts[..., 3]) / counts.sum(axis=-1)


def test_joint_counts_of_two_models():
    labels, first, second = (np.array(given) for given in ([0, 0, 1, 1, 1, 0], [0, 1, 1, 1, 0, 0], [0, 0, 1, 0, 0, 1]))
    joint = JointCounts.of(labels, first, second, 2)
    assert joint.n == 6
    assert joint.pairs() == Pairs(both=2, only_champion=1, only_challenger=2, neither=1)
    many = JointCounts.of(np.arange(50), np.arange(50), np.arange(50)[::-1].copy(), 50)  # 125,000 possible cells
    assert (many.n, len(many.cells)) == (50, 50)
    assert many.pairs() == Pairs(0, 0, 50, 0)


def test_the_bootstrap_of_joint_counts_is_the_error_of_the_difference():
    random = np.random.default_rng(17)
    cells = random.multinomial(1000, [0.4, 0.1, 0.05, 0.05, 0.05, 0.05, 0.1, 0.2])
    label, first, second = (np.repeat(np.arange(8) // d % 2, cells) for d in (4, 2, 1))
    joint = JointCounts.of(label, first, second, 2)
    one, other = joint.draws(accuracy, seed=1)
    apart = (first == label).astype(float) - (second == label)
    assert (one - other).mean() == pytest.approx(apart.mean(), abs=0.002)
    assert (one - other).std() == pytest.approx(apart.std() / math.sqrt(1000), rel=0.06)


def test_decisions_that_agree_on_every_row_are_not_known_to_agree_always():
    label = np.repeat([0, 1], [80, 20])
    joint = JointCounts.of(label, label, label, 2)
    one, other = joint.draws(accuracy, seed=1)
    low, high = percentiles(one - other, alpha=0.1)
    assert -0.05 < low < -0.01
    assert 0.01 < high < 0.05


def test_bootstrap_covers_repeats_and_agrees_with_the_one_on_counts():
    random = np.random.default_rng(4)

    def share(labels, _scores):
        return float(labels.mean())

    inside = 0
    for i in range(150):
        labels = (random.random(200) < 0.3).astype(float)
        low, high = bootstrap(share, labels, labels, seed=i)
        inside += low <= 0.3 <= high
    assert 0.89 <= inside / 150 <= 0.99
    assert bootstrap(share, labels, labels, seed=7) == bootstrap(share, labels, labels, seed=7)
    counts = bootstrap_counts(lambda c: c[..., 1] / c.sum(axis=-1), [140, 60], seed=7)
    rows = np.repeat([0.0, 1.0], [140, 60])
    assert counts == pytest.approx(bootstrap(share, rows, rows, resamples=2000, seed=8), abs=0.012)
    assert math.isnan(bootstrap_counts(lambda c: c[..., 0], [0, 0])[0])


@pytest.mark.parametrize(("n", "q"), [(40, 0.5), (400, 0.99), (1000, 0.9)])
def test_quantile_bounds_are_on_their_side_as_often_as_promised(n, q):
    random = np.random.default_rng(5)
    truth = -math.log(1 - q)
    bounds = [quantile(random.exponential(size=n), q, alpha=0.05) for _ in range(1000)]
    assert np.mean([low > truth for _, low, _ in bounds]) <= 0.07
    assert np.mean([high < truth for _, _, high in bounds]) <= 0.07
    assert np.mean([low > truth or high < truth for _, low, high in bounds]) >= 0.02  # not simply endless


def test_an_upper_bound_of_p99_needs_299_samples():
    assert quantile_n_needed(0.99, 0.05) == 299
    random = np.random.default_rng(6)
    assert quantile(random.random(298), 0.99)[2] == math.inf
    assert quantile(random.random(299), 0.99)[2] < math.inf
    counts = [298, 0]
    assert quantile_from_counts(counts, [1.0], 0.99)[2] == math.inf
    assert quantile_from_counts([299, 0], [1.0], 0.99)[2] == 1.0


def test_quantiles_of_counts_hold_those_of_the_samples():
    random = np.random.default_rng(7)
    for _ in range(50):
        samples = random.lognormal(-5, 1, 800)
        counts = np.bincount(np.searchsorted(LATENCY_BOUNDS_SECONDS, samples), minlength=97)
        exact = quantile(samples, 0.99)
        value, low, high = quantile_from_counts(counts.tolist(), LATENCY_BOUNDS_SECONDS, 0.99)
        assert low <= exact[1]
        assert exact[2] <= high
        assert 1 / 1.15 <= value / exact[0] <= 1.15
    assert math.isnan(quantile_from_counts([0, 0], [1.0], 0.5)[0])
    assert quantile_from_counts([0, 500], [1.0], 0.99) == (1.0, 1.0, math.inf)
    with pytest.raises(ValueError, match="do not fit"):
        quantile_from_counts([1, 2, 3], [1.0], 0.5)


def test_differences_known_values():
    # Newcombe, Statistics in Medicine 17 (1998), 873-890, table II, Miettinen and Nurminen.
    assert independent_difference((48, 80), (56, 70), alpha=0.025)[1:] == pytest.approx((0.0528, 0.3382), abs=1e-4)
    assert independent_difference((1, 10), (10, 10), alpha=0.025)[0] == pytest.approx(0.9)
    # By symmetry.
    _, low, high = independent_difference((56, 70), (48, 80), alpha=0.025)
    assert (low, high) == pytest.approx((-0.3382, -0.0528), abs=1e-4)
    _, low, high = paired_difference(Pairs(36, 2, 12, 0), alpha=0.025)
    _, low_back, high_back = paired_difference(Pairs(36, 12, 2, 0), alpha=0.025)
    assert (low, high) == pytest.approx((-high_back, -low_back), abs=1e-9)
    assert math.isnan(paired_difference(Pairs(0, 0, 0, 0))[0])
    assert math.isnan(independent_difference((0, 0), (1, 5))[0])


def test_no_discordant_pair_is_no_proof_of_sameness():
    value, low, high = paired_difference(Pairs(90, 0, 0, 10), alpha=0.05)
    assert value == 0
    # z^2 / (n + z^2), Tango's closed form for this case.
    assert (-low, high) == pytest.approx((0.02634, 0.02634), abs=1e-4)


@pytest.mark.parametrize("lost", [0.02, 0.06])
def test_paired_bounds_cover(lost):
    random = np.random.default_rng(8)
    gained = 0.04
    draws = random.multinomial(300, [0.7, lost, gained, 0.3 - lost - gained], size=600)
    bounds = [paired_difference(Pairs(*map(int, d)), alpha=0.05) for d in draws]
    truth = gained - lost
    assert 0.025 <= np.mean([low > truth for _, low, _ in bounds]) <= 0.085
    assert 0.025 <= np.mean([high < truth for _, _, high in bounds]) <= 0.085


def test_independent_bounds_cover_and_non_inferiority_errs_at_alpha():
    random = np.random.default_rng(9)
    champion, challenger = random.binomial(400, 0.05, 600), random.binomial(200, 0.08, 600)
    bounds = [independent_difference((int(a), 400), (int(b), 200)) for a, b in zip(champion, challenger, strict=True)]
    # The challenger is worse by exactly the margin: to find it no worse is the error.
    assert 0.02 <= np.mean([high < 0.03 for _, _, high in bounds]) <= 0.085
    assert 0.02 <= np.mean([low > 0.03 for _, low, _ in bounds]) <= 0.085


def test_planned_rows():
    # (1.645 + 0.842)^2 = 6.183 variances of a row over the square of the margin, and a tenth more.
    assert rows_needed(0.01, 0.005, 1000) == math.ceil(1.1 * 1000 * 6.1826 * 0.25)
    assert rows_needed(0.01, 0.005, 4000) == pytest.approx(4 * rows_needed(0.01, 0.005, 1000), abs=4)
    assert rows_needed(0.01, 0.0, 1000) == 1
    assert rows_needed(0.0, 0.005, 1000) is None
    assert rows_needed(0.01, math.nan, 1000) is None


def test_psi():
    assert psi([100, 100], [100, 100]) == 0
    p, q = np.array([800.5, 200.5]) / 1001, np.array([500.5, 500.5]) / 1001
    assert psi([500, 500], [800, 200]) == pytest.approx(((p - q) * np.log(p / q)).sum())
    assert psi([500, 500], [1000, 0]) < 10
    assert math.isnan(psi([0, 0], [1, 1]))
    assert psi_categories({"a": 50, "b": 50}, {"a": 50, "c": 50}) > 1
    with pytest.raises(ValueError, match="same bins"):
        psi([1, 2], [1, 2, 3])


def test_bins():
    random = np.random.default_rng(11)
    values = random.standard_normal(10_000)
    counts = histogram(values, quantile_edges(values))
    assert len(counts) == 11
    assert counts[:10] == pytest.approx(np.full(10, 1000), abs=2)
    assert counts[10] == 0
    rare = np.repeat([0.0, 1.0], [97, 3])
    assert histogram(rare, quantile_edges(rare)).tolist() == [97, 3, 0]
    assert len(quantile_edges(np.full(5, 3.0))) == 0
    assert len(quantile_edges(np.full(5, np.nan))) == 0
    assert histogram(np.array([np.nan, 1.0, 2.0]), np.array([2.0])).tolist() == [1, 1, 1]
