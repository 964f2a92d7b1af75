"""What a canary promises over the whole rollout, by simulated rollouts through the real ``decide``.

``make bench-rollout`` counts thousands of each kind; here are as many as tell a promise that is broken.
"""

from __future__ import annotations

from dataclasses import replace
from statistics import median

import pytest
from rollout_rules import mann_whitney, none_failed, three_in_a_row
from rollout_simulated import Cell, share, simulate

HEALTHY = Cell(errors=(0.005, 0.005), margin=0.02)
WORSE = replace(HEALTHY, errors=(0.005, 0.025))
PAIRS = Cell(metric="accuracy", wrong=(0.01, 0.01))
# As many answers slower than the limit as there may be.
TIMED = [Cell(metric="latency_p50", late=0.5), Cell(metric="latency_p95", late=0.05)]


def ended(cell, rollouts, **how):
    return simulate(cell, rollouts, processes=1, **how)


def test_a_healthy_version_is_promoted_within_its_budget():
    found = ended(HEALTHY, 160)
    assert share(found, "back") <= 0.02
    assert share(found, "promoted") >= 0.92
    assert median(one.requests for one in found) <= 420


def test_every_tenth_request_failing_is_found_within_sixty():
    found = ended(replace(HEALTHY, errors=(0.005, 0.1)), 160)
    assert share(found, "back") >= 0.98
    assert median(one.requests for one in found) <= 60
    assert {one.weight for one in found} == {0.05}


@pytest.mark.parametrize(
    "cell",
    [WORSE, replace(WORSE, margin=0.01, errors=(0.005, 0.015)), replace(PAIRS, wrong=(0.03, 0.01))],
    ids=["2 points", "1 point", "accuracy"],
)
def test_one_margin_worse_is_seldom_promoted(cell):
    # 5 % of 160 are 8; 16 or more would come once in 250 times.
    assert share(ended(cell, 160), "promoted") < 0.1


@pytest.mark.parametrize("cell", TIMED, ids=["p50", "p95"])
def test_quantiles_tell_good_ones_from_slow_ones(cell):
    at_margin = ended(cell, 16)
    assert (share(at_margin, "back"), share(at_margin, "promoted") < 0.25) == (0, True)
    assert share(ended(replace(cell, late=0.2 * cell.late), 16), "promoted") == 1
    assert share(ended(replace(cell, late=0.95), 16), "back") == 1


def test_an_outage_of_both_arms_sends_nothing_back():
    assert share(ended(replace(HEALTHY, bursts=0.02), 160), "back") <= 0.02
    # At full weight nobody is beside it: there an outage looks like its own.
    assert share(ended(replace(HEALTHY, burst_at_full=True), 60), "back") > 0.05


def test_wrong_outcomes_send_nothing_back():
    assert share(ended(replace(PAIRS, noise=0.01), 100), "back") <= 0.02


def test_one_point_worse_within_two_is_seldom_sent_back():
    found = ended(replace(HEALTHY, errors=(0.002, 0.012)), 160)
    assert share(found, "back") <= 0.05


def test_what_others_judge_by_sends_good_ones_back_or_lets_bad_ones_pass():
    assert share(ended(replace(HEALTHY, margin=0.01), 400, rule=none_failed), "back") > 0.8
    assert share(ended(HEALTHY, 400, rule=three_in_a_row), "back") < 0.05
    for rule in (three_in_a_row, mann_whitney):
        assert share(ended(WORSE, 400, rule=rule), "promoted") > 0.2


@pytest.mark.soak
@pytest.mark.parametrize(
    "cell",
    [
        WORSE,
        replace(WORSE, bursts=0.02),
        replace(PAIRS, wrong=(0.03, 0.01)),
        replace(PAIRS, wrong=(0.03, 0.01), noise=0.01),
    ],
    ids=["errors", "in bursts", "accuracy", "noisy outcomes"],
)
def test_one_margin_worse_is_promoted_in_five_of_a_hundred_at_most(cell):
    # Three standard errors of 1,000 are 0.02; `make bench-rollout` counts 4,000 of each.
    assert share(simulate(cell, 1000), "promoted") <= 0.06


@pytest.mark.soak
def test_a_healthy_version_goes_back_in_one_of_a_hundred_at_most():
    for cell in (HEALTHY, replace(HEALTHY, bursts=0.02), PAIRS):
        assert share(simulate(cell, 1000), "back") <= 0.015


@pytest.mark.soak
@pytest.mark.parametrize("cell", TIMED, ids=["p50", "p95"])
def test_a_quantile_exactly_at_its_margin_is_seldom_let_on_or_sent_back(cell):
    # 5 % and three standard errors; 1 %, which it shares with three others.
    found = simulate(cell, 300)
    assert share(found, "promoted") <= 0.09
    assert share(found, "back") <= 0.01
