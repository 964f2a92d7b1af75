"""Every parameter of the estimators is translated, or refused with the place where it belongs."""

import inspect

import pytest
import xgboost

from sluiceway.config.experiment import ModelSection, TrainingSection
from sluiceway.core.errors import ConfigError
from sluiceway.training.params import ELSEWHERE, RULES, booster_params, metric_of, place_constraints


def _params(params, kind="XGBClassifier", **training):
    return booster_params(ModelSection(type=kind, params=params), TrainingSection(**training), seed=7, nthread=2)


def test_all_names_of_the_estimator_are_known_and_no_others():
    real = {n for n, p in inspect.signature(xgboost.XGBModel).parameters.items() if p.kind is not p.VAR_KEYWORD}
    objectives_own = {"quantile_alpha", "tweedie_variance_power", "huber_slope"}  # taken by the estimator's **kwargs
    assert set(RULES) | set(ELSEWHERE) == real | objectives_own
    assert not set(RULES) & set(ELSEWHERE)


def test_the_users_file():
    params, rounds = _params(
        {
            "n_estimators": 500,
            "max_depth": 8,
            "learning_rate": 0.01,
            "subsample": 0.8,
            "colsample_bytree": 0.8,
            "min_child_weight": 3,
            "gamma": 0.1,
            "reg_alpha": 0.1,
            "reg_lambda": 1.0,
        }
    )
    assert rounds == 500
    assert params == {
        "objective": "binary:logistic",
        "tree_method": "hist",
        "max_bin": 256,
        "device": "cpu",
        "seed": 7,
        "nthread": 2,
        "validate_parameters": True,
        "verbosity": 1,
        "eval_metric": "auc",
        "max_depth": 8,
        "eta": 0.01,
        "subsample": 0.8,
        "colsample_bytree": 0.8,
        "min_child_weight": 3,
        "gamma": 0.1,
        "alpha": 0.1,
        "lambda": 1.0,
    }


def test_defaults_of_both_types():
    assert _params({})[0]["objective"] == "binary:logistic"
    params, rounds = _params({"base_score": -3, "max_depth": None}, "XGBRegressor")
    assert (params["objective"], params["eval_metric"], params["base_score"], rounds) == (
        "reg:squarederror",
        "rmse",
        -3,
        100,
    )
    assert "max_depth" not in params


def test_every_problem_at_once():
    wrong = {
        "learning_rte": 0.1,
        "max_depth": "8",
        "n_estimators": 0,
        "subsample": 1.5,
        "gamma": True,
        "tree_method": "exact",
        "objective": "reg:squarederror",
        "random_state": 1,
        "monotone_constraints": [1],
    }
    with pytest.raises(ConfigError) as caught:
        _params(wrong, eval_metric="acu")
    problems = caught.value.problems
    assert [problem.split(":")[0] for problem in problems] == [f"model.params.{n}" for n in wrong] + [
        "training.eval_metric"
    ]
    assert "did you mean 'learning_rate'" in problems[0]
    assert "experiment.seed" in problems[7]
    assert "did you mean 'auc'" in problems[9]


def test_a_metric_of_the_other_type():
    with pytest.raises(ConfigError, match="rmse"):
        metric_of(ModelSection(type="XGBRegressor"), TrainingSection(eval_metric="auc"))
    with pytest.raises(ConfigError, match="auc"):
        metric_of(ModelSection(), TrainingSection(eval_metric="rmse"))


def test_constraints_are_placed_by_position():
    params, _ = _params({"monotone_constraints": {"b": -1}, "interaction_constraints": [["c", "a"]]})
    placed = place_constraints(params, ("a", "b", "c"))
    assert placed["monotone_constraints"] == "(0,-1,0)"
    assert placed["interaction_constraints"] == "[[2, 0]]"
    with pytest.raises(ConfigError, match="'bb'"):
        place_constraints({"monotone_constraints": {"bb": 1}}, ("a", "b"))


def test_a_category_neither_rises_nor_falls():
    wanted = {"monotone_constraints": {"a": 1, "c": -1}}
    with pytest.raises(ConfigError) as caught:
        place_constraints(wanted, ("a", "c"), categories=("c",))
    assert caught.value.problems == (
        "model.params.monotone_constraints: 'c' is text, and a category neither rises nor falls",
    )
    free = place_constraints({"monotone_constraints": {"a": 1, "c": 0}}, ("a", "c"), categories=("c",))
    assert free["monotone_constraints"] == "(1,0)"


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({"monotone_constraints": {"a": True}}, "XGBClassifier"),
        ({"base_score": 2}, "XGBClassifier"),
        ({"base_score": 1}, "XGBClassifier"),
        ({"tweedie_variance_power": 2}, "XGBRegressor"),
    ],
)
def test_what_xgboost_would_refuse_in_the_middle_is_refused_before(given, kind):
    training = TrainingSection(eval_metric="rmse" if kind == "XGBRegressor" else "auc")
    with pytest.raises(ConfigError) as caught:
        booster_params(ModelSection(type=kind, params=given), training, seed=1, nthread=1, classes=2)
    assert caught.value.problems[0].startswith(f"model.params.{next(iter(given))}: ")


def test_a_base_score_of_several_classes_is_any_number():
    booster_params(ModelSection(params={"base_score": 2}), TrainingSection(), seed=1, nthread=1, classes=3)
