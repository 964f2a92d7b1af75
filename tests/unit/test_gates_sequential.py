"""The tests that may be looked at after every request: valid under the null, quick under a fault."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import integrate, stats

from sluiceway.gates.statistics.proportions import Pairs
from sluiceway.gates.statistics.sequential import (
    StepCounts,
    accuracy_drop_log_e,
    challenger_errors_log_e,
    crossed,
    error_excess_log_e,
    error_share_log_e,
    rate_above_log_e,
    rate_below_log_e,
    sign_log_e,
)

ALPHA = 0.05


def ever(values):
    return any(crossed(v, ALPHA) for v in values)


def test_no_data_is_no_evidence():
    assert rate_above_log_e(0, 0, 0.01) == pytest.approx(0)
    assert error_share_log_e([]) == 0
    assert error_excess_log_e((0, 0), (0, 0), margin=0.02) <= 1e-9
    assert challenger_errors_log_e([]) <= 0
    assert accuracy_drop_log_e(Pairs(0, 0, 0, 0)) == 0
    assert sign_log_e(Pairs(5, 0, 0, 5)) == pytest.approx(0)
    assert not crossed(math.log(99.9), 0.01)
    assert crossed(math.log(100.1), 0.01)


@pytest.mark.parametrize(("errors", "n", "limit"), [(3, 10, 0.01), (0, 50, 0.2), (30, 60, 0.5), (1, 400, 0.01)])
def test_the_mixture_is_its_integral(errors, n, limit):
    def ratio(p):
        return (p / limit) ** errors * ((1 - p) / (1 - limit)) ** (n - errors) / (1 - limit)

    expected = integrate.quad(ratio, limit, 1, limit=200, points=[min(0.99, max(limit, errors / n))])[0]
    assert rate_above_log_e(errors, n, limit) == pytest.approx(math.log(expected), rel=1e-6)
    assert rate_below_log_e(n - errors, n, 1 - limit) == pytest.approx(math.log(expected), rel=1e-6)


def test_far_tails_stay_finite():
    for value in (
        rate_above_log_e(0, 10_000_000, 0.5),
        rate_above_log_e(10_000_000, 10_000_000, 1e-6),
        rate_above_log_e(10, 10_000_000, 0.3),
        sign_log_e(Pairs(0, 1, 10_000_000, 0)),
        error_excess_log_e((5_000_000, 10_000_000), (0, 10_000_000), margin=0.01),
    ):
        assert math.isfinite(value)


def expectation(e_value, moves, length):
    """Exact expectation of an e-value over all sequences, by counts."""
    total = 0.0
    for counts in itertools.product(range(length + 1), repeat=len(moves)):
        if sum(counts) == length:
            total += stats.multinomial.pmf(counts, length, moves) * math.exp(e_value(counts))
    return total


def test_expectation_under_the_null_is_at_most_one():
    # At a fixed number of requests, over every possible outcome: no simulation, no luck.
    for p in (0.0, 0.1, 0.2):
        assert expectation(lambda c: rate_above_log_e(c[0], 20, 0.2), [p, 1 - p], 20) <= 1 + 1e-9
    for null in ([0.6, 0.1, 0.1, 0.2], [0.5, 0.2, 0.2, 0.1], [0.5, 0.05, 0.2, 0.25]):
        assert expectation(lambda c: sign_log_e(Pairs(*c)), null, 12) <= 1 + 1e-9
        assert expectation(lambda c: accuracy_drop_log_e(Pairs(*c)), null, 12) <= 1 + 1e-9
    # Challenger right in 0.57, champion in 0.6: exactly a relative drop of 5 %, an absolute one of 0.03.
    null = [0.5, 0.1, 0.07, 0.33]
    assert expectation(lambda c: accuracy_drop_log_e(Pairs(*c), drop=0.05), null, 12) == pytest.approx(1, abs=1e-9)
    assert expectation(lambda c: accuracy_drop_log_e(Pairs(*c), absolute=0.03), null, 12) == pytest.approx(1, abs=1e-9)
    assert expectation(lambda c: accuracy_drop_log_e(Pairs(*c), drop=0.02), null, 12) > 1


def test_expectation_of_the_error_tests_under_the_null():
    # Moves: champion fails, champion answers, challenger fails, challenger answers.
    for weight, p, q in ((0.3, 0.4, 0.4), (0.5, 0.6, 0.3), (0.1, 0.2, 0.2), (0.5, 0.3, 0.4)):
        moves = [(1 - weight) * p, (1 - weight) * (1 - p), weight * q, weight * (1 - q)]

        def step(c, w=weight):
            return [StepCounts(w, c[0] + c[1], c[0], c[2] + c[3], c[2])]

        if q <= p:
            assert expectation(lambda c, s=step: error_share_log_e(s(c)), moves, 10) <= 1 + 1e-9
            assert expectation(lambda c, s=step: challenger_errors_log_e(s(c)), moves, 10) <= 1 + 1e-9

        def excess(c):
            return error_excess_log_e((c[0], c[0] + c[1]), (c[2], c[2] + c[3]), margin=0.1)

        assert expectation(excess, moves, 10) <= 1 + 1e-6


def rollout(random, rates, *, weights=(0.05, 0.25, 0.5), per_step=400, look=20):
    """Steps of a rollout, looked at every so many requests: the counts so far."""
    steps = []
    i = 0
    for weight in weights:
        counts = np.zeros(4, dtype=int)
        for _ in range(per_step // look):
            arm = random.random(look) < weight
            champion, challenger = rates(i)
            failed = random.random(look) < np.where(arm, challenger, champion)
            counts += [(~arm).sum(), (failed & ~arm).sum(), arm.sum(), (failed & arm).sum()]
            i += look
            yield [*steps, StepCounts(weight, *map(int, counts))]
        steps.append(StepCounts(weight, *map(int, counts)))


@pytest.mark.parametrize("rate", [0.005, 0.03])
def test_a_good_challenger_is_not_rolled_back_however_often_one_looks(rate):
    random = np.random.default_rng(20)
    runs = 40
    false = sum(ever(challenger_errors_log_e(s) for s in rollout(random, lambda _: (rate, rate))) for _ in range(runs))
    share = sum(ever(error_share_log_e(s) for s in rollout(random, lambda _: (rate, rate))) for _ in range(60))
    assert false / runs <= ALPHA
    assert share / 60 <= ALPHA + 0.04


def test_an_outage_of_both_arms_rolls_nothing_back():
    random = np.random.default_rng(21)

    def outage(i):
        return (0.5, 0.5) if 500 <= i < 700 else (0.001, 0.001)

    for _ in range(25):
        assert not ever(challenger_errors_log_e(s) for s in rollout(random, outage))


def test_a_fixed_limit_would_have_called_that_outage_the_challengers():
    random = np.random.default_rng(22)
    *_, last = rollout(random, lambda i: (0.5, 0.5) if 500 <= i < 700 else (0.001, 0.001))
    errors, n = sum(s.challenger_errors for s in last), sum(s.challenger_requests for s in last)
    assert crossed(rate_above_log_e(errors, n, 0.02), ALPHA)


def test_a_challenger_that_fails_every_third_request_is_caught_at_once():
    random = np.random.default_rng(23)
    needed = []
    for _ in range(60):
        for steps in rollout(random, lambda _: (0.0, 1 / 3), look=10):
            if crossed(challenger_errors_log_e(steps), 0.01):
                needed.append(steps[-1].challenger_requests)
                break
    assert len(needed) == 60
    assert np.median(needed) <= 20


def test_a_rise_of_one_point_is_found():
    """Whether it is beyond a margin is not this test's question: see ``rollout.error_rate``."""
    random = np.random.default_rng(24)
    *_, last = rollout(random, lambda _: (0.002, 0.012), weights=(0.5,), per_step=8000, look=8000)
    assert crossed(error_share_log_e(last), ALPHA)
    assert crossed(challenger_errors_log_e(last), ALPHA)


def test_what_is_kept_for_full_weight_is_not_lost():
    """Half of the stake waits: the e-value never falls below it."""
    good = [StepCounts(0.05, 19_000, 200, 1000, 0)]
    assert challenger_errors_log_e(good) == pytest.approx(math.log(0.5), abs=0.01)


def test_at_full_weight_the_earlier_champion_is_the_comparison():
    shared = StepCounts(0.5, 1000, 2, 1000, 2)
    assert not crossed(challenger_errors_log_e([shared, StepCounts(1.0, 0, 0, 500, 1)]), 0.01)
    assert crossed(challenger_errors_log_e([shared, StepCounts(1.0, 0, 0, 60, 20)]), 0.01)


def test_accuracy_type_one_error_under_repeated_looks():
    random = np.random.default_rng(25)
    false = dropped = 0
    for _ in range(200):
        kinds = random.choice(4, size=1500, p=[0.75, 0.08, 0.08, 0.09])
        counts = np.cumsum(np.eye(4, dtype=int)[kinds], axis=0)[19::20]
        false += ever(accuracy_drop_log_e(Pairs(*map(int, c))) for c in counts)
        dropped += ever(sign_log_e(Pairs(*map(int, c))) for c in counts)
    assert false / 200 <= ALPHA + 0.02
    assert dropped / 200 <= ALPHA + 0.02


def test_a_fall_of_four_points_is_found_on_pairs():
    random = np.random.default_rng(26)
    found = []
    for _ in range(100):
        kinds = random.choice(4, size=6000, p=[0.78, 0.07, 0.03, 0.12])
        counts = np.cumsum(np.eye(4, dtype=int)[kinds], axis=0)
        looks = (n for n in range(20, 6001, 20) if crossed(accuracy_drop_log_e(Pairs(*map(int, counts[n - 1]))), 0.01))
        found.append(next(looks, math.inf))
    assert np.mean(np.isfinite(found)) >= 0.97
    assert np.median(found) <= 1500
