"""Groups that are served alike pass, an unfair one is named; the numbers are those of fairlearn and scikit-learn."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError
from scipy.special import expit
from scipy.stats import binom
from sklearn import metrics as theirs

from sluiceway.config.evaluation import EvaluationSection
from sluiceway.config.gates import FairnessSection
from sluiceway.core.verdict import Severity, Status
from sluiceway.gates.checks.fairness import GATE, fairness, group_scores
from sluiceway.gates.context import Champion, GateContext
from sluiceway.gates.group_metrics import JudgedRows, measure_groups
from sluiceway.gates.groups import groups_of, groups_of_values
from sluiceway.gates.statistics.auc import auc_interval, auc_variance

N = 6000
ORIGINS = ("EWR", "JFK", "LGA")


def draw(seed=1, n=N, groups=ORIGINS, spread=1.5):
    """Labels that the scores know as well in every group."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, spread, n)
    labels = (random.random(n) < expit(logits)).astype(float)
    return pa.table({"origin": random.choice(groups, n), "gender": random.choice(["f", "m"], n)}), labels, expit(logits)


@pytest.fixture(scope="module")
def drawn():
    return draw()


def judge(rows, labels, scores, *names, threshold=0.5, task="binary", train=None, champion=None, **options):
    section = FairnessSection(protected_attributes=names, **options)
    scored = JudgedRows(np.asarray(labels, dtype=float), np.asarray(scores), task, threshold)
    return fairness(rows, scored, section=section, train=train, champion=champion)


def by_name(output, text):
    (found,) = [v for v in output.verdicts if text in v.measurement.name]
    return found


def of(rows, name, value):
    return np.array(rows[name].to_pylist()) == value


def spoilt(rows, scores, name, value, seed=4):
    """The scores say nothing in one group."""
    worse = scores.copy()
    bad = of(rows, name, value)
    worse[bad] = np.random.default_rng(seed).random(int(bad.sum()))
    return worse


# the AUC gap


def test_equal_groups_pass_and_an_unfair_one_is_named(drawn):
    rows, labels, scores = drawn
    fair = by_name(judge(rows, labels, scores, "origin"), "AUC gap")
    assert fair.status is Status.PASS
    assert fair.measurement.name == "origin AUC gap"
    unfair = by_name(judge(rows, labels, spoilt(rows, scores, "origin", "JFK"), "origin"), "AUC gap")
    assert unfair.status is Status.FAIL
    assert "worst JFK 0." in unfair.measurement.detail
    assert unfair.measurement.low > 0.1
    smallest = min(int(of(rows, "origin", name).sum()) for name in ORIGINS)
    assert unfair.measurement.detail.startswith(f"in 3 groups, smallest {smallest:,}; worst JFK")
    assert f"n={N:,}, in 3 groups, smallest {smallest:,}" in unfair.line()


def test_fair_models_of_many_seeds_pass():
    found = [judge(*draw(seed, 3000), "origin", "gender") for seed in range(20)]
    assert {v.status for output in found for v in output.verdicts} == {Status.PASS}


@pytest.mark.parametrize(("groups", "draws"), [(("a", "b"), 250), (tuple("abcdef"), 250)])
def test_a_gap_of_chance_alone_is_called_sure_as_seldom_as_alpha_allows(groups, draws):
    alarms = 0
    for seed in range(draws):
        verdict = by_name(
            judge(*draw(seed, 250 * len(groups), groups), "origin", threshold=None, max_disparity=1e-6), "AUC gap"
        )
        alarms += verdict.status is Status.FAIL
        assert verdict.measurement.low <= verdict.measurement.value <= verdict.measurement.high
    assert alarms <= binom.ppf(0.999, draws, 0.05)


def test_the_interval_holds_the_true_gap_as_often_as_it_says():
    """Two groups whose AUC differs by a known amount: normal scores, d apart, have an AUC of Phi(d / sqrt(2))."""
    inside = 0
    for seed in range(400):
        random = np.random.default_rng(seed)
        labels, group = np.tile([0.0, 1.0], 300), np.repeat(["a", "b"], 300)
        scores = random.standard_normal(600) + labels * np.where(group == "a", 1.812388, 0.741614)  # 0.9 and 0.7
        found = judge(pa.table({"g": group}), labels, scores, "g", threshold=None).verdicts[0].measurement
        inside += found.low <= 0.2 <= found.high
    assert 0.925 <= inside / 400 <= 0.985


def test_small_groups_are_listed_and_missing_columns_fail(drawn):
    rows, labels, scores = drawn
    values = rows["origin"].to_pylist()
    values[:50] = ["TTN"] * 40 + [None] * 10
    output = judge(pa.table({"origin": values}), labels, scores, "origin", "height")
    verdict = by_name(output, "origin AUC gap")
    assert "too small to judge: TTN (40 rows), (missing) (10 rows)" in verdict.measurement.detail
    assert verdict.status is Status.PASS
    absent = by_name(output, "height")
    assert absent.status is Status.FAIL
    assert "'height' is not a column" in absent.reason


def test_missing_values_are_a_group_like_any_other(drawn):
    rows, labels, scores = drawn
    jfk = of(rows, "origin", "JFK")
    values = [None if bad else value for bad, value in zip(jfk, rows["origin"].to_pylist(), strict=True)]
    holed = pa.table({"origin": pa.array(values).dictionary_encode()})
    verdict = by_name(judge(holed, labels, spoilt(rows, scores, "origin", "JFK"), "origin"), "AUC gap")
    assert verdict.status is Status.FAIL
    assert "worst (missing)" in verdict.measurement.detail


def test_a_gap_that_may_be_chance_is_inconclusive_and_says_how_many_rows_would_do():
    random = np.random.default_rng(5)
    labels = np.tile([0.0, 1.0], 120)
    scores = labels * 0.8 + random.standard_normal(240)
    group = np.repeat(["a", "b"], 120)
    scores[group == "b"] += 0.5 * (1 - labels[group == "b"])
    verdict = by_name(judge(pa.table({"g": group}), labels, scores, "g", max_disparity=0.05), "AUC gap")
    assert verdict.measurement.value > 0.05
    assert verdict.status is Status.INCONCLUSIVE
    assert verdict.enough > 240


def test_a_sure_gap_between_large_groups_is_found_behind_a_small_extreme_one():
    random = np.random.default_rng(6)
    n = 8000
    labels = (random.random(n) < 0.5).astype(float)
    group = np.where(np.arange(n) < 100, "tiny", np.where(np.arange(n) % 2 == 0, "a", "b"))
    apart = np.select([group == "a", group == "b"], [3.0, 1.0], 0.4)
    scores = labels * apart + random.standard_normal(n)
    verdict = by_name(judge(pa.table({"g": group}), labels, scores, "g", threshold=None), "AUC gap")
    assert "worst tiny" in verdict.measurement.detail
    assert verdict.status is Status.FAIL
    assert "surest AUC: b below a by at least 0.2" in verdict.measurement.detail


def test_one_group_or_no_attribute_or_no_rows(drawn):
    rows, labels, scores = drawn
    one = judge(pa.table({"g": ["x"] * N}), labels, scores, "g").verdicts[0]
    assert (one.status, one.enough) == (Status.INCONCLUSIVE, None)
    none = judge(rows, labels, scores).verdicts[0]
    assert none.status is Status.PASS
    assert "no protected attribute is declared" in none.reason
    assert judge(rows.slice(0, 0), [], np.empty(0)).verdicts[0].status is Status.INCONCLUSIVE
    empty = judge(rows.slice(0, 0), [], np.empty(0), "origin", max_demographic_parity=0.1)
    assert {v.status for v in empty.verdicts} == {Status.INCONCLUSIVE}


def test_too_small_groups_say_how_many_rows_would_do(drawn):
    rows, labels, scores = drawn
    few = rows.slice(0, 150)
    verdict = judge(few, labels[:150], scores[:150], "gender", min_group_rows=150).verdicts[0]
    sizes = sorted([int(of(few, "gender", g).sum()) for g in ("f", "m")])
    assert verdict.status is Status.INCONCLUSIVE
    assert verdict.enough == -(-150 * 150 // sizes[0])
    assert f"({sizes[0]} rows)" in verdict.measurement.detail


def test_a_measurement_is_no_group(drawn):
    rows, labels, scores = drawn
    random = np.random.default_rng(7)
    aged = rows.append_column("age", pa.array(random.integers(18, 90, N)))
    verdict = judge(aged, labels, scores, "age").verdicts[0]
    assert verdict.status is Status.FAIL
    assert "72 different values of type int64" in verdict.reason
    assert "bins" in verdict.reason
    decades = rows.append_column("decade", pa.array(random.integers(1, 9, N)))
    assert judge(decades, labels, scores, "decade").verdicts[0].status is not Status.FAIL


def test_scores_that_are_no_numbers_fail(drawn):
    rows, labels, scores = drawn
    (verdict,) = judge(rows, labels, np.where(np.arange(N) < 3, np.nan, scores), "origin").verdicts
    assert (verdict.status, verdict.measurement.value) == (Status.FAIL, 3)


# intersections


def test_an_intersection_finds_what_each_attribute_hides(drawn):
    rows, labels, scores = drawn
    woman, jfk = of(rows, "gender", "f"), of(rows, "origin", "JFK")
    worse = scores.copy()
    worse[woman & jfk] = np.random.default_rng(8).random(int((woman & jfk).sum()))
    options = {"max_disparity": 0.2, "intersections": (("origin", "gender"),)}
    output = judge(rows, labels, worse, "gender", **options)
    assert (output.verdicts[0].measurement.name, output.verdicts[0].status) == ("gender AUC gap", Status.PASS)
    verdict = by_name(output, "origin & gender AUC gap")
    assert verdict.status is Status.FAIL
    assert "worst origin=JFK & gender=f" in verdict.measurement.detail
    assert {g.attribute for g in output.data.groups} == {"gender", "origin & gender"}
    assert len([g for g in output.data.groups if g.attribute == "origin & gender"]) == 6


def test_crossed_groups_hold_the_rows_of_both(drawn):
    rows, _, _ = drawn
    groups = groups_of(rows, ("origin", "gender"))
    expected = [
        f"origin={o} & gender={g}" for o, g in zip(*(rows[c].to_pylist() for c in ("origin", "gender")), strict=True)
    ]
    assert [groups.names[code] for code in groups.codes] == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"intersections": (("a",),)}, "two or more"),
        ({"intersections": (("a", "a"),)}, "two or more"),
        ({"protected_attributes": ("a",), "groups": {"b": ("x",)}}, "groups.b: it may be: a"),
    ],
)
def test_what_cannot_be_meant_is_refused(options, message):
    with pytest.raises(ValidationError, match=message):
        FairnessSection(**options)


# groups as a table may hold them


def test_groups_of_any_type_are_named_once():
    twice = pa.DictionaryArray.from_arrays(pa.array([0, 1, 2, None, 3]), pa.array(["a", "b", "unused", None]))
    groups = groups_of_values("g", pa.chunked_array([twice, pa.array(["b", "c"]).dictionary_encode().cast(twice.type)]))
    assert [groups.names[code] for code in groups.codes] == ["a", "b", "unused", "(missing)", "(missing)", "b", "c"]
    assert groups_of_values("g", pa.array([1.0, np.nan, None, 1.0])).rows.tolist() == [2, 2]
    assert groups_of_values("g", [True, False, True]).names == ("true", "false")
    assert groups_of_values("g", pa.array([], pa.string())).names == ()


# groups that ought to be there


def test_a_declared_group_without_rows_fails_and_a_small_one_is_inconclusive(drawn):
    rows, labels, scores = drawn
    output = judge(rows, labels, scores, "origin", groups={"origin": ("JFK", "SFO")})
    verdict = by_name(output, "origin missing groups")
    assert verdict.status is Status.FAIL
    assert verdict.measurement.detail == "SFO (declared)"
    there = judge(rows, labels, scores, "origin", groups={"origin": ORIGINS})
    assert by_name(there, "missing groups").status is Status.PASS
    values = rows["origin"].to_pylist()
    values[:40] = ["SFO"] * 40
    small = by_name(
        judge(pa.table({"origin": values}), labels, scores, "origin", groups={"origin": ("SFO",)}), "missing"
    )
    assert small.status is Status.INCONCLUSIVE
    assert "SFO (40 rows)" in small.reason
    assert small.enough == N * 100 // 40
    few = judge(rows[:50], labels[:50], scores[:50], "origin", groups={"origin": ("SFO",)})
    assert by_name(few, "missing groups").status is Status.FAIL


def test_a_large_group_of_the_training_rows_without_test_rows_fails(drawn):
    rows, labels, scores = drawn
    train = pa.table({"origin": [*rows["origin"].to_pylist(), *["SFO"] * 100, *["OAK"] * 99]})
    verdict = by_name(judge(rows, labels, scores, "origin", train=train), "missing groups")
    assert verdict.status is Status.FAIL
    assert verdict.measurement.detail == "SFO (100 training rows)"
    lacking = by_name(judge(rows, labels, scores, "origin", train=rows.select(["gender"])), "missing groups")
    assert lacking.status is Status.FAIL
    assert "training rows" in lacking.reason


# rates of decisions


def test_rates_are_shown_without_a_limit_and_judged_with_one(drawn):
    rows, labels, scores = drawn
    shown = judge(rows, labels, scores, "origin")
    for name in ("demographic parity", "equal opportunity", "equalized odds"):
        verdict = by_name(shown, name)
        assert (verdict.status, verdict.threshold) == (Status.PASS, None)
        assert verdict.reason == "reported, not judged"
        assert 0 <= verdict.measurement.low <= verdict.measurement.value <= verdict.measurement.high <= 1
    jfk = of(rows, "origin", "JFK")
    harsh = np.where(jfk, scores * 0.8, scores)
    limits = {"max_demographic_parity": 0.05, "max_equal_opportunity": 0.05, "max_equalized_odds": 0.05}
    judged = judge(rows, labels, harsh, "origin", **limits)
    for name in ("demographic parity", "equal opportunity", "equalized odds"):
        verdict = by_name(judged, name)
        assert verdict.status is Status.FAIL
        assert "lowest JFK" in verdict.measurement.detail
    fair = judge(rows, labels, scores, "origin", **dict.fromkeys(limits, 0.1))
    assert {v.status for v in fair.verdicts} == {Status.PASS}


def test_equalized_odds_sees_what_equal_opportunity_does_not(drawn):
    rows, labels, scores = drawn
    jfk = of(rows, "origin", "JFK")
    eager = np.where(jfk & (labels == 0), np.sqrt(scores), scores)
    output = judge(rows, labels, eager, "origin", max_equal_opportunity=0.1, max_equalized_odds=0.1)
    assert by_name(output, "equal opportunity").status is Status.PASS
    verdict = by_name(output, "equalized odds")
    assert verdict.status is Status.FAIL
    assert "false positive rate: lowest" in verdict.measurement.detail
    assert "highest JFK" in verdict.measurement.detail


def test_equal_rates_by_chance_are_called_unequal_as_seldom_as_alpha_allows():
    draws, alarms = 250, {"demographic parity": 0, "equal opportunity": 0, "equalized odds": 0}
    tiny = {"max_demographic_parity": 1e-6, "max_equal_opportunity": 1e-6, "max_equalized_odds": 1e-6}
    for seed in range(draws):
        output = judge(*draw(seed, 1200, tuple("abcd")), "origin", **tiny)
        for name in alarms:
            alarms[name] += by_name(output, name).status is Status.FAIL
    assert max(alarms.values()) <= binom.ppf(0.999, draws, 0.05)


def test_a_limit_on_decisions_that_nobody_takes_fails(drawn):
    rows, labels, scores = drawn
    verdict = by_name(judge(rows, labels, scores, "origin", threshold=None, max_equalized_odds=0.1), "equalized")
    assert verdict.status is Status.FAIL
    assert "without a threshold" in verdict.reason
    assert len(judge(rows, labels, scores, "origin", threshold=None).verdicts) == 1


def test_few_positives_leave_the_selection_rate(drawn):
    rows, _, scores = drawn
    rare = (np.arange(N) % 400 == 0).astype(float)
    output = judge(rows, rare, scores, "origin", max_demographic_parity=0.1, max_equal_opportunity=0.1)
    assert by_name(output, "demographic parity").status is Status.PASS
    for name in ("AUC gap", "equal opportunity"):
        verdict = by_name(output, name)
        assert verdict.status is Status.INCONCLUSIVE
        assert verdict.enough > N


# numbers against others'


def test_numbers_of_groups_are_those_of_scikit_learn_and_of_delong(drawn):
    rows, labels, scores = drawn
    coarse = np.round(scores, 1)  # with many ties
    for known in group_scores("origin", labels, coarse, rows["origin"], section=FairnessSection(), threshold=0.5):
        mine = of(rows, "origin", known.group)
        truth, given = labels[mine], coarse[mine]
        decided = given >= 0.5
        assert known.value == pytest.approx(theirs.roc_auc_score(truth, given), abs=1e-12)
        assert known.variance == pytest.approx(auc_variance(truth, given)[1], rel=1e-9)
        assert (known.low, known.high) == pytest.approx(auc_interval(truth, given)[1:], abs=1e-12)
        assert known.true_positive_rate == pytest.approx(theirs.recall_score(truth, decided))
        assert known.false_positive_rate == pytest.approx(1 - theirs.recall_score(truth, decided, pos_label=0))
        assert known.precision == pytest.approx(theirs.precision_score(truth, decided))
        assert known.selection_rate == pytest.approx(decided.mean())
        assert (known.n, known.positives) == (mine.sum(), truth.sum())


def test_differences_are_those_of_fairlearn(drawn):
    fairlearn = pytest.importorskip("fairlearn.metrics")
    rows, labels, scores = drawn
    harsh = np.where(of(rows, "origin", "JFK"), scores * 0.8, scores)
    output = judge(rows, labels, harsh, "origin", "gender", intersections=(("origin", "gender"),))
    for attribute, features in (
        ("origin", rows.select(["origin"])),
        ("gender", rows.select(["gender"])),
        ("origin & gender", rows),
    ):
        arguments = (labels, harsh >= 0.5)
        named = {"sensitive_features": features.to_pandas()}
        for ours, of_theirs in (
            ("demographic parity", fairlearn.demographic_parity_difference),
            ("equal opportunity", fairlearn.equal_opportunity_difference),
            ("equalized odds", fairlearn.equalized_odds_difference),
        ):
            (mine,) = [v for v in output.verdicts if v.measurement.name == f"{attribute} {ours} difference"]
            assert mine.measurement.value == pytest.approx(of_theirs(*arguments, **named), abs=1e-12)
        frame = fairlearn.MetricFrame(metrics=theirs.roc_auc_score, y_true=labels, y_pred=harsh, **named)
        (gap,) = [v for v in output.verdicts if v.measurement.name == f"{attribute} AUC gap"]
        assert gap.measurement.value == pytest.approx(frame.difference(method="between_groups"), abs=1e-12)


def test_the_report_gets_plain_numbers_and_at_most_200_groups(drawn):
    rows, labels, scores = drawn
    many = rows.append_column("town", pa.array([f"t{i % 3000}" for i in range(N)]))
    output = judge(many, labels, scores, "town", "origin", min_group_rows=1, min_group_positives=1)
    assert len(output.data.groups) == 103
    judged = [g for g in output.data.groups if g.attribute == "origin"]
    assert [g.n for g in judged] == sorted((g.n for g in judged), reverse=True)
    for group in output.data.groups:
        for value in asdict(group).values():
            assert type(value) in (int, float, str, bool)
    json.dumps([v.to_dict() for v in output.verdicts])


# against the champion


def champion(scores, note=""):
    return Champion("3", scores, 0.5, scorer=None, note=note)


def test_a_gap_larger_than_the_champions_is_found_and_one_that_it_has_too_is_not(drawn):
    rows, labels, scores = drawn
    worse = spoilt(rows, scores, "origin", "JFK")
    options = {"max_disparity": 1.0}
    grown = by_name(judge(rows, labels, worse, "origin", champion=champion(scores), **options), "champion")
    assert grown.measurement.name == "origin AUC gap above the champion's"
    assert grown.status is Status.FAIL
    assert "candidate 0.3" in grown.measurement.detail
    assert "(JFK to " in grown.measurement.detail
    assert "champion version 3 0.0" in grown.measurement.detail
    same = by_name(judge(rows, labels, worse, "origin", champion=champion(worse, "seen"), **options), "champion")
    assert (same.status, same.measurement.value) == (Status.PASS, 0)
    assert same.measurement.low == same.measurement.high == 0
    assert same.reason == "seen"
    assert len(judge(rows, labels, scores, "origin", threshold=None).verdicts) == 1


def test_the_interval_against_the_champion_is_that_of_pairs(drawn):
    rows, labels, scores = drawn
    candidate = scores + np.random.default_rng(9).normal(0, 0.05, N)
    found = by_name(judge(rows, labels, candidate, "gender", champion=champion(scores)), "champion").measurement
    values = []
    woman = of(rows, "gender", "f")
    # The extremes are fixed to those of the sample, as the formula has them.
    sign = [
        np.sign(auc_variance(labels[woman], s[woman])[0] - auc_variance(labels[~woman], s[~woman])[0])
        for s in (candidate, scores)
    ]
    random = np.random.default_rng(10)
    for _ in range(200):
        gaps = []
        draws = [random.choice(np.flatnonzero(inside), int(inside.sum())) for inside in (woman, ~woman)]
        for model, direction in zip((candidate, scores), sign, strict=True):
            one, two = (theirs.roc_auc_score(labels[rows_], model[rows_]) for rows_ in draws)
            gaps.append(direction * (one - two))
        values.append(gaps[0] - gaps[1])
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * np.std(values), rel=0.15)
    alone = by_name(judge(rows, labels, candidate, "gender"), "AUC gap").measurement
    assert found.high - found.low < 0.6 * (alone.high - alone.low)


def test_champions_as_good_by_chance_raise_no_alarm():
    draws, alarms = 150, 0
    for seed in range(draws):
        rows, labels, scores = draw(seed, 1200)
        random = np.random.default_rng(1000 + seed)
        first, second = (scores + random.normal(0, 0.2, 1200) for _ in range(2))
        output = judge(rows, labels, first, "origin", champion=champion(second), max_gap_increase=1e-6)
        alarms += by_name(output, "champion").status is Status.FAIL
    assert alarms <= binom.ppf(0.999, draws, 0.05)


# other kinds of models


def test_several_classes_are_compared_by_accuracy(drawn):
    rows, _, _ = drawn
    random = np.random.default_rng(11)
    labels = random.integers(0, 3, N)
    scores = np.eye(3)[np.where(random.random(N) < 0.8, labels, (labels + 1) % 3)]
    scored = {"task": "multiclass", "threshold": None}
    fair = judge(rows, labels, scores, "origin", **scored)
    assert [v.measurement.name for v in fair.verdicts] == ["origin accuracy gap"]
    assert fair.verdicts[0].status is Status.PASS
    jfk = of(rows, "origin", "JFK")
    mixed = jfk & (np.arange(N) % 2 == 0)
    worse = np.where(mixed[:, None], scores[:, [2, 0, 1]], scores)
    output = judge(rows, labels, worse, "origin", champion=champion(scores), max_demographic_parity=0.1, **scored)
    assert by_name(output, "accuracy gap above").status is Status.FAIL
    assert "multiclass" in by_name(output, "demographic parity").reason
    (found,) = [g for g in output.data.groups if g.group == "JFK"]
    right = worse.argmax(axis=1) == labels
    assert found.value == pytest.approx(right[jfk].mean())
    assert found.low < found.value < found.high
    (always,) = group_scores("all", labels, np.eye(3)[labels], ["x"] * N, section=FairnessSection(), task="multiclass")
    assert (always.value, always.variance > 0) == (1, True)


def test_a_regression_is_compared_by_its_relative_error(drawn):
    rows, _, _ = drawn
    random = np.random.default_rng(12)
    labels = random.normal(100, 20, N)
    jfk = of(rows, "origin", "JFK")
    scored = {"task": "regression", "threshold": None, "max_disparity": 0.2}
    noise = random.normal(0, 1, N)
    fair = judge(rows, labels, labels + noise, "origin", **scored)
    assert fair.verdicts[0].status is Status.PASS
    unfair = judge(rows, labels, labels + np.where(jfk, 5.0, 1.0) * noise, "origin", **scored).verdicts[0]
    assert unfair.measurement.name == "origin relative error gap"
    assert unfair.status is Status.FAIL
    assert "highest JFK" in unfair.measurement.detail
    assert unfair.measurement.high > unfair.measurement.value > 1


# as a gate


def context(rows, labels, scores, section, **more):
    return GateContext(
        "fairness", section, EvaluationSection(), ("x",), {"x": "numeric"}, "y", 0.5, test=rows, labels=labels,
        scores=scores, train=rows, **more,
    )  # fmt: skip


def test_the_gate_asks_for_what_it_needs_and_says_that_the_champion_cannot_be_compared(drawn):
    rows, labels, scores = drawn
    section = FairnessSection(protected_attributes=("origin",))
    assert section.columns == ("origin",)
    assert GATE.needs == {"test", "train", "champion"}
    output = GATE.function(context(rows, labels, scores, section, champion_error="it is of another kind"))
    verdict = by_name(output, "champion")
    assert (verdict.status, verdict.severity) == (Status.INCONCLUSIVE, Severity.WARN)
    assert verdict.reason == "it is of another kind"
    good = GATE.function(context(rows, labels, scores, section, champion=champion(scores)))
    assert {v.status for v in good.verdicts} == {Status.PASS}
    assert {v.check for v in good.verdicts} == {"fairness"}
    assert len(good.data.groups) == 3


@pytest.mark.parametrize(
    "twice",
    [
        {"protected_attributes": ("a", "b", "a")},
        {"protected_attributes": ("a", "b"), "intersections": (("a", "b"), ("b", "a"))},
    ],
)
def test_what_is_judged_twice_is_refused(twice):
    with pytest.raises(ValidationError, match="stands there twice"):
        FairnessSection(**twice)


def test_of_a_group_with_one_class_only_nobody_knows_how_many_rows_would_be_enough(drawn):
    rows, labels, scores = drawn
    one = np.where(of(rows, "gender", "m"), 0.0, labels)
    verdict = by_name(judge(rows, one, scores, "gender"), "AUC gap")
    assert (verdict.status, verdict.enough) == (Status.INCONCLUSIVE, None)


def test_arrays_that_nobody_may_write_to_are_enough(drawn):
    rows, labels, scores = drawn
    frozen = [np.array(values) for values in (labels, scores)]
    for values in frozen:
        values.setflags(write=False)
    groups = groups_of(rows, ("origin",))
    assert measure_groups(groups, JudgedRows(*frozen, threshold=0.5), FairnessSection()).judged.all()
