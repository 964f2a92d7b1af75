"""What can be seen to be wrong with a source of numbers is refused when the configuration is read."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from sluiceway.config.deployment import DeploymentSection
from sluiceway.config.metric_source import OwnQuerySection, PrometheusSection

URL = "http://prometheus:9090"
GOOD = {"name": "queue", "query": 'max(queue{model="$endpoint",arm="$arm"})', "at_most": 5}


def refused(section, told, **values):
    with pytest.raises(ValidationError) as error:
        section(**values)
    assert told in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"at_most": None}, "one of at_most and at_least"),
        ({"at_least": 1}, "one of at_most and at_least"),
        ({"query": "x{a=$arm}"}, "put it into quotes"),
        ({"samples": 'x{a="$no"}'}, "$no is no placeholder"),
        ({"query": "max(queue)", "compare": "ratio"}, "name $arm or $version"),
        ({"name": "error_rate"}, "every rollout has"),
        ({"name": "accuracy_limit"}, "every rollout has"),
        ({"name": "Queue length"}, "pattern"),
        ({"at_most": float("nan")}, "finite"),
        ({"min_samples": 0}, "greater than or equal to 1"),
    ],
)
def test_a_query_that_cannot_judge(changes, told):
    refused(OwnQuerySection, told, **{**GOOD, **changes})


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"url": "prometheus:9090"}, "no address of http"),
        ({"url": "http://ann:secret@prometheus"}, "token_env"),
        ({"url": "http://prometheus?key=1"}, "token_env"),
        ({"labels": {"model": "x"}}, "no label to choose by"),
        ({"labels": {"a-b": "x"}}, "no label to choose by"),
        ({"queries": [GOOD, GOOD]}, "two queries are called queue"),
    ],
)
def test_a_prometheus_that_cannot_be_asked(values, told):
    refused(PrometheusSection, told, **values)


def test_a_token_in_place_of_its_variable_is_refused():
    refused(PrometheusSection, "NAME of an environment variable", token_env="eyJhbGci.eyJz-dWIi")
    refused(PrometheusSection, "NAME of an environment variable", headers_env={"X-Key": "a b"})


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"source": "both"}, "say where Prometheus is"),
        ({"prometheus": {"queries": [GOOD]}}, "say where Prometheus is"),
        ({"source": "graphite"}, "'both'"),
        ({"dry_run": ["queue"]}, "there is no metric queue"),
        (
            {"margins": {"loss": 0.1}, "prometheus": {"url": URL, "queries": [{**GOOD, "name": "loss"}]}},
            "margins.loss judges a loss; rename the query",
        ),
        (
            {"prometheus": {"url": URL, "queries": [{**GOOD, "name": "consecutive_errors"}]}},
            "a consecutive_errors of their own; rename the query",
        ),
        (
            {
                "source": "both",
                "prometheus": {"url": URL},
                "steps": [{"weight": 0.5, "max_seconds": 120}, {"weight": 1}],
            },
            "over before both sources are compared",
        ),
    ],
)
def test_a_deployment_that_cannot_be_judged(values, told):
    refused(DeploymentSection, told, **values)


def test_a_query_may_be_a_dry_run_and_secrets_stay_out_of_plans():
    section = DeploymentSection(
        source="prometheus",
        dry_run=("queue", "accuracy"),
        prometheus={"url": URL, "token_env": "TOKEN", "headers_env": {"X": "Y"}, "queries": [GOOD]},
    )
    kept = section.prometheus.judging
    assert (kept.url, kept.token_env, kept.headers_env) == (None, None, {})
    assert kept.queries == section.prometheus.queries
