"""What serving wrote to the catalog is what a rollout sees."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from rollout_world import CHAMPION, make_plan, plan_of
from sluiceway.catalog.breakers import BreakerStore, OpenBreaker
from sluiceway.catalog.records import FeedbackRecord, PredictionRecord, RecordStore, ReplicaCounts
from sluiceway.catalog.traffic import TrafficStore
from sluiceway.core.traffic import LATENCY_BOUNDS_SECONDS, Arm, TrafficDocument
from sluiceway.gates.statistics.proportions import Pairs
from sluiceway.rollout.observe import SETTLE_SECONDS, RecordObserver, UntilTrafficEnds
from sluiceway.rollout.plan import fresh_baseline
from sluiceway.rollout.state import Phase, RolloutState

pytestmark = pytest.mark.integration

HISTOGRAM = (1,) * (len(LATENCY_BOUNDS_SECONDS) + 1)
STATE = RolloutState(Phase.STEP, 1, 3, generations=(2, 3))


class Watch:
    """A clock that is set."""

    time = 4e9

    def now(self):
        return datetime.fromtimestamp(self.time, UTC)

    def sleep(self, seconds):
        self.time += seconds


@pytest.fixture
def store(catalog):
    documents = TrafficStore(catalog)
    documents.publish(TrafficDocument("flights", 1, CHAMPION))
    plan = make_plan()
    for step, generation in enumerate(STATE.generations):
        documents.publish(plan.step_document(step, generation=generation))
    return RecordStore(catalog)


@pytest.fixture
def breakers(catalog):
    return BreakerStore(catalog)


def counts(generation, replica, arm, requests, errors):
    version = "1" if arm == "champion" else "2"
    return ReplicaCounts("flights", generation, replica, version, arm, requests, errors, HISTOGRAM, 0.0)


def prediction(request_id, generation, decision, champion):
    score = decision * 0.8 + 0.1
    return PredictionRecord(
        request_id, 1.0, "flights", generation, "challenger", "2", score, decision, "", "1", score, champion
    )


def test_the_end_of_a_replay_is_told_once_its_records_are_in(store, breakers):
    watch, running = Watch(), True
    observe = UntilTrafficEnds(RecordObserver(store, breakers, clock=watch), lambda: running, clock=watch)
    seen = []
    for seconds in (0.0, 100.0, 101.0, 101.0 + SETTLE_SECONDS, 500.0):
        watch.time, running = seconds, seconds < 101
        seen.append(observe(make_plan(), STATE).traffic_ended)
    assert seen == [False, False, False, True, True]


def outcome(request_id, value=1.0, received=4e9 - 60):
    return FeedbackRecord(request_id, value, 1.0, received)


def test_counts_of_replicas_are_summed_by_step_and_arm(store, breakers):
    store.put_counts(
        [counts(1, "a", "champion", 999, 9)]
        + [counts(2, r, "champion", 100, 1) for r in "ab"]
        + [counts(2, "a", "challenger", 5, 2), counts(3, "a", "challenger", 7, 0), counts(3, "b", "champion", 30, 0)]
    )
    seen = RecordObserver(store, breakers, clock=Watch())(make_plan(), STATE)
    assert [step.weight for step in seen.steps] == [0.05, 0.25]
    assert [(s.champion.requests, s.champion.errors) for s in seen.steps] == [(200, 2), (30, 0)]
    assert [(s.challenger.requests, s.challenger.errors) for s in seen.steps] == [(5, 2), (7, 0)]
    assert seen.steps[0].champion.latency == tuple(2 * c for c in HISTOGRAM)
    assert seen.requests() == {"champion": 230, "challenger": 12}


def test_pairs_of_the_step_and_of_the_rollout(store, breakers):
    cells = {"both": (1, 1), "champion": (0, 1), "challenger": (1, 0), "neither": (0, 0)}
    rows = [prediction(f"{g}-{name}", g, d, c) for g in (2, 3) for name, (d, c) in cells.items()]
    store.add_predictions([*rows, prediction("2-more", 2, 0, 1), prediction("no outcome", 3, 1, 1)])
    store.add_feedback("flights", [outcome(row.request_id) for row in rows] + [outcome("2-more")])
    seen = RecordObserver(store, breakers, clock=Watch())(make_plan(), STATE)
    assert seen.pairs_step == Pairs(1, 1, 1, 1)
    assert seen.pairs_rollout == Pairs(2, 3, 2, 2)
    assert (seen.outcomes, seen.outcomes_lost) == (9, 0)


def shadowed(request_id, generation, decision, champion, version="2"):
    answered = prediction(request_id, generation, decision, champion)
    return answered._replace(request_id=f"{request_id}#{version}", arm="shadow", version=version)


def test_a_shadow_is_counted_and_paired_by_the_outcomes_of_who_answered(store, breakers):
    plan = make_plan(steps=({"share": 0.25}, {"weight": 0.5}, {"weight": 1.0}))
    first = RolloutState(Phase.STEP, 0, 2, generations=(2,))
    store.put_counts(
        [
            counts(2, "a", "champion", 400, 1),
            ReplicaCounts("flights", 2, "a", "2", "shadow", 60, 2, HISTOGRAM, 0.0),
            ReplicaCounts("flights", 2, "b", "2", "shadow", 40, 0, HISTOGRAM, 0.0),
            ReplicaCounts("flights", 2, "b", "9", "shadow", 999, 9, HISTOGRAM, 0.0),  # somebody else's
            counts(3, "a", "challenger", 7, 0),
            counts(3, "a", "champion", 8, 0),
        ]
    )
    cells = {"both": (1, 1), "champion": (0, 1), "challenger": (1, 0), "neither/1": (0, 0)}
    names = [f"2-{name}" for name in cells]
    rows = [shadowed(name, 2, d, c) for name, (d, c) in zip(names, cells.values(), strict=True)]
    rows += [shadowed("2-both", 2, 0, 1, version="9"), shadowed("2-unknown", 2, 1, 1)]
    answered = [prediction(name, 2, 1, 1)._replace(arm="champion", version="1") for name in names]
    store.add_predictions([*rows, *answered, prediction("3-later", 3, 0, 1)])
    store.add_feedback("flights", [outcome(name) for name in [*names, "3-later"]])
    observe = RecordObserver(store, breakers, clock=Watch())
    seen = observe(plan, first)
    (step,) = seen.steps
    assert (step.champion.requests, step.challenger.requests, step.challenger.errors) == (400, 100, 2)
    # The champion was asked 400 times, and the shadow a quarter as often.
    assert (step.weight, step.shadow) == (pytest.approx(100 / 500), True)
    assert seen.pairs_step == seen.pairs_rollout == Pairs(1, 1, 1, 1)
    assert (seen.outcomes, seen.outcomes_lost) == (5, 0)
    later = observe(plan, RolloutState(Phase.STEP, 1, 3, generations=(2, 3)))
    assert [(one.shadow, one.challenger.requests) for one in later.steps] == [(True, 100), (False, 7)]
    assert (later.pairs_step, later.pairs_rollout) == (Pairs(0, 1, 0, 0), Pairs(1, 2, 1, 1))


def test_a_fresh_baseline_is_what_is_compared_with(store, breakers):
    fresh = replace(fresh_baseline(CHAMPION), application="app")
    plan = make_plan(steps=({"weight": 0.2}, {"weight": 0.75}, {"weight": 1.0}), others=(fresh,), baseline="1-fresh")
    rows = [
        counts(2, "a", "champion", 600, 9),
        counts(2, "a", "challenger", 200, 1),
        counts(3, "a", "challenger", 75, 0),
    ]
    rows += [replace(counts(g, "a", "challenger", n, g), version="1-fresh") for g, n in ((2, 201), (3, 25))]
    store.put_counts(rows)
    seen = RecordObserver(store, breakers, clock=Watch())(plan, STATE)
    assert [(s.champion.requests, s.champion.errors) for s in seen.steps] == [(201, 2), (25, 3)]
    assert [s.challenger.requests for s in seen.steps] == [200, 75]
    assert [s.weight for s in seen.steps] == pytest.approx([0.5, 0.75])


def test_the_versions_of_a_test_are_each_seen_beside_the_champion(store, breakers):
    three = Arm("3", 0.0, "bundles/three", "d3", "app-3")
    policy = {"strategy": "ab", "ab": {"weight": 0.2, "min_seconds": 60}}
    plan = plan_of(policy, others=(three,))
    state = RolloutState(Phase.STEP, 0, 3, generations=(2, 3), stopped=("3",))
    rows = [counts(g, "a", "champion", n, 1) for g, n in ((2, 60), (3, 80))]
    rows += [counts(g, "a", "challenger", 20, g) for g in (2, 3)]
    store.put_counts([*rows, replace(counts(2, "a", "challenger", 21, 5), version="3")])
    store.add_predictions(
        [prediction("r2", 2, 1, 1), prediction("r3", 3, 0, 1), prediction("o", 2, 1, 0)._replace(version="3")]
    )
    store.add_feedback("flights", [outcome(name) for name in ("r2", "r3", "o")])
    breakers.add([OpenBreaker("flights", 3, "a", "3", "5 errors in a row", 4.0)])
    seen = RecordObserver(store, breakers, clock=Watch())(plan, state)
    (other,) = seen.others
    for one, requests, errors in ((seen, 40, 5), (other, 21, 5)):
        (step,) = one.steps
        assert (step.champion.requests, step.challenger.requests, step.challenger.errors) == (140, requests, errors)
        # The champion has had three times as many as each of them at least.
        assert step.weight == pytest.approx(0.2 / 0.8)
    assert (seen.pairs_rollout, other.pairs_rollout) == (Pairs(1, 1, 0, 0), Pairs(0, 0, 1, 0))
    assert (seen.breakers, other.breakers) == ((), ("a: 5 errors in a row",))


def test_a_version_that_is_only_warm_has_no_counts_and_the_champion_has(store, breakers):
    plan = make_plan(steps=({"share": 0}, {"weight": 1.0}))
    store.put_counts([counts(2, "a", "champion", 400, 1)])
    (step,) = RecordObserver(store, breakers, clock=Watch())(
        plan, RolloutState(Phase.STEP, 0, 2, generations=(2,))
    ).steps
    assert (step.champion.requests, step.challenger.requests, step.weight) == (400, 0, 0)


def test_many_pairs_of_a_shadow_are_found_in_no_time(store, breakers):
    """By the outcomes' key: a look is at all of them, twice a second."""
    plan = make_plan(steps=({"share": 1.0}, {"weight": 1.0}))
    n = 20_000
    store.add_predictions([shadowed(f"r{i}", 2, i % 2, 1) for i in range(n)])
    store.add_feedback("flights", [outcome(f"r{i}") for i in range(n)])
    observe = RecordObserver(store, breakers, clock=Watch())
    began = time.monotonic()
    seen = observe(plan, RolloutState(Phase.STEP, 0, 2, generations=(2,)))
    assert seen.pairs_step == Pairs(n // 2, n // 2, 0, 0)
    assert time.monotonic() - began < 5


def test_an_outcome_is_lost_only_when_its_prediction_had_time_to_come(store, breakers):
    watch = Watch()
    observe = RecordObserver(store, breakers, clock=watch)

    def lost():
        seen = observe(make_plan(), STATE)
        return seen.outcomes_lost, seen.outcomes

    store.add_feedback("flights", [outcome(f"r{i}", received=watch.time) for i in range(10)])
    assert lost() == (0, 0)
    watch.sleep(SETTLE_SECONDS)
    store.add_feedback("flights", [outcome(f"fresh{i}", received=watch.time) for i in range(3)])
    assert lost() == (10, 10)
    store.add_predictions([prediction(f"r{i}", 3, 1, 1) for i in range(10)])
    assert lost() == (0, 10)


def test_what_is_lost_is_known_at_the_first_look_while_outcomes_go_on_to_come(store, breakers):
    """As after a restart, and in a rollout's first seconds: most outcomes are young, and some find no prediction."""
    watch = Watch()
    for second in range(10):
        names = [f"{second}-{i}" for i in range(100)]
        store.add_predictions([prediction(name, 3, 1, 1) for name in names[4:]])
        store.add_feedback("flights", [outcome(name, received=watch.time - second) for name in names])
    seen = RecordObserver(store, breakers, clock=watch)(make_plan(), STATE)
    assert (seen.outcomes_lost, seen.outcomes, seen.pairs_step.n) == (20, 500, 960)


def test_before_the_first_step_nothing_is_seen(store, breakers):
    assert RecordObserver(store, breakers, clock=Watch())(make_plan(), RolloutState()).steps == ()


def test_open_breakers_of_the_present_step_and_the_challenger_are_seen(store, breakers):
    observe = RecordObserver(store, breakers, clock=Watch())
    breakers.add(
        [
            OpenBreaker("flights", 2, "a", "2", "of the step before", 1.0),
            OpenBreaker("flights", 3, "a", "9", "of somebody else", 2.0),
            OpenBreaker("fraud", 3, "a", "2", "of another endpoint", 3.0),
        ]
    )
    assert observe(make_plan(), STATE).breakers == ()
    breakers.add([OpenBreaker("flights", 3, "b", "2", "5 errors in a row", 4.0)])
    assert observe(make_plan(), STATE).breakers == ("b: 5 errors in a row",)
