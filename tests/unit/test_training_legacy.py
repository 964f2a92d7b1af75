"""What the engine xgboost_ray refuses, and what its environment is asked."""

import json

import pytest

from sluiceway.config.experiment import DataSection, ModelSection, TrainingSection
from sluiceway.core.errors import ConfigError
from sluiceway.features.schema import Feature, FeatureSchema
from sluiceway.training.legacy import PACKAGES, check_legacy, legacy_request
from sluiceway.training.recipe import Recipe

SCHEMA = FeatureSchema((Feature("a", "numeric"), Feature("c", "category", ("x", "y"))))
DATA = DataSection(path="made here", features=("a", "c"), target="late")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"final": "best_fold"}, "training.final: best_fold"),
        ({"final": "average"}, "training.final: average"),
        ({"parallel_folds": "auto"}, "training.parallel_folds"),
        ({"device": "cuda"}, "training.device: cuda"),
        ({"memory_per_worker": "2GB"}, "training.memory_per_worker"),
        ({"cpus_per_worker": 0.5}, "training.cpus_per_worker"),
        ({"checkpoint_rounds": 10}, "training.checkpoint_rounds"),
        ({"retries": 1}, "training.retries"),
    ],
)
def test_what_it_cannot_do_is_refused(given, told):
    with pytest.raises(ConfigError, match="xgboost_ray cannot do this") as caught:
        check_legacy(TrainingSection(engine="xgboost_ray", **given))
    assert [problem for problem in caught.value.problems if problem.startswith(told)] == list(caught.value.problems)
    assert caught.value.exit_code == 2


def test_all_that_it_cannot_do_is_said_at_once():
    with pytest.raises(ConfigError) as caught:
        check_legacy(TrainingSection(final="average", device="cuda"), base=b"a model")
    assert len(caught.value.problems) == 3


def test_what_it_can_do_is_not_refused():
    check_legacy(TrainingSection(engine="xgboost_ray", workers=2, cpus_per_worker=2, folds=3, retries=0))


def test_it_is_asked_in_plain_values_what_the_other_engine_is_asked():
    model = ModelSection(params={"n_estimators": 30, "reg_lambda": 2.0, "monotone_constraints": {"a": 1}})
    training = TrainingSection(engine="xgboost_ray", folds=3, early_stopping_rounds=7, eval_metric="logloss")
    spec = Recipe(DATA, model, training, 5, SCHEMA, (0, 1)).loop_spec(threads=4)
    request = legacy_request(spec, actors=2, threads=3)
    assert json.loads(json.dumps(request)) == request
    assert request["params"] == {**spec.params, "nthread": 3}
    assert request["params"]["lambda"] == 2.0
    assert request["params"]["monotone_constraints"] == "(1,0)"
    assert (request["rounds"], request["folds"], request["early_stopping"], request["actors"]) == (30, 3, 7, 2)
    assert (request["metric"], request["maximise"]) == ("logloss", False)
    assert (request["names"], request["types"]) == (["a", "c"], ["q", "c"])


def test_the_page_names_the_versions_for_an_image(repository):
    page = (repository / "docs" / "training" / "legacy.md").read_text()
    assert " ".join(f'"{package}"' for package in PACKAGES) in page
