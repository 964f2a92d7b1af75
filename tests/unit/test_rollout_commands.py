"""What people tell a rollout, and what its plan may ask for beside the evidence."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from rollout_world import CHAMPION, Commanded, Crash, World, arm_seen, make_plan
from sluiceway.catalog.rollouts import RolloutStore
from sluiceway.config.deployment import DeploymentSection, LimitsSection, RollbackSection
from sluiceway.config.stages import LinearSection, StepSection
from sluiceway.core.command import Command, Order
from sluiceway.core.errors import ConflictError
from sluiceway.core.traffic import TrafficDocument
from sluiceway.core.verdict import Status
from sluiceway.gates.statistics.proportions import Pairs
from sluiceway.rollout.controller import run
from sluiceway.rollout.decide import Advance, Hold, Pause, Promote, Resume, RollBack, decide, follow
from sluiceway.rollout.evidence import ArmSeen, Observations, StepSeen
from sluiceway.rollout.journal import Journal
from sluiceway.rollout.limits import judge_limits
from sluiceway.rollout.plan import RolloutPlan
from sluiceway.rollout.state import Phase, RolloutState


def seen(step=0, *, requests=2000, errors=0, plan=None):
    plan = plan or make_plan()
    return Observations(
        steps=tuple(StepSeen(s.weight, arm_seen(2000), arm_seen(requests, errors)) for s in plan.steps[: step + 1]),
        pairs_step=Pairs(1960, 20, 20, 0),
        pairs_rollout=Pairs(1960, 20, 20, 0),
        outcomes=2000,
    )


NOTHING = Observations(steps=(StepSeen(0.05),))


def command(order, sequence=1):
    return Command(sequence, order, "ann", "because", 0.0)


def in_step(step=0, **changes):
    return RolloutState(Phase.STEP, step, 2 + step, since=0.0, generations=tuple(range(2, 3 + step)), **changes)


@pytest.mark.parametrize(
    ("order", "step", "action"),
    [
        (Order.PAUSE, 0, Pause),
        (Order.RESUME, 0, Hold),
        (Order.ADVANCE, 0, Advance),
        (Order.ADVANCE, 3, Promote),
        (Order.PROMOTE, 0, Promote),
        (Order.ABORT, 0, RollBack),
    ],
)
def test_a_step_obeys_without_evidence(order, step, action):
    plan, state = make_plan(), in_step(step)
    steps = tuple(StepSeen(s.weight) for s in plan.steps[: step + 1])
    decision = decide(plan, state=state, observations=Observations(steps), now=1.0, command=command(order))
    assert isinstance(decision.action, action)
    assert decision.command == command(order)
    follow(state, decision.action, newest_generation=2, now=1.0)


@pytest.mark.parametrize("order", [Order.ADVANCE, Order.PROMOTE, Order.PAUSE, Order.RESUME])
def test_what_fails_goes_back_whatever_is_told(order):
    decision = decide(make_plan(), state=in_step(), observations=seen(errors=900), now=1.0, command=command(order))
    assert isinstance(decision.action, RollBack)
    assert decision.action.cause == "error_rate"
    assert decision.command is None


@pytest.mark.parametrize(
    ("order", "cause", "action"),
    [
        (Order.PAUSE, "", Hold),
        (Order.RESUME, "", Resume),
        (Order.RESUME, "accuracy", Resume),
        (Order.ADVANCE, "", Advance),
        (Order.ADVANCE, "accuracy", Hold),
        (Order.PROMOTE, "", Promote),
        (Order.PROMOTE, "accuracy", Hold),
        (Order.ABORT, "accuracy", RollBack),
    ],
)
def test_a_pause_obeys_but_goes_past_no_failure(order, cause, action):
    state = replace(in_step(), phase=Phase.PAUSED, cause=cause)
    decision = decide(make_plan(), state=state, observations=None, now=1.0, command=command(order))
    assert isinstance(decision.action, action)
    after = follow(state, decision.action, newest_generation=2, now=1.0)
    assert after.cause == ("accuracy" if isinstance(decision.action, Hold) and cause else "")


@pytest.mark.parametrize("order", [None, Order.ADVANCE, Order.PROMOTE, Order.PAUSE, Order.RESUME])
def test_what_fails_in_a_pause_goes_back_whatever_is_told(order):
    state = replace(in_step(), phase=Phase.PAUSED, reason="paused by ann")
    told = None if order is None else command(order)
    decision = decide(make_plan(), state=state, observations=seen(errors=900), now=1.0, command=told)
    assert isinstance(decision.action, RollBack)
    assert decision.action.cause == "error_rate"
    assert follow(state, decision.action, newest_generation=2, now=1.0).phase is Phase.ROLLING_BACK
    assert isinstance(decide(make_plan(), state=state, observations=seen(), now=1.0).action, Hold)


def test_what_fails_in_a_pause_and_may_not_go_back_is_waited_with_for_that():
    plan = make_plan(rollback=RollbackSection(enabled=False))
    state = replace(in_step(), phase=Phase.PAUSED, reason="paused by ann")
    action = decide(plan, state=state, observations=seen(errors=900), now=1.0, command=command(Order.PROMOTE)).action
    after = follow(state, action, newest_generation=2, now=1.0)
    assert (after.phase, after.cause) == (Phase.PAUSED, "error_rate")
    again = decide(plan, state=after, observations=seen(errors=900), now=2.0, command=command(Order.PROMOTE))
    assert isinstance(again.action, Hold)
    assert again.action.reason.startswith("it waits because of error_rate")


def test_a_manual_step_waits_for_a_person_however_long():
    plan = make_plan(steps=({"weight": 0.05, "manual": True}, {"weight": 1.0}))
    found = seen(plan=plan)
    for now in (1.0, 1e9):
        action = decide(plan, state=in_step(), observations=found, now=now).action
        assert isinstance(action, Hold)
        assert "it waits for `sluiceway rollout promote r1`" in action.reason
    action = decide(plan, state=in_step(), observations=found, now=1.0, command=command(Order.ADVANCE)).action
    assert action == Advance(1, "advanced by ann: because")


@pytest.mark.parametrize(
    ("policy", "action"), [("rollback", Pause), ("pause", Pause), ("hold", Hold), ("continue", Pause)]
)
def test_a_manual_step_is_not_left_by_its_deadline(policy, action):
    plan = make_plan(steps=({"weight": 0.05, "manual": True}, {"weight": 1.0}), on_inconclusive=policy)
    late = replace(seen(plan=plan), outcomes_lost=60)  # its evidence was there until this look
    few = Observations(steps=(StepSeen(0.05, arm_seen(200), arm_seen(10)),))
    for found in (late, few):
        assert isinstance(decide(plan, state=in_step(), observations=found, now=599.0).action, Hold)
        left = decide(plan, state=in_step(), observations=found, now=601.0).action
        assert isinstance(left, action)
        assert left.reason.startswith("not enough evidence after 600 s at 5%: ")
        ended = decide(plan, state=in_step(), observations=replace(found, traffic_ended=True), now=1.0).action
        assert isinstance(ended, Pause)


def test_a_rollout_whose_steps_are_manual_is_promoted_by_a_person_only():
    steps = tuple({"weight": weight, "max_seconds": 60, "manual": True} for weight in (0.05, 1.0))
    world = World.served(outcomes=False)
    assert run(make_plan(steps=steps, on_inconclusive="continue"), world.doors(), poll_seconds=1).status == "paused"
    assert actions(world) == ["advance to step 0", "pause"]


@pytest.mark.parametrize(
    ("step", "waits"),
    [({"min_requests": 3000}, "2,000 of 3,000 requests"), ({"min_seconds": 60}, "it takes 60 s at least")],
)
def test_a_step_takes_as_many_requests_and_seconds_as_it_is_given(step, waits):
    plan = make_plan(steps=({"weight": 0.05, **step}, {"weight": 1.0}))
    assert decide(plan, state=in_step(), observations=seen(plan=plan), now=1.0).action == Hold(waits)
    enough = seen(plan=plan, requests=3000)
    assert isinstance(decide(plan, state=in_step(), observations=enough, now=60.0).action, Advance)
    late = decide(plan, state=in_step(), observations=seen(plan=plan), now=600.0).action
    assert isinstance(late, RollBack if "min_requests" in step else Advance)


@pytest.mark.parametrize(
    ("policy", "requests", "action"),
    [
        ("hold", 10, Hold),
        ("continue", 10, Advance),
        ("continue", 0, Pause),
        ("pause", 10, Pause),
        ("rollback", 10, RollBack),
    ],
)
def test_what_a_deadline_leads_to(policy, requests, action):
    plan = make_plan(on_inconclusive=policy)
    few = Observations(steps=(StepSeen(0.05, arm_seen(200), arm_seen(requests)),))
    found = decide(plan, state=in_step(), observations=few, now=600.0).action
    assert isinstance(found, action)
    ended = decide(plan, state=in_step(), observations=replace(few, traffic_ended=True), now=1.0).action
    assert isinstance(ended, Pause if policy == "hold" else action)


def test_to_continue_at_the_end_is_to_promote():
    plan = make_plan(on_inconclusive="continue")
    few = Observations(steps=tuple(StepSeen(s.weight, arm_seen(200), arm_seen(10)) for s in plan.steps))
    assert isinstance(decide(plan, state=in_step(3), observations=few, now=600.0).action, Promote)


@pytest.mark.parametrize(
    ("given", "weights"),
    [
        ({}, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]),
        ({"start": 0.1, "increment": 0.4}, [0.1, 0.5, 0.9, 1.0]),
        ({"start": 0.3, "increment": 0.7}, [0.3, 1.0]),
        ({"start": 0.5, "increment": 1.0}, [0.5, 1.0]),
    ],
)
def test_linear_steps(given, weights):
    section = DeploymentSection(strategy="linear", linear=LinearSection(interval_seconds=300, **given))
    assert [step.weight for step in section.planned_steps] == pytest.approx(weights)
    assert {(step.min_seconds, step.max_seconds) for step in section.planned_steps} == {(300, 900)}
    assert DeploymentSection().planned_steps == DeploymentSection().steps


@pytest.mark.parametrize(
    "wrong", [(StepSection, {"weight": 0.5, "min_seconds": 700}), (LinearSection, {"max_seconds": 10})]
)
def test_a_time_that_cannot_be_is_refused(wrong):
    section, given = wrong
    with pytest.raises(ValidationError, match="_seconds"):
        section(**given)


@pytest.mark.parametrize(
    ("limits", "requests", "errors", "statuses"),
    [
        ({}, 2000, 20, {}),
        ({"error_rate": 0.02}, 2000, 40, {"error_rate_limit": "PASS"}),
        ({"error_rate": 0.02}, 2000, 41, {"error_rate_limit": "FAIL"}),
        ({"error_rate": 0.02}, 99, 50, {"error_rate_limit": "INCONCLUSIVE"}),
        ({"error_rate": 0.02, "min_requests": 50}, 99, 50, {"error_rate_limit": "FAIL"}),
        ({"latency_p99": 1e-9}, 2000, 0, {"latency_p99_limit": "FAIL"}),
        ({"latency_p99": 60.0}, 2000, 0, {"latency_p99_limit": "PASS"}),
        ({"accuracy": 0.99}, 2000, 0, {"accuracy_limit": "PASS"}),
        ({"accuracy": 0.995}, 2000, 0, {"accuracy_limit": "FAIL"}),
        ({"total_errors": 3}, 20, 3, {"total_errors": "PASS"}),
        ({"total_errors": 3}, 20, 4, {"total_errors": "FAIL"}),
    ],
)
def test_fixed_limits(limits, requests, errors, statuses):
    plan = make_plan(limits=LimitsSection(**limits))
    found = judge_limits(plan, seen(requests=requests, errors=errors))
    assert {verdict.measurement.name: str(verdict.status) for verdict in found} == statuses


def test_a_limit_on_the_accuracy_says_nothing_while_outcomes_find_no_prediction():
    plan = make_plan(limits=LimitsSection(accuracy=0.995, error_rate=0.02))
    limits = judge_limits(plan, replace(seen(errors=100), outcomes_lost=21))
    assert [str(verdict.status) for verdict in limits] == ["FAIL", "INCONCLUSIVE"]
    assert limits[1].reason == "21 of 2,000 outcomes find no prediction"


def test_the_errors_of_a_shadow_are_none_of_the_total_once_it_answers():
    plan = make_plan(limits=LimitsSection(total_errors=10))
    shadow = StepSeen(0.5, arm_seen(5000), arm_seen(5000, 11), shadow=True)
    (then,) = judge_limits(plan, Observations((shadow,)))
    (now,) = judge_limits(plan, Observations((shadow, StepSeen(0.25, arm_seen(900), arm_seen(300, 2)))))
    assert (str(then.status), str(now.status)) == ("FAIL", "PASS")
    assert (now.measurement.value, now.measurement.n) == (2, 300)


@pytest.mark.parametrize(("in_row", "status"), [(3, "PASS"), (4, "FAIL")])
def test_errors_in_a_row_are_the_longest_row_of_any_replica(in_row, status):
    plan = make_plan(limits=LimitsSection(consecutive_errors=3))
    arm = ArmSeen(60, 20, (), 2) + ArmSeen(40, in_row, (), in_row) + ArmSeen(10)
    assert (arm.requests, arm.errors_in_row) == (110, in_row)
    (verdict,) = judge_limits(plan, Observations((StepSeen(0.5, arm_seen(100), arm),)))
    assert (verdict.measurement.name, str(verdict.status)) == ("consecutive_errors", status)
    # Those of an earlier step are no reason to go back in this one.
    assert judge_limits(plan, Observations((StepSeen(0.5, arm_seen(9), arm), StepSeen(1.0))))[0].status != Status.FAIL


@pytest.mark.parametrize(
    ("rate", "limit", "chance"),
    [(0.01, 2, 0.01), (0.01, 4, 0.0), (0.05, 2, 0.70), (0.05, 4, 0.003), (0.1, 2, 1.0), (0.1, 4, 0.09)],
)
def test_the_documented_false_alarms_of_errors_in_a_row(rate, limit, chance):
    """Exactly, for 10,000 requests that fail independently of one another; as the page on rollouts has them."""
    rows = np.zeros(limit + 2)  # by the length of the present row; the last one is for ever
    rows[0] = 1.0
    for _ in range(10_000):
        longer = np.concatenate([[rows[:-1].sum() * (1 - rate)], rows[:-1] * rate])
        longer[-1] += rows[-1]
        rows = longer
    assert rows[-1] == pytest.approx(chance, abs=0.006)


def test_no_requests_are_no_pass_of_a_limit():
    plan = make_plan(
        limits=LimitsSection(error_rate=0.1, latency_p99=1.0, accuracy=0.5, total_errors=1, consecutive_errors=1)
    )
    found = judge_limits(plan, NOTHING)
    assert [verdict.status for verdict in found] == [Status.INCONCLUSIVE] * 5


def test_a_broken_limit_sends_back():
    plan = make_plan(limits=LimitsSection(total_errors=5))
    action = decide(plan, state=in_step(), observations=seen(errors=6), now=1.0).action
    assert isinstance(action, RollBack)
    assert action.cause == "total_errors"


def test_a_dry_run_decides_nothing_and_is_told():
    plan = make_plan(dry_run=("error_rate",))
    decision = decide(plan, state=in_step(), observations=seen(errors=900), now=1.0)
    assert isinstance(decision.action, Advance)
    assert decision.verdicts[0].status is Status.FAIL
    assert "for information only" in decision.verdicts[0].line() or decision.verdicts[0].severity == "info"
    nobody = make_plan(dry_run=("error_rate", "latency_p99", "accuracy"))
    assert isinstance(decide(nobody, state=in_step(), observations=seen(), now=1.0).action, Hold)


def test_the_plan_survives_the_catalog():
    plan = make_plan(limits=LimitsSection(error_rate=0.1), dry_run=("accuracy",), on_inconclusive="hold")
    assert RolloutPlan.from_json(plan.to_json()) == plan


@pytest.mark.parametrize("trigger", ["accuracy_drop > 500%", "accuracy_drop > 1.2.3%"])
def test_a_plan_with_a_trigger_that_is_no_longer_taken_is_read(trigger):
    text = make_plan().to_json().replace("accuracy_drop > 5%", trigger)
    assert RolloutPlan.from_json(text).rollback.trigger == trigger


# The controller


def told(*said, **qualities):
    world = Commanded.served(**qualities)
    world.said = said
    return world


def actions(world):
    return [row.action for row in world.rollouts.journal("r1")]


def test_a_pause_is_waited_out_where_the_controller_stays():
    world = told((2001, Order.PAUSE), (2500, Order.RESUME))
    outcome = run(make_plan(), replace(world.doors(), stays=True), poll_seconds=1)
    assert outcome.status == "promoted"
    assert actions(world)[:3] == ["advance to step 0", "pause", "resume"]
    # Weights stood still from the one to the other.
    assert [document.challengers[0].weight for document in world.moves[:-1]] == [0.05, 0.25, 0.5, 1.0]


def test_a_version_that_fails_in_a_pause_goes_back():
    world = told((2000.5, Order.PAUSE), (2500, Order.PROMOTE), errors=(0.0, 0.3), rate=20)
    outcome = run(make_plan(), replace(world.doors(), stays=True), poll_seconds=1)
    assert (outcome.status, outcome.cause) == ("rolled_back", "error_rate")
    assert [action.split(" to ")[0] for action in actions(world)] == ["advance", "pause", "rollback", "rolled back"]
    assert world.time < 2500


def test_a_pause_ends_a_controller_that_does_not_stay():
    world = told((2001, Order.PAUSE))
    assert run(make_plan(), world.doors(), poll_seconds=1).status == "paused"
    assert run(make_plan(), world.doors(), poll_seconds=1).status == "promoted"


def test_a_pause_outlives_a_controller_that_stays():
    world = told((2001, Order.PAUSE))
    run(make_plan(), world.doors(), poll_seconds=1)
    world.said = ((world.time + 50, Order.ABORT),)
    outcome = run(make_plan(), replace(world.doors(), stays=True), poll_seconds=1)
    assert (outcome.status, outcome.reason) == ("rolled_back", "by ann")
    assert "resume" not in " ".join(actions(world))


def test_a_refused_command_is_in_the_journal_and_asked_once():
    world = told((2000.5, Order.RESUME), rate=0)
    run(make_plan(on_inconclusive="pause"), world.doors(), poll_seconds=1)
    refused = [action for action in actions(world) if "refused" in action]
    assert refused == ["resume by ann is refused: it runs already; nothing to resume"]


def test_an_order_to_promote_is_no_way_past_a_failure():
    world = told((2000.5, Order.PROMOTE), errors=(0.0, 0.9), rate=4000)
    outcome = run(make_plan(), world.doors(), poll_seconds=1)
    assert (outcome.status, outcome.cause) == ("rolled_back", "error_rate")


def test_a_disabled_rollback_is_obeyed_when_told():
    world = told((2100, Order.PROMOTE), (2200, Order.ABORT), errors=(0.0, 0.33))
    plan = make_plan(rollback=RollbackSection(enabled=False))
    outcome = run(plan, replace(world.doors(), stays=True), poll_seconds=1)
    assert outcome.status == "rolled_back"
    assert any("promote by ann is refused: it waits because of error_rate" in action for action in actions(world))


@pytest.mark.parametrize(
    "orders", [(Order.ADVANCE,), (Order.PAUSE, Order.ADVANCE), (Order.PAUSE, Order.RESUME, Order.ABORT)]
)
def test_a_crash_anywhere_obeys_each_command_once(orders):
    said = tuple((2001 + 100 * i, order) for i, order in enumerate(orders))
    undisturbed = told(*said)
    run(make_plan(), replace(undisturbed.doors(), stays=True), poll_seconds=20)
    wanted = [action for action in actions(undisturbed) if "resume step" not in action]
    for crash_at in range(1, undisturbed.operations + 1):
        world = told(*said, seed=crash_at)
        world.crash_at = crash_at
        with pytest.raises(Crash):
            run(make_plan(), replace(world.doors(), stays=True), poll_seconds=20)
        run(make_plan(), replace(world.doors(), stays=True), poll_seconds=20)
        assert world.end_state() == undisturbed.end_state(), crash_at
        assert [action for action in actions(world) if "resume step" not in action] == wanted, crash_at


def test_commands_have_an_order_of_their_own(catalog):
    store = RolloutStore(catalog)
    assert store.next_command("r1", after=0) is None
    threads = [
        threading.Thread(
            target=store.command, args=("r1", Order.PAUSE), kwargs={"who": f"w{i}", "reason": "", "now": 1.0}
        )
        for i in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store.command("r2", Order.ABORT, who="ann", reason="why", now=2.0)
    found = [store.next_command("r1", after=i) for i in range(9)]
    assert [one and one.sequence for one in found] == [*range(1, 9), None]
    assert {one.who for one in found[:-1]} == {f"w{i}" for i in range(8)}
    assert store.next_command("r2", after=0) == Command(1, Order.ABORT, "ann", "why", 2.0)


@pytest.mark.parametrize("stays", [False, True])
@pytest.mark.parametrize("phase", [Phase.STEP, Phase.PAUSED])
def test_an_abort_that_waits_is_obeyed_first_whoever_has_moved_the_traffic(phase, stays):
    world = World.served()
    journal = Journal.begin(world.rollouts, make_plan())
    journal.append(RolloutState(phase, 0, 2, generations=(2,)), action="as it was left", evidence={}, now=2000.0)
    world.documents.publish(make_plan().step_document(0, generation=2))
    world.documents.publish(TrafficDocument("flights", 3, CHAMPION))  # by hand, while nobody ran it
    world.rollouts.command("r1", Order.PAUSE)
    world.rollouts.command("r1", Order.ABORT, reason="end it")
    outcome = run(make_plan(), replace(world.doors(), stays=stays), poll_seconds=1)
    assert (outcome.status, outcome.reason) == ("rolled_back", "by ann: end it")
    assert actions(world) == ["as it was left", "rollback", "rolled back"]
    assert (world.applied.generation, world.applied.champion, world.applied.challengers) == (4, CHAMPION, ())
    assert Journal.open(world.rollouts, "r1").state.commands == 2


def test_an_abort_that_waits_for_a_cut_off_rollback_takes_it_past_whoever_moved_the_traffic():
    world = World.served()
    journal = Journal.begin(world.rollouts, make_plan())
    going = RolloutState(Phase.ROLLING_BACK, 0, 3, generations=(2,), cause="accuracy", reason="worse")
    journal.append(going, action="rollback", evidence={}, now=2000.0)
    world.documents.publish(make_plan().step_document(0, generation=2))
    world.documents.publish(TrafficDocument("flights", 3, CHAMPION))
    with pytest.raises(ConflictError, match="somebody else"):
        run(make_plan(), world.doors())
    world.rollouts.command("r1", Order.ABORT)
    outcome = run(make_plan(), world.doors())
    assert (outcome.status, outcome.cause, outcome.reason) == ("rolled_back", "accuracy", "worse")
    assert world.applied.generation == 4
