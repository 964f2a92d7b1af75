"""A run's configuration is written down with every key, and read again as it was given."""

from __future__ import annotations

import pytest
import yaml

from sluiceway.config.load import load_settings
from sluiceway.config.platform import PlatformSection
from sluiceway.config.recorded import recorded_settings
from sluiceway.config.settings import Settings
from sluiceway.core.errors import ConfigError
from sluiceway.lifecycle.preflight import check_evaluation
from sluiceway.training.legacy import check_legacy
from sluiceway.training.params import metric_of

SMALLEST = {"experiment": {"name": "m"}, "data": {"path": "t", "features": ["a"], "target": "y"}}
FULL = {
    "deployment": {"environments": ["production"], "steps": [{"weight": 0.5, "min_requests": 7}, {"weight": 1.0}]},
    "evaluation": {
        "metrics": ["rmse"],
        "thresholds": {"r2": 0.5},
        "own": {"mine": {"function": "m:gate"}},
        "slices": {"declared": [{"name": "one", "where": {"a": 1}}]},
        "waivers": [{"gates": ["leakage"], "owner": "me", "reason": "why", "expires": "2027-01-01"}],
    },
    "search": {"space": {"max_depth": {"whole": [2, 3]}}, "trials": 2},
    "training": {"incremental": {"window": 3}, "checkpoint_rounds": 7, "memory_per_worker": "4GB"},
    "lifecycle": [{"step": "release", "name": "first"}],
}


@pytest.fixture
def again(tmp_path):
    """A configuration as it is loaded, and as it is read from what its run wrote down."""

    def read(metric: str = "auc", **sections) -> tuple[Settings, Settings]:
        file = tmp_path / "config.yaml"
        file.write_text(yaml.safe_dump({**SMALLEST, **sections}))
        given = load_settings(file)
        text = yaml.safe_dump(given.model_dump(mode="json"), sort_keys=False)
        return given, recorded_settings(text, run="r", platform=given.platform, metric=metric)

    return read


def test_nothing_of_it_is_lost(again):
    given, read = again(metric="rmse", model={"type": "XGBRegressor"}, **FULL)
    dumped = given.model_dump(mode="json")
    assert read.model_dump(mode="json") == dumped | {"training": dumped["training"] | {"eval_metric": "rmse"}}


@pytest.mark.parametrize(("type_", "kind"), [("XGBRegressor", "regression"), ("XGBClassifier", "multiclass")])
def test_metrics_that_nobody_named_are_not_asked_for(again, type_, kind):
    given, read = again(metric="rmse" if kind == "regression" else "mlogloss", model={"type": type_})
    check_evaluation(given.evaluation, kind)
    check_evaluation(read.evaluation, kind)


def test_metrics_that_somebody_named_are_asked_for(again):
    _, read = again(evaluation={"metrics": ["rmse"]})
    with pytest.raises(ConfigError, match="rmse"):
        check_evaluation(read.evaluation, "binary")


def test_the_metric_that_followed_from_the_model_stays(again):
    _, read = again(metric="mae", model={"type": "XGBRegressor"})
    assert metric_of(read.model, read.training) == "mae"


def test_the_older_library_is_asked_nothing_that_nobody_gave(again):
    given, read = again(training={"engine": "xgboost_ray"})
    check_legacy(given.training)
    check_legacy(read.training)


def test_the_places_are_those_of_now(again):
    given, _ = again(platform={"state": "then"})
    text = yaml.safe_dump(given.model_dump(mode="json"))
    now = PlatformSection(state="now")
    assert recorded_settings(text, run="r", platform=now, metric="auc").platform == now
