"""The stores in memory that the rollout's tests use behave as the catalog's on SQLite."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from rollout_world import CHAMPION, MemoryDocuments, MemoryLeases, MemoryRollouts, World, make_plan
from sluiceway.catalog.leases import LeaseStore
from sluiceway.catalog.rollouts import JournalRow, RolloutStore
from sluiceway.catalog.traffic import TrafficStore
from sluiceway.core.errors import ConflictError
from sluiceway.core.traffic import TrafficDocument
from sluiceway.rollout.controller import run
from sluiceway.rollout.journal import Journal
from sluiceway.rollout.state import Phase, RolloutState

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(params=["memory", "sqlite"])
def stores(request):
    if request.param == "memory":
        return MemoryDocuments(), MemoryRollouts(), MemoryLeases()
    catalog = request.getfixturevalue("catalog")
    return TrafficStore(catalog), RolloutStore(catalog), LeaseStore(catalog)


def test_documents_follow_each_other(stores):
    documents, _, _ = stores
    assert documents.newest("e") is None
    first = TrafficDocument("e", 1, CHAMPION)
    documents.publish(first)
    documents.publish(TrafficDocument("other", 1, CHAMPION))
    for wrong in (1, 3):
        with pytest.raises(ConflictError):
            documents.publish(TrafficDocument("e", wrong, CHAMPION))
    assert documents.newest("e") == first


def test_a_rollout_is_written_once(stores):
    _, rollouts, _ = stores
    first = rollouts.create("r", endpoint="e", plan="{}", now=1.0)
    assert rollouts.create("r", endpoint="e", plan='{"other": 1}', now=2.0) == first
    assert rollouts.get("r") == first
    assert rollouts.get("s") is None
    with pytest.raises(ConflictError):
        rollouts.create("r", endpoint="another", plan="{}", now=2.0)
    rollouts.create("s", endpoint="e", plan="{}", now=3.0)
    rollouts.create("t", endpoint="f", plan="{}", now=4.0)
    assert [row.rollout_id for row in rollouts.list("e")] == ["s", "r"]
    assert [row.rollout_id for row in rollouts.list()] == ["t", "s", "r"]


def test_a_rollout_is_planned_anew_until_it_begins(stores):
    _, rollouts, _ = stores
    rollouts.create("r", endpoint="e", plan="{}", now=1.0)
    rollouts.create("s", endpoint="e", plan="{}", now=1.0)
    assert not rollouts.replan("r", endpoint="another", plan='{"a": 1}', now=2.0)
    assert not rollouts.replan("unknown", endpoint="e", plan='{"a": 1}', now=2.0)
    assert rollouts.replan("r", endpoint="e", plan='{"a": 1}', now=2.0)
    assert (rollouts.get("r").plan, rollouts.get("r").created) == ('{"a": 1}', 2.0)
    assert rollouts.get("s").plan == "{}"
    rollouts.append("r", JournalRow(1, RolloutState().to_json(), "x", "{}", 2.0))
    assert not rollouts.replan("r", endpoint="e", plan='{"a": 2}', now=3.0)
    assert (rollouts.get("r").plan, rollouts.get("r").created) == ('{"a": 1}', 2.0)


def test_of_two_writers_of_one_entry_one_loses(stores):
    _, rollouts, _ = stores
    plan = make_plan()
    one, two = Journal.begin(rollouts, plan), Journal.begin(rollouts, plan)
    one.append(RolloutState(Phase.STEP, 0, 1), action="advance", evidence={"n": 1}, now=1.0)
    with pytest.raises(ConflictError):
        two.append(RolloutState(Phase.PROMOTING, 0, 1), action="promote", evidence={}, now=1.0)
    assert Journal.open(rollouts, "r1").entries == one.entries
    assert [row.sequence for row in rollouts.journal("r1")] == [1]
    rollouts.append("r1", JournalRow(2, RolloutState().to_json(), "x", "{}", 2.0))
    assert [row.action for row in rollouts.journal("r1")] == ["advance", "x"]


def test_a_lease_has_one_owner(stores):
    _, _, leases = stores
    assert leases.acquire("a", owner="x", ttl=10, now=NOW)
    assert leases.acquire("a", owner="x", ttl=10, now=NOW)
    assert not leases.acquire("a", owner="y", ttl=10, now=NOW)
    assert not leases.renew("a", owner="y", ttl=10, now=NOW)
    assert leases.renew("a", owner="x", ttl=20, now=NOW)
    assert not leases.release("a", owner="y")
    assert [lease.owner for lease in leases.list("a")] == ["x"]
    later = NOW + timedelta(seconds=21)
    assert not leases.renew("a", owner="x", ttl=20, now=later)
    assert leases.list("a", now=later) == []
    assert leases.acquire("a", owner="y", ttl=10, now=later)
    assert leases.release("a", owner="y")
    assert leases.list() == []


def test_a_whole_rollout_on_either(stores):
    world = World()
    world.documents, world.rollouts, world.leases = stores
    world.documents.publish(TrafficDocument("flights", 1, CHAMPION))
    assert run(make_plan(), world.doors(), poll_seconds=20).status == "promoted"
    assert world.documents.newest("flights").champion.version == "2"
    assert Journal.open(world.rollouts, "r1").state.phase is Phase.PROMOTED
    assert world.leases.list() == []
