"""What is said of a rollout before it begins is what the rollout will ask for."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest

from rollout_world import CHAMPION, make_plan, step_seen
from sluiceway.catalog.records import ArmCounts
from sluiceway.config.deployment import MarginsSection, PolicySection
from sluiceway.config.stages import ShadowSection, StepSection
from sluiceway.core.errors import InputError
from sluiceway.core.traffic import TrafficDocument
from sluiceway.gates.statistics.planning import detectable_rise, requests_needed
from sluiceway.gates.statistics.proportions import Pairs
from sluiceway.rollout.baseline import judge_baseline
from sluiceway.rollout.evidence import ArmSeen, Observations, StepSeen, judge_step
from sluiceway.rollout.forecast import Traffic, forecast
from sluiceway.rollout.plan import RolloutPlan
from sluiceway.rollout.present_traffic import measured

STEPS = tuple(StepSection(weight=weight, max_seconds=600) for weight in (0.05, 0.5, 1.0))


def test_it_asks_for_what_the_judgement_asks_for():
    plan: RolloutPlan = make_plan(steps=STEPS)
    found = forecast(plan.steps, plan.margins, Traffic(100.0, error_rate=0.01, discordance=0.04))
    for i, step in enumerate(found):
        steps = tuple(StepSeen(s.weight, ArmSeen(10_000, 100), ArmSeen(10_000, 100)) for s in plan.steps[: i + 1])
        pairs = Pairs(96_000, 2_000, 2_000, 0)
        verdicts = judge_step(plan, Observations(steps, pairs, pairs))
        needed = {verdict.measurement.name: verdict.threshold.n_needed for verdict in verdicts}
        assert step.needs == pytest.approx(needed, rel=0.01)


def test_a_stage_that_answers_nobody_asks_for_what_its_judgement_asks_for():
    policy = PolicySection(strategy="blue_green", shadow=ShadowSection(share=0.25))
    traffic = Traffic(100.0, error_rate=0.01, discordance=0.04)
    shadow, full = forecast(policy.planned_steps, policy.margins, traffic)
    seen = step_seen(policy.planned_steps[0], ArmSeen(10_000, 100), ArmSeen(2_500, 25))
    pairs = Pairs(96_000, 2_000, 2_000, 0)
    plan = make_plan(steps=policy.planned_steps)
    needed = {v.measurement.name: v.threshold.n_needed for v in judge_step(plan, Observations((seen,), pairs, pairs))}
    assert (shadow.name, full.name) == ("shadow 25%", "100%")
    assert shadow.needs == pytest.approx(needed, rel=0.01)
    assert shadow.seconds == pytest.approx(max(needed.values()) / 25, rel=0.01)

    policy = PolicySection(strategy="blue_green")
    warm, _ = forecast(policy.planned_steps, policy.margins, traffic)
    baseline = judge_baseline(make_plan(steps=policy.planned_steps), Observations((StepSeen(0, ArmSeen(1000, 10)),)))
    assert (warm.name, max(warm.needs.values())) == ("warm", baseline.threshold.n_needed)
    assert warm.seconds == pytest.approx(baseline.threshold.n_needed / 100)
    assert (warm.needs["accuracy"], warm.finds) == (0, math.inf)


def test_a_fresh_baseline_has_its_own_requests_to_wait_for():
    traffic = Traffic(1000.0, error_rate=0.01, discordance=0.0)
    steps = [StepSection(weight=0.1), StepSection(weight=0.9), StepSection(weight=1.0)]
    few, most, all_ = forecast(
        steps, MarginsSection(), traffic, fresh_baseline=True, without=("latency_p99", "accuracy")
    )
    champion, challenger = requests_needed(0.02, 0.01, 0.5)
    assert few.needs == {"error_rate": challenger}
    assert few.seconds == pytest.approx(champion / 100)
    assert (most.seconds, all_.seconds) == pytest.approx((champion / 100, challenger / 1000))


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


@pytest.mark.parametrize("alpha", [0.01, 0.05])
@pytest.mark.parametrize("rate", [0.0, 0.005, 0.1])
def test_what_a_step_finds_is_the_margin_that_its_requests_are_enough_for(rate, alpha):
    for weight, n in ((0.05, 300), (0.5, 5_000)):
        found = detectable_rise(rate, weight, n, alpha=alpha)
        assert requests_needed(found, rate, weight, alpha=alpha)[1] == pytest.approx(n, abs=1)


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
