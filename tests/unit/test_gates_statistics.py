"""Intervals cover as often as they say, tests err no more often than they say, and known answers come out."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from sluiceway.core.traffic import LATENCY_BOUNDS_SECONDS
from sluiceway.gates.statistics.auc import auc, auc_difference, auc_interval, auc_variance
from sluiceway.gates.statistics.distances import histogram, psi, psi_categories, quantile_edges
from sluiceway.gates.statistics.intervals import (
    bootstrap,
    bootstrap_counts,
    quantile,
    quantile_from_counts,
    quantile_n_needed,
    wilson,
)
from sluiceway.gates.statistics.planning import detectable_difference, pairs_needed, requests_needed
from sluiceway.gates.statistics.proportions import Pairs, independent_difference, paired_difference


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


def test_planned_numbers_give_the_planned_power():
    random = np.random.default_rng(10)
    n = pairs_needed(0.02, 0.06)
    draws = random.multinomial(n, [0.8, 0.03, 0.03, 0.14], size=400)
    power = np.mean([paired_difference(Pairs(*map(int, d)))[1] > -0.02 for d in draws])
    assert 0.72 <= power <= 0.9
    n0, n1 = requests_needed(0.02, 0.02, 0.25)
    assert n0 == pytest.approx(3 * n1, abs=4)
    x0, x1 = random.binomial(n0, 0.02, 400), random.binomial(n1, 0.02, 400)
    found = [independent_difference((int(a), n0), (int(b), n1))[2] < 0.02 for a, b in zip(x0, x1, strict=True)]
    assert 0.65 <= np.mean(found) <= 0.92
    assert detectable_difference(0.06, n) == pytest.approx(0.02, rel=0.01)


def test_with_no_errors_the_planned_requests_pass():
    n0, n1 = requests_needed(0.02, 0.0, 0.5)
    assert independent_difference((0, n0), (0, n1))[2] <= 0.0201


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
