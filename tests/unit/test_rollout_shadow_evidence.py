"""What counts as evidence where a version was a shadow first, or gets all requests at once."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from rollout_world import STRATEGIES, arm_seen, make_plan, plan_of, step_seen
from sluiceway.config.deployment import BusinessSection, MarginsSection, PolicySection
from sluiceway.config.stages import AbSection, ShadowSection, StepSection
from sluiceway.core.moments import Moments
from sluiceway.core.verdict import Status
from sluiceway.gates.statistics.proportions import Pairs
from sluiceway.rollout.error_rate import judge_error_rate
from sluiceway.rollout.evidence import Observations
from sluiceway.rollout.forecast import Traffic, forecast
from sluiceway.rollout.judgement import judge_step
from sluiceway.rollout.means_seen import ValuesSeen

CANARY = plan_of(STRATEGIES["shadow, canary"])
MANY = step_seen(CANARY.steps[0], arm_seen(100_000, 1000), arm_seen(20_000, 200))
PAIRS = Pairs(19_000, 400, 400, 200)


def by_name(plan, seen):
    return {verdict.measurement.name: verdict for verdict in judge_step(plan, seen)}


def test_what_a_shadow_did_lets_no_answers_through():
    """Its errors and times are no evidence for answers; its pairs are as good as any."""
    assert {v.status for v in judge_step(CANARY, Observations((MANY,), PAIRS, PAIRS))} == {Status.PASS}
    few = step_seen(CANARY.steps[1], arm_seen(300, 3), arm_seen(100, 1))
    own = Pairs(96, 2, 2, 0)
    found = by_name(CANARY, Observations((MANY, few), own, Pairs(19_096, 402, 402, 200)))
    assert {name: verdict.status for name, verdict in found.items()} == {
        "error_rate": Status.INCONCLUSIVE,
        "latency_p99": Status.INCONCLUSIVE,
        "accuracy": Status.PASS,
    }
    assert (found["error_rate"].measurement.n, found["latency_p99"].measurement.n) == (100, 100)


def test_that_a_shadow_was_good_hides_no_failures_of_answers():
    """Beside 20,000 good ones of the shadow 60 of 300 would be nothing."""
    bad = step_seen(CANARY.steps[1], arm_seen(900, 9), arm_seen(300, 60))
    for steps in ((bad,), (MANY, bad)):
        found = by_name(CANARY, Observations(steps, PAIRS, PAIRS))
        assert found["error_rate"].status is Status.FAIL


def test_what_answers_are_worth_is_not_asked_of_a_shadow():
    margins = MarginsSection(business=BusinessSection(low=0, high=1, absolute=0.1))
    plan = plan_of(STRATEGIES["shadow, canary"], margins=margins)
    assert "business" in plan.metrics
    assert "business" not in by_name(plan, Observations((MANY,), PAIRS, PAIRS))
    good = Moments(5000, 2500.0, 1700.0)
    values = ValuesSeen(0, 1, (good, good), (Moments(0, 0.0, 0.0), good))
    many = step_seen(plan.steps[1], arm_seen(15_000, 150), arm_seen(5_000, 50))
    assert by_name(plan, Observations((MANY, many), PAIRS, PAIRS, business=values))["business"].status is Status.PASS
    shadow, first, _ = forecast(plan.steps, margins, Traffic(100.0))
    assert ("business" in shadow.needs, "business" in first.needs) == (False, True)


def promoted_by_errors(plan, rates, random, *, champion, most):
    """Whether full weight, looked at every 20 requests, ever lets a version through by its errors."""
    before = step_seen(plan.steps[0], arm_seen(champion, int(random.binomial(champion, rates[0]))), arm_seen(0))
    failed = np.cumsum(random.random(most) < rates[1])
    for n in range(20, most + 1, 20):
        seen = Observations((before, step_seen(plan.steps[1], arm_seen(0), arm_seen(n, int(failed[n - 1])))))
        status = judge_error_rate(plan, seen).status
        if status is not Status.INCONCLUSIVE:
            return status is Status.PASS
    return False


@pytest.mark.parametrize("rollouts", [60, pytest.param(600, marks=pytest.mark.soak)])
def test_all_at_once_lets_few_versions_through_that_are_worse_by_the_margin(rollouts):
    plan, random = plan_of(STRATEGIES["blue/green"]), np.random.default_rng(5)
    passed = sum(promoted_by_errors(plan, (0.01, 0.03), random, champion=1500, most=2000) for _ in range(rollouts))
    # margins.alpha is 5 %; so many, and fewer, are seen in 99.9 % of all cases then.
    assert passed <= rollouts * 0.05 + 3.1 * np.sqrt(rollouts * 0.05 * 0.95)
    good = sum(promoted_by_errors(plan, (0.01, 0.01), random, champion=1500, most=2000) for _ in range(20))
    assert good >= 15


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ({"shadow": {}}, "goes with the steps of canary and linear"),
        ({"strategy": "blue_green"}, "goes with the steps of canary and linear"),
        ({"strategy": "ab", "ab": {"min_seconds": 9}}, "goes with the steps of canary and linear"),
        ({"baseline": "fresh"}, "with baseline champion"),
    ],
)
@pytest.mark.parametrize("source", ["prometheus", "both"])
def test_prometheus_stands_for_the_counters_of_a_canary_only(source, policy, said):
    told = {"source": source, "prometheus": {"url": "http://prometheus:9090"}}
    with pytest.raises(ValidationError, match=said):
        PolicySection.model_validate(told | policy)
    assert PolicySection.model_validate(told | {"strategy": "linear"}).source == source


def test_queries_of_one_s_own_ask_about_one_challenger():
    query = {"name": "depth", "query": "sum(depth)", "at_most": 3}
    told = {"prometheus": {"url": "http://prometheus:9090", "queries": [query]}}
    for policy, why in (
        ({"strategy": "ab", "ab": {"min_seconds": 9}}, "ab has several"),
        ({"baseline": "fresh"}, "second"),
    ):
        with pytest.raises(ValidationError, match=why):
            PolicySection.model_validate(told | policy)
    for policy in ({"shadow": {}}, {"strategy": "blue_green"}):
        assert PolicySection.model_validate(told | policy).asks_prometheus


def test_a_test_is_planned_with_the_error_shared_out():
    steps = (AbSection(weight=0.2, min_requests=100, others=("3", "4")),)
    alone = (AbSection(weight=0.2, min_requests=100),)
    three, one = (forecast(given, MarginsSection(), Traffic(100.0, error_rate=0.01))[0] for given in (steps, alone))
    assert three.name == "A/B 20%"
    assert all(three.needs[name] > one.needs[name] for name in ("error_rate", "latency_p99", "accuracy"))


def test_a_shadow_before_the_steps_leaves_the_accuracy_little_to_show():
    steps = (StepSection(weight=0.25), StepSection(weight=1.0))
    traffic = Traffic(100.0, error_rate=0.01)
    plain = forecast(steps, MarginsSection(), traffic)
    shown = forecast((ShadowSection(share=0.5), *steps), MarginsSection(), traffic)
    assert shown[1].needs["error_rate"] == plain[0].needs["error_rate"]
    assert shown[1].needs["accuracy"] == make_plan().margins.min_pairs < plain[0].needs["accuracy"]
