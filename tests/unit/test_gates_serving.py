"""The gate `serving`: every way to a wrong answer is found by name, and a budget is held by the interval."""

import datetime
import decimal
import json
import re

import numpy as np
import pyarrow as pa
import pytest

from sluiceway.config.evaluation import EvaluationSection
from sluiceway.config.gates import ServingSection
from sluiceway.core.doors import ReplicaAnswers, ReplicaFacts
from sluiceway.core.errors import BackendError, RequestError
from sluiceway.core.verdict import Status
from sluiceway.gates.asked_rows import drawn_rows, plain_rows
from sluiceway.gates.checks import serving
from sluiceway.gates.context import GateContext

FEATURES = ("delay", "distance", "carrier")
CLASSES = ("early", "late", "on time")
CARRIERS = {"AA": 0.1, "B6": -0.4, "UA": 0.9}


class Formula:
    """A model that tells its features apart: a logistic curve of a weighted sum."""

    def __init__(self, shape="binary", reloaded=None):
        self.shape, self.reloaded = shape, reloaded

    def score(self, rows):
        """Scores of a table."""
        delay, distance = (
            np.nan_to_num(rows[name].cast(pa.float64()).to_numpy(zero_copy_only=False), nan=-7.0)
            for name in FEATURES[:2]
        )
        carrier = np.array([CARRIERS.get(value, 0.0) for value in rows["carrier"].to_pylist()])
        total = 0.02 * delay - 0.0005 * distance + carrier
        if self.shape == "regression":
            return 1000 * total
        if self.shape == "multiclass":
            parts = np.exp(np.column_stack([total, -total, 0.3 * delay / 20]))
            return parts / parts.sum(axis=1, keepdims=True)
        return 1 / (1 + np.exp(-total))

    def __reduce__(self):
        return (self.reloaded or Formula), (self.shape,)


class Rounding(Formula):
    """Gives three digits only."""

    def score(self, rows):
        """Scores of a table."""
        return super().score(rows).round(3)


class OfTheBatch(Formula):
    """What a row scores depends on who comes along."""

    def score(self, rows):
        """Scores of a table."""
        scores = super().score(rows)
        return scores - scores.mean() / 10

    def __reduce__(self):
        return OfTheBatch, (self.shape,)


class Endpoint:
    """A replica in this process, over JSON like a real one, with the faults that a test asks for."""

    def __init__(self, model=None, *, swap=(), seconds=0.002, threshold=0.5, refuse=None, facts=None, change=None):
        self.model, self.swap, self.threshold = model or Formula(), dict(swap), threshold
        self.seconds, self.refuse, self.change = seconds, refuse, change
        self.told = facts or ReplicaFacts(0.2, 30 * 2**20, 5 * 2**20)
        self.requests = []

    def _answer(self, rows, place=0):
        self.requests.append(len(rows))
        rows = json.loads(json.dumps(rows, allow_nan=False))
        if self.refuse and any(row[self.refuse] is None for row in rows):
            raise RequestError(f"1 problems in the request: $.rows[0].{self.refuse} is null", status=422)
        columns = {name: [row[self.swap.get(name, name)] for row in rows] for name in FEATURES}
        scores = self.model.score(pa.table(columns))
        scores = scores if self.change is None else self.change(scores, place)
        if self.model.shape == "multiclass":
            return scores.tolist(), [CLASSES[place] for place in scores.argmax(axis=1)]
        decides = self.model.shape == "binary"
        return scores.tolist(), ((scores >= self.threshold).astype(float) if decides else scores).tolist()

    def ask(self, rows):
        """One request each."""
        answers = [self._answer([row], place) for place, row in enumerate(rows)]
        seconds = [self.seconds(i) if callable(self.seconds) else self.seconds for i in range(len(rows))]
        return ReplicaAnswers(
            [s for scores, _ in answers for s in scores], [d for _, told in answers for d in told], seconds
        )

    def ask_together(self, rows):
        """One request."""
        return ReplicaAnswers(*self._answer(rows), [self.seconds(0) if callable(self.seconds) else self.seconds])

    def facts(self):
        """Of a small model."""
        return self.told


def table(n, seed=3):
    random = np.random.default_rng(seed)
    distance = random.integers(100, 3000, n).astype(float)
    distance[::7] = np.nan
    return pa.table(
        {
            "delay": random.normal(10, 20, n).round(1),
            "distance": pa.array(distance, from_pandas=True),
            "carrier": pa.array(random.choice([*CARRIERS, None], n)).dictionary_encode(),
            "late": random.integers(0, 2, n),
        }
    )


def context_of(replica, *, n=60, model=None, scores=None, **options):
    model, rows = model or Formula(), table(n)
    task = model.shape
    return GateContext(
        gate="serving",
        section=ServingSection(**options),
        evaluation=EvaluationSection(),
        features=FEATURES,
        kinds={"delay": "numeric", "distance": "numeric", "carrier": "category"},
        target="late",
        threshold=0.5 if task == "binary" else None,
        task=task,
        classes=CLASSES if task == "multiclass" else (),
        seed=5,
        test=rows,
        scores=(model.score(rows) if n else np.empty(0)) if scores is None else scores,
        scorer=model,
        replica=replica,
    )


def judged(replica, **options):
    """Verdicts by the name of their check."""
    output = serving.GATE.function(context_of(replica, **options))
    return {verdict.measurement.name: verdict for verdict in output.verdicts}


WAYS = ("one by one", "saved and loaded", "served one by one", "served together")
PARITY = tuple(f"{way}: largest difference" for way in WAYS)


def failing(verdicts):
    return [name for name, verdict in verdicts.items() if verdict.status is not Status.PASS]


def test_a_faithful_replica_passes_and_every_way_is_told():
    replica = Endpoint()
    verdicts = judged(replica)
    assert failing(verdicts) == []
    assert list(verdicts) == [
        *PARITY, "decisions that differ", "latency p50", "latency p99", "load time", "memory added", "model size"
    ]  # fmt: skip
    line = verdicts["served one by one: largest difference"].line()
    assert re.fullmatch(r"serving served one by one: largest difference \S+ limit <= 1e-06, n=60 -> PASS", line)
    assert (
        verdicts["latency p50"].line()
        == "serving latency p50 2ms [2, 2], n=300, 90 % interval -> PASS; reported, not judged"
    )
    assert replica.requests == [1] * 300 + [60]


def test_columns_that_changed_places_in_the_replica_are_caught_and_named():
    replica = Endpoint(swap={"delay": "distance", "distance": "delay"})
    verdicts = judged(replica)
    assert failing(verdicts) == [*PARITY[2:], "decisions that differ"]
    for name in PARITY[2:]:
        assert verdicts[name].status is Status.FAIL
        assert "'delay' and 'distance' have changed places" in verdicts[name].measurement.detail
    assert verdicts["decisions that differ"].measurement.value > 5


def test_a_replica_that_rounds_is_caught_with_the_row_it_rounds_most():
    verdicts = judged(Endpoint(Rounding()))
    assert set(failing(verdicts)) >= set(PARITY[2:])
    failed = verdicts["served together: largest difference"]
    assert 1e-6 < failed.measurement.value <= 5e-4
    scores = Formula().score(table(60))
    worst = int(np.abs(scores - scores.round(3)).argmax())
    row = plain_rows(table(60).select(list(FEATURES)).slice(worst, 1))[0]
    told = f"most test row {worst} (delay={row['delay']!r}, distance={row['distance']!r}, carrier={row['carrier']!r})"
    assert told in failed.measurement.detail
    assert "changed places" not in failed.measurement.detail


def test_a_model_that_loads_as_another_one_is_caught():
    verdicts = judged(Endpoint(), model=Formula(reloaded=Rounding))
    assert failing(verdicts)[0] == "saved and loaded: largest difference"
    assert "one by one: largest difference" not in failing(verdicts)


def test_a_model_whose_scores_depend_on_the_batch_is_caught():
    verdicts = judged(None, model=OfTheBatch())
    assert "one by one: largest difference" in failing(verdicts)
    assert verdicts["saved and loaded: largest difference"].status is Status.PASS


def test_a_replica_with_another_threshold_is_caught_though_its_scores_are_right():
    verdicts = judged(Endpoint(threshold=0.4))
    assert failing(verdicts) == ["decisions that differ"]
    scores = Formula().score(table(60))
    between = np.flatnonzero((scores >= 0.4) & (scores < 0.5))
    failed = verdicts["decisions that differ"]
    assert failed.measurement.value == len(between) > 0
    assert f"first test row {between[0]} " in failed.measurement.detail
    assert "served one by one 1.0, in the batch 0.0" in failed.measurement.detail


def test_a_replica_that_answers_otherwise_the_second_time_is_caught():
    verdicts = judged(Endpoint(change=lambda scores, place: scores + (1e-3 if place == 200 else 0)))
    assert failing(verdicts)[0] == "served one by one: largest difference"
    assert "1 of 60 rows differ, most test row 20 " in verdicts[failing(verdicts)[0]].measurement.detail


def test_a_replica_that_refuses_a_row_fails_with_its_reason():
    verdicts = judged(Endpoint(refuse="distance"))
    assert failing(verdicts) == [*PARITY[2:]]
    for name in PARITY[2:]:
        assert verdicts[name].status is Status.FAIL
        assert "$.rows[0].distance is null" in verdicts[name].reason
    assert "latency p99" not in verdicts
    assert judged(Endpoint(refuse="distance"), p99_ms=5)["latency p99"].status is Status.INCONCLUSIVE


@pytest.mark.parametrize("short", [0, 1])
def test_too_few_answers_fail(short):
    replica = Endpoint()
    whole = replica.ask_together
    replica.ask_together = lambda rows: whole(rows[: len(rows) - 1]) if short else ReplicaAnswers([], [], [0.1])
    verdicts = judged(replica)
    assert failing(verdicts) == ["served together: largest difference"]
    assert "for (60,)" in verdicts["served together: largest difference"].reason


def test_no_number_is_no_small_difference():
    verdicts = judged(Endpoint(change=lambda scores, place: scores * (np.nan if place == 4 else 1)))
    assert "served one by one: largest difference" in failing(verdicts)
    assert "test row 4 " in verdicts["served one by one: largest difference"].measurement.detail


def test_without_a_replica_it_is_inconclusive_and_the_rest_is_judged():
    verdicts = judged(None)
    assert list(verdicts) == [*PARITY[:2], "replica", "decisions that differ"]
    assert failing(verdicts) == ["replica"]
    assert verdicts["replica"].status is Status.INCONCLUSIVE
    assert verdicts["replica"].reason == "no replica could be asked"
    assert verdicts["replica"].blocks


def test_a_replica_that_never_came_up_is_an_error_of_the_gate():
    class Absent(Endpoint):
        def facts(self):
            raise BackendError("the candidate's replica could not be asked: no CPUs")

    with pytest.raises(BackendError, match="no CPUs"):
        judged(Absent())


def test_without_rows_nothing_passes():
    verdicts = judged(Endpoint(), n=0)
    assert list(verdicts) == list(PARITY[:2])
    assert {verdict.status for verdict in verdicts.values()} == {Status.INCONCLUSIVE}


@pytest.mark.parametrize(
    ("seconds", "budget", "expected"),
    [
        (0.002, {"p50_ms": 5, "p99_ms": 10}, {"latency p50": Status.PASS, "latency p99": Status.PASS}),
        (0.05, {"p50_ms": 5, "p99_ms": 10}, {"latency p50": Status.FAIL, "latency p99": Status.FAIL}),
        # One in 50 is slow: the median holds, the 99th percentile does not.
        (lambda i: 0.05 if i % 50 == 0 else 0.002, {"p50_ms": 5, "p99_ms": 10},
         {"latency p50": Status.PASS, "latency p99": Status.FAIL}),
        # One in 100 is slow: nobody can say on which side of the limit the percentile is.
        (lambda i: 0.05 if i % 100 == 0 else 0.002, {"p99_ms": 10}, {"latency p99": Status.INCONCLUSIVE}),
    ],
    ids=["fast", "slow", "slow tail", "at the limit"],
)  # fmt: skip
def test_latency_is_held_against_its_budget_by_the_interval(seconds, budget, expected):
    replica = Endpoint(seconds=seconds)
    verdicts = judged(replica, n=40, **budget)
    assert {name: verdicts[name].status for name in expected} == expected
    assert len(replica.requests) == 1001
    assert verdicts["latency p99"].measurement.n == 1000
    assert verdicts["latency p99"].measurement.unit == "ms"


def test_the_footprint_is_held_against_its_budget_and_shown_without_one():
    budget = {"load_seconds": 1, "memory_mb_more": 20, "model_mb": 4}
    verdicts = judged(Endpoint(), **budget)
    assert failing(verdicts) == ["memory added", "model size"]
    assert verdicts["memory added"].line() == "serving memory added 30MiB limit <= 20MiB, n=1 -> FAIL"
    unmeasured = Endpoint(facts=ReplicaFacts(None, None, 5 * 2**20))
    verdicts = judged(unmeasured, **budget)
    assert [verdicts[name].status for name in ("load time", "memory added")] == [Status.INCONCLUSIVE] * 2
    assert not {"load time", "memory added"} & judged(unmeasured).keys()


def test_several_classes_are_compared_as_a_whole_and_decided_by_the_largest():
    model = Formula("multiclass")
    assert failing(judged(Endpoint(model), model=model)) == []
    turned = Endpoint(model, change=lambda scores, _: scores[:, [1, 0, 2]])
    verdicts = judged(turned, model=model)
    assert failing(verdicts) == [*PARITY[2:], "decisions that differ"]
    assert "'early', in the batch 'late'" in verdicts["decisions that differ"].measurement.detail
    flat = Endpoint(model, change=lambda scores, _: scores[:, :2])
    assert failing(judged(flat, model=model))[:2] == [*PARITY[2:]]


def test_a_regression_is_compared_relatively_and_decides_nothing():
    model = Formula("regression")
    verdicts = judged(Endpoint(model, change=lambda scores, _: scores * (1 + 5e-7)), model=model)
    assert failing(verdicts) == []
    assert "decisions that differ" not in verdicts
    assert failing(judged(Endpoint(model, change=lambda scores, _: scores * 1.0001), model=model)) == [*PARITY[2:]]


def test_swapped_texts_are_named_too():
    rows = pa.table({"a": ["x", "y", "x"], "b": ["y", "y", "z"], "n": [1.0, 2.0, 3.0]})

    class Texts:
        def score(self, table):
            weights = {"x": 0.1, "y": 0.2, "z": 0.4}
            return np.array(
                [weights[a] + 2 * weights[b] for a, b in zip(*(table[c].to_pylist() for c in "ab"), strict=True)]
            )

    asked = serving.AskedRows(rows, np.arange(3), Texts().score(rows))
    exchanged = Texts().score(rows.rename_columns(["b", "a", "n"]))
    assert serving.swapped_features(exchanged, asked, 1e-6, Texts()) == ("a", "b")
    assert serving.swapped_features(exchanged + 1, asked, 1e-6, Texts()) is None


def test_only_so_many_rows_are_asked_the_same_for_a_seed_and_the_extreme_ones_among_them():
    rows = table(5000).select(list(FEATURES))
    places = drawn_rows(rows, count=50, seed=1)
    assert len(set(places.tolist())) == 50
    assert (np.diff(places) > 0).all()
    np.testing.assert_array_equal(places, drawn_rows(rows, count=50, seed=1))
    assert places.tolist() != drawn_rows(rows, count=50, seed=2).tolist()
    delay, distance = rows["delay"].to_numpy(), rows["distance"].to_numpy(zero_copy_only=False)
    assert {delay.argmin(), delay.argmax(), np.nanargmin(distance), np.nanargmax(distance)} <= set(places.tolist())
    assert np.isnan(distance[places]).any()
    assert rows["carrier"].take(pa.array(places)).null_count
    assert len(drawn_rows(rows, count=3, seed=1)) == 3
    assert len(drawn_rows(rows.slice(0, 20), count=50, seed=1)) == 20
    odd = pa.table({"a": [float("nan")] * 60, "b": pa.array([None] * 60, pa.int64()), "c": [True] * 60})
    assert len(drawn_rows(odd, count=50, seed=1)) == 50
    asked = judged(Endpoint(), n=500, rows=40)["served one by one: largest difference"]
    assert asked.measurement.n == 40


def test_rows_are_plain_values_that_a_client_could_send():
    rows = pa.table(
        {
            "f": pa.chunked_array([[0.1, float("nan")], [None]], pa.float64()),
            "single": pa.array([0.1, None, 2.5], pa.float32()),
            "i": pa.array([2**60, None, -1]),
            "d": pa.array([decimal.Decimal("1.25"), None, decimal.Decimal("-3")]),
            "b": pa.array([True, None, False]),
            "t": pa.array(["x", None, "é"]).dictionary_encode(),
            "day": pa.array([datetime.date(2026, 1, 2), None, None]),
            "time": pa.array(
                [datetime.datetime(2026, 1, 2, 3, tzinfo=datetime.UTC), None, None], pa.timestamp("us", "UTC")
            ),
            "none": pa.nulls(3),
        }
    )
    first, second, third = plain_rows(rows)
    assert first == {
        "f": 0.1,
        "single": float(np.float32(0.1)),
        "i": 2**60,
        "d": 1.25,
        "b": True,
        "t": "x",
        "day": "2026-01-02",
        "time": "2026-01-02T03:00:00+00:00",
        "none": None,
    }
    assert set(second.values()) == {None}
    assert third["f"] is None
    assert json.loads(json.dumps([first, second, third], allow_nan=False)) == [first, second, third]


def test_the_gate_says_what_it_needs_and_explains_itself():
    assert serving.GATE.needs == {"test", "replica"}
    assert serving.GATE.name == "serving"
    for option in ServingSection.model_fields.keys() - {
        "severity", "on_inconclusive", "dry_run", "timeout_seconds", "memory_mb", "retries"
    }:  # fmt: skip
        assert option in serving.__doc__
