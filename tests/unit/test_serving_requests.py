"""Requests are refused with the place and the cause of every problem."""

import pytest

from sluiceway.core.errors import RequestError
from sluiceway.serving.protocols.native import read_native
from sluiceway.serving.requests import read_feedback, read_request_id


def refused(function, *args, **kwargs):
    with pytest.raises(RequestError) as caught:
        function(*args, **kwargs)
    return caught.value


def read_rows(body, *, max_rows):
    return read_native(body, max_rows=max_rows).rows


@pytest.mark.parametrize(
    "body", [b"", b"{", b'{"rows": [{"a": NaN}]}', b'{"rows": [{"a": Infinity}]}', b"\xff", b"[" * 100_000]
)
def test_what_is_no_json_is_400(body):
    assert refused(read_rows, body, max_rows=10).status == 400
    assert refused(read_feedback, body, max_rows=10, outcomes=None).status == 400


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b"[]", "$"),
        (b"{}", "$.rows"),
        (b'{"rows": []}', "$.rows"),
        (b'{"rows": {"a": 1}}', "$.rows"),
        (b'{"rows": [{}], "row": 1}', "$.row"),
    ],
)
def test_another_shape_is_422_with_its_path(body, path):
    error = refused(read_rows, body, max_rows=10)
    assert (error.status, error.problems[0]["path"]) == (422, path)


def test_too_many_rows_are_413():
    assert refused(read_rows, b'{"rows": [{}, {}, {}]}', max_rows=2).status == 413


def test_rows_are_read():
    assert read_rows(b'{"rows": [{"a": 1, "b": null}]}', max_rows=1) == [{"a": 1, "b": None}]


def test_feedback_is_read():
    later = b'{"request_id": "b/1", "outcome": 0, "time": "2013-07-01T00:00:00Z"}'
    body = b'{"feedback": [{"request_id": "a", "outcome": true}, ' + later + b"]}"
    first, second = read_feedback(body, max_rows=5, outcomes={0: 0.0, 1: 1.0})
    assert (first.request_id, first.outcome, first.time) == ("a", 1.0, first.received)
    assert (second.request_id, second.outcome, second.time) == ("b/1", 0.0, 1372636800.0)


@pytest.mark.parametrize(
    ("entry", "path"),
    [
        (b"3", "$.feedback[0]"),
        (b'{"outcome": 1}', "$.feedback[0].request_id"),
        (b'{"request_id": "a b", "outcome": 1}', "$.feedback[0].request_id"),
        (b'{"request_id": "a"}', "$.feedback[0].outcome"),
        (b'{"request_id": "a", "outcome": 0.5}', "$.feedback[0].outcome"),
        (b'{"request_id": "a", "outcome": 1, "time": "soon"}', "$.feedback[0].time"),
        (b'{"request_id": "a", "outcome": 1, "when": 3}', "$.feedback[0].when"),
        (b'{"request_id": "a", "outcome": 1' + b"0" * 400 + b"}", "$.feedback[0].outcome"),
        (b'{"request_id": "a", "outcome": 1, "time": 1' + b"0" * 400 + b"}", "$.feedback[0].time"),
        (b'{"request_id": "a", "outcome": 1, "time": 1e300}', "$.feedback[0].time"),
        (b'{"request_id": "a", "outcome": 1, "value": true}', "$.feedback[0].value"),
        (b'{"request_id": "a", "outcome": 1, "value": "9 euros"}', "$.feedback[0].value"),
        (b'{"request_id": "a", "outcome": 1, "value": 1' + b"0" * 400 + b"}", "$.feedback[0].value"),
        (b'{"request_id": "a", "value": 3}', "$.feedback[0].outcome"),
        (b'{"request_id": "a", "outcome": 1, "time": -1}', "$.feedback[0].time"),
        (b'{"request_id": "a", "outcome": 1, "time": "0001-01-01T00:00:00+23:00"}', "$.feedback[0].time"),
        (b'{"request_id": "a", "outcome": 1, "time": 1795526866000}', "$.feedback[0].time"),
        (b'{"request_id": "a", "outcome": 1, "time": "9999-12-31T23:59:59-23:00"}', "$.feedback[0].time"),
        (b'{"request_id": "a", "outcome": 1, "a b": 3}', "$.feedback[0]['a b']"),
    ],
)
def test_feedback_with_a_problem_is_422_with_its_path(entry, path):
    error = refused(read_feedback, b'{"feedback": [' + entry + b"]}", max_rows=5, outcomes={0: 0.0, 1: 1.0})
    assert (error.status, error.problems[0]["path"]) == (422, path)


def test_outcomes_of_a_regression_are_any_number():
    (record,) = read_feedback(b'{"feedback": [{"request_id": "a", "outcome": 12.5}]}', max_rows=5, outcomes=None)
    assert record.outcome == 12.5


def test_an_id_that_could_break_a_log_is_refused():
    assert read_request_id({}) is None
    assert read_request_id({"x-request-id": "abc-1.2:3/4"}) == "abc-1.2:3/4"
    assert refused(read_request_id, {"x-request-id": "a\nb"}).status == 400


@pytest.mark.parametrize(("given", "kept"), [(b"", None), (b', "value": null', None), (b', "value": -3', -3.0)])
def test_an_outcome_may_have_a_value(given, kept):
    body = b'{"feedback": [{"request_id": "a", "outcome": 1' + given + b"}]}"
    (record,) = read_feedback(body, max_rows=5, outcomes=None)
    assert record.value == kept
