"""Tests of means that may be looked at after every value: how often they are wrong, and how much they need."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sluiceway.core.moments import Moments
from sluiceway.gates.statistics.bounded_means import (
    NEVER,
    difference_bounds,
    enough_log_e,
    mean_above_log_e,
    mean_below_log_e,
    mean_bounds,
    short_of_log_e,
    values_needed,
)

ALPHA = 0.05
# 400 experiments at a true error of 5 %: more than 35 alarms would come once in 1,000 times.
EXPERIMENTS, MOST = 400, 35


def moments(values):
    return Moments(len(values), float(np.sum(values)), float(np.sum(np.square(values))))


def looks(values, every):
    """What has been seen at each look."""
    totals, squares = np.cumsum(values), np.cumsum(np.square(values))
    return [Moments(n, float(totals[n - 1]), float(squares[n - 1])) for n in range(every, len(values) + 1, every)]


DRAWS = {
    "flips": lambda rng, n: (rng.random(n) < 0.05).astype(float),
    "small and skewed": lambda rng, n: rng.beta(0.2, 3.8, n),
    "ever rarer and larger": lambda rng, n: (
        (rng.random(n) < np.linspace(0.5, 0.05, n)) * 0.05 / np.linspace(0.5, 0.05, n)
    ),
}


@pytest.mark.parametrize("name", DRAWS)
def test_at_the_limit_neither_test_cries_more_often_than_it_says_however_often_one_looks(name):
    rng, limit = np.random.default_rng(11), 0.05
    above = below = 0
    for _ in range(EXPERIMENTS):
        seen = looks(DRAWS[name](rng, 2000), 40)
        above += max(float(mean_above_log_e(one, limit, width=limit)) for one in seen) >= -math.log(ALPHA)
        below += max(float(mean_below_log_e(one, limit, width=1 - limit)) for one in seen) >= -math.log(ALPHA)
    assert above <= MOST
    assert below <= MOST


def test_a_test_that_is_looked_at_too_often_is_found_out():
    """The same experiment with an interval for one look: it is wrong far more often than it says."""
    rng, wrong = np.random.default_rng(11), 0
    for _ in range(EXPERIMENTS):
        seen = looks(DRAWS["flips"](rng, 2000), 40)
        wrong += any(one.mean + 1.645 * math.sqrt(one.variance / one.n) < 0.05 for one in seen)
    assert wrong > 2 * MOST


def arms(rng, n, means, short):
    """(champion's, challenger's) values of a quarter for the challenger, whose mean is lower by ``short``."""
    drawn = rng.random(n) < 0.25
    values = (rng.random(n) < np.where(drawn, means - short, means)).astype(float)
    return [(moments(values[:k][~drawn[:k]]), moments(values[:k][drawn[:k]])) for k in range(200, n + 1, 200)]


@pytest.mark.parametrize("means", [np.full(3000, 0.3), np.linspace(0.6, 0.2, 3000)], ids=["steady", "both arms fall"])
def test_of_two_arms_exactly_the_margin_apart_neither_test_cries_more_often_than_it_says(means):
    rng, short, enough = np.random.default_rng(5), 0, 0
    line = {"slope": 1.0, "offset": -0.1, "low": 0.0, "high": 1.0}
    for _ in range(100):  # 12 or more of 100 would come once in 200 times
        seen = arms(rng, len(means), means, 0.1)
        short += max(short_of_log_e(*one, **line) for one in seen) >= -math.log(ALPHA)
        enough += max(enough_log_e(*one, **line) for one in seen) >= -math.log(ALPHA)
    assert short < 12
    assert enough < 12


def test_a_relative_line_is_one_of_the_champion_s_mean():
    rng = np.random.default_rng(2)
    champion, same, less = (moments(rng.random(20_000) * top) for top in (1.0, 1.0, 0.8))
    line = {"slope": 0.9, "offset": 0.0, "low": 0.0, "high": 1.0}
    assert enough_log_e(champion, same, **line) > 20
    assert short_of_log_e(champion, same, **line) < 0
    assert short_of_log_e(champion, less, **line) > 20
    assert enough_log_e(champion, less, **line) < 0
    assert short_of_log_e(champion, less, slope=0.7, offset=0.0, low=0.0, high=1.0) < 0


@pytest.mark.parametrize(("gap", "sd", "width"), [(0.025, 0.025, 0.95), (0.05, 0.3, 4.6), (0.05, 0.2, 0.95)])
def test_with_as_many_values_as_are_asked_for_it_passes_in_four_of_five_cases(gap, sd, width):
    rng = np.random.default_rng(3)
    n = values_needed(gap, sd**2, width=width, alpha=ALPHA)
    passed = sum(
        float(mean_below_log_e(moments(np.clip(rng.normal(-gap, sd, n), -width, width)), 0.0, width=width))
        >= -math.log(ALPHA)
        for _ in range(200)
    )
    assert 0.7 < passed / 200 < 0.92


def test_what_no_number_of_values_shows_is_never():
    assert values_needed(0.0, 0.1, width=1.0, alpha=ALPHA) == NEVER
    assert values_needed(-0.1, 0.1, width=1.0, alpha=ALPHA) == NEVER


def test_the_bounds_are_where_the_tests_change_their_answer():
    seen = moments(np.random.default_rng(4).beta(1, 9, 3000))
    mean, low, high = mean_bounds(seen, low=0.0, high=1.0, alpha=ALPHA)
    assert 0.09 < low < mean < high < 0.11
    for bound, log_e, width in ((low, mean_above_log_e, low), (high, mean_below_log_e, 1 - high)):
        assert float(log_e(seen, bound, width=width)) == pytest.approx(-math.log(ALPHA), abs=1e-3)
    assert mean_bounds(moments([0.2]), low=0.0, high=1.0, alpha=ALPHA)[1:] == (0.0, 1.0)
    assert all(math.isnan(one) for one in mean_bounds(Moments(), low=0.0, high=1.0, alpha=ALPHA))
    same = mean_bounds(moments(np.zeros(5000)), low=0.0, high=1.0, alpha=ALPHA)
    assert same[:2] == (0.0, 0.0)
    assert same[2] < 0.01


def test_the_bounds_of_a_difference_hold_the_true_one_at_every_look():
    rng, missed = np.random.default_rng(6), 0
    for _ in range(30):
        bounds = [
            difference_bounds(*one, low=0.0, high=1.0, alpha=ALPHA) for one in arms(rng, 2000, np.full(2000, 0.4), 0.1)
        ]
        missed += any(not low <= -0.1 <= high for _, low, high in bounds)
        assert all(low <= value <= high for value, low, high in bounds)
    assert missed <= 8  # of 30 at 10 %: more come once in 500 times
    assert bounds[-1][2] - bounds[-1][1] < 0.3
