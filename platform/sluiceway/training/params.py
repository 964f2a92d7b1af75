"""From scikit-learn's names of an estimator's parameters to those of ``xgboost.train``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sluiceway.config.experiment import ModelSection, TrainingSection
from sluiceway.core.errors import ConfigError
from sluiceway.features.schema import near
from sluiceway.training.report import Kind

DEFAULT_ROUNDS = 100  # XGBModel's own
BINARY_METRICS = ("auc", "aucpr", "logloss", "error")
MULTICLASS_METRICS = ("auc", "mlogloss", "merror")
REGRESSOR_METRICS = (
    "rmse",
    "mae",
    "rmsle",
    "mape",
    "mphe",
    "gamma-nloglik",
    "poisson-nloglik",
    "gamma-deviance",
    "quantile",
)
MAXIMISED = ("auc", "aucpr")
OBJECTIVES: dict[Kind, tuple[str, ...]] = {
    "binary": ("binary:logistic",),
    "multiclass": ("multi:softprob",),
    "regression": (
        "reg:squarederror",
        "reg:squaredlogerror",
        "reg:pseudohubererror",
        "reg:absoluteerror",
        "reg:logistic",
        "reg:gamma",
        "reg:tweedie",
        "count:poisson",
        "reg:quantileerror",
    ),
}

# Names that the estimator has and that are given elsewhere, or decided by the platform.
ELSEWHERE = {
    "random_state": "the seed is experiment.seed",
    "n_jobs": "threads are training.cpus_per_worker",
    "device": "it is training.device",
    "max_bin": "it is training.max_bin",
    "eval_metric": "it is training.eval_metric",
    "early_stopping_rounds": "it is training.early_stopping_rounds",
    "verbosity": "progress is training.verbose",
    "missing": "null and NaN are missing, always",
    "enable_categorical": "text columns are categories, always",
    "feature_types": "they follow from the columns of the table",
    "feature_weights": "no column holds them",
    "multi_strategy": "there is one target",
    "importance_type": "it does not change the model",
    "callbacks": "a configuration file cannot hold code",
    "validate_parameters": "parameters are always validated",
}


@dataclass(frozen=True)
class Rule:
    """What one parameter may be.

    Attributes:
        train: its name in ``xgboost.train``.
        check: gives what is needed where a value is wrong, or an empty text.
    """

    train: str
    check: Callable[[Any], str]


def _whole(low: int) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        fine = isinstance(value, int) and not isinstance(value, bool) and value >= low
        return "" if fine else f"a whole number of at least {low} is needed"

    return check


def _real(low: float, high: float | None = None, *, above: bool = False, below: bool = False) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if isinstance(value, int | float) and not isinstance(value, bool):
            over = value > low if above else value >= low
            if over and (high is None or (value < high if below else value <= high)):
                return ""
        limits = f"above {low:g}" if above else f"of at least {low:g}"
        end = "" if high is None else f" and {'below' if below else 'at most'} {high:g}"
        return f"a number {limits}{end} is needed"

    return check


def _any_of(*choices: str) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        return "" if value in choices else f"it may be: {', '.join(choices)}"

    return check


def _monotone(value: Any) -> str:
    fine = isinstance(value, Mapping) and all(
        isinstance(k, str) and type(v) is int and v in (-1, 0, 1) for k, v in value.items()
    )
    return "" if fine else "a mapping from features to -1, 0 or 1 is needed"


def _interaction(value: Any) -> str:
    fine = isinstance(value, list | tuple) and all(
        isinstance(group, list | tuple) and all(isinstance(name, str) for name in group) for group in value
    )
    return "" if fine else "a list of lists of features is needed"


_SHARE = _real(0, 1, above=True)
_PROBABILITY = _real(0, 1, above=True, below=True)
RULES = {
    "n_estimators": Rule("num_boost_round", _whole(1)),
    "max_depth": Rule("max_depth", _whole(0)),
    "max_leaves": Rule("max_leaves", _whole(0)),
    "grow_policy": Rule("grow_policy", _any_of("depthwise", "lossguide")),
    "learning_rate": Rule("eta", _real(0, 1, above=True)),
    "objective": Rule("objective", lambda _: ""),  # checked with the model's type
    "booster": Rule("booster", _any_of("gbtree")),
    "tree_method": Rule("tree_method", _any_of("hist")),
    "gamma": Rule("gamma", _real(0)),
    "min_child_weight": Rule("min_child_weight", _real(0)),
    "max_delta_step": Rule("max_delta_step", _real(0)),
    "subsample": Rule("subsample", _SHARE),
    "sampling_method": Rule("sampling_method", _any_of("uniform", "gradient_based")),
    "colsample_bytree": Rule("colsample_bytree", _SHARE),
    "colsample_bylevel": Rule("colsample_bylevel", _SHARE),
    "colsample_bynode": Rule("colsample_bynode", _SHARE),
    "reg_alpha": Rule("alpha", _real(0)),
    "reg_lambda": Rule("lambda", _real(0)),
    "scale_pos_weight": Rule("scale_pos_weight", _real(0, above=True)),
    "base_score": Rule("base_score", _real(float("-inf"))),
    "num_parallel_tree": Rule("num_parallel_tree", _whole(1)),
    "monotone_constraints": Rule("monotone_constraints", _monotone),
    "interaction_constraints": Rule("interaction_constraints", _interaction),
    "max_cat_to_onehot": Rule("max_cat_to_onehot", _whole(1)),
    "quantile_alpha": Rule("quantile_alpha", _real(0, 1, above=True)),
    "tweedie_variance_power": Rule("tweedie_variance_power", _real(1, 2, below=True)),
    "huber_slope": Rule("huber_slope", _real(0, above=True)),
    "max_cat_threshold": Rule("max_cat_threshold", _whole(1)),
}


def booster_params(
    model: ModelSection, training: TrainingSection, *, seed: int, nthread: int, classes: int | None = None
) -> tuple[dict[str, Any], int]:
    """Translate the sections.

    Args:
        model: type and parameters, under scikit-learn's names.
        training: metric, device and bins.
        seed: of the boosting's sampling.
        nthread: threads of one worker.
        classes: of the target, for a classifier; None where nobody has looked at the rows yet: then what either kind
            of classifier takes is let through.

    Returns:
        ``params`` and ``num_boost_round`` of ``xgboost.train``.

    Raises:
        ConfigError: parameters are unknown, given elsewhere, or of a wrong type; all of them are listed.
    """
    kinds = _kinds(model, classes)
    problems: list[str] = []
    params: dict[str, Any] = {
        "objective": OBJECTIVES[kinds[0]][0],
        "tree_method": "hist",
        "max_bin": training.max_bin,
        "device": training.device,
        "seed": seed,
        "nthread": nthread,
        "validate_parameters": True,
        "verbosity": 1,
    }
    if kinds == ("multiclass",):
        params["num_class"] = classes
    for name, value in model.params.items():
        problem = _problem(name, value, model.type, kinds)
        if problem:
            problems.append(f"model.params.{name}: {problem}")
        elif value is not None:
            params[RULES[name].train] = value
    try:
        params["eval_metric"] = metric_of(model, training, classes=classes)
    except ConfigError as error:
        problems.extend(error.problems)
    quantile = params["objective"] == "reg:quantileerror" or params.get("eval_metric") == "quantile"
    if quantile and "quantile_alpha" not in params:
        problems.append("model.params.quantile_alpha: objective or metric needs it, above 0 and at most 1")
    if problems:
        raise ConfigError(f"{model.type} cannot be trained with these parameters", problems=tuple(problems))
    return params, int(params.pop("num_boost_round", DEFAULT_ROUNDS))


def kind_of(model: ModelSection, classes: int) -> Kind:
    """What a model of this type predicts where the target has so many classes."""
    return _kinds(model, classes)[0]


def maximised(metric: str) -> bool:
    """Whether more of a metric is better."""
    return metric in MAXIMISED


def _kinds(model: ModelSection, classes: int | None) -> tuple[Kind, ...]:
    if model.type == "XGBRegressor":
        return ("regression",)
    if classes is None:
        return ("binary", "multiclass")
    return ("multiclass",) if classes > 2 else ("binary",)


def _problem(name: str, value: Any, estimator: str, kinds: tuple[Kind, ...]) -> str:
    if name in ELSEWHERE:
        return f"cannot be given here: {ELSEWHERE[name]}"
    if name not in RULES:
        return f"{estimator} has no such parameter{near(name, [*RULES, *ELSEWHERE])}"
    if value is None:  # scikit-learn's "XGBoost's own default"
        return ""
    if name == "scale_pos_weight" and kinds == ("multiclass",):
        return "it has no meaning with more than two classes; data.weight names a column of weights"
    if name == "base_score" and kinds == ("binary",):
        wrong = _PROBABILITY(value)
        return f"{value!r} cannot be used; of two classes it is a probability: {wrong}" if wrong else ""
    objectives = [objective for kind in kinds for objective in OBJECTIVES[kind]]
    wrong = _any_of(*objectives)(value) if name == "objective" else RULES[name].check(value)
    return f"{value!r} cannot be used; {wrong}" if wrong else ""


def metric_of(model: ModelSection, training: TrainingSection, *, classes: int | None = None) -> str:
    """The metric that early stopping watches: the configured one, or rmse where a regressor names none.

    Raises:
        ConfigError: the metric is unknown, or not one of this type of model.
    """
    metrics = {"binary": BINARY_METRICS, "multiclass": MULTICLASS_METRICS, "regression": REGRESSOR_METRICS}
    known = list(dict.fromkeys(name for kind in _kinds(model, classes) for name in metrics[kind]))
    if training.eval_metric in known:
        return training.eval_metric
    if model.type == "XGBRegressor" and "eval_metric" not in training.model_fields_set:
        return "rmse"
    many = f" of {classes} classes" if classes is not None and classes > 2 else ""
    told = f"training.eval_metric: {training.eval_metric!r} is not a metric of {model.type}{many}"
    raise ConfigError(
        "the metric of early stopping cannot be used",
        problems=(f"{told}{near(training.eval_metric, known)}; it may be: {', '.join(known)}",),
    )


def place_constraints(
    params: Mapping[str, Any], names: Sequence[str], *, categories: Sequence[str] = ()
) -> dict[str, Any]:
    """Write constraints by position instead of by feature name, as matrices without names need them.

    Args:
        params: of ``xgboost.train``.
        names: the features, in the order of the matrix.
        categories: those of them that have no order.

    Raises:
        ConfigError: a constraint names something that is no feature, or wants a score to rise with a category.
    """
    placed = dict(params)
    monotone: Mapping[str, int] = placed.pop("monotone_constraints", {})
    groups: Sequence[Sequence[str]] = placed.pop("interaction_constraints", ())
    problems = [
        f"model.params.{key}: {name!r} is not in data.features{near(name, names)}"
        for key, used in (
            ("monotone_constraints", list(monotone)),
            ("interaction_constraints", [name for group in groups for name in group]),
        )
        for name in used
        if name not in names
    ]
    problems += [
        f"model.params.monotone_constraints: {name!r} is text, and a category neither rises nor falls"
        for name, sign in monotone.items()
        if sign and name in categories
    ]
    if problems:
        raise ConfigError("the constraints do not fit the features", problems=tuple(problems))
    if monotone:
        placed["monotone_constraints"] = "(" + ",".join(str(monotone.get(name, 0)) for name in names) + ")"
    if groups:
        place = {name: index for index, name in enumerate(names)}
        placed["interaction_constraints"] = str([[place[name] for name in group] for group in groups])
    return placed
