"""The gate champion: worse is found, equal passes, too good is a leak, and nobody passes for want of rows."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from scipy.special import softmax

from sluiceway.config.evaluation import ChampionSection, EvaluationSection
from sluiceway.core.errors import ConfigError
from sluiceway.core.verdict import Direction, Status, combine
from sluiceway.gates.checks.champion import GATE, Gain, believable, champion, no_worse
from sluiceway.gates.context import Champion, GateContext
from sluiceway.gates.metrics import known_metrics
from sluiceway.gates.scored_rows import PairedRows, ScoredRows

N = 6000
BARE = EvaluationSection(metrics=())


class Unused:
    def score(self, rows):
        raise AssertionError("the rows have been scored before")


def world(seed=1, n=N, noise=0.5):
    """Labels, a good model's scores, and those of one that is as good and of one that is worse."""
    random = np.random.default_rng(seed)
    raw = random.normal(0, 2, n)
    labels = (random.random(n) < 1 / (1 + np.exp(-raw))).astype(float)

    def model(spread):
        return 1 / (1 + np.exp(-(raw + spread * random.standard_normal(n))))

    return labels, model(noise), model(noise), model(3 * noise)


@pytest.fixture(scope="module")
def drawn():
    return world()


def pair(labels, candidate, serving, thresholds=(0.5, 0.5)):
    return PairedRows(ScoredRows.of(labels, candidate, thresholds[0]), ScoredRows.of(labels, serving, thresholds[1]))


def judged(pair, *, evaluation=BARE, task="binary", version="7", note="", **section):
    verdicts = champion(
        pair, section=ChampionSection(**section), evaluation=evaluation, task=task, version=version, note=note
    )
    return {v.measurement.name: v for v in verdicts}


def test_equal_passes_worse_fails_and_says_so(drawn):
    labels, one, other, worse = drawn
    equal = judged(pair(labels, one, other))
    assert combine(equal.values()) is Status.PASS
    assert set(equal) == {"auc_roc gain", "auc_roc gain that nobody believes"}
    lost = judged(pair(labels, worse, other))["auc_roc gain"]
    assert lost.status is Status.FAIL
    assert lost.measurement.value < -0.02
    assert (lost.threshold.limit, lost.threshold.direction) == (-0.01, Direction.AT_LEAST)
    assert "worse by more than the margin" in lost.reason
    assert " of version 7" in lost.line()
    assert combine(judged(pair(labels, other, worse)).values()) is Status.PASS


@pytest.mark.parametrize(
    "name", ["accuracy", "f1_score", "recall", "log_loss", "brier", "average_precision", "ks", "matthews_corrcoef"]
)
def test_a_loss_of_each_kind_of_metric_is_found_by_its_name(drawn, name):
    labels, _, other, worse = (part[:2500] for part in drawn)
    limits = {"margins": {name: 0.005}, "max_gain": {"accuracy": 0.5}, "resamples": 100}
    assert judged(pair(labels, worse, other), **limits)[f"{name} gain"].status is Status.FAIL
    assert judged(pair(labels, other, worse), **limits)[f"{name} gain"].status is Status.PASS


def test_an_accuracy_that_is_one_point_lower_is_found_where_it_can_be():
    random = np.random.default_rng(2)
    n = 60_000
    labels = (random.random(n) < 0.4).astype(float)
    right = np.where(random.random(n) < 0.9, labels, 1 - labels)
    spoilt = np.where(random.random(n) < 0.0125, 1 - right, right)  # one point of accuracy less
    limits = {"margins": {"accuracy": 0.005}, "max_gain": {"accuracy": 0.2}}
    found = judged(pair(labels, spoilt, right), **limits)["accuracy gain"]
    assert found.status is Status.FAIL
    assert found.measurement.value == pytest.approx(-0.01, abs=0.002)
    few = judged(pair(labels[:500], spoilt[:500], right[:500]), **limits)["accuracy gain"]
    assert few.status is Status.INCONCLUSIVE
    assert 1000 < few.enough < n


def test_too_few_rows_say_how_many_are_enough():
    labels, one, other, _ = world(3, 400)
    few = judged(pair(labels, one, other))["auc_roc gain"]
    assert few.status is Status.INCONCLUSIVE
    assert few.enough > 400
    passed = 0
    for seed in range(40):
        labels, one, other, _ = world(100 + seed, few.enough)
        passed += judged(pair(labels, one, other))["auc_roc gain"].status is Status.PASS
    assert passed >= 24
    # As many rows as would be enough for equal models, and the gain is beside the limit: more are needed to tell.
    beside = no_worse(Gain("auc_roc", 9000, 0.8, 0.809, -0.009, -0.011, -0.007, 0.0012), 0.01, ChampionSection())
    assert beside.status is Status.INCONCLUSIVE
    assert beside.enough > 9000


def test_a_leak_is_better_than_anybody_believes(drawn):
    labels, one, _, worse = drawn
    leaked = np.clip(labels * 0.9 + 0.1 * one, 0, 1)
    alarm = judged(pair(labels, leaked, worse))["auc_roc gain that nobody believes"]
    assert alarm.status is Status.FAIL
    assert alarm.measurement.low > 0.1
    assert "auc_roc is better than anybody believes: look for a leak" in alarm.line()
    # Beyond the cap by chance only: no alarm.
    assert believable(Gain("auc_roc", 50, 0.9, 0.79, 0.11, 0.02, 0.2, 0.05), 0.1).status is Status.PASS
    named = judged(pair(labels, leaked, worse), max_gain={"accuracy": 0.05, "log_loss": 5.0})
    failed = [name for name, v in named.items() if v.status is Status.FAIL]
    assert failed == ["accuracy gain that nobody believes"]


def test_superiority_wants_a_gain(drawn):
    labels, one, _, worse = drawn
    assert judged(pair(labels, one, worse), require="superiority")["auc_roc gain"].status is Status.PASS
    equal = judged(pair(labels, one, one), require="superiority")["auc_roc gain"]
    assert (equal.status, equal.enough) == (Status.INCONCLUSIVE, None)
    lost = judged(pair(labels, worse, one), require="superiority")["auc_roc gain"]
    assert (lost.status, lost.reason) == (Status.FAIL, "no better, and not by chance")
    slight = no_worse(
        Gain("auc_roc", 1000, 0.81, 0.8, 0.01, -0.002, 0.022, 0.007), 0.01, ChampionSection(require="superiority")
    )
    assert slight.status is Status.INCONCLUSIVE
    assert slight.enough > 1000


def test_the_same_model_again_needs_rows_too(drawn):
    labels, one, _, _ = drawn
    assert combine(judged(pair(labels, one, one)).values()) is Status.PASS
    few = judged(pair(labels[:100], one[:100], one[:100]))["auc_roc gain"]
    assert few.status is Status.INCONCLUSIVE
    perfect = np.tile([0.0, 1.0], 50)
    same = judged(pair(perfect, perfect * 0.8 + 0.1, perfect * 0.6 + 0.2))["auc_roc gain"]
    assert same.status is Status.INCONCLUSIVE
    assert same.measurement.low < -0.01


@pytest.mark.parametrize("name", ["balanced_accuracy", "f1", "roc_auc", "matthews_corrcoef"])
def test_a_scorer_of_models_that_differ_on_no_row_has_an_interval_with_a_width(drawn, name):
    labels, one = np.tile([0.0, 1.0], 15), drawn[1][:30]
    same = judged(pair(labels, one, one), margins={name: 0.01})[f"{name} gain"]
    assert same.status is Status.INCONCLUSIVE
    assert same.measurement.low < -0.03 < 0.03 < same.measurement.high


def test_an_error_of_numbers_that_is_the_same_on_all_rows_is_not_known_to_be_so_everywhere():
    random = np.random.default_rng(8)
    truth, guess = random.normal(0, 1, (2, 30))
    limits = {"margins": {"neg_mean_absolute_error": 0.01}}
    same = judged(pair(truth, guess, guess, (None, None)), task="regression", **limits)
    found = same["neg_mean_absolute_error gain"]
    assert (found.status, found.measurement.low < -0.05) == (Status.INCONCLUSIVE, True)
    many = np.tile(truth, 500), np.tile(guess, 500)
    same = judged(pair(many[0], many[1], many[1], (None, None)), task="regression", **limits)
    assert same["neg_mean_absolute_error gain"].status is Status.PASS
    exact = judged(pair(truth, truth, truth, (None, None)), task="regression", **limits)["neg_mean_absolute_error gain"]
    assert (exact.status, exact.reason) == (Status.INCONCLUSIVE, "no interval")


def test_few_rows_of_a_class_are_too_few_to_compare_what_depends_on_it(drawn):
    scores = np.linspace(0.05, 0.95, 400)
    for n, positives in ((40, 1), (400, 3)):
        labels = (np.arange(n) >= n - positives).astype(float)
        asked = ("recall", "ks", "roc_auc", "auc_roc")
        limits = {"margins": dict.fromkeys((*asked, "accuracy"), 0.5)}
        found = judged(pair(labels, scores[-n:], scores[-n:]), **limits)
        lack = {(found[f"{m} gain"].status, found[f"{m} gain"].reason) for m in asked}
        assert lack == {(Status.INCONCLUSIVE, f"only {positives} rows of one class")}
        assert found["accuracy gain"].status is Status.PASS


def test_alpha_is_one_sided():
    labels, one, other, _ = world(4, 3000)
    sides = {}
    for alpha in (0.05, 0.025):
        found = judged(pair(labels, one, other), alpha=alpha)["auc_roc gain"].measurement
        sides[alpha] = (found.value - found.low) / (found.high - found.low)
        assert sides[alpha] == pytest.approx(0.5)
        sides[alpha] = found.high - found.low
    assert sides[0.025] / sides[0.05] == pytest.approx(1.96 / 1.645, rel=0.01)


def test_each_model_decides_by_its_own_threshold(drawn):
    labels, one, _, _ = drawn
    shifted = one / 2
    limits = {"margins": {"f1_score": 0.01}}
    assert judged(pair(labels, shifted, one, (0.25, 0.5)), **limits)["f1_score gain"].status is Status.PASS
    assert judged(pair(labels, shifted, one, (0.5, 0.5)), **limits)["f1_score gain"].status is Status.FAIL
    undecided = judged(pair(labels, shifted, one, (0.25, None)), **limits)["f1_score gain"]
    assert undecided.status is Status.FAIL
    assert undecided.reason == "the champion has no f1_score on these rows"


def test_what_is_missing_is_never_a_pass(drawn):
    labels, one, other, _ = drawn
    empty = judged(pair(np.empty(0), np.empty(0), np.empty(0)))
    assert {v.status for v in empty.values()} == {Status.INCONCLUSIVE}
    lost = judged(pair(labels, np.full(N, np.nan), other))["auc_roc gain"]
    assert (lost.status, lost.reason) == (Status.FAIL, "the candidate has no auc_roc on these rows")
    one_class = judged(pair(np.ones(N), one, other))["auc_roc gain"]
    assert one_class.reason == "the candidate and the champion have no auc_roc on these rows"
    other_kind = judged(pair(labels, one, other), margins={"rmse": 0.1})["rmse gain"]
    assert other_kind.status is Status.FAIL
    with pytest.raises(ConfigError, match="auc_roc"):
        judged(pair(labels, one, other), margins={"auc": 0.1})


def test_other_metrics_are_compared_and_not_judged(drawn):
    labels, _, other, worse = drawn
    section = EvaluationSection(metrics=("auc_roc", "recall", "log_loss"))
    found = judged(pair(labels, worse, other), evaluation=section, note="it was trained on some of these rows")
    assert list(found) == [
        "auc_roc gain",
        "auc_roc gain that nobody believes",
        "recall gain",
        "log_loss gain",
    ]
    shown = found["log_loss gain"]
    assert (shown.status, shown.threshold, shown.reason) == (Status.PASS, None, "reported, not judged")
    assert shown.measurement.value < 0
    assert all("it was trained on some of these rows" in v.line() for v in found.values())


def test_a_regression_may_lose_two_percent_of_the_rmse():
    random = np.random.default_rng(5)
    truth = random.normal(0, 5, 4000)
    common = random.normal(0, 1, 4000)

    def model(spread):
        return truth + common + spread * random.standard_normal(4000)

    serving = model(0.1)
    found = judged(pair(truth, model(0.1), serving, (None, None)), task="regression")
    rmse = float(np.sqrt(((serving - truth) ** 2).mean()))
    assert found["rmse gain"].status is Status.PASS
    assert found["rmse gain"].threshold.limit == pytest.approx(-0.02 * rmse)
    assert found["rmse gain that nobody believes"].threshold.limit == pytest.approx(0.5 * rmse)
    assert set(found) == {"rmse gain", "rmse gain that nobody believes", "mae gain", "r2 gain"}
    worse = judged(pair(truth, model(0.4), serving, (None, None)), task="regression")["rmse gain"]
    assert worse.status is Status.FAIL
    leaked = judged(pair(truth, truth + 0.01 * common, serving, (None, None)), task="regression")
    assert leaked["rmse gain that nobody believes"].status is Status.FAIL


def test_several_classes():
    random = np.random.default_rng(6)
    n = 4000
    raw = random.normal(0, 2, (n, 3))
    labels = (random.random((n, 1)) > softmax(raw, axis=1).cumsum(axis=1)).sum(axis=1).clip(0, 2)

    def model(spread):
        return softmax(raw + spread * random.standard_normal((n, 3)), axis=1)

    serving, worse = model(0.4), model(2.0)
    limits = dict.fromkeys(("auc_roc", "accuracy", "f1_macro", "precision_weighted", "log_loss"), 0.01)
    good = judged(pair(labels, model(0.4), serving), task="multiclass", margins=limits)
    assert {good[f"{name} gain"].status for name in limits} <= {Status.PASS, Status.INCONCLUSIVE}
    assert good["auc_roc gain"].status is Status.PASS
    bad = judged(pair(labels, worse, serving), task="multiclass", margins=limits)
    assert {bad[f"{name} gain"].status for name in limits} == {Status.FAIL}
    assert {name.removesuffix(" gain") for name in bad} >= set(known_metrics("multiclass"))
    leaked = judged(pair(labels, np.eye(3)[labels], worse), task="multiclass")
    assert leaked["auc_roc gain that nobody believes"].status is Status.FAIL


# the gate


def context(labels, scores, found=None, error="", **given):
    evaluation = EvaluationSection()
    return GateContext(
        gate="champion",
        section=evaluation.champion,
        evaluation=evaluation,
        features=("a",),
        kinds={"a": "numeric"},
        target="y",
        threshold=0.5,
        test=pa.table({"y": labels}),
        labels=labels,
        scores=scores,
        champion=found,
        champion_error=error,
        **given,
    )


def test_the_gate_compares_and_draws_the_champion(drawn):
    labels, one, other, worse = drawn
    serving = Champion("12", other, 0.4, Unused(), "trained on 3 % of these rows")
    output = GATE.function(context(labels, one, serving))
    assert combine(output.verdicts) is Status.PASS
    assert all("version 12; trained on 3 % of these rows" in v.measurement.detail for v in output.verdicts)
    # Its intervals are not those of the other gates, so the line says at which level they are.
    assert all(v.measurement.detail.endswith("; 90 % interval") for v in output.verdicts)
    (strict,) = champion(pair(labels, one, other), section=ChampionSection(alpha=0.01), evaluation=BARE)[:1]
    assert strict.measurement.detail.endswith("98 % interval")
    assert output.data.roc_champion
    assert output.data.precision_recall_champion
    assert not output.data.roc
    assert combine(GATE.function(context(labels, worse, serving)).verdicts) is Status.FAIL
    assert GATE.needs == {"test", "champion"}


def test_one_row_is_too_few_to_fail_by():
    found = judged(pair(np.ones(1), np.array([0.8]), np.array([0.7])))["auc_roc gain"]
    assert (found.status, found.reason) == (Status.INCONCLUSIVE, "no value of too few rows")
    two = judged(pair(np.array([1.0, 0.0]), np.array([0.8, 0.2]), np.array([0.7, 0.3])), margins={"log_loss": 0.1})[
        "log_loss gain"
    ]
    assert two.measurement.low > 0  # as sure as two rows that agree
    assert (two.status, two.enough) == (Status.INCONCLUSIVE, 30)
    assert judged(pair(np.ones(50), np.full(50, 0.8), np.full(50, 0.7)))["auc_roc gain"].status is Status.FAIL


def test_no_champion_passes_and_one_that_cannot_score_is_an_error(drawn):
    labels, one, _, _ = drawn
    (first,) = GATE.function(context(labels, one)).verdicts
    assert (first.status, first.reason) == (Status.PASS, "no champion yet")
    (error,) = GATE.function(context(labels, one, error="the champion, version 3, is a regression model")).verdicts
    assert error.status is Status.ERROR
    assert error.blocks
    assert "the champion, version 3, is a regression model" in error.line()
