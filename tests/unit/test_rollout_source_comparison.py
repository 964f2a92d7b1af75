"""Two sources are held side by side: what only comes late agrees, what is wrong does not."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluiceway.rollout.source_comparison import Comparison, compared_enough, disagreement
from sluiceway.rollout.told import Compared

SETTLE = 10.0


def both(time, factor=1.0):
    """Counts of two arms at a time: 90 and 10 requests a second, of which one in ten fails."""
    time = max(0.0, time)
    return {
        "champion": (int(90 * time * factor), int(9 * time * factor)),
        "challenger": (int(10 * time * factor), int(time * factor)),
    }


def run(seconds, *, late_counters=0.0, late_told=0.0, factor=1.0, processes=lambda time: "a", every=2.0):
    """What is compared after so many seconds of looks each half second."""
    comparison, asked = Comparison(SETTLE), -100.0
    found = ()
    for tick in range(int(seconds * 2)):
        now = 1000.0 + tick / 2
        elapsed = tick / 2
        comparison.counted(now, both(elapsed - late_counters))
        if now - asked >= every:
            asked = now
            comparison.told(now, both(500 + elapsed - late_told, factor), processes(elapsed))
        found = comparison.compared(now)
    return found


def said(compared, what="requests", tolerance=0.02, slack=3):
    return disagreement(compared, what, tolerance=tolerance, slack=slack)


@settings(deadline=None, max_examples=60)
@given(st.floats(0, SETTLE - 2.5), st.floats(0, SETTLE - 2.5), st.integers(45, 300))
def test_what_only_comes_late_agrees(late_counters, late_told, seconds):
    compared = run(seconds, late_counters=late_counters, late_told=late_told)
    assert len(compared) == 4
    assert not said(compared)
    assert not said(compared, "errors")
    assert all(one.low <= one.prometheus <= one.high for one in compared)


@pytest.mark.parametrize("factor", [0.0, 0.5, 0.9, 1.1, 2.0])
def test_what_is_wrong_does_not(factor):
    compared = run(600, factor=factor)
    assert "the sources disagree: of the challenger's requests Prometheus has counted" in said(compared)
    assert said(compared, "errors")


def test_it_says_nothing_before_both_have_settled():
    assert run(2 * SETTLE - 1) == ()
    assert {one.low for one in run(4 * SETTLE - 1)} == {0}
    assert all(one.low > 0 for one in run(5 * SETTLE))


def test_it_begins_again_where_a_process_came_or_went():
    # Until then twice as many are counted.
    wrong = {"factor": 2.0}
    assert said(run(100, **wrong))
    assert run(100, processes=lambda time: time > 90) == ()
    assert not said(run(140, processes=lambda time: time > 90))


@pytest.mark.parametrize("factor", [1.0, 0.6, 1.5])
def test_when_it_is_said_to_agree_what_is_wrong_has_been_found_out(factor):
    """At the first moment at which silence would be taken for agreement."""
    for seconds in range(20, 200):
        compared = run(seconds, factor=factor)
        if compared_enough(compared):
            assert bool(said(compared)) is (factor != 1.0)
            assert seconds <= 8 * SETTLE + 5
            return
    raise AssertionError("it is never compared enough")


def test_an_arm_that_is_asked_nothing_is_not_waited_for():
    challenger = Compared("challenger", "requests", 100, 90, 110)
    assert compared_enough([challenger, Compared("champion", "requests", 0, 0, 0)])
    assert not compared_enough([challenger, Compared("champion", "requests", 100, 40, 160)])
    assert not compared_enough([Compared("champion", "requests", 100, 90, 110)])
    assert not compared_enough([])


@pytest.mark.parametrize(
    ("told", "low", "high", "agrees"),
    [
        (100, 90, 110, True),
        (88, 90, 110, True),  # within the slack of 3
        (86, 90, 110, False),
        (980, 1000, 1000, True),  # within 2 %
        (979, 1000, 1000, False),
        (1021, 1000, 1000, False),
        (0, 0, 0, True),
    ],
)
def test_tolerance_and_slack(told, low, high, agrees):
    found = said([Compared("challenger", "requests", told, low, high)])
    assert bool(found) is not agrees
    if found:
        assert f"{told:,} more, and the replicas {low:,}" in found
