"""No worse by more than a margin: exact at small counts, right at all looks, and as strong as the plan says."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from sluiceway.gates.statistics import noninferiority
from sluiceway.gates.statistics.noninferiority import (
    Excess,
    Stratum,
    detectable_rise,
    look_level,
    planned_events,
    requests_needed,
)

ALPHA = 0.05


def test_without_a_champion_it_is_the_poisson_tail():
    for events, requests in ((0, 300), (3, 600), (40, 3000)):
        found = Excess([Stratum(events, requests)])
        assert found.p_value(0.01) == pytest.approx(stats.poisson.cdf(events, 0.01 * requests), rel=1e-9)
        # The exact upper limit of a Poisson mean, by the quantile of chi squared.
        assert found.high(ALPHA) == pytest.approx(stats.chi2.ppf(1 - ALPHA, 2 * events + 2) / 2 / requests, rel=1e-6)


def test_the_chance_is_that_of_drawing_it():
    random = np.random.default_rng(1)
    strata = [Stratum(3, 200, 19, 3800), Stratum(1, 200, 3, 600), Stratum(2, 200, 2, 200)]
    shares = [(s.champion_events + 1 / 3, s.champion_requests / (s.requests + s.champion_requests)) for s in strata]
    drawn = sum(random.negative_binomial(events, share, 400_000) for events, share in shares)
    drawn = drawn + random.poisson(600 * 0.01, 400_000)
    assert Excess(strata).p_value(0.01) == pytest.approx(np.mean(drawn <= 6), abs=0.003)


def test_many_events_are_taken_as_normal_where_it_makes_no_difference(monkeypatch):
    strata = [Stratum(450, 40_000, 500, 40_000), Stratum(950, 40_000, 1000, 40_000)]
    exact = Excess(strata).high(0.02)
    monkeypatch.setattr(noninferiority, "MANY", 1000)
    # The standard error is 0.0007.
    assert Excess(strata).high(0.02) == pytest.approx(exact, abs=0.00004)


def test_the_edges():
    nothing = Excess([])
    assert math.isnan(nothing.value)
    assert nothing.high(ALPHA) == math.inf
    assert Excess([Stratum(0, 0, 0, 0)]).high(ALPHA) == math.inf
    # Far better: nothing has to be added to rule it out.
    assert Excess([Stratum(0, 1000, 100, 1000)]).high(ALPHA) == 0
    assert Excess([Stratum(5, 100, 1, 1900)]).value == pytest.approx(0.05 - 1 / 1900)
    assert Excess([Stratum(0, 100)]).high(0.0) == math.inf
    for events in (0, 10, 1000, 10**6):
        assert 0 < look_level(events, 9.0, ALPHA) < ALPHA


def test_a_burst_that_hits_both_arms_of_a_step_moves_nothing():
    """Pooled over the steps, the same counts look like a challenger that fails more often."""
    steps = [Stratum(0, 200, 0, 3800), Stratum(30, 200, 30, 200)]
    assert Excess(steps).value == 0
    assert Excess([Stratum(30, 400, 30, 4000)]).value == pytest.approx(0.0675)


def looks(random, rate, excess, *, odds, every, count):
    """Counts so far of (challenger, champion) at each look, and its requests."""
    requests = every * np.arange(1, count + 1)
    others = np.maximum(1, np.round(requests / odds).astype(int)) if odds else np.zeros(count, dtype=int)
    events = np.cumsum(random.binomial(every, rate + excess, count))
    champion = np.cumsum(random.binomial(np.diff(others, prepend=0), rate)) if odds else others
    return zip(events.tolist(), requests.tolist(), champion.tolist(), others.tolist(), strict=True)


def passes(counts, margin, odds):
    for events, requests, champion, others in counts:
        rate = champion / others if others else 0.0
        level = look_level(events, planned_events(rate, margin, odds, alpha=ALPHA), ALPHA)
        if Excess([Stratum(events, requests, champion, others)]).p_value(margin) <= level:
            return requests
    return None


@pytest.mark.parametrize(
    ("rate", "margin", "odds"),
    [
        (0.0, 0.01, 0.0),
        (0.0, 0.02, 0.05),
        (0.005, 0.01, 0.05),
        (0.005, 0.02, 1.0),
        (0.03, 0.02, 1.0),
        (0.05, 0.02, 0.1),
    ],
)
def test_one_margin_worse_seldom_passes_at_any_look(rate, margin, odds):
    random = np.random.default_rng(2)
    last = 1.6 * requests_needed(rate, margin, odds)
    every = max(10, int(last / 60))
    runs = 600
    passed = sum(
        passes(looks(random, rate, margin, odds=odds, every=every, count=int(last / every)), margin, odds) is not None
        for _ in range(runs)
    )
    # Three standard errors of a share of 5 % on 600.
    assert passed / runs <= ALPHA + 0.027


@pytest.mark.parametrize(
    ("rate", "margin", "odds"), [(0.0, 0.02, 0.05), (0.005, 0.01, 0.05), (0.005, 0.02, 0.3), (0.03, 0.02, 1.0)]
)
def test_planned_requests_are_enough_for_four_of_five(rate, margin, odds):
    random = np.random.default_rng(3)
    n = requests_needed(rate, margin, odds)
    every = max(5, n // 60)
    found = [
        passes(looks(random, rate, 0.0, odds=odds, every=every, count=math.ceil(n / every)), margin, odds) is not None
        for _ in range(400)
    ]
    assert 0.72 <= np.mean(found) <= (0.92 if rate else 1.0)


def test_the_smallest_margin_is_the_plan_inverted():
    for rate, odds in ((0.0, 0.05), (0.005, 0.3), (0.1, 1.0)):
        for n in (400, 6000):
            found = detectable_rise(rate, odds, n)
            assert requests_needed(rate, found * 1.02, odds) <= n <= requests_needed(rate, found * 0.97, odds)
    assert detectable_rise(0.005, 0.05, 0) == math.inf
    assert detectable_rise(0.005, 0.05, 2) == math.inf
