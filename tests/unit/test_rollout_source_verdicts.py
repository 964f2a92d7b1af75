"""Decisions by Prometheus, by the replicas' counters, and by both: nothing passes by silence, nothing fails unseen."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout_world import FAST, arm_seen, make_plan, plan_of
from sluiceway.config.metric_source import PrometheusSection
from sluiceway.core.command import Command, Order
from sluiceway.core.verdict import Status
from sluiceway.gates.statistics.proportions import Pairs
from sluiceway.rollout.decide import Advance, Confirm, Hold, Miss, Pause, Promote, RollBack, decide
from sluiceway.rollout.evidence import ArmSeen, Observations, StepSeen
from sluiceway.rollout.looks import from_text, to_text
from sluiceway.rollout.outcome import evidence_of
from sluiceway.rollout.plan import RolloutPlan
from sluiceway.rollout.state import Phase, RolloutState
from sluiceway.rollout.told import Compared, QuerySeen, Told

# As Prometheus has them: 25 buckets.
QUICK = tuple([0] * 5 + [1] + [0] * 19)
STATE = RolloutState(Phase.STEP, 0, 2, since=0.0, generations=(2,))
QUERY = {"name": "queue", "query": 'max(queue{arm="$arm"})', "at_most": 5, "min_samples": 10}
AGREED = tuple(
    Compared(arm, what, n, n - 5, n + 5)
    for arm in ("champion", "challenger")
    for what, n in (("requests", 1000), ("errors", 10))
)


def told_arm(requests, errors=0):
    return ArmSeen(requests, errors, tuple(requests * c for c in QUICK))


def good_told(**changes):
    steps = (StepSeen(0.5, told_arm(2000), told_arm(2000)),)
    return replace(Told(steps=steps, compared=AGREED), **changes)


def plan(source, **changes):
    section = PrometheusSection(queries=changes.pop("queries", ()), max_errors=changes.pop("max_errors", 3))
    steps = ({"weight": 0.5, "max_seconds": 600}, {"weight": 1.0})
    return make_plan(source=source, prometheus=section, steps=steps, **changes)


def seen(told, errors=0, requests=2000):
    step = StepSeen(0.5, arm_seen(requests), ArmSeen(requests, errors, tuple(requests * c for c in FAST)))
    return Observations((step,), Pairs(1960, 20, 20, 0), Pairs(1960, 20, 20, 0), outcomes=2000, told=told)


def decided(a_plan, observations, now=100.0, state=STATE, **command):
    return decide(a_plan, state=state, observations=observations, now=now, **command)


def statuses(decision):
    return {verdict.measurement.name: verdict.status for verdict in decision.verdicts}


@pytest.mark.parametrize("source", ["counters", "prometheus", "both"])
def test_a_good_version_goes_on_by_any_source(source):
    decision = decided(plan(source, queries=[QUERY]), seen(good_told(queries=(QuerySeen("queue", 2.0, n=50),))))
    assert isinstance(decision.action, Advance), decision
    assert set(statuses(decision)) == {"error_rate", "latency_p99", "accuracy", "queue"}


@pytest.mark.parametrize("source", ["prometheus", "both"])
@pytest.mark.parametrize(
    "told", [None, good_told(error="down", errors=1), good_told(error="down", errors=50), Told(error="x", errors=1)]
)
def test_what_fails_by_the_counters_goes_back_whatever_prometheus_does(source, told):
    for on_inconclusive in ("hold", "continue", "pause"):
        decision = decided(plan(source, on_inconclusive=on_inconclusive), seen(told, errors=900))
        assert isinstance(decision.action, RollBack)
        assert decision.action.cause == "error_rate"


def test_what_fails_by_prometheus_alone_goes_back_where_it_is_the_source():
    bad = good_told(steps=(StepSeen(0.5, told_arm(2000), told_arm(2000, 900)),))
    decision = decided(plan("prometheus"), seen(bad))
    assert isinstance(decision.action, RollBack)
    assert "by Prometheus" in decision.action.reason


@pytest.mark.parametrize("source", ["prometheus", "both"])
@pytest.mark.parametrize("told", [None, good_told(error="connection refused", errors=1)])
def test_without_an_answer_it_holds(source, told):
    decision = decided(plan(source), seen(told))
    assert isinstance(decision.action, Hold)
    assert statuses(decision) == {
        "error_rate": Status.INCONCLUSIVE,
        "latency_p99": Status.INCONCLUSIVE,
        "accuracy": Status.PASS,
    }
    assert ("connection refused" if told else "has not been asked yet") in decision.action.reason


def test_what_was_told_of_the_step_before_lets_nothing_go_on():
    two = Observations((StepSeen(0.5, arm_seen(2000), arm_seen(2000)), StepSeen(1.0, arm_seen(0), arm_seen(2000))))
    two = replace(two, pairs_step=Pairs(1960, 20, 20, 0), pairs_rollout=Pairs(1960, 20, 20, 0), told=good_told())
    state = replace(STATE, step=1, generations=(2, 3))
    decision = decided(plan("prometheus"), two, state=state)
    assert isinstance(decision.action, Hold)
    assert statuses(decision)["error_rate"] is Status.INCONCLUSIVE


def test_old_samples_say_nothing_of_the_present():
    decision = decided(plan("prometheus"), seen(good_told(stale="no process is scraped lately")))
    assert isinstance(decision.action, Hold)
    assert "no process is scraped lately" in decision.action.reason


@pytest.mark.parametrize(
    ("on_inconclusive", "action"), [("rollback", RollBack), ("pause", Pause), ("hold", Pause), ("continue", Pause)]
)
def test_too_many_errors_of_the_source_are_a_pause_at_the_least(on_inconclusive, action):
    a_plan = plan("both", on_inconclusive=on_inconclusive)
    assert isinstance(decided(a_plan, seen(good_told(error="down", errors=2))).action, Hold)
    decision = decided(a_plan, seen(good_told(error="down", errors=3)))
    assert isinstance(decision.action, action)
    assert decision.action.cause == "prometheus"
    assert "3 times in a row: down" in decision.action.reason
    # Rolling back is forbidden: then it pauses.
    careful = replace(a_plan, rollback=a_plan.rollback.model_copy(update={"enabled": False}))
    assert isinstance(decided(careful, seen(good_told(error="down", errors=3))).action, Pause)


@pytest.mark.parametrize("source", ["prometheus", "both"])
@pytest.mark.parametrize("policy", ["rollback", "pause", "continue"])
@pytest.mark.parametrize("told", [None, good_told(error="timed out", errors=2)])
def test_a_deadline_waits_for_an_answer_that_alone_is_missing(source, policy, told):
    a_plan = plan(source, on_inconclusive=policy, queries=[QUERY])
    assert isinstance(decided(a_plan, seen(told), now=601.0).action, Hold)
    # With the answer, or without it for too long, it is decided.
    answered = good_told(queries=(QuerySeen("queue", 2.0, n=50),))
    assert isinstance(decided(a_plan, seen(answered), now=602.0).action, Advance)
    given_up = decided(a_plan, seen(good_told(error="timed out", errors=3)), now=602.0).action
    assert given_up.cause == "prometheus"
    # Where the counters, too, are short of evidence, the deadline counts.
    left = decided(a_plan, seen(told, requests=20), now=601.0).action
    assert isinstance(left, RollBack if policy == "rollback" else Pause)


@pytest.mark.parametrize("told", [None, good_told(error="timed out", errors=1)])
def test_an_interval_does_not_fail_by_an_answer_that_is_missing(told):
    linear = {"start": 0.5, "increment": 0.5, "interval_seconds": 100, "max_failures": 1}
    a_plan = plan_of(
        {"strategy": "linear", "linear": linear}, source="prometheus", prometheus=PrometheusSection(max_errors=3)
    )
    assert isinstance(decided(a_plan, seen(told), now=100.0).action, Hold)
    assert isinstance(decided(a_plan, seen(good_told()), now=101.0).action, Advance)
    assert isinstance(decided(a_plan, seen(told, requests=20), now=100.0).action, Miss)


def test_a_manual_step_waits_on_while_an_answer_is_missing():
    step = {"weight": 0.5, "max_seconds": 600, "manual": True}
    a_plan = replace(plan("prometheus"), steps=make_plan(steps=(step, {"weight": 1.0})).steps)
    assert isinstance(decided(a_plan, seen(good_told(error="timed out", errors=2)), now=3000.0).action, Hold)


@given(
    st.sampled_from(["prometheus", "both", "counters"]),
    st.sampled_from(["rollback", "pause", "hold", "continue"]),
    st.sampled_from([10.0, 599.0, 601.0, 10_000.0]),
    st.integers(0, 5),
    st.booleans(),
)
def test_it_never_goes_on_while_prometheus_is_down(source, on_inconclusive, now, errors, ended):
    told = good_told(error="down", errors=errors)
    a_plan = plan(source, on_inconclusive=on_inconclusive, queries=[QUERY])
    decision = decided(a_plan, replace(seen(told), traffic_ended=ended), now=now)
    assert not isinstance(decision.action, Advance | Promote)


def test_a_person_may_go_on_although_prometheus_is_away():
    a_plan = plan("both", on_inconclusive="pause")
    paused = replace(STATE, phase=Phase.PAUSED, cause="prometheus")
    command = Command(1, Order.ADVANCE, "ann", "it is in maintenance", 0.0)
    assert isinstance(decided(a_plan, None, state=paused, command=command).action, Advance)


def test_sources_that_disagree_are_inconclusive_with_both_numbers():
    wrong = tuple(replace(one, prometheus=2 * one.prometheus) for one in AGREED)
    decision = decided(plan("both"), seen(good_told(compared=wrong)))
    assert isinstance(decision.action, Hold)
    assert statuses(decision)["error_rate"] is Status.INCONCLUSIVE
    assert statuses(decision)["latency_p99"] is Status.INCONCLUSIVE
    assert statuses(decision)["accuracy"] is Status.PASS
    assert "Prometheus has counted 2,000 more, and the replicas 995 to 1,005" in decision.action.reason
    # Only the errors: latencies are not touched by it.
    wrong = tuple(replace(one, prometheus=2 * one.prometheus) if one.what == "errors" else one for one in AGREED)
    found = statuses(decided(plan("both"), seen(good_told(compared=wrong))))
    assert (found["error_rate"], found["latency_p99"]) == (Status.INCONCLUSIVE, Status.PASS)


def test_both_are_not_one_before_they_are_compared():
    decision = decided(plan("both"), seen(good_told(compared=())))
    assert isinstance(decision.action, Hold)
    assert "not compared long enough yet" in decision.action.reason


@pytest.mark.parametrize(
    ("answer", "changes", "status"),
    [
        (QuerySeen("queue", 5.0, n=10), {}, Status.PASS),
        (QuerySeen("queue", 5.1, n=10), {}, Status.FAIL),
        (QuerySeen("queue", 5.1, n=9), {}, Status.INCONCLUSIVE),
        (QuerySeen("queue", status=Status.INCONCLUSIVE, problem="it gives nothing"), {}, Status.INCONCLUSIVE),
        (QuerySeen("queue", status=Status.ERROR, problem="it gives 3 series"), {}, Status.ERROR),
        (None, {}, Status.INCONCLUSIVE),
        (QuerySeen("queue", 0.1, n=10), {"at_most": None, "at_least": 0.2}, Status.FAIL),
        (QuerySeen("queue", 9.0, 6.0, n=10), {"compare": "difference", "at_most": 3}, Status.PASS),
        (QuerySeen("queue", 9.1, 6.0, n=10), {"compare": "difference", "at_most": 3}, Status.FAIL),
        (QuerySeen("queue", 9.0, 6.0, n=10), {"compare": "ratio", "at_most": 1.5}, Status.PASS),
        (QuerySeen("queue", 9.1, 6.0, n=10), {"compare": "ratio", "at_most": 1.5}, Status.FAIL),
        (QuerySeen("queue", 9.1, 0.0, n=10), {"compare": "ratio", "at_most": 1.5}, Status.INCONCLUSIVE),
    ],
)
def test_a_query_of_ones_own_is_held_against_its_limit(answer, changes, status):
    a_plan = plan("counters", queries=[{**QUERY, **changes}])
    decision = decided(a_plan, seen(Told(queries=() if answer is None else (answer,))))
    assert statuses(decision)["queue"] is status
    expected = {Status.PASS: Advance, Status.FAIL: RollBack}.get(status, Hold)
    assert isinstance(decision.action, expected)
    dry = replace(a_plan, dry_run=("queue",))
    assert isinstance(decided(dry, seen(Told(queries=() if answer is None else (answer,)))).action, Advance)


def test_a_query_that_is_a_dry_run_needs_no_prometheus():
    a_plan = plan("counters", queries=[QUERY], dry_run=("queue",))
    assert isinstance(decided(a_plan, seen(Told(error="down", errors=99))).action, Advance)


def test_a_promotion_is_undone_by_a_query_and_stands_without_prometheus():
    own = [QUERY, {**QUERY, "name": "slower", "compare": "ratio"}]
    a_plan = plan("counters", queries=own, probation_seconds=60.0)
    state = RolloutState(Phase.PROBATION, 1, 4, since=0.0, generations=(2, 3))
    decision = decided(a_plan, seen(Told(queries=(QuerySeen("queue", 9.0, n=20),))), state=state, now=10.0)
    assert isinstance(decision.action, RollBack)
    assert "slower" not in statuses(decision)  # nothing is left to compare with
    decision = decided(a_plan, seen(Told(error="down", errors=99)), state=state, now=61.0)
    assert isinstance(decision.action, Confirm)
    assert "down" in decision.action.reason


def test_what_was_told_survives_the_catalog_and_older_rows_are_read():
    told = good_told(queries=(QuerySeen("queue", 1.0, None, 5), QuerySeen("b", status=Status.ERROR, problem="x")))
    observations = seen(replace(told, error="down", errors=2))
    assert from_text(to_text(observations)) == observations
    old = to_text(seen(None)).replace('"told":null,', "")
    assert "told" not in old
    assert from_text(old) == seen(None)
    kept = evidence_of(decided(plan("both"), observations), observations)["seen"]["told"]
    assert (kept["errors"], kept["error"]) == (2, "down")
    assert "latency" not in kept["steps"][0]["champion"]


def test_a_plan_keeps_its_queries_and_older_plans_are_read():
    a_plan = plan("both", queries=[QUERY])
    assert RolloutPlan.from_json(a_plan.to_json()) == a_plan
    text = make_plan().to_json()
    assert RolloutPlan.from_json(text).source == "counters"
