"""What is other in an environment is merged with the rest, checked as a whole, and survives being written down."""

from __future__ import annotations

import pytest
import yaml

from sluiceway.config.load import load_settings
from sluiceway.config.settings import Settings
from sluiceway.config.stages import LinearSection
from sluiceway.core.errors import ConfigError

DOCUMENT = {
    "experiment": {"name": "x"},
    "data": {"path": "t", "features": ["a"], "target": "b"},
    "deployment": {
        "environments": ["staging", "production"],
        "steps": [{"weight": 0.1}, {"weight": 1.0}],
        "shadow": {"share": 0.5, "min_requests": 50},
        "margins": {"accuracy": 0.05, "error_rate": 0.01},
        "on_inconclusive": "hold",
        "per_environment": {
            "staging": {
                "strategy": "blue_green",
                "shadow": {"share": 0.2},
                "margins": {"accuracy": 0.1},
                "on_inconclusive": "rollback",
                "replay": {"connections": 2},
            }
        },
    },
}


def loaded(tmp_path, document=DOCUMENT, **overrides):
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(document))
    return load_settings(str(tmp_path / "x.yaml"), overrides=tuple(f"{k}={v}" for k, v in overrides.items()))


def test_an_environment_has_its_own_and_the_rest_of_all(tmp_path):
    deployment = loaded(tmp_path).deployment
    production, staging = deployment.of("production"), deployment.of("staging")
    assert production is deployment
    assert [stage.name for stage in production.planned_steps] == ["shadow 50%", "10%", "100%"]
    assert [stage.name for stage in staging.planned_steps] == ["shadow 20%", "100%"]
    assert staging.shadow.min_requests == 50
    assert (staging.margins.accuracy, staging.margins.error_rate, staging.margins.alpha) == (0.1, 0.01, 0.05)
    assert (staging.on_inconclusive, production.on_inconclusive) == ("rollback", "hold")
    assert (staging.replay.connections, production.replay) == (2, None)


def test_a_stage_may_be_left_out_in_an_environment(tmp_path):
    overrides = {"deployment.per_environment.production": "{shadow: null}"}
    deployment = loaded(tmp_path, **overrides).deployment
    assert [stage.name for stage in deployment.of("production").planned_steps] == ["10%", "100%"]
    assert deployment.of("staging").shadow.share == 0.2


def test_a_configuration_that_was_written_down_says_the_same(tmp_path):
    first = loaded(tmp_path)
    again = Settings.model_validate(yaml.safe_load(yaml.safe_dump(first.model_dump(mode="json"))))
    for environment in first.deployment.environments:
        before, after = first.deployment.of(environment), again.deployment.of(environment)
        fields = type(after).model_fields.keys() - {"environments", "per_environment"}
        assert {name: getattr(before, name) for name in fields} == {name: getattr(after, name) for name in fields}


@pytest.mark.parametrize(
    ("own", "told"),
    [
        ({"night": {}}, "per_environment.night: environments are staging, production"),
        ({"staging": {"shadov": {}}}, "deployment.per_environment.staging.shadov: unknown key; did you mean 'shadow'?"),
        ({"staging": {"environments": ["a"]}}, "deployment.per_environment.staging.environments: unknown key"),
        # Each half is allowed, and both together are not.
        (
            {"staging": {"strategy": "linear", "linear": {"max_failures": 3}}},
            "per_environment.staging: linear.max_failures says when it goes back or pauses; on_inconclusive hold",
        ),
        ({"staging": {"shadow": {"share": 2}}}, "deployment.per_environment.staging.shadow.share"),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(tmp_path, own, told):
    document = {**DOCUMENT, "deployment": {**DOCUMENT["deployment"], "per_environment": own}}
    with pytest.raises(ConfigError) as refused:
        loaded(tmp_path, document)
    assert any(told in problem for problem in refused.value.problems), refused.value.problems


def test_a_linear_rollout_has_one_way_to_end():
    with pytest.raises(ValueError, match="max_seconds, for each step, or max_failures, for all of them"):
        LinearSection(max_seconds=900, max_failures=3)
    assert {step.max_seconds for step in LinearSection(interval_seconds=300, max_failures=3).steps} == {1200}
