"""The gate performance: limits are held, by the value or by the interval, and what is missing never passes."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

from sluiceway.config.evaluation import EvaluationSection
from sluiceway.core.errors import ConfigError
from sluiceway.core.verdict import Status, combine
from sluiceway.gates.checks.performance import GATE, performance
from sluiceway.gates.context import GateContext
from sluiceway.gates.metrics import known_metrics, measure

N = 4000


@pytest.fixture(scope="module")
def drawn():
    random = np.random.default_rng(1)
    raw = random.normal(0, 2, N)
    scores = 1 / (1 + np.exp(-raw))
    labels = (random.random(N) < scores).astype(float)
    labels.setflags(write=False)
    scores.setflags(write=False)
    return labels, scores


def judged(rows, *, threshold=0.5, task="binary", judge_by="point", **evaluation):
    section = EvaluationSection(performance={"judge_by": judge_by}, **evaluation)
    verdicts = performance(*rows, threshold=threshold, evaluation=section, task=task)
    return {v.measurement.name: v for v in verdicts}


def test_it_passes_and_fails_by_the_limit(drawn):
    good = judged(drawn, thresholds={"auc_roc": 0.8, "log_loss": 0.6, "precision": 0.6})
    assert combine(good.values()) is Status.PASS
    assert {v.measurement.n for v in good.values()} == {N}
    assert good["recall"].threshold is None
    assert good["recall"].reason == "reported, not judged"
    strict = judged(drawn, thresholds={"auc_roc": 0.8, "log_loss": 0.01, "recall": 0.999, "average_precision": 0.7})
    assert {name for name, v in strict.items() if v.status is Status.FAIL} == {"log_loss", "recall"}
    assert strict["log_loss"].line().startswith("performance log_loss 0.4")
    assert all(v.measurement.low is not None for v in strict.values())


def test_by_the_interval_a_value_beside_the_limit_says_how_many_rows_would_settle_it(drawn):
    value = measure("auc_roc", *drawn)
    beside = (value.value + value.low) / 2
    assert judged(drawn, thresholds={"auc_roc": beside})["auc_roc"].status is Status.PASS
    near = judged(drawn, thresholds={"auc_roc": beside}, judge_by="interval")["auc_roc"]
    assert near.status is Status.INCONCLUSIVE
    assert 2 * N < near.enough < 8 * N  # half the half-width: four times the rows
    assert judged(drawn, thresholds={"auc_roc": value.low}, judge_by="interval")["auc_roc"].status is Status.PASS
    beyond = judged(drawn, thresholds={"auc_roc": value.high + 0.001}, judge_by="interval")["auc_roc"]
    assert beyond.status is Status.FAIL
    loss = measure("log_loss", *drawn)
    near = judged(drawn, thresholds={"log_loss": loss.high - 1e-4, "brier": 0.5}, judge_by="interval")
    assert (near["log_loss"].status, near["brier"].status) == (Status.INCONCLUSIVE, Status.PASS)


def test_nothing_is_never_a_pass(drawn):
    limit = {"auc_roc": 0.8}
    for by in ("point", "interval"):
        empty = judged((np.empty(0), np.empty(0)), thresholds=limit, judge_by=by)
        assert {v.status for v in empty.values()} == {Status.INCONCLUSIVE}
        one_class = judged((np.ones(50), np.ones(50)), thresholds=limit, judge_by=by)
        assert one_class["auc_roc"].status is Status.FAIL
        missing = judged((drawn[0], np.full(N, np.nan)), thresholds=limit, judge_by=by)
        assert missing["auc_roc"].status is Status.FAIL
    assert combine(judged((np.empty(0), np.empty(0))).values()) is Status.INCONCLUSIVE
    undecided = judged(drawn, threshold=None, thresholds={"f1_score": 0.1, "balanced_accuracy": 0.1})
    assert {undecided[name].status for name in ("f1_score", "balanced_accuracy")} == {Status.FAIL}


def test_so_few_rows_that_their_interval_has_no_width_are_no_pass(drawn):
    labels, scores = drawn
    for n in (1, 2, 29):
        for by in ("point", "interval"):
            found = judged((labels[:n], scores[:n]), thresholds={"log_loss": 5, "accuracy": 0.01}, judge_by=by)
            assert {(found[m].status, found[m].enough) for m in ("log_loss", "accuracy")} == {(Status.INCONCLUSIVE, 30)}
    first = judged((labels[:1], scores[:1]), thresholds={"auc_roc": 0.1})["auc_roc"]
    assert (first.status, first.enough) == (Status.INCONCLUSIVE, None)  # nobody knows how many bring another class
    assert "all rows are of class" in first.line()
    assert judged((labels[:30], scores[:30]), thresholds={"log_loss": 5})["log_loss"].status is Status.PASS


def test_few_rows_of_a_class_do_not_tell_how_well_it_is_told_apart(drawn):
    labels, scores = drawn
    chosen = np.concatenate([np.flatnonzero(labels == 1)[:5], np.flatnonzero(labels == 0)[:395]])
    limits = {"auc_roc": 0.01, "average_precision": 0.001, "ks": 0.001, "log_loss": 5}
    found = judged((labels[chosen], scores[chosen]), thresholds=limits)
    for name in ("auc_roc", "average_precision", "ks"):
        assert found[name].line().endswith("INCONCLUSIVE; only 5 rows of one class; about 800 would be enough")
    assert found["log_loss"].status is Status.PASS
    assert judged((labels[chosen], scores[chosen]))["auc_roc"].status is Status.INCONCLUSIVE


def test_few_rows_of_a_class_are_too_few_for_every_metric_that_depends_on_it():
    labels = (np.arange(60) == 0).astype(float)
    scores = np.where(labels == 1, 0.9, 0.1)
    asked = ("roc_auc", "recall", "precision", "f1_score", "balanced_accuracy")
    found = judged((labels, scores), thresholds=dict.fromkeys((*asked, "accuracy", "neg_brier_score"), 0.0), metrics=())
    assert {(found[m].status, found[m].reason) for m in asked} == {(Status.INCONCLUSIVE, "only 1 rows of one class")}
    assert found["accuracy"].status is Status.PASS
    assert found["neg_brier_score"].status is Status.FAIL  # negative, and asked to be 0
    places = np.r_[np.zeros(30), np.ones(30), 2].astype(int)
    asked = ("auc_roc", "recall_macro", "f1_macro", "roc_auc_ovr", "balanced_accuracy")
    limits = dict.fromkeys((*asked, "accuracy", "f1_weighted"), 0.5)
    found = judged((places.astype(float), np.eye(3)[places]), threshold=None, task="multiclass", thresholds=limits)
    assert {(found[m].status, found[m].enough) for m in asked} == {(Status.INCONCLUSIVE, 610)}
    assert {found[m].status for m in ("accuracy", "f1_weighted")} == {Status.PASS}


def test_rows_of_one_class_are_named_and_what_is_shown_without_a_value_is_no_pass():
    found = judged((np.ones(50), np.linspace(0.4, 0.9, 50)), thresholds={"accuracy": 0.5})
    shown = found["auc_roc"]
    assert "n=50, all rows are of class 1 -> INCONCLUSIVE (warn only); no value; reported, not judged" in shown.line()
    assert not shown.blocks
    asked = judged((np.zeros(50), np.linspace(0.4, 0.9, 50)), thresholds={"auc_roc": 0.5})["auc_roc"]
    assert asked.line().endswith("n=50, all rows are of class 0 -> FAIL; no value")
    assert judged((np.ones(50), np.full(50, np.nan)), metrics=("accuracy",))["accuracy"].status is Status.INCONCLUSIVE


def test_without_thresholds_the_model_has_to_beat_chance(drawn):
    labels, scores = drawn
    assert combine(judged(drawn).values()) is Status.PASS
    chance = np.random.default_rng(2).random(N)
    by_chance = judged((labels, chance))["auc_roc"]
    assert by_chance.status is Status.INCONCLUSIVE
    assert "only better than chance is asked for" in by_chance.reason
    assert judged((labels, -scores), metrics=())["auc_roc"].status is Status.FAIL


def test_a_regression():
    random = np.random.default_rng(3)
    truth = random.normal(0, 5, 500)
    guess = truth + random.normal(0, 1, 500)
    assert combine(judged((truth, guess), threshold=None, task="regression").values()) is Status.PASS
    limits = {"rmse": 0.5, "auc_roc": 0.5, "pinball_0.9": 1.0, "neg_median_absolute_error": -1}
    found = judged((truth, guess), threshold=None, task="regression", thresholds=limits)
    assert [found[name].status for name in limits] == [Status.FAIL, Status.FAIL, Status.PASS, Status.PASS]
    assert "auc_roc cannot be computed for a regression model" in found["auc_roc"].reason
    assert set(known_metrics("regression")) <= set(found)
    assert set(found) == {*known_metrics("regression"), *limits}


def test_a_scorer_of_scikit_learn_is_judged(drawn):
    found = judged(
        (drawn[0][:500], drawn[1][:500]), thresholds={"matthews_corrcoef": 0.2, "neg_log_loss": -0.1}, metrics=()
    )
    assert found["matthews_corrcoef"].status is Status.PASS
    assert found["neg_log_loss"].status is Status.FAIL
    assert found["neg_log_loss"].measurement.value < 0


def test_a_misspelt_metric_is_an_input_error(drawn):
    with pytest.raises(ConfigError, match="precision"):
        judged(drawn, thresholds={"precison": 0.5})
    with pytest.raises(ConfigError, match="recall"):
        judged(drawn, metrics=("recal",))


def context(labels, scores, **given):
    evaluation = EvaluationSection()
    return GateContext(
        gate="performance",
        section=evaluation.performance,
        evaluation=evaluation,
        features=("a",),
        kinds={"a": "numeric"},
        target="y",
        **{"threshold": 0.5, **given},
        test=pa.table({"y": labels}),
        labels=labels,
        scores=scores,
    )


def test_the_gate_draws_what_it_judged(drawn):
    output = GATE.function(context(*drawn))
    assert combine(output.verdicts) is Status.PASS
    assert output.data.roc
    assert not output.data.calibration  # the gate calibration draws what it judges
    assert not output.data.roc_champion
    json.dumps(output.data.to_dict())
    places = np.arange(300) % 3
    scores = np.eye(3)[places] * 0.5 + 1 / 6
    several = GATE.function(
        context(places.astype(float), scores, task="multiclass", classes=("a", "b", "c"), threshold=None)
    )
    assert [c.name for c in several.data.classes] == ["a", "b", "c"]
    for given in (
        context(np.arange(9.0), np.arange(9.0), task="regression", threshold=None),
        context(np.empty(0), np.empty(0)),
        context(drawn[0], np.full(N, np.nan)),
    ):
        assert not GATE.function(given).data.roc
    assert GATE.needs == {"test"}
