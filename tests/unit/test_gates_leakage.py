"""Leakage: every planted leak is found by name, and clean rows pass whatever the seed."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from sluiceway.config.evaluation import EvaluationSection, LeakageSection
from sluiceway.core.verdict import Status
from sluiceway.gates.checks.leakage import GATE, IDENTIFIERS, LABELS, PARTS, SINGLE, TIME
from sluiceway.gates.context import GateContext
from sluiceway.gates.identity import is_identifier, row_codes, told_apart
from sluiceway.gates.leaks import rank_correlation
from sluiceway.gates.single_feature import alone, interval_of_bins
from sluiceway.gates.small_models import boosted, by_heart, matrices
from sluiceway.gates.statistics.auc import auc_interval

KINDS = {"x": "numeric", "y": "numeric", "count": "numeric", "flag": "numeric", "town": "category"}
N = 2400


def make_rows(seed=0, n=N):
    """Clean rows in no order of time, each with a key."""
    random = np.random.default_rng(seed)
    x, y, count = random.standard_normal(n), random.lognormal(3, 1, n).round(2), random.poisson(20, n)
    flag, town = random.random(n) < 0.3, random.choice([f"town {i}" for i in range(30)], n)
    logit = x + (count - 20) / 5 + 0.5 * flag
    hour = random.permutation(n)
    return pa.table(
        {
            "x": pa.array(np.where(random.random(n) < 0.02, np.nan, x), from_pandas=True),
            "y": y,
            "count": count,
            "flag": flag,
            "town": pa.array(town).dictionary_encode(),
            "late": (random.random(n) < expit(logit)).astype(np.int64),
            "cost": logit + random.standard_normal(n),
            "grade": np.array(["a", "b", "c"])[np.digitize(logit + random.logistic(size=n), [-1, 1])],
            "at": pa.array(hour * 3_600_000_000, pa.timestamp("us", "UTC")),
            "hour": hour,
            "__key__": random.integers(0, 2**63, n).astype(np.uint64),
        }
    )


def split(rows, share=2 / 3):
    cut = int(rows.num_rows * share)
    return rows.slice(0, cut), rows.slice(cut)


def with_column(rows, name, values):
    at = rows.schema.get_field_index(name)
    return rows.append_column(name, values) if at < 0 else rows.set_column(at, name, values)


def places(rows, classes=("a", "b", "c")):
    return np.array([classes.index(v) for v in rows["grade"].to_pylist()], dtype=float)


def ask(train, test, *parts, kinds=None, section=None, **given):
    """Verdicts of some parts by name."""
    target = given.setdefault("target", "late")
    labels = places(test) if target == "grade" else test[target].to_numpy().astype(float)
    given = {"threshold": 0.5, "evaluation": EvaluationSection(), **given}
    context = GateContext(
        gate="leakage",
        section=section or LeakageSection(),
        features=tuple(kinds or KINDS),
        kinds=kinds or KINDS,
        test=test,
        train=train,
        labels=labels,
        **given,
    )
    outputs = [GATE.function(replace(context, part=part)) for part in parts or PARTS]
    return {v.measurement.name: v for output in outputs for v in output.verdicts}


@pytest.mark.parametrize("seed", range(3))
def test_clean_rows_pass_whatever_the_seed(seed):
    train, test = split(make_rows(seed))
    verdicts = ask(train, test, key=("id",), time="at", seed=seed)
    assert {name: v.status for name, v in verdicts.items()} == dict.fromkeys(
        [
            "AUC of one feature alone",
            "AUC above chance of meaningless labels by content",
            "AUC above chance of meaningless labels by key",
            "identifiers and dates among the features",
            "gain of AUC by having seen the time",
        ],
        Status.PASS,
    )
    assert ask(train, test, key=("id",), time="at", seed=seed) == verdicts


@pytest.mark.parametrize(("task", "target"), [("regression", "cost"), ("multiclass", "grade")])
def test_clean_rows_pass_for_other_tasks(task, target):
    train, test = split(make_rows(7))
    classes = ("a", "b", "c") if task == "multiclass" else ()
    verdicts = ask(train, test, task=task, target=target, classes=classes, time="hour", threshold=None)
    assert {v.status for v in verdicts.values()} == {Status.PASS}
    assert len(verdicts) == 4


def test_no_rows_are_no_pass():
    train, test = split(make_rows())
    for tables in ((train.slice(0, 0), test), (train, test.slice(0, 0))):
        assert {v.status for v in ask(*tables).values()} == {Status.INCONCLUSIVE}


# single features


def leak(rows, seed=0):
    """The target, a little noisy."""
    late = rows["late"].to_numpy()
    return pa.array(late + np.random.default_rng(seed).normal(0, 0.15, len(late)))


def test_a_leaked_label_is_named_and_may_be_allowed():
    rows = make_rows()
    train, test = split(with_column(rows, "paid", leak(rows)))
    kinds = {**KINDS, "paid": "numeric"}
    verdicts = ask(train, test, SINGLE, kinds=kinds)
    assert list(verdicts) == ["AUC of paid alone"]
    verdict = verdicts["AUC of paid alone"]
    assert verdict.status is Status.FAIL
    assert verdict.measurement.low > 0.98
    assert verdict.reason == "it tells the target by itself"
    (allowed,) = ask(train, test, SINGLE, kinds=kinds, section=LeakageSection(allow=("paid",))).values()
    assert allowed.status is Status.PASS
    assert allowed.measurement.detail.endswith("exempt: paid")
    (off,) = ask(train, test, SINGLE, kinds=kinds, section=LeakageSection(max_single_feature=1)).values()
    assert (off.status, off.measurement.value) == (Status.PASS, None)


@pytest.mark.parametrize("shape", ["band", "missing", "category", "flag"])
def test_a_leak_of_any_shape_is_found(shape):
    rows = make_rows(3)
    late = rows["late"].to_numpy() == 1
    noise = np.random.default_rng(1).standard_normal(N)
    column = {
        "band": pa.array(np.where(late, 0.1 * noise, np.sign(noise) + noise)),
        "missing": pa.array(noise, mask=late),
        "category": pa.array(np.where(late, "refund", "none")).dictionary_encode(),
        "flag": pa.array(late),
    }[shape]
    kinds = {**KINDS, "paid": "category" if shape == "category" else "numeric"}
    limit = LeakageSection(max_single_feature=0.95)
    verdicts = ask(*split(with_column(rows, "paid", column)), SINGLE, kinds=kinds, section=limit)
    assert verdicts["AUC of paid alone"].status is Status.FAIL


def test_leaks_of_a_regression_and_of_one_class_of_several():
    rows = make_rows(4)
    known = with_column(rows, "paid", pa.array(rows["cost"].to_numpy() * 3 + 1))
    kinds = {**KINDS, "paid": "numeric"}
    options = {"kinds": kinds, "threshold": None}
    verdicts = ask(*split(known), SINGLE, task="regression", target="cost", **options)
    assert verdicts["AUC of paid alone"].status is Status.FAIL
    is_b = np.array(rows["grade"].to_pylist()) == "b"
    known = with_column(rows, "paid", pa.array(is_b.astype(float)))
    verdicts = ask(*split(known), SINGLE, task="multiclass", target="grade", classes=("a", "b", "c"), **options)
    verdict = verdicts["AUC of paid alone"]
    assert (verdict.status, verdict.measurement.detail) == (Status.FAIL, "class b")


def test_a_target_of_which_most_rows_have_the_largest_value():
    rows = make_rows(4)
    capped = with_column(rows, "cost", pa.array(np.minimum(rows["cost"].to_numpy(), -0.5)))
    (verdict,) = ask(*split(capped), SINGLE, task="regression", target="cost", threshold=None).values()
    assert (verdict.status, verdict.measurement.detail) == (Status.PASS, "count")
    assert verdict.measurement.value > 0.65


def test_a_strong_feature_in_few_rows_is_no_certain_leak():
    rows = make_rows(5, n=90)
    train, test = split(with_column(rows, "paid", rows["late"].cast(pa.float64())))
    verdict = ask(train, test, SINGLE, kinds={**KINDS, "paid": "numeric"})["AUC of paid alone"]
    assert verdict.status is Status.INCONCLUSIVE
    assert verdict.measurement.value == 1


@pytest.mark.parametrize("kind", ["text", "numeric"])
def test_a_column_of_which_every_value_is_another_says_nothing(kind):
    train, test = split(make_rows(6))
    ids = [
        pa.chunked_array([np.random.default_rng(i).permutation(10**6)[: len(t)]]) for i, t in enumerate((train, test))
    ]
    if kind == "text":
        ids = [column.cast(pa.string()) for column in ids]
    known, asked = (table["late"].to_numpy().astype(float) for table in (train, test))
    assert 0.4 < alone("id", *ids, known=known, asked=asked, k=2).auc < 0.6


def test_bins_have_the_interval_of_their_rows():
    random = np.random.default_rng(8)
    bins = random.integers(0, 7, 900)
    labels = (random.random(900) < bins / 8).astype(float)
    scores = np.array([0.3, 0.1, 0.5, 0.5, 0.6, 0.7, 0.9])
    positives, rows = np.bincount(bins, weights=labels), np.bincount(bins)
    found = interval_of_bins(positives, rows - positives, scores)
    assert found == pytest.approx(auc_interval(labels, scores[bins]))
    assert found[0] == pytest.approx(roc_auc_score(labels, scores[bins]))
    assert math.isnan(interval_of_bins(np.array([3, 0]), np.array([0, 0]), np.array([0.1, 0.2]))[0])


# meaningless labels

CONTENT, BY_KEY = (f"AUC above chance of meaningless labels by {by}" for by in ("content", "key"))


def new_keys(rows, seed=99):
    keys = np.random.default_rng(seed).integers(0, 2**63, rows.num_rows).astype(np.uint64)
    return with_column(rows, "__key__", pa.array(keys))


@pytest.mark.parametrize("key", [(), ("id",)])
def test_test_rows_that_were_copied_into_training_are_found(key):
    train, test = split(make_rows(11))
    copied = pa.concat_tables([train, new_keys(test.slice(0, 300))], promote_options="permissive").unify_dictionaries()
    verdicts, share = ask(copied, test, LABELS, key=key), 300 / test.num_rows
    assert verdicts[CONTENT].status is Status.FAIL
    assert verdicts[CONTENT].reason == "test rows are known from training"
    assert verdicts[CONTENT].measurement.value == pytest.approx(share - share**2 / 2, abs=0.03)
    assert (BY_KEY in verdicts) == bool(key)
    assert not key or verdicts[BY_KEY].status is Status.PASS  # other keys: other rows, as far as keys can tell


def test_copies_are_found_where_only_some_rows_are_looked_at():
    train, test = split(make_rows(12, n=9000))
    copied = pa.concat_tables([train, test.slice(0, 1000)]).unify_dictionaries()
    verdict = ask(copied, test, LABELS, section=LeakageSection(rows=1000))[CONTENT]
    assert verdict.status is Status.FAIL
    assert verdict.measurement.n < 700


def test_rows_that_came_twice_before_the_split_are_found():
    once = make_rows(13, n=2000)
    twice = new_keys(pa.concat_tables([once, once]).unify_dictionaries())
    shuffled = twice.take(pa.array(np.random.default_rng(0).permutation(4000)))
    assert ask(*split(shuffled), LABELS, key=("id",))[CONTENT].status is Status.FAIL


def test_rows_of_one_key_on_both_sides_are_found():
    rows = make_rows(14)
    train, test = split(rows)
    jitter = np.random.default_rng(1).normal(0, 1e-4, test.num_rows)
    near = with_column(test, "x", pa.array(np.nan_to_num(test["x"].to_numpy()) + jitter))
    copied = pa.concat_tables([train, near.slice(0, 500)]).unify_dictionaries()
    verdicts = ask(copied, test, LABELS, key=("id",))
    assert verdicts[BY_KEY].status is Status.FAIL
    assert verdicts[CONTENT].status is Status.PASS  # no two of them are equal


def few(seed, n=6000, columns=3, values=3):
    """Rows of a few categories: most of them are equal to others by nature."""
    random = np.random.default_rng(seed)
    rows = {f"c{i}": random.choice([f"v{j}" for j in range(values)], n, p=skewed(values)) for i in range(columns)}
    score = sum(rows[name] == "v1" for name in rows)
    return pa.table({**rows, "late": (random.random(n) < 0.2 + 0.2 * score / columns).astype(np.int64)})


def skewed(values):
    weights = 1 / np.arange(1, values + 1)
    return weights / weights.sum()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("shape", [(3, 3), (1, 2), (5, 8)])
def test_rows_that_are_equal_by_nature_are_no_copies(seed, shape):
    rows = few(seed, columns=shape[0], values=shape[1])
    kinds = {name: "category" for name in rows.column_names if name != "late"}
    assert ask(*split(rows), LABELS, kinds=kinds, seed=seed)[CONTENT].status is Status.PASS
    limited = LeakageSection(rows=1000)
    assert ask(*split(rows), LABELS, kinds=kinds, seed=seed, section=limited)[CONTENT].status is Status.PASS


def test_many_test_rows_of_one_key_are_one_piece_of_evidence():
    random = np.random.default_rng(3)
    person = random.integers(0, 200, 4000)
    traits = random.standard_normal((200, 2))[person]
    rows = pa.table({"a": traits[:, 0], "b": traits[:, 1], "late": random.integers(0, 2, 4000)})
    rows = rows.append_column("__key__", pa.array(person.astype(np.uint64)))
    inside = pa.array(person < 130)
    kinds = {"a": "numeric", "b": "numeric"}
    verdict = ask(rows.filter(inside), rows.filter(pa.array(person >= 130)), LABELS, kinds=kinds, key=("id",))[BY_KEY]
    assert verdict.measurement.n == 70
    assert verdict.status is not Status.FAIL


def test_rows_that_are_all_alike_tell_nothing():
    rows = pa.table({"a": [1.0] * 300, "late": [1] * 300})
    verdict = ask(*split(rows), LABELS, kinds={"a": "numeric"})[CONTENT]
    assert (verdict.status, verdict.reason) == (Status.INCONCLUSIVE, "the rows are all alike")


def test_equal_rows_have_equal_numbers_whatever_their_types():
    a = pa.table(
        {
            "n": pa.array([1, 2, None, 0], pa.int32()),
            "t": ["u", "v", None, "u"],
            "d": pa.array([0, 1, 2, None], pa.date32()),
        }
    )
    b = pa.table(
        {
            "n": pa.array([-0.0, 2.0, math.nan, 1.0]),
            "t": pa.array(["u", "v", None, "v"]).dictionary_encode(),
            "d": pa.array([None, 1, 2, 0], pa.date32()),
        }
    )
    first, second = row_codes([a, b], ["n", "t", "d"])
    assert second[:3].tolist() == [first[3], first[1], first[2]]
    assert second[3] not in first
    assert len({*first, *second}) == 5
    many = pa.table({"i": np.arange(200_000), "j": np.arange(200_000)[::-1]})
    assert len(np.unique(row_codes([many], ["i", "j"])[0])) == 200_000


def test_which_tables_tell_their_rows_apart():
    clean, coarse = make_rows(1), few(1)
    for rows, expected in ((clean, True), (coarse, False), (pa.concat_tables([clean, clean]), True)):
        columns = [name for name in rows.column_names if name in (*KINDS, "c0", "c1", "c2", "late")]
        assert told_apart(rows, columns, row_codes([rows], columns)[0]) is expected


def test_a_model_by_heart_knows_copies_and_nothing_else():
    train, test = split(make_rows(15))
    known, copies, others = matrices(train, [train.slice(0, 500), test], KINDS, numbers="ranks")
    labels = np.random.default_rng(0).integers(0, 2, len(known))
    of_copies, of_others = by_heart(known, labels, [copies, others], seed=0)
    np.testing.assert_array_equal(of_copies, labels[:500])
    assert 0.05 < of_others.std() < 0.3


# identifiers and dates

NUMBERS = np.random.default_rng(0)
ROWS = 2000


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (NUMBERS.permutation(ROWS), True),
        (1_000_000 - 3 * NUMBERS.permutation(4 * ROWS)[:ROWS], True),
        (NUMBERS.integers(0, 2**63 - 1, ROWS), True),
        (NUMBERS.integers(-(2**62), 2**62, ROWS), True),
        ([f"order {i}" for i in range(ROWS)], True),
        (pa.array([f"order {i}" for i in range(ROWS)]).dictionary_encode(), True),
        (NUMBERS.lognormal(8, 1.5, ROWS).astype(np.int64), False),
        (NUMBERS.integers(0, 40 * ROWS, ROWS), False),
        (100 * NUMBERS.integers(0, 40 * ROWS, ROWS), False),
        (NUMBERS.lognormal(25, 2, ROWS).astype(np.int64), False),
        (NUMBERS.poisson(30, ROWS), False),
        (NUMBERS.standard_normal(ROWS), False),
        (NUMBERS.permutation(ROWS).astype(float), False),
        (NUMBERS.choice(["a", "b"], ROWS), False),
        (NUMBERS.random(ROWS) < 0.5, False),
        (pa.nulls(ROWS, pa.int64()), False),
        (np.full(ROWS, 7), False),
    ],
    ids=str,
)
def test_what_is_an_identifier(values, expected):
    assert is_identifier(pa.chunked_array([values])) is expected


def test_identifiers_dates_and_the_key_are_named_and_may_be_allowed():
    rows = make_rows(21)
    rows = with_column(rows, "order", pa.array(np.random.default_rng(1).permutation(N)))
    rows = with_column(rows, "customer", pa.array([f"c{i}" for i in range(N)]))
    rows = with_column(rows, "day", pa.array((np.arange(N) // 50).astype(np.int32)).cast(pa.date32()))
    rows = with_column(rows, "flight", pa.array(np.arange(N) % 40))
    suspicious = {"order": "numeric", "customer": "category", "day": "numeric", "flight": "numeric"}
    kinds = {**KINDS, **suspicious}
    (verdict,) = ask(*split(rows), IDENTIFIERS, kinds=kinds).values()
    assert (verdict.status, verdict.measurement.value) == (Status.FAIL, 3)
    told = verdict.measurement.detail.split("; ")
    assert told[0] == "order is an identifier (100.0% of its values differ)"
    assert told[1].startswith("customer is an identifier")
    assert told[2] == "day is a time (date32[day])"
    (key,) = ask(*split(rows), IDENTIFIERS, kinds={**KINDS, "flight": "numeric"}, key=("flight",)).values()
    assert key.measurement.detail == "flight is the key of the rows"
    (part,) = ask(*split(rows), IDENTIFIERS, kinds={**KINDS, "flight": "numeric"}, key=("flight", "day")).values()
    assert part.status is Status.PASS  # one column of several does not identify a row
    section = LeakageSection(allow=("order", "customer", "day"))
    (allowed,) = ask(*split(rows), IDENTIFIERS, kinds=kinds, section=section).values()
    assert (allowed.status, allowed.measurement.detail) == (Status.PASS, "exempt: order, customer, day")


def test_few_rows_cannot_tell_an_identifier():
    rows = with_column(make_rows(22, n=300), "name", pa.array([f"c{i}" for i in range(300)]))
    verdicts = ask(*split(rows), IDENTIFIERS, kinds={**KINDS, "name": "category"})
    verdict = verdicts["possible identifiers among the features"]
    assert (verdict.status, verdict.enough) == (Status.INCONCLUSIVE, 1000)
    assert "name" in verdict.measurement.detail


@pytest.mark.parametrize("time", ["at", "hour"])
def test_what_rises_or_falls_with_the_time_is_named(time):
    rows = make_rows(23)
    hour = rows["hour"].to_numpy()
    so_far = np.cumsum(rows["late"].to_numpy()[np.argsort(hour)])[np.argsort(np.argsort(hour))]
    rows = with_column(rows, "so_far", pa.array(-so_far.astype(float)))
    (verdict,) = ask(*split(rows), IDENTIFIERS, kinds={**KINDS, "so_far": "numeric"}, time=time).values()
    assert verdict.status is Status.FAIL
    assert verdict.measurement.detail.startswith("so_far follows the time (rank correlation -")
    (itself,) = ask(*split(rows), IDENTIFIERS, kinds={**KINDS, "hour": "numeric"}, time="hour").values()
    assert "hour is a time (int64)" in itself.measurement.detail


def test_rank_correlation_of_what_has_none():
    assert math.isnan(rank_correlation(np.arange(10.0), np.arange(10.0)))
    assert math.isnan(rank_correlation(np.arange(50.0), np.ones(50)))
    assert rank_correlation(np.arange(50.0), np.exp(np.arange(50.0))) == pytest.approx(1)


# time


def bursts(rows, seed, tight=40):
    """A target that comes in bursts, and a feature that roughly knows the hour: a count so far, noisy."""
    random = np.random.default_rng(seed)
    hour = rows["hour"].to_numpy()
    burst = random.random(N // tight + 1)[hour // tight] < 0.5
    late = (random.random(N) < np.where(burst, 0.9, 0.1)).astype(np.int64)
    rows = with_column(rows, "late", pa.array(late))
    rows = with_column(rows, "cost", pa.array(np.where(burst, 4.0, 0.0) + random.standard_normal(N)))
    return with_column(rows, "so_far", pa.array(hour + random.normal(0, tight / 8, N)))


def test_a_feature_that_knows_its_own_time_is_caught():
    kinds = {**KINDS, "so_far": "numeric"}
    name = "gain of AUC by having seen the time"
    rows = bursts(make_rows(1), 1, tight=200)
    verdict = ask(*split(rows), TIME, kinds=kinds, time="at")[name]
    assert verdict.status is Status.FAIL
    assert verdict.reason.startswith("a feature knows its own time")
    assert ask(*split(rows), TIME, time="at")[name].status is Status.PASS
    (error,) = ask(
        *split(rows), TIME, kinds=kinds, time="hour", task="regression", target="cost", threshold=None
    ).values()
    assert (error.status, error.measurement.name) == (Status.FAIL, "gain of rmse by having seen the time")


def test_where_the_time_is_not_asked_for():
    rows = make_rows(31)
    (undeclared,) = ask(*split(rows), TIME).values()
    assert (undeclared.status, undeclared.reason) == (Status.PASS, "no data.time is declared")
    ordered = rows.take(pa.array(np.argsort(rows["hour"].to_numpy())))
    (by_time,) = ask(*split(ordered), TIME, time="at").values()
    assert (by_time.status, by_time.reason) == (Status.PASS, "every test row is later than all training rows")
    for absent in ("no such column", "x", "town"):
        assert ask(*split(rows), TIME, time=absent).popitem()[1].status is Status.FAIL
    still = with_column(rows, "hour", pa.array(np.zeros(N, np.int64)))
    (same,) = ask(*split(still), TIME, time="hour").values()
    assert (same.status, same.reason) == (Status.PASS, "all training rows have the same time")
    timeless = with_column(rows, "hour", pa.nulls(N, pa.int64()))
    assert ask(*split(timeless), TIME, time="hour").popitem()[1].status is Status.INCONCLUSIVE


def test_later_rows_of_one_class_are_inconclusive():
    rows = make_rows(32)
    rows = with_column(rows, "late", pa.array(np.where(rows["hour"].to_numpy() > N / 2, 1, rows["late"].to_numpy())))
    (verdict,) = ask(*split(rows), TIME, time="hour").values()
    assert verdict.status is Status.INCONCLUSIVE


def test_the_boosted_model_learns_what_there_is():
    train, test = split(make_rows(33))
    known, asked = matrices(train, [test], KINDS, numbers="values")
    categories = np.array([kind == "category" for kind in KINDS.values()])
    labels, truth = (table["late"].to_numpy().astype(float) for table in (train, test))
    scores = boosted(known, labels, asked, categories=categories, k=2, seed=0)
    assert roc_auc_score(truth, scores) > 0.75
    three = boosted(known, places(train), asked, categories=categories, k=3, seed=0)
    assert three.shape == (test.num_rows, 3)
    np.testing.assert_allclose(three.sum(axis=1), 1)
    one = boosted(known, np.ones(len(known)), asked, categories=categories, k=2, seed=0)
    assert one.shape == (test.num_rows,)


def test_categories_beyond_what_the_booster_takes():
    random = np.random.default_rng(0)
    rows = pa.table({"town": [f"t{i}" for i in random.integers(0, 2000, 3000)], "late": random.integers(0, 2, 3000)})
    known, asked = matrices(*(lambda a, b: (a, [b]))(*split(rows)), {"town": "category"}, numbers="values")
    assert known.max() > 254
    assert np.isnan(asked).any()
    scores = boosted(known, rows["late"].to_numpy()[:2000], asked, categories=np.array([True]), k=2, seed=0)
    assert np.isfinite(scores).all()
