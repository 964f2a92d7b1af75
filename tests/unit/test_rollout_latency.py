"""Quantiles of latency: those that are asked for are judged, by one test, from either source; the others are not."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.stats import lognorm, norm

from rollout_world import World, make_plan
from sluiceway.config.deployment import LimitsSection, MarginsSection, PolicySection
from sluiceway.config.stages import StepSection
from sluiceway.core.traffic import EXPORTED_LATENCY_BOUNDS_SECONDS, LATENCY_BOUNDS_SECONDS, LATENCY_QUANTILES
from sluiceway.core.verdict import Status
from sluiceway.gates.statistics.proportions import Pairs
from sluiceway.rollout.baseline import champion_needs
from sluiceway.rollout.controller import run
from sluiceway.rollout.evidence import ArmSeen, Observations, StepSeen, rollback_alpha
from sluiceway.rollout.explain_metric import story_of
from sluiceway.rollout.forecast import Traffic, forecast
from sluiceway.rollout.judgement import judge_step
from sluiceway.rollout.limits import judge_limits
from sluiceway.rollout.looks import read
from sluiceway.rollout.plan import RolloutPlan
from sluiceway.rollout.replay import replay, with_policy
from sluiceway.rollout.source_verdicts import judge_by_source
from sluiceway.rollout.told import Compared, Told

ALL = tuple(LATENCY_QUANTILES)
GOOD = Pairs(1960, 20, 20, 0)
ASKED = {"latency_p50_ratio": 1.5, "latency_p50_seconds": 0.01, "latency_p95_ratio": 1.5}
AGREED = tuple(
    Compared(arm, what, n, n - 5, n + 5)
    for arm in ("champion", "challenger")
    for what, n in (("requests", 1000), ("errors", 10))
)


def arm(*parts):
    """What an arm did: pairs of a number of answers and the seconds that each took."""
    counts = [0] * (len(LATENCY_BOUNDS_SECONDS) + 1)
    for requests, seconds in parts:
        counts[int(np.searchsorted(LATENCY_BOUNDS_SECONDS, seconds))] += requests
    return ArmSeen(sum(counts), 0, tuple(counts))


# One that is fast for most and slow for some, and one that is as slow for some and slow for most.
CHAMPION = arm((1800, 0.005), (200, 0.2))
SLOW_AT_THE_MEDIAN = arm((1900, 0.08), (100, 0.2))


def as_exported(seen):
    """The same answers in the buckets that Prometheus has."""
    exported = np.searchsorted(EXPORTED_LATENCY_BOUNDS_SECONDS, [*LATENCY_BOUNDS_SECONDS, 1e9])
    counts = np.bincount(exported, weights=seen.latency, minlength=len(EXPORTED_LATENCY_BOUNDS_SECONDS) + 1)
    return replace(seen, latency=tuple(int(n) for n in counts))


def asked(margins=None, **changes):
    return make_plan(margins=MarginsSection(**(margins or ASKED)), **changes)


def seen(challenger, champion=CHAMPION, weight=0.5, **more):
    return Observations((StepSeen(weight, champion, challenger),), GOOD, GOOD, outcomes=2000, **more)


def statuses(verdicts):
    return {verdict.measurement.name: verdict.status for verdict in verdicts}


def test_what_is_slow_at_the_median_only_fails_where_the_median_is_asked_for():
    found = statuses(judge_step(make_plan(), seen(SLOW_AT_THE_MEDIAN)))
    assert found == dict.fromkeys(("error_rate", "latency_p99", "accuracy"), Status.PASS)
    found = statuses(judge_step(asked(), seen(SLOW_AT_THE_MEDIAN)))
    assert found["latency_p50"] is Status.FAIL
    assert {found[name] for name in found if name != "latency_p50"} == {Status.PASS}
    assert set(statuses(judge_step(asked(), seen(CHAMPION))).values()) == {Status.PASS}


@pytest.mark.parametrize(("margins", "ends"), [({}, ("promoted", None)), (ASKED, ("rolled_back", "latency_p50"))])
def test_a_rollout_of_one_that_is_slow_at_the_median(margins, ends):
    world = World.served()
    for i, seconds in enumerate((0.005, 0.08)):
        counts = np.array(arm((900, seconds), (100, 0.2)).latency)
        world.latency[i] = counts / counts.sum()
    plan = asked(margins or {"latency_p99_ratio": 1.5})
    outcome = run(plan, world.doors(), poll_seconds=1)
    assert (outcome.status, outcome.cause) == ends
    # What was kept of it is judged again by a policy that asks, and by one that does not.
    looks = read(world.rollouts, "r1")
    policies = (PolicySection(), PolicySection(margins=MarginsSection(**ASKED)))
    last = [replay(with_policy(plan, policy), looks)[-1] for policy in policies]
    assert last[1].action == "roll back"
    assert last[0].action == ("promote" if ends[0] == "promoted" else "still wait")


def test_a_healthy_version_is_promoted_by_all_quantiles():
    world = World.served()
    assert run(asked(), world.doors(), poll_seconds=1).status == "promoted"


@pytest.mark.parametrize("name", ALL)
def test_a_quantile_fails_by_its_own_margin_and_says_of_how_many(name):
    slow = min(2000, round(2000 * (1 - LATENCY_QUANTILES[name]) * 3))
    challenger = arm((2000 - slow, 0.005), (slow, 2.0))
    plan = asked()
    (found,) = (v for v in judge_step(plan, seen(challenger, arm((2000, 0.005)))) if v.measurement.name == name)
    assert (found.status, found.measurement.n) == (Status.FAIL, 2000)
    assert f"{slow:,} slower than that allows" in found.measurement.detail
    told = story_of(plan, found, seen(challenger, arm((2000, 0.005)))).told
    assert told.startswith(f"{name} failed on 2,000 requests")
    few = judge_step(plan, seen(arm((40, 0.005)), arm((2000, 0.005)), weight=0.05))
    story = next(
        story_of(plan, v, seen(arm((40, 0.005)), arm((2000, 0.005)), weight=0.05))
        for v in few
        if v.measurement.name == name
    )
    assert (story.status, story.more) == ("INCONCLUSIVE", {"latency_p99": 260}.get(name, 20))


def test_a_cold_start_is_no_slow_median():
    """Fewer answers than a step has to have send nothing back by a quantile, however slow they are."""
    fast = arm((2000, 0.005))
    for n, status in ((59, Status.INCONCLUSIVE), (60, Status.FAIL)):
        found = statuses(judge_step(asked(), seen(arm((n, 0.5)), fast)))
        assert found["latency_p50"] is status


def test_only_quantiles_that_are_asked_for_share_the_chance_of_an_alarm():
    assert make_plan().metrics == ("error_rate", "latency_p99", "accuracy")
    assert asked().metrics == ("error_rate", *ALL, "accuracy")
    assert rollback_alpha(asked()) * 5 == pytest.approx(asked().margins.rollback_alpha)
    one = asked({"latency_p95_ratio": 2.0})
    assert one.metrics == ("error_rate", "latency_p95", "latency_p99", "accuracy")
    assert one.margins.of_latency("latency_p95") == (2.0, 0.05)


def test_a_plan_of_before_is_read_and_judges_as_it_did():
    plan = make_plan()
    body = json.loads(plan.to_json())
    for section in ("margins", "limits"):
        for key in [key for key in body[section] if key.startswith(("latency_p50", "latency_p95"))]:
            del body[section][key]
    assert RolloutPlan.from_json(json.dumps(body)) == plan
    assert RolloutPlan.from_json(asked().to_json()) == asked()


@pytest.mark.parametrize(
    ("value", "status"), [(1e-9, Status.FAIL), (60.0, Status.PASS), (0.1, None)], ids=["all", "none", "p50 is below"]
)
def test_each_quantile_has_a_fixed_limit(value, status):
    plan = make_plan(limits=LimitsSection(**dict.fromkeys(ALL, value)))
    found = statuses(judge_limits(plan, seen(arm((1000, 0.005), (800, 0.09), (200, 0.2)))))
    assert tuple(found) == tuple(f"{name}_limit" for name in ALL)
    if status is None:
        assert list(found.values()) == [Status.PASS, Status.FAIL, Status.FAIL]
    else:
        assert set(found.values()) == {status}
    assert set(statuses(judge_limits(plan, seen(ArmSeen()))).values()) == {Status.INCONCLUSIVE}


@pytest.mark.parametrize("source", ["prometheus", "both"])
def test_both_sources_tell_the_same_quantiles(source):
    """By their own buckets, whose values differ by the width of those of Prometheus at most."""
    plan = asked(source=source, limits=LimitsSection(**dict.fromkeys(ALL, 0.19)))
    for challenger, failed in ((CHAMPION, False), (SLOW_AT_THE_MEDIAN, True)):
        step = StepSeen(0.5, as_exported(CHAMPION), as_exported(challenger))
        asked_prometheus = seen(challenger, told=Told(steps=(step,), compared=AGREED))
        both = statuses(judge_by_source(plan, asked_prometheus))
        assert (both["latency_p50"] is Status.FAIL) is failed
        by_counters, by_prometheus = (
            judge_step(asked(), Observations((one,))) for one in (seen(challenger).steps[0], step)
        )
        for one, other in zip(by_counters, by_prometheus, strict=True):
            if one.measurement.name in ALL:
                assert one.measurement.value / 1.75 <= other.measurement.value <= one.measurement.value * 1.75
                assert one.measurement.n == other.measurement.n
    down = judge_by_source(plan, seen(CHAMPION, told=Told(error="down", errors=1)))
    for name in (*ALL, *(f"{name}_limit" for name in ALL)):
        assert statuses(down)[name] is not Status.PASS


def test_a_forecast_tells_what_each_quantile_needs():
    steps = tuple(StepSection(weight=weight) for weight in (0.05, 0.5, 1.0))
    found = forecast(steps, MarginsSection(**ASKED), Traffic(100.0))
    assert [step.needs["latency_p50"] for step in found] == [60, 60, 60]
    for step, whole in zip(found, forecast(steps, MarginsSection(), Traffic(100.0)), strict=True):
        assert whole.needs.keys() == step.needs.keys() - {"latency_p50", "latency_p95"}
        assert whole.needs["latency_p99"] == step.needs["latency_p99"] >= step.needs["latency_p95"] >= 60
    switched = champion_needs(MarginsSection(**ASKED), 0.0, metrics=5)
    assert switched["latency_p50"] < switched["latency_p95"] < switched["latency_p99"]


@pytest.mark.parametrize("place", range(3))
def test_with_what_the_forecast_says_each_step_passes(place):
    plan = asked(steps=({"weight": 0.05}, {"weight": 0.5}, {"weight": 1.0}))
    found = forecast(plan.steps, plan.margins, Traffic(100.0))
    for name in ("latency_p50", "latency_p95"):
        steps = [
            StepSeen(step.weight, arm((round(n * (1 - step.weight) / step.weight), 0.005)), arm((n, 0.005)))
            for step, n in zip(plan.steps, [step.needs[name] for step in found], strict=True)
        ]
        assert statuses(judge_step(plan, Observations(tuple(steps[: place + 1]))))[name] is Status.PASS


@pytest.mark.parametrize(
    ("section", "given", "told"),
    [
        (MarginsSection, {"latency_p50_ratio": 0.9}, "latency_p50_ratio"),
        (MarginsSection, {"latency_p95_seconds": 0.1}, "latency_p95_seconds says nothing without latency_p95_ratio"),
        (MarginsSection, {"latency_p90_ratio": 1.5}, "latency_p90_ratio"),
        (LimitsSection, {"latency_p95": 0}, "latency_p95"),
        (PolicySection, {"dry_run": ["latency_p50"]}, "not measured without margins.latency_p50_ratio"),
        (
            PolicySection,
            {
                "margins": {"latency_p50_ratio": 2},
                "prometheus": {"url": "http://p", "queries": [{"name": "latency_p50", "query": "x", "at_most": 1}]},
            },
            "rename the query",
        ),
    ],
)
def test_what_cannot_be_asked_for_is_one_error(section, given, told):
    with pytest.raises(ValidationError, match=told) as caught:
        section.model_validate(given)
    assert caught.value.error_count() == 1


def test_a_query_of_ones_own_keeps_a_name_that_nothing_else_has():
    query = {"name": "latency_p95", "query": "x", "at_most": 1}
    policy = PolicySection(prometheus={"url": "http://p", "queries": [query]}, dry_run=("latency_p95",))
    assert policy.margins.of_latency("latency_p95") is None


def ends(name, random, *, times=1.0, most=600, look=20):
    """How a test that is looked at all the time ends: FAIL, PASS, or "" where it is undecided.

    The latencies are spread, the champion's quantile is known from its requests only, and lies at the edge of a bucket,
    so that its width gives no slack. The challenger's is ``times`` the margin's, at which the champion's own is.
    """
    edge = LATENCY_BOUNDS_SECONDS[40]
    shares = []
    for quantile in (edge, edge * times):
        below = lognorm.cdf(
            LATENCY_BOUNDS_SECONDS, 0.4, scale=quantile / np.exp(0.4 * norm.ppf(LATENCY_QUANTILES[name]))
        )
        shares.append(np.diff([0, *below, 1]))
    margins = MarginsSection(**{f"{name}_ratio": 1.0, f"{name}_seconds": 0.0})
    plan = make_plan(margins=margins, steps=({"weight": 0.5}, {"weight": 1.0}))
    counts = np.zeros((2, len(shares[0])), dtype=int)
    while counts[1].sum() < most:
        counts += np.array([random.multinomial(look, share) for share in shares])
        arms = (ArmSeen(int(one.sum()), 0, tuple(one.tolist())) for one in counts)
        status = statuses(judge_step(plan, Observations((StepSeen(0.5, *arms),))))[name]
        if status is not Status.INCONCLUSIVE:
            return status
    return ""


@pytest.mark.parametrize("name", ["latency_p50", "latency_p95"])
def test_one_exactly_at_the_margin_is_hardly_ever_sent_back_or_let_on(name):
    random = np.random.default_rng(7)
    found = [ends(name, random) for _ in range(40)]
    assert found.count(Status.FAIL) <= 1
    assert found.count(Status.PASS) <= 5
    assert [ends(name, random, times=1.6) for _ in range(10)] == [Status.FAIL] * 10


@pytest.mark.soak
@pytest.mark.parametrize("name", ["latency_p50", "latency_p95"])
def test_one_exactly_at_the_margin_over_many_rollouts(name):
    random = np.random.default_rng(8)
    found = [ends(name, random) for _ in range(300)]
    # 1 % shared by four metrics; 5 %, and three standard errors.
    assert found.count(Status.FAIL) <= 3
    assert found.count(Status.PASS) <= 26
