"""What is said of a rollout before it begins is what the rollout will ask for."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest

from rollout_world import CHAMPION, arm_seen, make_plan, step_seen
from sluiceway.catalog.records import ArmCounts
from sluiceway.config.deployment import MarginsSection, PolicySection
from sluiceway.config.stages import ShadowSection, StepSection
from sluiceway.core.errors import InputError
from sluiceway.core.pairs import Scores
from sluiceway.core.traffic import TrafficDocument
from sluiceway.core.verdict import Status
from sluiceway.gates.statistics.noninferiority import requests_needed
from sluiceway.gates.statistics.proportions import Pairs
from sluiceway.rollout.baseline import judge_baseline
from sluiceway.rollout.evidence import ArmSeen, Observations, StepSeen
from sluiceway.rollout.forecast import Traffic, forecast
from sluiceway.rollout.judgement import judge_step
from sluiceway.rollout.margin import OWN_REQUESTS
from sluiceway.rollout.plan import RolloutPlan
from sluiceway.rollout.present_traffic import measured

STEPS = tuple(StepSection(weight=weight, max_seconds=600) for weight in (0.05, 0.5, 1.0))


@pytest.mark.parametrize("metric", ["error_rate", "latency_p99", "accuracy"])
def test_what_it_says_is_what_the_judgement_asks_for(metric):
    """With the requests that it says each step passes, where as many fail as are to be expected.

    The first step not with half of them. The step with the test often does: it is told for four rollouts of five.
    """
    plan: RolloutPlan = make_plan(steps=STEPS)
    found = forecast(plan.steps, plan.margins, Traffic(100.0, error_rate=0.01, discordance=0.04))
    # Failures come whole: what is rounded off makes two hundredths.
    needs = [math.ceil(1.02 * step.needs[metric]) for step in found]
    for i in range(len(STEPS)):
        assert judged(plan, metric, needs[: i + 1]).status is Status.PASS
    half = judged(plan, metric, [needs[0] // 2])
    assert half.status is Status.INCONCLUSIVE
    assert half.threshold.n_needed == pytest.approx(needs[0], rel=0.15)


def judged(plan, metric, requests):
    """The verdict where each step has seen so many requests of the challenger."""
    arms = []
    for n, step in zip(requests, plan.steps, strict=False):
        others = round(n * (1 - step.weight) / step.weight)
        arms.append(StepSeen(step.weight, arm_seen(others, others // 100), arm_seen(n, n // 100)))
    own, whole = (Pairs(n - 2 * (n // 50), n // 50, n // 50, 0) for n in (requests[-1], sum(requests)))
    verdicts = judge_step(plan, Observations(tuple(arms), own, whole, outcomes=whole.n))
    return next(verdict for verdict in verdicts if verdict.measurement.name == metric)


def test_a_stage_that_answers_nobody_asks_for_what_its_judgement_asks_for():
    policy = PolicySection(strategy="blue_green", shadow=ShadowSection(share=0.25))
    traffic = Traffic(100.0, error_rate=0.01, discordance=0.04)
    shadow, full = forecast(policy.planned_steps, policy.margins, traffic)
    assert (shadow.name, full.name) == ("shadow 25%", "100%")
    assert (shadow.seconds, full.needs["accuracy"]) == (max(shadow.needs.values()) / 25, 100)
    plan = make_plan(steps=policy.planned_steps)
    for metric, needed in shadow.needs.items():
        # A shadow has the whole test for itself, which is told for four rollouts of five; half of that is not enough.
        assert in_the_shadow(plan, metric, math.ceil(1.1 * needed)).status is Status.PASS
        assert in_the_shadow(plan, metric, needed // 2).status is Status.INCONCLUSIVE

    policy = PolicySection(strategy="blue_green")
    warm, _ = forecast(policy.planned_steps, policy.margins, traffic)
    baseline = judge_baseline(make_plan(steps=policy.planned_steps), Observations((StepSeen(0, ArmSeen(1000, 10)),)))
    assert (warm.name, max(warm.needs.values())) == ("warm", baseline.threshold.n_needed)
    assert warm.seconds == pytest.approx(baseline.threshold.n_needed / 100)
    assert (warm.needs["accuracy"], warm.finds) == (0, math.inf)


def in_the_shadow(plan, metric, n):
    """The verdict on a shadow that was asked so often, of a quarter of the champion's requests."""
    seen = step_seen(plan.steps[0], arm_seen(4 * n, 4 * n // 100), arm_seen(n, n // 100))
    pairs = Pairs(n - 2 * (n // 50), n // 50, n // 50, 0)
    verdicts = judge_step(plan, Observations((seen,), pairs, pairs, outcomes=n))
    return next(verdict for verdict in verdicts if verdict.measurement.name == metric)


def test_a_fresh_baseline_has_its_own_requests_to_wait_for():
    traffic = Traffic(1000.0, error_rate=0.01, discordance=0.0)
    steps = [StepSection(weight=0.1), StepSection(weight=0.9), StepSection(weight=1.0)]
    few, most, all_ = forecast(
        steps, MarginsSection(), traffic, fresh_baseline=True, without=("latency_p99", "accuracy")
    )
    # What is held against the challenger is as many requests, or as few, as the baseline has.
    odds = 2 / (1 + 1 / 9)
    whole = requests_needed(0.01, 0.02, odds)
    needs = [step.needs["error_rate"] for step in (few, most, all_)]
    assert (sum(needs[:2]), needs[2]) == (whole, OWN_REQUESTS)
    assert few.seconds == pytest.approx(needs[0] / 100)
    assert most.seconds == pytest.approx(needs[1] / 900)
    beside_all = forecast(steps, MarginsSection(), traffic, without=("latency_p99", "accuracy"))
    assert sum(step.needs["error_rate"] for step in beside_all[:2]) < whole


def test_the_slowest_metric_takes_the_time():
    margins = MarginsSection()
    slow, fast = (forecast(STEPS, margins, Traffic(rate, error_rate=0.005)) for rate in (10.0, 100.0))
    for one, other, step in zip(slow, fast, STEPS, strict=True):
        assert one.seconds == pytest.approx(10 * other.seconds)
        assert one.seconds >= max(one.needs.values()) / (10.0 * step.weight) - 1e-9
        assert one.finds > other.finds
    assert [step.in_time for step in slow] == [False, True, True]
    assert [step.in_time for step in fast] == [True, True, True]
    without = forecast(STEPS, margins, Traffic(10.0, error_rate=0.005), without=("accuracy",))
    assert "accuracy" not in without[0].needs
    rare = forecast(STEPS, margins, Traffic(100.0, error_rate=0.005, outcomes=0.01))
    assert rare[0].seconds == pytest.approx(rare[0].needs["accuracy"] / (100 * 0.05 * 0.01))


def test_without_traffic_nothing_is_ever_there():
    (step,) = forecast(STEPS[:1], MarginsSection(), Traffic(0.0))
    assert (step.seconds, step.finds, step.in_time) == (math.inf, math.inf, False)


def test_a_step_s_own_times_count():
    (step,) = forecast([StepSection(weight=0.5, min_seconds=60)], MarginsSection(), Traffic(1e6))
    assert step.seconds == 60
    (step,) = forecast([StepSection(weight=0.5, min_requests=10**6)], MarginsSection(), Traffic(1e4))
    assert step.seconds == 200


class Growing:
    """Counts that grow by so many requests at each look."""

    def __init__(self, step, document=True):
        self.step, self.asked = step, 0
        self.document = TrafficDocument("flights", 3, CHAMPION) if document else None
        self.traffic = SimpleNamespace(newest=lambda _: self.document)
        self.records = self

    def counts(self, endpoint, generations):
        assert (endpoint, generations) == ("flights", [3])
        self.asked += 1
        return [ArmCounts("1", "champion", 3, 1000 + self.step * self.asked, 20 + self.asked, ())]


def test_the_rate_is_measured_where_nobody_gives_one():
    found = measured(Growing(100), "flights", None, seconds=0.1)
    assert 500 < found.rate <= 1000
    assert found.error_rate == 22 / 1200
    assert measured(Growing(100), "flights", 7.0) == Traffic(7.0, 21 / 1100)
    assert measured(Growing(0, document=False), "flights", 7.0) == Traffic(7.0)


@pytest.mark.parametrize(
    ("stores", "said"), [(Growing(0), "nobody has asked"), (Growing(0, document=False), "no endpoint")]
)
def test_no_traffic_is_told(stores, said):
    with pytest.raises(InputError, match=said) as caught:
        measured(stores, "flights", None, seconds=0.01)
    assert "--rate" in caught.value.hint


def test_a_regression_has_a_loss_of_its_own_width_and_no_accuracy():
    margins = MarginsSection(loss=0.05)
    plain, number = (forecast(STEPS, margins, Traffic(100.0), scores=Scores(kind)) for kind in ("binary", "regression"))
    assert "accuracy" in plain[0].needs
    assert set(number[0].needs) == {"error_rate", "latency_p99", "loss"}
    # Errors of a regression are told in spreads, of which four are the most: less than a log loss may be.
    assert number[0].needs["loss"] < plain[0].needs["loss"]
