"""Whole rollouts in a world without Ray: how they end, and that no crash changes it."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace

import pytest

from rollout_world import CHAMPION, Crash, World, make_plan
from sluiceway.catalog.rollouts import JournalRow
from sluiceway.config.deployment import DeploymentSection, RollbackSection
from sluiceway.core.errors import ChampionChangedError, ConflictError, InputError
from sluiceway.core.traffic import Arm, TrafficDocument
from sluiceway.rollout.controller import abort, resume, run
from sluiceway.rollout.decide import decide
from sluiceway.rollout.journal import Journal
from sluiceway.rollout.plan import RolloutPlan, plan_canary, plan_first
from sluiceway.rollout.state import Phase, RolloutState


def test_an_equally_good_challenger_is_promoted():
    world = World.served()
    outcome = run(make_plan(), world.doors(), poll_seconds=1)
    assert (outcome.status, outcome.cause) == ("promoted", None)
    weights = [sum(arm.weight for arm in document.challengers) for document in world.moves]
    assert weights == [0.05, 0.25, 0.5, 1.0, 0]
    assert world.applied.champion == Arm("2", 1.0, "bundles/two", "d2")
    assert world.aliases == {"champion": "2"}
    assert not world.applications
    assert [step.weight for step in outcome.steps] == [0.05, 0.25, 0.5, 1.0]
    for step in outcome.steps:
        assert all(metric.n >= metric.n_needed for metric in step.metrics)
        assert step.seconds > 0
    assert outcome.requests["challenger"] > 1000


def test_keys_stay_and_the_old_champion_is_kept_in_memory():
    world = World.served()
    run(make_plan(salt="r1", keeps_warm=True), world.doors(), poll_seconds=1)
    assert {document.salt for document in world.moves} == {"r1"}
    assert [document.warm for document in world.moves[:-1]] == [()] * 4
    assert world.applied.warm == (Arm("1", 0.0, "bundles/one", "d1"),)
    world = World.served(errors=(0.0, 0.33))
    run(make_plan(salt="r1", keeps_warm=True), world.doors())
    assert (world.applied.champion, world.applied.warm, world.applied.salt) == (CHAMPION, (), "r1")


def test_a_challenger_in_the_endpoints_replicas_has_no_application():
    world = World.served()
    outcome = run(make_plan(application="", isolation="replica"), world.doors(), poll_seconds=1)
    assert outcome.status == "promoted"
    assert {arm.application for document in world.moves for arm in document.challengers} == {""}


def test_an_open_breaker_sends_the_challenger_back():
    world = World.served()
    world.breakers = {0.25: ("a: 5 errors in a row", "b: late")}
    outcome = run(make_plan(), world.doors(), poll_seconds=1)
    assert (outcome.status, outcome.cause) == ("rolled_back", "breaker")
    assert outcome.reason == "endpoint replicas ask the challenger no more: a: 5 errors in a row; b: late"
    assert [sum(arm.weight for arm in document.challengers) for document in world.moves] == [0.05, 0.25, 0]
    last = world.rollouts.journal("r1")[-2]
    assert "5 errors in a row" in last.evidence


def test_a_metric_that_fails_names_the_cause_before_the_breaker():
    world = World.served(errors=(0.0, 0.33))
    world.apply(make_plan().step_document(0, generation=2))
    world.sleep(3)
    world.breakers = {0.05: ("a: 20 errors in 60 requests",)}
    state = RolloutState(Phase.STEP, 0, 2, since=world.time, generations=(2,))
    seen = world.observe(make_plan(), state)
    assert seen.breakers
    action = decide(make_plan(), state=state, observations=seen, now=world.time).action
    assert action.cause == "error_rate"


def test_with_rollback_disabled_an_open_breaker_is_waited_with():
    world = World.served()
    world.breakers = {0.05: ("a: 5 errors in a row",)}
    outcome = run(make_plan(rollback=RollbackSection(enabled=False)), world.doors())
    assert (outcome.status, outcome.cause) == ("paused", "breaker")


OLD_PLAN = {
    "application": "flights-challenger-2",
    "bundle": "bundles/two",
    "champion": {"application": "", "bundle": "bundles/one", "digest": "d1", "version": "1", "weight": 1.0},
    "created": 1000.0,
    "digest": "d2",
    "endpoint": "flights",
    "margins": {},
    "model": "flights",
    "on_inconclusive": "rollback",
    "rollback": {},
    "rollout_id": "r1",
    "steps": [{"weight": 0.5}, {"weight": 1.0}],
    "version": "2",
}


def test_a_rollout_that_an_earlier_release_began_is_gone_on_with():
    """Its documents have neither salt nor warm arms, and are the same when they are made again."""
    world = World.served()
    text = json.dumps(OLD_PLAN)
    world.rollouts.create("r1", endpoint="flights", plan=text, now=1000.0)
    state = RolloutState(Phase.STEP, 0, 2, since=world.time, generations=(2,))
    world.rollouts.append("r1", JournalRow(1, state.to_json(), "advance to step 0", "{}", world.time))
    written = {
        "endpoint": "flights",
        "generation": 2,
        "champion": {**OLD_PLAN["champion"], "weight": 0.5},
        "challengers": [
            {
                "version": "2",
                "weight": 0.5,
                "bundle": "bundles/two",
                "digest": "d2",
                "application": "flights-challenger-2",
            }
        ],
        "rollout_id": "r1",
    }
    world.documents.publish(TrafficDocument.from_json(json.dumps(written)))
    assert resume("r1", world.doors(), poll_seconds=1).status == "promoted"
    assert world.applied == TrafficDocument("flights", 4, Arm("2", 1.0, "bundles/two", "d2"), (), "r1")


@pytest.mark.parametrize(
    "wrong", [{"application": ""}, {"isolation": "replica"}], ids=["no application", "one too many"]
)
def test_a_plan_that_does_not_say_who_scores_the_challenger_is_refused(wrong):
    with pytest.raises(InputError, match="application"):
        make_plan(**wrong)


def test_a_canary_is_planned_by_where_its_challenger_runs():
    for application, isolation in (("app", "process"), ("", "replica")):
        plan = plan_canary(
            "r7",
            endpoint="flights",
            model="flights",
            challengers=(Arm("2", 1.0, "bundles/two", "d2", application),),
            champion=CHAMPION,
            deployment=DeploymentSection(),
            now=0.0,
        )
        assert (plan.isolation, plan.salt, plan.keeps_warm) == (isolation, "r7", True)
        assert RolloutPlan.from_json(plan.to_json()) == plan


def test_a_challenger_four_points_less_accurate_goes_back_on_accuracy():
    for seed in range(5):
        world = World.served(wrong=(0.06, 0.02), seed=seed)
        outcome = run(make_plan(), world.doors(), poll_seconds=1)
        assert (outcome.status, outcome.cause) == ("rolled_back", "accuracy"), outcome
        assert world.applied.champion == CHAMPION
        assert not world.applied.challengers
        assert world.aliases == {"champion": "1"}
        assert outcome.requests["challenger"] < 2500


def test_a_challenger_that_fails_every_third_request_goes_back_within_a_second():
    used = []
    for seed in range(5):
        outcome = run(make_plan(), World.served(errors=(0.0, 0.33), seed=seed).doors(), poll_seconds=0.5)
        assert (outcome.status, outcome.cause) == ("rolled_back", "error_rate"), outcome
        used.append(outcome.requests["challenger"])
    # 20 a second at 5 %; half a second shows two or three failures.
    assert max(used) <= 60, used


def test_a_challenger_that_answers_nothing_goes_back_even_where_the_champion_fails_too():
    outcome = run(make_plan(), World.served(errors=(1.0, 1.0)).doors())
    assert (outcome.status, outcome.cause) == ("rolled_back", "error_rate")
    assert "all" in outcome.reason


def test_a_slow_challenger_goes_back_on_latency():
    outcome = run(make_plan(), World.served(slow=(0.005, 0.2)).doors(), poll_seconds=2)
    assert (outcome.status, outcome.cause) == ("rolled_back", "latency_p99")


def test_an_outage_of_both_arms_does_not_send_the_challenger_back():
    outcome = run(make_plan(), World.served(errors=(0.3, 0.3)).doors(), poll_seconds=10)
    assert outcome.cause != "error_rate"


@pytest.mark.parametrize(("policy", "status"), [("rollback", "rolled_back"), ("pause", "paused")])
def test_without_requests_it_holds_and_then_does_what_the_plan_says(policy, status):
    world = World.served(rate=0)
    outcome = run(make_plan(on_inconclusive=policy), world.doors(), poll_seconds=30)
    assert (outcome.status, outcome.cause) == (status, None)
    assert "not enough evidence after 600 s" in outcome.reason
    assert world.time >= 2600
    assert bool(world.applied.challengers) == (status == "paused")


def test_without_outcomes_accuracy_is_never_passed():
    outcome = run(make_plan(), World.served(outcomes=False).doors(), poll_seconds=60)
    assert outcome.status == "rolled_back"
    metrics = {m.metric: m.status for m in outcome.steps[-1].metrics}
    assert metrics["accuracy"] == "INCONCLUSIVE"


def test_with_rollback_disabled_a_failure_is_reported_and_goes_no_further():
    world = World.served(errors=(0.0, 0.33))
    outcome = run(make_plan(rollback=RollbackSection(enabled=False)), world.doors())
    assert (outcome.status, outcome.cause) == ("paused", "error_rate")
    assert world.applied.challengers[0].weight == 0.05


def test_a_paused_rollout_is_resumed_at_its_step():
    world = World.served(rate=0)
    assert run(make_plan(on_inconclusive="pause"), world.doors(), poll_seconds=60).status == "paused"
    world.rate = 400
    assert resume("r1", world.doors(), poll_seconds=1).status == "promoted"
    assert [len(document.challengers) for document in world.moves] == [1, 1, 1, 1, 0]


def test_a_paused_rollout_is_aborted():
    world = World.served(rate=0)
    run(make_plan(on_inconclusive="pause"), world.doors(), poll_seconds=60)
    outcome = abort("r1", world.doors(), reason="not now")
    assert (outcome.status, outcome.cause, outcome.reason) == ("rolled_back", None, "not now")
    assert world.applied.champion == CHAMPION


def test_the_first_model_takes_all_traffic_at_once():
    world = World()
    plan = plan_first("r0", endpoint="flights", model="flights", arm=CHAMPION, now=0.0)
    outcome = run(plan, world.doors())
    assert outcome.status == "promoted"
    assert world.applied == TrafficDocument("flights", 1, CHAMPION, (), "r0")
    assert world.aliases["champion"] == "1"


def test_an_ended_rollout_run_again_changes_nothing_and_says_how_it_ended():
    world = World.served()
    first = run(make_plan(), world.doors(), poll_seconds=1)
    operations = world.operations
    assert run(make_plan(), world.doors()) == first
    assert resume("r1", world.doors()) == first
    assert world.operations == operations


@pytest.mark.parametrize("qualities", [{}, {"errors": (0.0, 0.33)}], ids=["promoted", "rolled back"])
def test_a_crash_anywhere_ends_in_the_same_state(qualities):
    undisturbed = World.served(**qualities)
    run(make_plan(), undisturbed.doors(), poll_seconds=20)
    assert undisturbed.operations >= 16
    assert len(undisturbed.heard) == len(undisturbed.heard_of())
    for crash_at in range(1, undisturbed.operations + 1):
        world = World.served(**qualities, seed=crash_at)
        world.crash_at = crash_at
        with pytest.raises(Crash):
            run(make_plan(), world.doors(), poll_seconds=20)
        run(make_plan(), world.doors(), poll_seconds=20)
        assert world.end_state() == undisturbed.end_state(), crash_at
        assert world.heard_of() == undisturbed.heard_of(), crash_at
        weights = [sum(arm.weight for arm in document.challengers) for document in world.moves]
        assert weights == [sum(arm.weight for arm in d.challengers) for d in undisturbed.moves], crash_at


def test_the_journal_is_ahead_of_every_move():
    world = World.served()
    journalled = []
    move = world.apply

    def apply(document):
        states = [RolloutState.from_json(row.state) for row in world.rollouts.journal("r1")]
        journalled.append(states[-1].generation == document.generation)
        move(document)

    world.apply = apply
    run(make_plan(), world.doors(), poll_seconds=5)
    assert len(journalled) == 5
    assert all(journalled)


def test_a_second_controller_is_refused_while_the_first_one_lives():
    world = World.served()
    world.leases.acquire("rollout:flights", owner="elsewhere:1:2", ttl=60, now=world.now())
    with pytest.raises(ConflictError, match="elsewhere"):
        run(make_plan(), world.doors())
    world.time += 61
    assert run(make_plan(), world.doors(), poll_seconds=5).status == "promoted"


def test_two_rollouts_of_one_endpoint_are_refused():
    world = World.served(rate=0)
    run(make_plan(on_inconclusive="pause"), world.doors(), poll_seconds=60)
    with pytest.raises(ConflictError, match="r1"):
        run(make_plan(rollout_id="r2", version="3"), world.doors())


def test_a_plan_of_a_champion_of_before_is_refused_and_nothing_is_changed():
    world = World.served()
    late = make_plan(rollout_id="r2", version="3", bundle="bundles/three", digest="d3")
    assert run(make_plan(), world.doors(), poll_seconds=5).status == "promoted"
    before = world.documents.newest("flights")
    with pytest.raises(ChampionChangedError, match="was version 1 when rollout r2 was planned, and is version 2 now"):
        run(late, world.doors())
    assert world.rollouts.get("r2") is None
    assert world.documents.newest("flights") == before
    assert world.leases.leases == {}
    anew = replace(late, champion=before.champion)
    assert run(anew, world.doors(), poll_seconds=5).status == "promoted"


def test_a_plan_that_was_kept_and_has_not_begun_is_held_against_the_champion_too():
    world = World.served()
    Journal.begin(world.rollouts, make_plan())
    world.documents.publish(TrafficDocument("flights", 2, Arm("7", 1.0, "bundles/seven", "d7")))
    with pytest.raises(ChampionChangedError, match="is version 7 now"):
        run(make_plan(champion=Arm("7", 1.0, "bundles/seven", "d7")), world.doors())
    with pytest.raises(ChampionChangedError, match="was none when"):
        run(plan_first("r3", endpoint="flights", model="flights", arm=CHAMPION, now=0.0), world.doors())
    assert world.moves == []


def test_traffic_moved_by_somebody_else_stops_the_rollout():
    world = World.served(rate=0)
    run(make_plan(on_inconclusive="pause"), world.doors(), poll_seconds=60)
    world.documents.publish(TrafficDocument("flights", 3, CHAMPION, (), "somebody"))
    with pytest.raises(ConflictError, match="somebody"):
        resume("r1", world.doors())
    assert abort("r1", world.doors()).status == "rolled_back"


def test_an_unknown_rollout_is_named():
    with pytest.raises(InputError, match="nothing-here"):
        resume("nothing-here", World().doors())


def test_the_state_is_known_to_the_journal():
    world = World.served()
    run(make_plan(), world.doors(), poll_seconds=5)
    phases = [RolloutState.from_json(row.state).phase for row in world.rollouts.journal("r1")]
    assert phases == [Phase.STEP] * 4 + [Phase.PROMOTING, Phase.PROMOTED]


def once_after(world, seconds, do):
    """Do something once, when so many seconds are over."""
    sleep, ends, done = world.sleep, world.time + seconds, []

    def slept(duration):
        sleep(duration)
        if world.time > ends and not done:
            done.append(True)
            do()

    world.sleep = slept


def taken(world):
    """Somebody else takes the lease, although it is held."""
    world.leases.leases.clear()
    assert world.leases.acquire("rollout:flights", owner="hand:1:2", ttl=6000, now=world.now())


def by_hand(world):
    newest = world.documents.newest("flights")
    world.documents.publish(TrafficDocument("flights", newest.generation + 1, CHAMPION))


def test_a_controller_that_has_lost_its_lease_leaves_everything_to_who_has_it():
    world = World.served(rate=40)

    def moved():
        taken(world)
        by_hand(world)
        world.apply(world.documents.newest("flights"))

    once_after(world, 10, moved)
    with pytest.raises(ConflictError, match="hand:1:2"):
        run(make_plan(steps=({"weight": 0.25}, {"weight": 1.0})), world.doors(), poll_seconds=1)
    assert (world.applied.generation, world.applied.champion, world.applied.challengers) == (3, CHAMPION, ())
    assert world.aliases["champion"] == "1"
    assert len(world.rollouts.journal("r1")) == 1
    assert world.leases.leases["rollout:flights"].owner == "hand:1:2"


def test_a_lease_that_is_lost_between_the_journal_and_its_effect_stops_the_effect():
    world = World.served()
    started = world.started

    def lost(plan):
        started(plan)
        taken(world)

    world.started = lost
    with pytest.raises(ConflictError, match="hand:1:2"):
        run(make_plan(), world.doors(), poll_seconds=1)
    assert world.documents.newest("flights").generation == 1


def test_traffic_that_somebody_else_has_moved_is_not_moved_on():
    world = World.served()
    once_after(world, 1, lambda: by_hand(world))
    with pytest.raises(ConflictError, match="generation 3 by somebody else"):
        run(make_plan(), world.doors(), poll_seconds=1)
    assert world.documents.newest("flights").generation == 3
    assert len(world.rollouts.journal("r1")) == 1


def test_traffic_that_somebody_else_has_moved_still_goes_back():
    world = World.served(errors=(0.0, 0.33))
    once_after(world, 0, lambda: by_hand(world))
    assert run(make_plan(), world.doors(), poll_seconds=0.1).status == "rolled_back"
    assert (world.applied.generation, world.applied.champion) == (4, CHAMPION)


def cut_off_in(phase, plan):
    """A world in which whoever ran the rollout died in a phase."""
    for crash_at in range(1, 60):
        world = World.served()
        world.crash_at = crash_at
        with contextlib.suppress(Crash):
            run(plan, world.doors(), poll_seconds=5)
        world.crash_at = None
        if Journal.open(world.rollouts, plan.rollout_id).state.phase is phase:
            return world
    raise AssertionError(f"no crash leaves it in {phase}")


def test_a_promotion_that_was_cut_off_is_undone_without_waiting_for_its_probation():
    plan = make_plan(steps=({"weight": 0.25}, {"weight": 1.0}), probation_seconds=3600.0)
    world = cut_off_in(Phase.PROMOTING, plan)
    began = world.time
    outcome = abort("r1", world.doors(), reason="superseded")
    assert (outcome.status, outcome.reason, world.time) == ("rolled_back", "superseded", began)
    assert (world.applied.champion, world.aliases) == (CHAMPION, {"champion": "1"})


def test_what_has_not_begun_is_aborted_without_any_traffic_moved():
    world = World.served()
    Journal.begin(world.rollouts, make_plan())
    outcome = abort("r1", world.doors(), reason="no")
    assert (outcome.status, outcome.reason) == ("rolled_back", "no")
    assert world.moves == []
    assert world.documents.newest("flights").generation == 1


def test_a_crash_anywhere_in_an_abort_ends_in_the_same_state():
    def paused():
        world = World.served(rate=0)
        run(make_plan(on_inconclusive="pause"), world.doors(), poll_seconds=60)
        return world, world.operations

    undisturbed, before = paused()
    abort("r1", undisturbed.doors())
    assert undisturbed.operations > before + 4
    for crash_at in range(before + 1, undisturbed.operations + 1):
        world, _ = paused()
        world.crash_at = crash_at
        with pytest.raises(Crash):
            abort("r1", world.doors())
        world.crash_at = None
        assert abort("r1", world.doors()).status == "rolled_back", crash_at
        assert world.end_state() == undisturbed.end_state(), crash_at
        assert world.heard_of() == undisturbed.heard_of(), crash_at
