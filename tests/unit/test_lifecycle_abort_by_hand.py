"""A rollout that nobody runs is given back by hand: traffic first, then what else a rollback changes."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime

import pytest

from rollout_world import make_plan
from sluiceway.catalog.stores import stores_on
from sluiceway.core.clock import SystemClock
from sluiceway.core.errors import BackendError, ConflictError
from sluiceway.core.traffic import TrafficDocument
from sluiceway.lifecycle.abort_by_hand import abort_by_hand
from sluiceway.rollout.journal import Journal
from sluiceway.rollout.state import Phase, RolloutState


class Running:
    """A Serve that runs the endpoint."""

    def __init__(self, fails=""):
        self.fails, self.did = fails, []
        self.there = {"flights-challenger-2", "by-hand"}

    def apply(self, document):
        if self.fails:
            raise BackendError(self.fails)
        self.did.append(f"apply {document.generation}")

    def remove_unasked(self, asked):
        self.did += [f"remove {name}" for name in sorted(self.there - asked)]


class Aliases:
    """A registry in which version 2 is being rolled out in place of version 1."""

    def __init__(self, **aliases):
        self.aliases, self.tags = {"champion": "1", "challenger": "2"} | aliases, {}

    def alias(self, model, name):
        return self.aliases.get(name)

    def remove_alias(self, model, name):
        del self.aliases[name]

    def take_back(self, model, version, *, previous):
        named = {"champion": version, "previous": previous}
        self.aliases = {name: each for name, each in (self.aliases | named).items() if each is not None}

    def tag(self, model, version, tags):
        self.tags |= tags


@pytest.fixture
def stores(catalog):
    stores = stores_on(catalog, "sqlite://")
    stores.traffic.publish(TrafficDocument("flights", 1, make_plan().champion))
    stores.traffic.publish(make_plan().step_document(0, generation=2))
    return stores


def left_in(stores, phase, **changes):
    state = RolloutState(phase, 0, 2, generations=(2,), **changes)
    Journal.begin(stores.rollouts, make_plan()).append(state, action="as it was left", evidence={}, now=2.0)


def abort(stores, running=None, registry=None, *, moves_aliases=True):
    return abort_by_hand(
        "r1",
        stores=stores,
        serve=lambda: contextlib.nullcontext(running),
        registry=registry,
        moves_aliases=moves_aliases,
        clock=SystemClock(),
        reason="by ann: it burns",
    )


def test_replicas_confirm_the_challenger_goes_and_the_registry_is_told(stores):
    left_in(stores, Phase.STEP)
    running, registry = Running(), Aliases()
    done = abort(stores, running, registry)
    assert (done.outcome.status, done.outcome.reason, done.notes) == ("rolled_back", "by ann: it burns", ())
    # The rollout had replaced what a person had put there.
    assert running.did == ["apply 3", "remove by-hand", "remove flights-challenger-2"]
    assert registry.aliases == {"champion": "1"}
    assert registry.tags["rollout.flights.outcome"] == "rolled_back"


def test_what_a_person_has_put_there_stays_where_the_rollout_has_not_begun(stores):
    Journal.begin(stores.rollouts, make_plan())
    by_hand = stores.traffic.newest("flights")
    running = Running()
    assert abort(stores, running).outcome.status == "rolled_back"
    assert stores.traffic.newest("flights") == by_hand
    assert "remove flights-challenger-2" not in running.did


def test_a_promotion_on_probation_is_undone_in_the_registry_too(stores):
    left_in(stores, Phase.PROBATION)
    registry = Aliases(champion="2", previous="1")
    assert abort(stores, Running(), registry).outcome.status == "rolled_back"
    assert registry.aliases == {"champion": "1"}
    assert registry.tags["rollout.flights.outcome"] == "rolled_back"


def test_aliases_are_those_of_the_last_environment(stores):
    left_in(stores, Phase.STEP)
    registry = Aliases()
    abort(stores, Running(), registry, moves_aliases=False)
    assert registry.aliases == {"champion": "1", "challenger": "2"}
    assert registry.tags["rollout.flights.outcome"] == "rolled_back"


@pytest.mark.parametrize("joins", [True, False])
def test_a_serve_that_does_not_answer_keeps_nothing_from_going_back(stores, joins):
    left_in(stores, Phase.PAUSED)

    @contextlib.contextmanager
    def nobody():
        raise BackendError("no Ray there")
        yield

    done = abort_by_hand(
        "r1",
        stores=stores,
        serve=(lambda: contextlib.nullcontext(Running(fails="no Ray there"))) if joins else nobody,
        registry=None,
        moves_aliases=False,
        clock=SystemClock(),
        reason="by ann",
    )
    assert done.outcome.status == "rolled_back"
    assert stores.traffic.newest("flights").champion == make_plan().champion
    assert "no Ray there" in done.notes[0]
    assert "flights-challenger-2" in done.notes[1]


def test_who_runs_it_is_not_overridden(stores):
    left_in(stores, Phase.STEP)
    stores.leases.acquire("rollout:flights", owner="elsewhere:1:2", ttl=60, now=datetime.now(UTC))
    with pytest.raises(ConflictError, match="elsewhere"):
        abort(stores)
    assert stores.traffic.newest("flights").generation == 2
