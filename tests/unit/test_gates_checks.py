"""A clean model passes every gate; each planted fault is caught by the gate that is there for it, and named."""

from __future__ import annotations

import json
from datetime import date

import numpy as np
import pyarrow as pa
import pytest
from scipy.special import expit

from sluiceway.config.evaluation import (
    DataQualitySection,
    EvaluationSection,
    FairnessSection,
    RobustnessSection,
    WaiverSection,
)
from sluiceway.core.errors import ConfigError, SchemaMismatchError
from sluiceway.core.verdict import GateResult, Measurement, Status, Verdict
from sluiceway.gates.column_facts import ColumnFacts, column_facts, label_facts
from sluiceway.gates.data_quality import data_quality
from sluiceway.gates.fairness import fairness
from sluiceway.gates.performance import performance
from sluiceway.gates.robustness import robustness
from sluiceway.gates.waivers import apply

FEATURES = ("delay", "distance", "carrier")
N = 6000


def make_rows(seed=1, n=N, shift=0.0):
    """Rows whose label depends on all three features."""
    random = np.random.default_rng(seed)
    delay, distance = random.normal(shift, 10, n), random.uniform(100, 2500, n)
    carrier = random.choice(["AA", "B6", "UA"], n)
    logit = delay / 5 + (distance - 1300) / 1000 + np.where(carrier == "B6", 0.7, 0.0)
    late = (random.random(n) < 1 / (1 + np.exp(-logit))).astype(np.int64)
    origin = random.choice(["EWR", "JFK", "LGA"], n)
    return pa.table({"delay": delay, "distance": distance, "carrier": carrier, "late": late, "origin": origin})


class Truth:
    """A scorer that knows how the rows were made; missing values count as the average."""

    def score(self, rows):
        delay = np.nan_to_num(rows["delay"].to_numpy().astype(float), nan=0.0)
        distance = np.nan_to_num(rows["distance"].to_numpy().astype(float), nan=1300.0)
        carrier = np.array(rows["carrier"].to_pylist(), dtype=object)
        return expit(delay / 5 + (distance - 1300) / 1000 + np.where(carrier == "B6", 0.7, 0.0))


class Brittle(Truth):
    """Reads the fourth decimal of the distance."""

    def __init__(self, labels):
        self.labels = labels

    def score(self, rows):
        untouched = np.abs(rows["distance"].to_numpy() * 1 - self.labels[1]) < 1e-9
        return np.where(untouched, self.labels[0], 0.5) + 0.01 * super().score(rows)


@pytest.fixture(scope="module")
def rows():
    return make_rows()


@pytest.fixture(scope="module")
def labels(rows):
    return rows["late"].to_numpy().astype(float)


@pytest.fixture(scope="module")
def scores(rows):
    return Truth().score(rows)


def by_name(result, text):
    return next(v for v in result.verdicts if text in v.measurement.name)


# performance


def test_performance_passes_and_fails_by_the_limit(labels, scores):
    good = EvaluationSection(thresholds={"auc_roc": 0.8, "log_loss": 0.6, "precision": 0.6})
    result = performance(labels, scores, threshold=0.5, evaluation=good)
    assert result.status is Status.PASS
    assert [v.measurement.n for v in result.verdicts] == [N] * len(result.verdicts)
    assert by_name(result, "recall").threshold is None

    strict = EvaluationSection(thresholds={"auc_roc": 0.8, "log_loss": 0.01, "recall": 0.999})
    result = performance(labels, scores, threshold=0.5, evaluation=strict)
    failed = {v.measurement.name for v in result.verdicts if v.status is Status.FAIL}
    assert failed == {"log_loss", "recall"}


def test_performance_of_nothing_is_never_a_pass(labels, scores):
    section = EvaluationSection(thresholds={"auc_roc": 0.8})
    assert performance(np.empty(0), np.empty(0), threshold=0.5, evaluation=section).status is Status.INCONCLUSIVE
    assert performance(np.ones(50), np.ones(50), threshold=0.5, evaluation=section).status is Status.FAIL
    nothing = np.full(len(scores), np.nan)
    assert performance(labels, nothing, threshold=0.5, evaluation=section).status is Status.FAIL


def test_without_thresholds_the_model_has_to_beat_chance(labels, scores):
    section = EvaluationSection()
    assert performance(labels, scores, threshold=0.5, evaluation=section).status is Status.PASS
    chance = np.random.default_rng(2).random(N)
    assert performance(labels, chance, threshold=0.5, evaluation=section).status is Status.INCONCLUSIVE
    assert performance(labels, -scores, threshold=0.5, evaluation=section).status is Status.FAIL


def test_performance_of_a_regression():
    random = np.random.default_rng(3)
    truth = random.normal(0, 5, 500)
    guess = truth + random.normal(0, 1, 500)
    assert performance(truth, guess, threshold=None, evaluation=EvaluationSection(), task="regression").status == "PASS"
    section = EvaluationSection(thresholds={"rmse": 0.5, "auc_roc": 0.5})
    result = performance(truth, guess, threshold=None, evaluation=section, task="regression")
    assert [v.status for v in result.verdicts[:2]] == [Status.FAIL, Status.FAIL]
    assert "cannot be computed" in result.verdicts[1].reason


def test_a_misspelt_metric_is_an_input_error(labels, scores):
    with pytest.raises(ConfigError, match="precision"):
        performance(labels, scores, threshold=0.5, evaluation=EvaluationSection(thresholds={"precison": 0.5}))


# fairness


def test_fairness_passes_equal_groups_and_names_an_unfair_one(rows, labels, scores):
    section = FairnessSection(protected_attributes=("origin",))
    assert fairness(labels, scores, {"origin": rows["origin"]}, section=section).status is Status.PASS
    unfair = scores.copy()
    jfk = np.array(rows["origin"].to_pylist()) == "JFK"
    unfair[jfk] = np.random.default_rng(4).random(jfk.sum())
    result = fairness(labels, unfair, {"origin": rows["origin"]}, section=section)
    assert result.status is Status.FAIL
    assert "JFK" in result.verdicts[0].measurement.detail
    assert result.verdicts[0].measurement.low > 0.1


def test_fairness_small_groups_are_listed_and_missing_columns_fail(rows, labels, scores):
    section = FairnessSection(protected_attributes=("origin", "gender"))
    values = rows["origin"].to_pylist()
    values[:50] = ["TTN"] * 40 + [None] * 10
    result = fairness(labels, scores, {"origin": values}, section=section)
    assert "TTN (40 rows)" in result.verdicts[0].measurement.detail
    assert "(missing) (10 rows)" in result.verdicts[0].measurement.detail
    assert result.verdicts[0].status is Status.PASS
    assert result.verdicts[1].status is Status.FAIL
    assert "gender" in result.verdicts[1].reason


def test_fairness_a_gap_that_may_be_chance_is_inconclusive():
    random = np.random.default_rng(5)
    labels = np.tile([0.0, 1.0], 120)
    scores = labels * 0.8 + random.standard_normal(240)
    group = np.repeat(["a", "b"], 120)
    scores[group == "b"] += 0.5 * (1 - labels[group == "b"])
    section = FairnessSection(protected_attributes=("g",), max_disparity=0.05)
    verdict = fairness(labels, scores, {"g": group.tolist()}, section=section).verdicts[0]
    assert verdict.measurement.value > 0.05
    assert verdict.status is Status.INCONCLUSIVE


def test_fairness_one_group_or_no_attribute(labels, scores):
    one = fairness(labels, scores, {"g": ["x"] * N}, section=FairnessSection(protected_attributes=("g",)))
    assert one.status is Status.INCONCLUSIVE
    none = fairness(labels, scores, {}, section=FairnessSection())
    assert none.status is Status.PASS
    assert "no protected attribute is declared" in none.verdicts[0].reason
    assert fairness(np.empty(0), np.empty(0), {}, section=FairnessSection()).status is Status.INCONCLUSIVE


# robustness


def test_robustness_passes_a_smooth_model(rows, labels):
    result = robustness(rows, labels, Truth(), features=FEATURES, section=RobustnessSection())
    assert result.status is Status.PASS
    names = [v.measurement.name for v in result.verdicts]
    assert len([n for n in names if "noise" in n]) == 4
    assert by_name(result, "never seen").threshold is None
    assert "carrier" in by_name(result, "never seen").measurement.detail
    again = robustness(rows, labels, Truth(), features=FEATURES, section=RobustnessSection())
    assert again == result


def test_robustness_names_the_brittle_feature(rows, labels):
    model = Brittle((labels, rows["distance"].to_numpy()))
    result = robustness(rows, labels, model, features=FEATURES, section=RobustnessSection())
    assert result.status is Status.FAIL
    assert "distance" in by_name(result, "std in one").measurement.detail


def test_robustness_leaves_whole_numbers_whole(rows, labels):
    counted = rows.set_column(0, "delay", pa.array(np.rint(rows["delay"].to_numpy()).astype(np.int64)))
    seen = []

    class Counting(Truth):
        def score(self, rows):
            seen.append(rows["delay"].to_numpy().astype(float))
            return super().score(rows)

    section = RobustnessSection(noise_stds=(0.1,), missing_share=0)
    robustness(counted, labels, Counting(), features=FEATURES, section=section)
    assert all((delay == np.rint(delay)).all() for delay in seen)
    assert any((delay != seen[0]).any() for delay in seen[1:2])


def test_robustness_sees_what_missing_values_do(rows, labels):
    class NoMissing(Truth):
        def score(self, rows):
            return np.where(np.isnan(rows["delay"].to_numpy().astype(float)), 0.5, super().score(rows))

    section = RobustnessSection(missing_share=0.5)
    result = robustness(rows, labels, NoMissing(), features=FEATURES, section=section)
    verdict = by_name(result, "missing")
    assert verdict.status is Status.FAIL
    assert "delay" in verdict.measurement.detail


def test_robustness_of_a_regression_and_of_nothing(rows):
    target = rows["delay"].to_numpy() * 2

    class Twice:
        def score(self, rows):
            return rows["delay"].to_numpy().astype(float) * 2 + 1

    section = RobustnessSection(missing_share=0)
    result = robustness(rows, target, Twice(), features=FEATURES, section=section, task="regression")
    assert by_name(result, "0.001 std").status is Status.PASS
    assert by_name(result, "0.1 std").status is Status.FAIL
    empty = robustness(rows.slice(0, 0), np.empty(0), Twice(), features=FEATURES, section=section)
    assert empty.status is Status.INCONCLUSIVE


# data quality


def quality(table, reference=None, **limits):
    facts = column_facts(table, FEATURES, "late", reference=reference)
    section = DataQualitySection(**limits)
    return data_quality(facts, label_facts(table, "late"), section=section, features=FEATURES, reference=reference)


def replaced(table, name, column):
    return table.set_column(table.schema.get_field_index(name), name, column)


def stored(table):
    """Facts as they come back from where they were stored."""
    facts = column_facts(table, FEATURES, "late")
    return tuple(ColumnFacts.from_dict(json.loads(json.dumps(f.to_dict()))) for f in facts)


def test_data_quality_passes_clean_rows_also_against_the_champions(rows):
    assert quality(rows).status is Status.PASS
    result = quality(make_rows(2), stored(rows))
    assert result.status is Status.PASS
    assert len(result.verdicts) == 5


def test_data_quality_finds_nulls_and_nan_and_respects_allow_null(rows):
    holed = replaced(rows, "distance", pa.array([np.nan if i % 5 == 0 else float(i) for i in range(N)]))
    verdict = by_name(quality(holed), "missing")
    assert verdict.status is Status.FAIL
    assert verdict.measurement.value == pytest.approx(0.2)
    assert "distance" in verdict.measurement.detail
    allowed = by_name(quality(holed, allow_null=("distance",)), "missing")
    assert allowed.status is Status.PASS
    assert "exempt: distance" in allowed.measurement.detail


def test_data_quality_an_all_null_column_fails_even_when_exempt(rows):
    for kind in (pa.float64(), pa.string()):
        empty = replaced(rows, "distance", pa.nulls(N, kind))
        verdict = by_name(quality(empty, allow_null=("distance",)), "missing")
        assert verdict.status is Status.FAIL
        assert "distance" in verdict.measurement.detail


@pytest.mark.parametrize(("name", "column"), [("delay", pa.array([7] * N)), ("carrier", pa.array(["AA"] * N))])
def test_data_quality_names_a_constant_column(rows, name, column):
    verdict = by_name(quality(replaced(rows, name, column)), "variance")
    assert verdict.status is Status.FAIL
    assert name in verdict.measurement.detail


def test_data_quality_a_shuffled_column_keeps_its_distribution_and_loses_its_association(rows):
    shuffled = np.random.default_rng(6).permutation(rows["delay"].to_numpy())
    half = np.where(np.arange(N) % 2 == 0, shuffled, rows["delay"].to_numpy())
    for column in (shuffled, half):
        result = quality(replaced(rows, "delay", pa.array(column)), stored(rows))
        assert by_name(result, "drift").status is Status.PASS
        verdict = by_name(result, "own AUC")
        assert verdict.status is Status.FAIL
        assert "delay" in verdict.measurement.detail
        assert "distance" not in verdict.measurement.detail


def test_data_quality_names_a_column_that_drifted(rows):
    result = quality(make_rows(3, shift=15.0), stored(rows))
    verdict = by_name(result, "drift")
    assert verdict.status is Status.FAIL
    assert verdict.measurement.detail == "breaks it: delay"
    moved = replaced(rows, "carrier", pa.array(["WN"] * (N // 2) + ["AA"] * (N // 2)).dictionary_encode())
    assert "carrier" in by_name(quality(moved, stored(rows)), "drift").measurement.detail


def test_data_quality_classes_missing_features_and_changed_kinds(rows):
    few = replaced(rows, "late", pa.array([1] * 20 + [0] * (N - 20)))
    assert by_name(quality(few), "smallest class").status is Status.FAIL
    one = replaced(rows, "late", pa.array([1] * N))
    assert by_name(quality(one), "smallest class").measurement.value == 0
    assert quality(rows, class_balance=(0.3, 0.7)).status is Status.PASS
    assert quality(rows, class_balance=(0.9, 1.0)).status is Status.FAIL
    assert quality(rows, class_balance=(0.0, 0.1)).status is Status.FAIL
    lacking = quality(rows.drop_columns(["carrier"]))
    assert by_name(lacking, "not in the rows").measurement.detail == "carrier"
    assert lacking.status is Status.FAIL
    text = replaced(rows, "distance", pa.array([str(i % 7) for i in range(N)]))
    assert by_name(quality(text, stored(rows)), "turned").status is Status.FAIL
    with pytest.raises(SchemaMismatchError, match="late"):
        column_facts(rows.drop_columns(["late"]), FEATURES, "late")


def test_data_quality_of_no_rows_is_not_a_pass(rows):
    assert quality(rows.slice(0, 0)).status is not Status.PASS


# waivers


def failed(gate, status=Status.FAIL):
    return GateResult(gate, (Verdict(gate, status, Measurement("x", 1.0, 10)),))


def waiver(gate, expires=date(2026, 3, 31)):
    return WaiverSection(gates=(gate,), owner="Ada", reason="a drill", expires=expires)


def test_a_waiver_counts_to_its_last_day_for_its_gate():
    results = [failed("performance"), failed("fairness")]
    waived = apply(results, [waiver("performance")], today=date(2026, 3, 31))
    assert waived[0].waiver == "Ada: a drill (until 2026-03-31)"
    assert not waived[0].blocks
    assert waived[0].status is Status.FAIL
    assert waived[1].blocks


def test_an_expired_waiver_and_an_error_are_not_waived():
    late = apply([failed("performance")], [waiver("performance")], today=date(2026, 4, 1))[0]
    assert late.blocks
    assert "expired on 2026-03-31" in late.verdicts[0].reason
    error = apply([failed("performance", Status.ERROR)], [waiver("performance")], today=date(2026, 1, 1))[0]
    assert error.blocks
    assert "cannot be waived" in error.verdicts[0].reason
    passed = apply([failed("performance", Status.PASS)], [waiver("performance")], today=date(2026, 1, 1))[0]
    assert passed.waiver == ""
