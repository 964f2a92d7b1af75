"""The decision as a state machine: whatever is seen, in whatever order, the promises hold."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout_world import FAST, SLOW, STRATEGIES, arm_seen, make_plan, plan_of, step_seen
from sluiceway.config.deployment import RollbackSection
from sluiceway.core.command import Command, Order
from sluiceway.core.errors import SluicewayError
from sluiceway.core.verdict import Status
from sluiceway.gates.statistics.proportions import Pairs
from sluiceway.rollout.decide import Advance, Confirm, Hold, Miss, Pause, Promote, Resume, RollBack, decide, follow
from sluiceway.rollout.evidence import Observations, StepSeen
from sluiceway.rollout.state import Phase, RolloutState


@st.composite
def arms(draw):
    requests = draw(st.sampled_from([0, 1, 5, 40, 400, 3000]))
    share = draw(st.sampled_from([0, 0, 0, 0.01, 0.3, 1]))
    return arm_seen(requests, int(requests * share), draw(st.sampled_from([FAST, FAST, FAST, SLOW])))


@st.composite
def pairs(draw):
    n = draw(st.sampled_from([0, 50, 500, 3000]))
    lost = int(n * draw(st.sampled_from([0.01, 0.01, 0.06, 0.2])))
    return Pairs(n - lost - n // 100, lost, n // 100, 0)


def good(plan, step):
    return Observations(
        steps=tuple(step_seen(s, arm_seen(2000), arm_seen(2000)) for s in plan.steps[: step + 1]),
        pairs_step=Pairs(1960, 20, 20, 0),
        pairs_rollout=Pairs(1960, 20, 20, 0),
        outcomes=2000,
    )


@st.composite
def observed(draw, plan, step):
    if draw(st.booleans()):
        return good(plan, step)
    now = draw(pairs())
    earlier = draw(pairs())
    whole = Pairs(now.both + earlier.both, now.only_champion + earlier.only_champion, now.only_challenger, now.neither)
    return Observations(
        steps=tuple(step_seen(s, draw(arms()), draw(arms())) for s in plan.steps[: step + 1]),
        pairs_step=now,
        pairs_rollout=whole,
        outcomes=whole.n,
        outcomes_lost=draw(st.sampled_from([0, 0, whole.n // 10])),
        breakers=draw(st.sampled_from([(), (), (), ("a: 5 errors in a row",)])),
    )


@pytest.mark.parametrize("deployment", STRATEGIES.values(), ids=STRATEGIES)
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_the_promises_hold_whatever_is_seen(data, deployment):
    plan = plan_of(deployment | {"on_inconclusive": data.draw(st.sampled_from(["rollback", "pause"]))})
    state, now, failed, weight = RolloutState(since=0.0), 0.0, False, 0.0
    for _ in range(12):
        seen = data.draw(observed(plan, state.step)) if state.judged else None
        now += data.draw(st.sampled_from([1, 100, 400]))
        decision = decide(plan, state=state, observations=seen, now=now)
        assert decide(plan, state=state, observations=seen, now=now) == decision
        failed |= any(verdict.status is Status.FAIL for verdict in decision.verdicts)
        failed |= seen is not None and bool(seen.breakers)
        after = follow(state, decision.action, newest_generation=state.generation, now=now)
        assert not (failed and isinstance(decision.action, Promote | Advance))
        if isinstance(decision.action, Promote | Advance) and state.phase is Phase.STEP:
            assert [v.status for v in decision.verdicts] == [Status.PASS] * judged(plan, state.step)
        if after.phase is Phase.STEP:
            assert after.step in (state.step, state.step + 1)
            assert plan.steps[after.step].weight >= weight
            weight = plan.steps[after.step].weight
        if after.phase is Phase.PROMOTING:
            assert weight == 1
        check_traffic(plan, after)
        moved = after is not state and after.phase is not Phase.PAUSED and not isinstance(decision.action, Miss)
        assert after.generation - state.generation == int(moved)
        if state.phase is Phase.PAUSED:  # it is judged on, and nothing but going back comes of it
            assert isinstance(decision.action, Hold | RollBack)
        elif state.phase not in (Phase.PENDING, Phase.STEP):
            assert after is state
        state = after


def judged(plan, step):
    """How many verdicts a stage takes to end well: one more where all requests are switched after it."""
    share = getattr(plan.steps[step], "share", None)
    switches = share is not None and plan.steps[step + 1].weight == 1
    return 1 if share == 0 else len(plan.metrics) + switches


def check_traffic(plan, state):
    """In a step, who answers has all of the requests, and nobody answers before the first step with a weight."""
    if state.phase is not Phase.STEP:
        return
    document = plan.step_document(state.step, generation=state.generation)
    stage = plan.steps[state.step]
    assert document.champion.weight + sum(arm.weight for arm in document.challengers) == pytest.approx(1)
    assert sum(arm.weight for arm in document.challengers) == stage.weight
    assert [arm.version for arm in document.arms] == ["1", "2"]


@st.composite
def told(draw, number):
    order = draw(st.sampled_from([None, None, None, *Order]))
    return None if order is None else Command(number, order, "ann", "", 0.0)


ENDED = (Phase.PROMOTED, Phase.ROLLED_BACK)


def effect(state):
    """What the controller writes when an effect is done; the rollout has a probation."""
    after = {Phase.PROMOTING: Phase.PROBATION, Phase.ROLLING_BACK: Phase.ROLLED_BACK}.get(state.phase)
    return state if after is None else replace(state, phase=after)


@pytest.mark.parametrize("deployment", STRATEGIES.values(), ids=STRATEGIES)
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_the_promises_hold_whatever_people_say(data, deployment):
    counted = "max_failures" in deployment.get("linear", {})
    policies = ["rollback", "pause"] if counted else ["rollback", "pause", "hold", "continue"]
    policy = data.draw(st.sampled_from(policies))
    plan = plan_of(deployment | {"on_inconclusive": policy}, probation_seconds=900.0)
    state, now, weight, failed, undone = RolloutState(since=0.0), 0.0, 0.0, False, False
    for number in range(1, 16):
        seen = data.draw(observed(plan, state.step)) if state.judged else None
        command = data.draw(told(number))
        now += data.draw(st.sampled_from([1, 100, 400]))
        decision = decide(plan, state=state, observations=seen, now=now, command=command)
        assert decision.command in (None, command)
        if state.phase in (Phase.STEP, Phase.PAUSED):
            failed |= any(verdict.status is Status.FAIL for verdict in decision.verdicts) or bool(seen.breakers)
        if failed and state.phase is Phase.PAUSED:
            assert isinstance(decision.action, RollBack)
        assert not (failed and isinstance(decision.action, Promote | Advance | Confirm))
        assert not (undone and isinstance(decision.action, Promote | Advance | Resume | Confirm))
        after = follow(state, decision.action, newest_generation=state.generation, now=now)
        if isinstance(decision.action, RollBack):
            undone = True
        if isinstance(decision.action, Pause | Resume | Hold | Miss | Confirm):
            assert after.generation == state.generation  # the weights stay
        if after.phase is Phase.STEP:
            assert after.step - state.step in (0, 1)
            assert plan.steps[after.step].weight >= weight
            weight = plan.steps[after.step].weight
            assert after.failures <= (plan.max_failures or 0)
        if state.phase in ENDED:
            assert after is state
        state = effect(after)


@pytest.mark.parametrize("deployment", STRATEGIES.values(), ids=STRATEGIES)
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_what_may_not_go_back_waits_for_a_person_whatever_is_seen_and_said(data, deployment):
    kept = RollbackSection(enabled=False)
    plan = plan_of(deployment | {"on_inconclusive": "pause"}, probation_seconds=900.0, rollback=kept)
    state, now = RolloutState(since=0.0), 0.0
    for number in range(1, 16):
        seen = data.draw(observed(plan, state.step)) if state.judged else None
        command = data.draw(told(number))
        now += data.draw(st.sampled_from([1, 100, 400]))
        decision = decide(plan, state=state, observations=seen, now=now, command=command)
        action = decision.action
        failed = any(verdict.status is Status.FAIL for verdict in decision.verdicts)
        if isinstance(action, RollBack) and state.phase is not Phase.ROLLING_BACK:
            assert command.order is Order.ABORT
        if failed and not isinstance(action, RollBack):
            assert isinstance(action, Pause)
        if state.waits and isinstance(action, Promote | Advance | Resume | Confirm):
            assert command is not None
        after = follow(state, action, newest_generation=state.generation, now=now)
        if isinstance(action, Pause):
            assert (after.waits, after.by_person, after.generation) == (True, action.by_person, state.generation)
            assert after.by_person == (decision.command is not None)
        elif not after.waits:
            assert not after.by_person
        state = effect(after)


@pytest.mark.parametrize("policy", ["rollback", "pause", "hold", "continue"])
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_a_manual_stage_is_left_forward_by_a_person_only(data, policy):
    steps = ({"share": 0.5, "manual": True}, {"weight": 0.5, "manual": True}, {"weight": 1.0, "manual": True})
    plan = make_plan(steps=steps, on_inconclusive=policy)
    state, now = RolloutState(since=0.0), 0.0
    for number in range(1, 16):
        seen = data.draw(observed(plan, state.step)) if state.judged else None
        if seen is not None:
            seen = replace(seen, traffic_ended=data.draw(st.booleans()))
        command = data.draw(told(number))
        now += data.draw(st.sampled_from([1, 100, 400]))
        decision = decide(plan, state=state, observations=seen, now=now, command=command)
        if isinstance(decision.action, Advance | Promote) and state.phase is not Phase.PENDING:
            assert decision.command is not None
            assert command.order in (Order.ADVANCE, Order.PROMOTE)
        if isinstance(decision.action, RollBack) and command is None and state.phase is Phase.STEP:
            failed = any(verdict.status is Status.FAIL for verdict in decision.verdicts)
            assert failed or seen.breakers
        state = effect(follow(state, decision.action, newest_generation=state.generation, now=now))


@pytest.mark.parametrize("phase", [Phase.PROMOTED, Phase.ROLLED_BACK])
@pytest.mark.parametrize(
    "action", [Advance(1), Promote(), RollBack("accuracy", ""), Pause("", ""), Resume(""), Confirm(""), Miss("")]
)
def test_what_has_ended_stays_ended(phase, action):
    state = RolloutState(phase=phase, step=0)
    with pytest.raises(SluicewayError):
        follow(state, action, newest_generation=5, now=1.0)
    plan = make_plan()
    assert isinstance(decide(plan, state=state, observations=good(plan, 0), now=1e9).action, Hold)


def test_no_step_is_skipped():
    with pytest.raises(SluicewayError):
        follow(RolloutState(phase=Phase.STEP, step=0), Advance(2), newest_generation=1, now=1.0)


def test_good_evidence_advances_and_at_full_weight_promotes():
    plan = make_plan()
    for step in range(4):
        state = RolloutState(phase=Phase.STEP, step=step, since=0.0)
        action = decide(plan, state=state, observations=good(plan, step), now=1.0).action
        assert isinstance(action, Promote if step == 3 else Advance), action


@pytest.mark.parametrize("policy", ["rollback", "pause"])
def test_a_replay_that_has_run_out_is_not_waited_for(policy):
    plan = replace(make_plan(), on_inconclusive=policy)
    state = RolloutState(Phase.STEP, 0, 2, since=0.0, generations=(2,))
    few = Observations(steps=(StepSeen(plan.steps[0].weight, arm_seen(20), arm_seen(3)),))
    assert isinstance(decide(plan, state=state, observations=few, now=1.0).action, Hold)
    action = decide(plan, state=state, observations=replace(few, traffic_ended=True), now=1.0).action
    assert isinstance(action, RollBack if policy == "rollback" else Pause)
    assert "the replayed requests had run out" in action.reason
    enough = replace(good(plan, 0), traffic_ended=True)
    assert isinstance(decide(plan, state=state, observations=enough, now=1.0).action, Advance)


def test_a_failure_wins_over_a_deadline():
    plan = make_plan(on_inconclusive="pause")
    seen = replace(good(plan, 0), steps=(StepSeen(0.05, arm_seen(2000), arm_seen(100, 100)),))
    state = RolloutState(phase=Phase.STEP, step=0, since=0.0)
    action = decide(plan, state=state, observations=seen, now=1e6).action
    assert isinstance(action, RollBack)
    assert action.cause == "error_rate"


def test_the_state_survives_the_catalog():
    state = RolloutState(Phase.STEP, 2, 7, 12.5, (4, 6, 7), "accuracy", "why")
    assert RolloutState.from_json(state.to_json()) == state


def test_the_decision_knows_no_engine():
    code = (
        "import sys, sluiceway.rollout.decide;"
        "print({'ray', 'mlflow', 'deltalake', 'sqlalchemy', 'xgboost'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
