"""The algebra of judging: no data is never a pass, and the worst of many wins."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.core.verdict import (
    EXIT_CODES,
    Direction,
    GateResult,
    Measurement,
    Status,
    Threshold,
    Verdict,
    combine,
    judge,
    tells_apart,
)

AT_LEAST = Threshold(0.9, Direction.AT_LEAST)
AT_MOST = Threshold(0.1, Direction.AT_MOST)

numbers = st.floats(allow_nan=True, allow_infinity=True)


def verdict(status: Status) -> Verdict:
    return Verdict("check", status, Measurement("m", 1.0, 10))


@pytest.mark.parametrize(
    ("value", "threshold", "status"),
    [
        (0.91, AT_LEAST, Status.PASS),
        (0.90, AT_LEAST, Status.PASS),
        (0.89, AT_LEAST, Status.FAIL),
        (0.09, AT_MOST, Status.PASS),
        (0.10, AT_MOST, Status.PASS),
        (0.11, AT_MOST, Status.FAIL),
    ],
)
def test_the_limit_itself_is_good(value: float, threshold: Threshold, status: Status) -> None:
    assert judge("c", Measurement("m", value, 10), threshold).status is status


@pytest.mark.parametrize("value", [None, math.nan])
def test_no_value_is_inconclusive_without_rows_and_a_failure_with_them(value: float | None) -> None:
    assert judge("c", Measurement("m", value, 0), AT_LEAST).status is Status.INCONCLUSIVE
    assert judge("c", Measurement("m", value, 5), AT_LEAST).status is Status.FAIL


def test_too_few_rows_are_inconclusive_however_good_or_bad_the_value() -> None:
    threshold = Threshold(0.9, Direction.AT_LEAST, n_needed=100)
    for value in (0.0, 1.0):
        assert judge("c", Measurement("m", value, 99), threshold).status is Status.INCONCLUSIVE
    assert judge("c", Measurement("m", 1.0, 100), threshold).status is Status.PASS


@pytest.mark.parametrize(
    ("low", "high", "direction", "status"),
    [
        (0.91, 0.99, Direction.AT_LEAST, Status.PASS),
        (0.85, 0.95, Direction.AT_LEAST, Status.INCONCLUSIVE),
        (0.80, 0.89, Direction.AT_LEAST, Status.FAIL),
        (0.91, 0.99, Direction.AT_MOST, Status.FAIL),
        (0.85, 0.95, Direction.AT_MOST, Status.INCONCLUSIVE),
        (0.80, 0.89, Direction.AT_MOST, Status.PASS),
    ],
)
def test_an_interval_is_judged_as_a_whole(low: float, high: float, direction: Direction, status: Status) -> None:
    threshold = Threshold(0.9, direction, use_interval=True)
    assert judge("c", Measurement("m", (low + high) / 2, 10, low, high), threshold).status is status


def test_an_interval_that_is_wanted_and_missing_is_inconclusive() -> None:
    threshold = Threshold(0.9, Direction.AT_LEAST, use_interval=True)
    assert judge("c", Measurement("m", 1.0, 10), threshold).status is Status.INCONCLUSIVE


@given(value=st.none() | numbers, n=st.integers(0, 5), needed=st.integers(1, 5), direction=st.sampled_from(Direction))
def test_a_pass_needs_a_value_and_rows(value: float | None, n: int, needed: int, direction: Direction) -> None:
    got = judge("c", Measurement("m", value, n), Threshold(0.5, direction, n_needed=needed)).status
    if got is Status.PASS:
        assert value is not None
        assert not math.isnan(value)
        assert n >= needed


def test_of_none_nothing_follows() -> None:
    assert combine([]) is Status.INCONCLUSIVE


@pytest.mark.parametrize("statuses", list(itertools.product(Status, repeat=3)))
def test_the_worst_of_many_wins_in_any_order(statuses: tuple[Status, ...]) -> None:
    order = [Status.FAIL, Status.ERROR, Status.INCONCLUSIVE, Status.PASS]
    assert combine(verdict(s) for s in statuses) is min(statuses, key=order.index)


def test_every_status_has_its_exit_code() -> None:
    assert EXIT_CODES == {Status.PASS: 0, Status.FAIL: 1, Status.INCONCLUSIVE: 3, Status.ERROR: 4}


@pytest.mark.parametrize("status", Status)
def test_only_a_pass_or_a_waiver_lets_a_gate_through(status: Status) -> None:
    gate = GateResult("fairness", (verdict(status),))
    assert gate.status is status
    assert gate.blocks is (status is not Status.PASS)
    assert not GateResult("fairness", (replace(verdict(status), waiver="ann: known"),)).blocks


def test_a_gate_that_checked_nothing_blocks() -> None:
    assert GateResult("performance", ()).blocks


@pytest.mark.parametrize(
    ("value", "low", "high", "status", "enough"),
    [
        (0.09, 0.05, 0.13, Status.PASS, None),
        (0.12, 0.08, 0.16, Status.INCONCLUSIVE, 4000),
        (0.12, 0.11, 0.13, Status.FAIL, None),
        (0.12, None, None, Status.FAIL, None),
        (None, None, None, Status.FAIL, None),
    ],
)
def test_beyond_the_limit_is_a_fail_only_where_it_is_no_chance(value, low, high, status, enough) -> None:
    found = tells_apart("c", Measurement("gap", value, 1000, low, high), Threshold(0.1, Direction.AT_MOST))
    assert (found.status, found.enough) == (status, enough)


def test_an_inconclusive_verdict_says_how_many_rows_would_do() -> None:
    threshold = Threshold(0.9, Direction.AT_LEAST, use_interval=True)
    found = judge("c", Measurement("auc", 0.92, 100, 0.88, 0.96), threshold)
    assert found.status is Status.INCONCLUSIVE
    assert found.enough == 400  # half the width: four times the rows
    assert found.line().endswith("INCONCLUSIVE; the interval spans the limit; about 400 would be enough")
    few = judge("c", Measurement("auc", 0.92, 100), Threshold(0.9, Direction.AT_LEAST, n_needed=250))
    assert few.enough == 250


@pytest.mark.parametrize("bounds", [(math.nan, 0.95), (0.92, math.nan), (math.nan, math.nan)])
def test_bounds_that_are_no_numbers_are_no_interval(bounds) -> None:
    found = judge("c", Measurement("m", 0.95, 50, *bounds), Threshold(0.9, Direction.AT_LEAST, use_interval=True))
    assert (found.status, found.reason) == (Status.INCONCLUSIVE, "no interval")


def test_a_line_is_one_whatever_came_with_the_rows() -> None:
    found = Verdict("c", Status.FAIL, Measurement("m", 1.0, 9, detail="worst: a\nc m \x1b[32mPASS"), reason="b\r\tü")
    assert found.line() == "c m 1, n=9, worst: a c m  [32mPASS -> FAIL; b  ü"


def test_the_line_says_value_interval_limit_rows_and_cause() -> None:
    measurement = Measurement("auc gap", 0.1234567, 1200, 0.1, 0.2, detail="JFK against LGA")
    line = judge("fairness", measurement, Threshold(0.1, Direction.AT_MOST, n_needed=1000)).line()
    assert line == "fairness auc gap 0.1235 [0.1, 0.2] limit <= 0.1, n=1,200 of 1,000 needed, JFK against LGA -> FAIL"
    assert "no value" in judge("c", Measurement("m", None, 0), AT_LEAST).line()


@given(value=numbers, low=numbers, high=numbers)
def test_the_json_form_is_json(value: float, low: float, high: float) -> None:
    got = judge("c", Measurement("m", value, 3, low, high), AT_LEAST).to_dict()
    assert json.loads(json.dumps(got, allow_nan=False)) == got
    assert got["status"] in {"PASS", "FAIL"}
    assert got["threshold"]["direction"] == ">="
    again = Verdict.from_dict(json.loads(json.dumps(got)))
    assert {**again.to_dict(), "line": ""} == {**got, "line": ""}  # a bound that is infinite is told as such once
    gate = GateResult("performance", (judge("c", Measurement("m", value, 3), AT_LEAST),))
    assert json.loads(json.dumps(gate.to_dict(), allow_nan=False))["gate"] == "performance"


def test_numpys_numbers_become_plain_ones_and_a_name_is_one_line():
    measured = Measurement("share", np.float32(0.25), np.int64(7), low=np.float64(0.1), high=1)
    assert json.loads(json.dumps(Verdict("mine", Status.PASS, measured).to_dict()))["measurement"]["n"] == 7
    assert {type(number) for number in (measured.value, measured.low, measured.high)} == {float}
    for name, n in (("two\nlines", 1), ("fewer than none", -1)):
        with pytest.raises(ValueError, match="one line, and n is 0 or more"):
            Measurement(name, 0.5, n)
