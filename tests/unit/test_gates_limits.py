"""Limits that no value of their metric can miss, or meet, are refused when the configuration is read."""

from __future__ import annotations

import math

import pytest
from pydantic import ValidationError
from sklearn.metrics import get_scorer_names

from sluiceway.config.evaluation import EvaluationSection
from sluiceway.core.errors import ConfigError
from sluiceway.gates.metric_limits import limit_problems, value_range
from sluiceway.gates.metrics import is_known, known_metrics, metric
from sluiceway.lifecycle.preflight import check_evaluation


@pytest.mark.parametrize(
    ("name", "limit", "told"),
    [
        ("auc_roc", -1, "-1 is outside of what auc_roc can be, from 0 to 1; every model meets it"),
        ("accuracy", 85, "85 is outside of what accuracy can be, from 0 to 1; no model can meet it"),
        ("ks", 1.5, "from 0 to 1"),
        ("log_loss", -0.1, "0 or more; no model can meet it"),
        ("pinball_0.9", -1, "0 or more"),
        ("r2", 2, "1 at most; no model can meet it"),
        ("neg_log_loss", 0.3, "0 at most; no model can meet it"),
        ("balanced_accuracy", 90, "from 0 to 1"),
        ("matthews_corrcoef", -2, "from -1 to 1; every model meets it"),
    ],
)
def test_a_limit_out_of_range_is_refused_and_the_range_is_named(name, limit, told):
    with pytest.raises(ConfigError) as caught:
        check_evaluation(EvaluationSection(thresholds={name: limit, "brier": 0.2}))
    (problem,) = caught.value.problems
    assert problem.startswith(f"evaluation.thresholds.{name}: ")
    assert told in problem


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ({"margins": {"auc_roc": 1.5, "log_loss": 5}}, "margins.auc_roc: 1.5 is no limit: auc_roc is from 0 to 1"),
        ({"margins": {"brier": 1}}, "margins.brier: 1 is no limit"),
        ({"max_gain": {"auc_roc": 3, "rmse": 100}}, "max_gain.auc_roc: 3 is no limit"),
        ({"margins": {"matthews_corrcoef": 2}}, "margins.matthews_corrcoef: 2 is no limit: "),
    ],
)
def test_a_difference_that_no_two_models_can_have_is_refused(section, told):
    with pytest.raises(ConfigError) as caught:
        check_evaluation(EvaluationSection(champion=section))
    (problem,) = caught.value.problems
    assert problem.startswith(f"evaluation.champion.{told}")
    check_evaluation(EvaluationSection(champion={"margins": {"auc_roc": 0.5, "matthews_corrcoef": 1.5, "r2": 3}}))


@pytest.mark.parametrize("band", [(0.8, 0.2), (-0.1, 0.5), (0.2, 1.5), (0.5, 0.5)])
def test_a_band_that_is_none_of_shares_is_refused(band):
    with pytest.raises(ValidationError, match="is no band of shares"):
        EvaluationSection(data_quality={"class_balance": band})


def test_a_brier_score_is_one_at_most():
    (problem,) = limit_problems("thresholds", {"brier": 1.5})
    assert problem.endswith("what brier can be, from 0 to 1; every model meets it")


def test_limits_at_the_ends_and_names_that_nobody_knows_are_left_alone():
    ends = {"auc_roc": 1, "accuracy": 0, "log_loss": 0, "rmse": 1e9, "r2": -50, "neg_log_loss": -20, "f1_macro": 0.5}
    assert limit_problems("thresholds", ends) == []
    assert limit_problems("thresholds", {"precison": 85}) == []


def test_every_metric_has_a_range_that_is_one():
    names = [*known_metrics(), *filter(is_known, get_scorer_names())]
    for name in names:
        low, high = value_range(metric(name))
        assert low < high
        assert math.isfinite(low) or math.isfinite(high)
