"""Robustness: a smooth model passes, a brittle feature is named, and the numbers are those of plain scikit-learn."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError
from scipy.special import expit, softmax
from sklearn.metrics import roc_auc_score

from sluiceway.config.evaluation import EvaluationSection, RobustnessSection
from sluiceway.core.verdict import Status
from sluiceway.gates.checks.robustness import GATE, MOST_POINTS
from sluiceway.gates.context import Champion, GateContext
from sluiceway.gates.disturbances import ABOVE, BELOW, UNSEEN, Disturbances, drawn_rows, ends_of
from sluiceway.gates.statistics.row_parts import (
    auc_estimate,
    difference_of,
    estimate_of,
    relative_change,
    rmse_estimate,
)

KINDS = {"delay": "numeric", "distance": "numeric", "weekend": "numeric", "carrier": "category"}
N = 4000


class Truth:
    """A scorer that knows how the rows were made; missing values count as the average."""

    def score(self, rows):
        delay = np.nan_to_num(rows["delay"].to_numpy().astype(float), nan=0.0)
        distance = np.nan_to_num(rows["distance"].to_numpy().astype(float), nan=1300.0)
        carrier = np.array(rows["carrier"].to_pylist(), dtype=object)
        return expit(delay / 5 + (distance - 1300) / 1000 + np.where(carrier == "B6", 0.7, 0.0))


class Brittle(Truth):
    """Has learned the distances of the test rows, to the last digit."""

    def __init__(self, rows, labels):
        self.known = dict(zip(rows["distance"].to_numpy().tolist(), labels.tolist(), strict=True))

    def score(self, rows):
        given = rows["distance"].to_numpy().astype(float)
        return np.array([self.known.get(value, 0.5) for value in given]) + 0.01 * super().score(rows)


class Seen(Truth):
    """Keeps what it was asked."""

    def __init__(self):
        self.tables = []

    def score(self, rows):
        self.tables.append(rows)
        return super().score(rows)


def make_rows(seed=1, n=N):
    random = np.random.default_rng(seed)
    delay, distance = random.normal(0, 10, n), random.uniform(100, 2500, n)
    carrier = random.choice(["AA", "B6", "UA"], n)
    logit = delay / 5 + (distance - 1300) / 1000 + np.where(carrier == "B6", 0.7, 0.0)
    late = (random.random(n) < expit(logit)).astype(np.int64)
    weekend = pa.array(random.random(n) < 0.3)
    columns = {"delay": delay, "distance": distance, "weekend": weekend, "carrier": carrier, "late": late}
    return pa.table({**columns, "origin": random.choice(["EWR", "JFK"], n)})


def make_context(rows, scorer, labels=None, *, section=None, part="", champion=None, **given):
    labels = rows["late"].to_numpy().astype(float) if labels is None else labels
    given = {"kinds": KINDS, "threshold": 0.5, "evaluation": EvaluationSection(), **given}
    return GateContext(
        gate="robustness",
        section=section or RobustnessSection(),
        features=tuple(given["kinds"]),
        target="late",
        part=part,
        test=rows,
        labels=labels,
        scores=np.asarray(scorer.score(rows), dtype=float) if rows.num_rows else np.empty(0),
        scorer=scorer,
        champion=champion,
        **given,
    )


def run(rows, scorer, labels=None, *, only="", **given):
    """Verdicts by name, and what is drawn, of all parts or of those that begin with a text."""
    plain = make_context(rows, scorer, labels, **given)
    names = [name for name in GATE.parts(plain) if name.startswith(only)]
    outputs = [GATE.function(make_context(rows, scorer, labels, part=name, **given)) for name in names]
    verdicts = {v.measurement.name: v for output in outputs for v in output.verdicts}
    return verdicts, [one for output in outputs for one in output.data.disturbances]


def champion_of(rows, scorer, **given):
    return Champion("3", np.asarray(scorer.score(rows), dtype=float), 0.5, scorer, **given)


@pytest.fixture(scope="module")
def rows():
    return make_rows()


@pytest.fixture(scope="module")
def labels(rows):
    return rows["late"].to_numpy().astype(float)


def test_a_smooth_model_passes_and_every_disturbance_is_a_task_of_its_own(rows):
    verdicts, drawn = run(rows, Truth())
    assert {v.status for v in verdicts.values()} == {Status.PASS}
    assert list(verdicts) == [
        "loss under noise of 0.001 std",
        "loss under noise of 0.01 std",
        "loss under noise of 0.1 std",
        "loss under 1 % missing values",
        "loss under noise of 0.001 std in one feature",
        "loss under noise of 0.01 std in one feature",
        "loss under noise of 0.1 std in one feature",
        "loss under 1 % missing values in one feature",
        "loss under categories never seen in one feature",
        "loss under numbers out of range in one feature",
        "loss under numbers 1000 times too large in one feature",
    ]
    assert all(v.check == "robustness" and v.measurement.n == N for v in verdicts.values())
    # 3 noises of all and of 2 numbers each, holes in all and in each of 4, 1 text, 2 sides of 2 numbers, 2 units
    assert len(drawn) == 3 + 6 + 1 + 4 + 1 + 4 + 2
    assert run(rows, Truth())[0] == verdicts
    assert run(rows, Truth(), seed=1)[0] != verdicts
    alone, _ = run(rows, Truth(), only="noise of 0.01 std in one")
    assert alone == {name: verdicts[name] for name in alone}


def test_parts_need_no_rows_and_only_what_is_asked_for():
    section = RobustnessSection(noise_stds=(), missing_share=0, max_unseen_loss=0.1)
    empty = GateContext("robustness", section, EvaluationSection(), ("a",), {"a": "category"}, "late", 0.5)
    assert GATE.parts(empty) == ["categories never seen in one feature"]


def test_nothing_that_is_judged_is_no_pass():
    with pytest.raises(ValidationError, match="nothing is asked for: give noise_stds"):
        RobustnessSection(noise_stds=(), missing_share=0)
    section = RobustnessSection(missing_share=0)
    for kinds in ({}, {"a": "category"}):  # which have no noise
        context = GateContext("robustness", section, EvaluationSection(), tuple(kinds), kinds, "late", 0.5)
        part = GATE.parts(context)[-1]
        (verdict,) = GATE.function(dataclasses.replace(context, part=part)).verdicts
        assert verdict.status is Status.INCONCLUSIVE
        assert "none is asked for that these features can have" in verdict.reason


def test_so_few_rows_that_nothing_can_be_lost_are_no_pass(rows, labels):
    few = np.concatenate([np.flatnonzero(labels == 1)[:10], np.flatnonzero(labels == 0)[:10]])
    section = RobustnessSection(max_flips=0.5)
    verdicts, _ = run(rows.take(pa.array(few)), Truth(), section=section, only="noise of 0.001 std")
    assert {(v.status, v.reason, v.enough) for v in verdicts.values()} == {(Status.INCONCLUSIVE, "too few rows", 30)}
    assert len(verdicts) == 4
    rare = np.concatenate([np.flatnonzero(labels == 1)[:5], np.flatnonzero(labels == 0)[:95]])
    verdicts, _ = run(rows.take(pa.array(rare)), Truth(), only="noise of 0.001 std")
    assert {(v.status, v.enough) for v in verdicts.values()} == {(Status.INCONCLUSIVE, 200)}


def test_where_nothing_can_be_measured_no_feature_is_said_to_be_beyond_the_limit(rows, labels):
    ones = rows.take(pa.array(np.flatnonzero(labels == 1)))
    verdicts, _ = run(ones, Truth())
    for verdict in verdicts.values():
        assert verdict.status is not Status.PASS
        assert verdict.measurement.detail == "all rows are of class 1"
        assert verdict.enough is None
    assert {v.status for v in run(ones.slice(0, 1), Truth(), only="noise")[0].values()} == {Status.INCONCLUSIVE}

    class Breaks(Truth):
        def score(self, rows):
            gone = [np.isnan(rows[name].to_numpy().astype(float)) for name in ("delay", "distance")]
            return np.where(gone[0] | gone[1], np.nan, super().score(rows))

    verdicts, _ = run(rows, Breaks(), only="1 % missing values in one")
    (verdict,) = verdicts.values()
    assert verdict.measurement.detail.endswith("also without a value: distance")
    assert "beyond the limit" not in verdict.line()


def test_a_shown_loss_without_a_value_is_no_pass(rows):
    class Refuses(Truth):
        def score(self, rows):
            unseen = np.array(rows["carrier"].to_pylist(), dtype=object) == UNSEEN
            return np.where(unseen, np.nan, super().score(rows))

    (verdict,) = run(rows, Refuses(), only="categories")[0].values()
    assert (verdict.status, verdict.blocks) == (Status.INCONCLUSIVE, False)
    assert verdict.reason == "no value; reported, not judged"


def test_a_brittle_feature_is_named(rows, labels):
    verdicts, drawn = run(rows, Brittle(rows, labels), only="noise")
    for name, verdict in verdicts.items():
        assert verdict.status is Status.FAIL, name
        assert verdict.measurement.low > 0.05
    one = verdicts["loss under noise of 0.001 std in one feature"]
    assert "worst: distance" in one.measurement.detail
    assert "delay" not in one.measurement.detail
    losses = {(d.feature, d.size): d.loss for d in drawn}
    assert losses["distance", 0.001] > 0.1 > 0.01 > abs(losses["delay", 0.001])


def test_several_features_beyond_the_limit_are_all_named(rows):
    section = RobustnessSection(max_unit_loss=0.05)
    verdicts, _ = run(rows, Truth(), section=section, only="numbers 1000")
    (verdict,) = verdicts.values()
    assert verdict.status is Status.FAIL
    assert verdict.measurement.detail.startswith("worst: distance")
    assert verdict.measurement.detail.endswith("also beyond the limit: delay")


def test_the_loss_is_that_of_scikit_learn_on_the_same_disturbed_rows(rows, labels):
    model = Seen()
    verdicts, _ = run(rows, model, only="noise of 0.1 std")
    undisturbed = roc_auc_score(labels, Truth().score(rows))
    disturbed = roc_auc_score(labels, Truth().score(model.tables[2]))  # after the scores of both contexts
    measured = verdicts["loss under noise of 0.1 std"].measurement
    assert measured.value == pytest.approx((undisturbed - disturbed) / undisturbed)
    assert measured.low < measured.value < measured.high


def test_noise_leaves_whole_numbers_whole_and_booleans_alone(rows):
    counted = rows.set_column(0, "delay", pa.array(np.rint(rows["delay"].to_numpy()).astype(np.int64)))
    model = Seen()
    run(counted, model, only="noise of 0.1")
    delays = [table["delay"].to_numpy().astype(float) for table in model.tables]
    assert all((delay == np.rint(delay)).all() for delay in delays)
    assert any((delay != delays[0]).any() for delay in delays)
    assert all(table["weekend"] == counted["weekend"] for table in model.tables)


def test_noise_has_the_size_of_the_feature_and_keeps_what_is_missing(rows):
    holed = rows.set_column(1, "distance", pa.array([None, *rows["distance"].to_pylist()[1:]]))
    model = Seen()
    run(holed, model, only="noise of 0.1 std")
    given = model.tables[2]
    assert given["distance"].null_count == 1
    for name in ("delay", "distance"):
        before, after = (table[name].to_numpy().astype(float)[1:] for table in (holed, given))
        assert (after - before).std() == pytest.approx(0.1 * before.std(), rel=0.05)
    carrier, again = (set(table["carrier"].to_pylist()) for table in (holed, given))
    assert carrier == again


def test_missing_values_are_judged_and_the_worst_feature_is_named(rows):
    class NoMissing(Truth):
        def score(self, rows):
            return np.where(np.isnan(rows["delay"].to_numpy().astype(float)), 0.5, super().score(rows))

    section = RobustnessSection(missing_share=0.5)
    verdicts, drawn = run(rows, NoMissing(), section=section, only="50 %")
    assert verdicts["loss under 50 % missing values"].status is Status.FAIL
    one = verdicts["loss under 50 % missing values in one feature"]
    assert one.status is Status.FAIL
    assert "worst: delay" in one.measurement.detail
    assert {d.feature for d in drawn} == {"", *KINDS}


@pytest.mark.parametrize("encoded", [False, True])
def test_what_is_never_seen_out_of_range_and_in_another_unit(rows, encoded):
    if encoded:
        rows = rows.set_column(3, "carrier", rows["carrier"].combine_chunks().dictionary_encode())
    maker = Disturbances(rows, KINDS, weights=np.ones(N), ends=ends_of(rows, KINDS) | {"weekend": (0.0, 1.0)}, seed=0)
    assert (maker.numbers, maker.texts) == (("delay", "distance"), ("carrier",))
    assert set(maker.column("unseen", "carrier", 0).to_pylist()) == {UNSEEN}
    values = rows["distance"].to_numpy()
    width = values.max() - values.min()
    assert set(maker.column("range", "distance", ABOVE).to_pylist()) == {values.max() + width}
    assert set(maker.column("range", "distance", BELOW).to_pylist()) == {values.min() - width}
    np.testing.assert_allclose(maker.column("unit", "distance", 0).to_numpy(), 1000 * values)
    holed = maker.column("missing", "carrier", 0.3)
    assert holed.type == rows["carrier"].type
    assert 0.25 < holed.null_count / N < 0.35
    kept = [(a, b) for a, b in zip(holed.to_pylist(), rows["carrier"].to_pylist(), strict=True) if a is not None]
    assert all(a == b for a, b in kept)


def test_numbers_that_no_model_takes_are_cut():
    rows = pa.table({"a": [1e36, -1e36, None, math.inf, 5.0]})
    maker = Disturbances(rows, {"a": "numeric"}, weights=np.ones(5), ends=ends_of(rows, {"a": "numeric"}), seed=0)
    for kind, size in (("unit", 0), ("range", ABOVE), ("range", BELOW), ("noise", 1000.0)):
        found = maker.column(kind, "a", size).to_pylist()
        assert found[2] is None
        assert max(abs(value) for value in found if value is not None) <= 3e38
    assert ends_of(rows, {"a": "numeric"}) == {"a": (-1e36, 1e36)}
    assert ends_of(pa.table({"a": pa.nulls(3, pa.float64())}), {"a": "numeric"}) == {}


def test_what_has_no_limit_is_shown_and_judged_where_it_has_one(rows):
    names = {"categories": "max_unseen_loss", "numbers out": "max_range_loss", "numbers 1000": "max_unit_loss"}
    for only, option in names.items():
        (shown,) = run(rows, Truth(), only=only)[0].values()
        assert (shown.status, shown.threshold, shown.reason) == (Status.PASS, None, "reported, not judged")
        (judged,) = run(rows, Truth(), only=only, section=RobustnessSection(**{option: 1e-4}))[0].values()
        assert judged.threshold.limit == 1e-4
        assert judged.status is not Status.PASS
    assert "carrier" in run(rows, Truth(), only="categories")[0].popitem()[1].measurement.detail
    (sided,) = run(rows, Truth(), only="numbers out")[0].values()
    assert sided.measurement.detail.startswith(("worst: delay (above)", "worst: delay (below)"))


def test_flipped_decisions_are_told_and_judged_where_asked(rows):
    model = Seen()
    plain, drawn = run(rows, model, only="noise of 0.1 std")
    assert not any("decisions" in name for name in plain)
    flipped = ((Truth().score(model.tables[2]) >= 0.5) != (Truth().score(rows) >= 0.5)).mean()
    assert next(d.flips for d in drawn if not d.feature) == pytest.approx(flipped)
    assert f"{flipped:.2%} of the decisions change" in plain["loss under noise of 0.1 std"].measurement.detail
    name = "decisions that change under noise of 0.1 std"
    strict = run(rows, Truth(), only="noise of 0.1 std", section=RobustnessSection(max_flips=0.005))[0]
    assert strict[name].status is Status.FAIL
    assert strict[name].measurement.low > 0.005
    assert strict[f"{name} in one feature"].measurement.detail == "worst: delay"
    assert (
        run(rows, Truth(), only="noise of 0.1 std", section=RobustnessSection(max_flips=0.2))[0][name].status == "PASS"
    )
    undecided = run(rows, Truth(), only="noise of 0.1", section=RobustnessSection(max_flips=0.1), threshold=None)[0]
    assert (undecided[name].status, undecided[name].threshold.limit) == (Status.FAIL, 0.1)
    assert undecided[name].reason == "the model decides nothing, and max_flips asks for it"


def test_a_champion_that_loses_more_raises_the_limit(rows, labels):
    brittle = Brittle(rows, labels)
    weak = champion_of(rows, brittle)
    verdicts, drawn = run(rows, brittle, only="noise of 0.01 std", champion=weak)
    for verdict in verdicts.values():
        assert verdict.status is Status.PASS
        assert verdict.threshold.limit == pytest.approx(verdict.measurement.value)
        assert "the champion loses" in verdict.measurement.detail
    joint = next(d for d in drawn if not d.feature)
    assert joint.champion_loss == joint.loss == joint.limit
    firm = champion_of(rows, Truth())
    for verdict in run(rows, brittle, only="noise of 0.01 std", champion=firm)[0].values():
        assert (verdict.status, verdict.threshold.limit) == (Status.FAIL, 0.05)


def test_a_champion_with_other_features_is_given_all_columns_of_the_disturbed_rows(rows):
    class Other:
        def score(self, rows):
            self.table = rows
            return np.where(np.array(rows["origin"].to_pylist()) == "JFK", 0.6, 0.4) + expit(rows["delay"].to_numpy())

    model, other = Seen(), Other()
    champion = champion_of(rows, other)
    run(rows, model, only="noise of 0.1 std", champion=champion)
    assert "origin" not in model.tables[-1].column_names
    assert other.table["origin"] == rows["origin"]
    assert other.table["delay"] != rows["delay"]


def test_a_champion_that_cannot_score_disturbed_rows_sets_no_limit(rows, labels):
    class Refuses(Truth):
        def score(self, rows):
            raise ValueError("no such category")

    champion = Champion("3", Truth().score(rows), 0.5, Refuses())
    verdicts, drawn = run(rows, Brittle(rows, labels), only="noise of 0.01 std", champion=champion)
    assert {(v.status, v.threshold.limit) for v in verdicts.values()} == {(Status.FAIL, 0.05)}
    assert all(math.isnan(d.champion_loss) for d in drawn)


def test_a_loss_that_may_be_chance_is_inconclusive_and_says_how_many_rows_would_settle_it():
    rows = make_rows(seed=3, n=120)

    class Forgets(Truth):
        def score(self, rows):
            scores = super().score(rows)
            return np.where(np.isnan(rows["delay"].to_numpy().astype(float)), 0.5, scores)

    section = RobustnessSection(missing_share=0.2, max_metric_loss=0.02)
    verdicts, _ = run(rows, Forgets(), section=section, only="20 % missing values")
    verdict = verdicts["loss under 20 % missing values"]
    assert verdict.measurement.low < 0.02 < verdict.measurement.value
    assert verdict.status is Status.INCONCLUSIVE
    assert verdict.enough > 120


def test_a_regression_loses_root_mean_squared_error(rows):
    target = rows["delay"].to_numpy() * 2

    class Twice:
        def score(self, rows):
            return rows["delay"].to_numpy().astype(float) * 2 + 1

    section = RobustnessSection(missing_share=0, max_flips=0.1)
    verdicts, drawn = run(rows, Twice(), target, section=section, task="regression", threshold=None, only="noise")
    assert verdicts["loss under noise of 0.001 std"].status is Status.PASS
    assert verdicts["loss under noise of 0.1 std"].status is Status.FAIL
    assert "delay" in verdicts["loss under noise of 0.1 std in one feature"].measurement.detail
    assert verdicts["decisions that change under noise of 0.1 std"].status is Status.FAIL
    assert all(math.isnan(d.flips) for d in drawn)

    class Exact(Twice):
        def score(self, rows):
            return super().score(rows) - 1

    perfect, _ = run(rows, Exact(), target, section=section, task="regression", threshold=None, only="noise of 0.1 std")
    assert perfect["loss under noise of 0.1 std"].status is Status.FAIL  # from no error to some


def test_several_classes_lose_their_mean_auc_and_change_decisions():
    random = np.random.default_rng(1)
    rows = pa.table({"a": random.standard_normal(N), "b": random.standard_normal(N), "kind": ["x", "y"] * (N // 2)})
    kinds = {"a": "numeric", "b": "numeric", "kind": "category"}

    class Three:
        def score(self, rows):
            a, b = (np.nan_to_num(rows[name].to_numpy().astype(float)) for name in "ab")
            return softmax(np.column_stack([2 * a - 1, 1 + 0 * a, 2 * b]), axis=1)

    class Digits(Three):
        def score(self, given):
            known = np.isclose(given["a"].to_numpy().astype(float), rows["a"].to_numpy(), atol=1e-9)
            return np.where(known[:, None], super().score(given), np.full((N, 3), 1 / 3))

    labels = (random.random((N, 1)) > Three().score(rows).cumsum(axis=1)).sum(axis=1).clip(0, 2).astype(float)
    options = {"kinds": kinds, "task": "multiclass", "threshold": None, "classes": ("bad", "fair", "good")}
    verdicts, drawn = run(rows, Three(), labels, **options)
    assert {v.status for v in verdicts.values()} == {Status.PASS}
    flips = {d.size: d.flips for d in drawn if d.kind == "noise" and not d.feature}
    assert 0 <= flips[0.001] < flips[0.1] < 0.2
    brittle, _ = run(rows, Digits(), labels, only="noise", **options)
    assert {v.status for v in brittle.values()} == {Status.FAIL}
    assert "worst: a" in brittle["loss under noise of 0.001 std in one feature"].measurement.detail


def test_without_rows_or_with_nothing_to_disturb(rows):
    empty, drawn = run(rows.slice(0, 0), Truth(), np.empty(0))
    assert {v.status for v in empty.values()} == {Status.INCONCLUSIVE}
    assert drawn == []
    flags = pa.table({"weekend": rows["weekend"], "late": rows["late"]})

    class Flag:
        def score(self, rows):
            return np.where(np.array(rows["weekend"].to_pylist(), dtype=object) == True, 0.6, 0.4)  # noqa: E712

    verdicts, _ = run(flags, Flag(), kinds={"weekend": "numeric"}, only="noise")
    assert {(v.status, v.reason) for v in verdicts.values()} == {(Status.PASS, "no feature can be disturbed like that")}


def test_a_model_that_gives_no_number_fails(rows):
    class Breaks(Truth):
        def score(self, rows):
            delay = rows["delay"].to_numpy().astype(float)
            return np.where(np.isnan(delay), np.nan, super().score(rows))

    verdicts, _ = run(rows, Breaks(), only="1 % missing")
    assert {v.status for v in verdicts.values()} == {Status.FAIL}
    assert "delay" in verdicts["loss under 1 % missing values in one feature"].measurement.detail


def test_the_rarest_class_is_drawn_whole_and_the_same_rows_come_each_time():
    labels = np.zeros(50_000)
    labels[::500] = 1
    drawn = drawn_rows(labels, 2000, classes=True, seed=4)
    assert len(drawn.places) == 2000
    assert (np.diff(drawn.places) > 0).all()
    assert labels[drawn.places].sum() == 100
    assert drawn.weights.sum() == pytest.approx(50_000)
    assert 1000 < drawn.worth < 2000
    np.testing.assert_array_equal(drawn.places, drawn_rows(labels, 2000, classes=True, seed=4).places)
    assert set(drawn_rows(labels, 500, classes=True, seed=4).places) < set(drawn.places)
    plain = drawn_rows(labels, 2000, classes=False, seed=4)
    assert len(plain.places) == 2000
    assert plain.weights.sum() == pytest.approx(50_000)
    assert len(drawn_rows(labels[:50], 2000, classes=True, seed=4).places) == 50
    three = np.repeat([0.0, 1.0, 2.0], [10, 4000, 6000])
    counts = np.bincount(three[drawn_rows(three, 1000, classes=True, seed=0).places].astype(int))
    assert counts.tolist() == [10, 495, 495]


def test_a_drawn_sample_tells_of_all_rows():
    rows = make_rows(seed=9, n=20_000)
    labels = rows["late"].to_numpy().astype(float)
    whole = run(rows, Truth(), only="noise of 0.1 std", section=RobustnessSection(rows=20_000))[1]
    some = run(rows, Truth(), only="noise of 0.1 std", section=RobustnessSection(rows=4000))
    assert {v.measurement.n for v in some[0].values()} == {4000}
    joint, part = (next(d for d in drawn if not d.feature) for drawn in (whole, some[1]))
    assert part.flips == pytest.approx(joint.flips, abs=0.006)
    assert part.low <= joint.loss <= part.high
    assert labels.mean() != 0.5


def test_the_report_gets_the_worst_features_only():
    random = np.random.default_rng(0)
    names = [f"f{i}" for i in range(60)]
    rows = pa.table({name: random.standard_normal(300) for name in names} | {"late": random.integers(0, 2, 300)})

    class Sum:
        def score(self, rows):
            return expit(sum((i + 1) / 30 * rows[f"f{i}"].to_numpy() for i in range(60)))

    _, drawn = run(rows, Sum(), kinds=dict.fromkeys(names, "numeric"), only="noise of 0.1 std in one")
    assert len(drawn) == MOST_POINTS
    assert [d.loss for d in drawn] == sorted((d.loss for d in drawn), reverse=True)


def test_where_no_value_is_changed_nothing_has_been_judged(rows):
    flags = pa.table({"weekend": rows["weekend"], "late": rows["late"]})

    class Flag:
        def score(self, rows):
            return np.where(np.array(rows["weekend"].to_pylist(), dtype=object) == 1, 0.6, 0.4)

    def judged(table, section):
        return {
            v.status
            for v in run(table, Flag(), section=section, kinds={"weekend": "numeric"}, only="noise")[0].values()
        }

    assert judged(flags, RobustnessSection(missing_share=0)) == {Status.INCONCLUSIVE}
    assert judged(flags, RobustnessSection(missing_share=1e-9)) == {Status.INCONCLUSIVE}
    whole = flags.set_column(0, "weekend", flags["weekend"].cast(pa.int64()))
    assert judged(whole, RobustnessSection(missing_share=0)) == {Status.INCONCLUSIVE}
    assert judged(whole, RobustnessSection(missing_share=0, noise_stds=(0.01, 2.0), max_metric_loss=1)) == {Status.PASS}
    section = RobustnessSection(missing_share=0, noise_stds=(0.01, 2.0), max_metric_loss=1, max_flips=1)
    small, _ = run(whole, Flag(), section=section, kinds={"weekend": "numeric"}, only="noise of 0.01 std")
    assert all(
        v.status is Status.PASS and v.measurement.detail.endswith("no value was changed") for v in small.values()
    )
    large, _ = run(whole, Flag(), section=section, kinds={"weekend": "numeric"}, only="noise of 2 std")
    assert not any("no value was changed" in v.line() for v in large.values())


# pairs


def bootstrapped(labels, columns, statistic, seed=0, draws=400):
    random = np.random.default_rng(seed)
    places = [random.integers(0, len(labels), len(labels)) for _ in range(draws)]
    return np.std([statistic(labels[p], *(c[p] for c in columns)) for p in places])


def test_the_interval_of_a_pair_is_as_wide_as_a_paired_bootstrap_says(rows, labels):
    first = Truth().score(rows)
    second = expit(np.log(first / (1 - first)) + np.random.default_rng(1).normal(0, 1, N))
    expected = bootstrapped(
        labels, [first, second], lambda y, a, b: roc_auc_score(y, b) / roc_auc_score(y, a), draws=200
    )
    before, after = auc_estimate(labels, first), auc_estimate(labels, second)
    value, low, high = relative_change(before, after)
    assert value == pytest.approx(roc_auc_score(labels, second) / roc_auc_score(labels, first) - 1)
    assert (high - low) / (2 * 1.96) == pytest.approx(expected, rel=0.15)
    alone = math.sqrt((before.parts**2).sum() + (after.parts**2).sum())
    assert (high - low) / (2 * 1.96) < alone / 1.5
    difference = difference_of(before, after)
    assert difference[0] == pytest.approx(after.value - before.value)
    assert difference[1] < difference[0] < difference[2]


def test_the_pair_of_two_errors():
    random = np.random.default_rng(2)
    truth = random.normal(0, 3, 2000)
    first = truth + random.normal(0, 1, 2000)
    second = first + random.normal(0, 0.5, 2000)

    def rmse(y, guess):
        return math.sqrt(((y - guess) ** 2).mean())

    value, low, high = relative_change(rmse_estimate(truth, first), rmse_estimate(truth, second))
    assert value == pytest.approx(rmse(truth, second) / rmse(truth, first) - 1)
    expected = bootstrapped(truth, [first, second], lambda y, a, b: rmse(y, b) / rmse(y, a) - 1)
    assert (high - low) / (2 * 1.96) == pytest.approx(expected, rel=0.15)
    exact = rmse_estimate(truth, truth)
    assert relative_change(exact, exact)[0] == 0
    assert relative_change(exact, rmse_estimate(truth, first))[0] == math.inf


def test_estimates_that_cannot_be_taken():
    assert math.isnan(auc_estimate(np.ones(5), np.arange(5.0)).value)
    assert math.isnan(auc_estimate(np.array([0.0, 1.0]), np.array([0.5, np.nan])).value)
    assert math.isnan(auc_estimate(np.zeros(4), np.ones((4, 3))).value)
    assert math.isnan(rmse_estimate(np.empty(0), np.empty(0)).value)
    present = estimate_of("auc_roc", np.array([0.0, 1.0, 0.0, 1.0]), np.array([[0.9, 0.1, 0], [0.2, 0.8, 0]] * 2))
    assert present.value == 1  # the third class has no row
