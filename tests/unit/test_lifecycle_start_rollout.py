"""Which environments a version is still to be rolled out to."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from rollout_world import MemoryDocuments, MemoryRollouts, World, make_plan
from sluiceway.catalog import claim as claims
from sluiceway.core.errors import ConflictError, InputError
from sluiceway.core.traffic import Arm, TrafficDocument
from sluiceway.lifecycle import start_rollout as module
from sluiceway.lifecycle.start_rollout import Started, start_rollout, without_champion
from sluiceway.rollout.journal import Journal
from sluiceway.rollout.state import Phase, RolloutState

BOTH = ("staging", "production")


@pytest.fixture
def context():
    """Staging has promoted version 2; production still has version 1."""
    documents, rollouts = MemoryDocuments(), MemoryRollouts()
    for environment, version in (("staging", "2"), ("production", "1")):
        documents.publish(TrafficDocument(f"flights-{environment}", 1, Arm(version, 1.0, "b", "d")))
    return SimpleNamespace(
        experiment=SimpleNamespace(name="flights"),
        stores=SimpleNamespace(traffic=documents, rollouts=rollouts),
        connect=lambda: None,
        now=lambda: 0.0,
    )


def test_where_it_is_the_champion_it_is_left_out_and_told(context, monkeypatch):
    begun = []

    def go_on(context, version, environment, *, rollout_id, supersede):
        begun.append(environment)
        return Started(environment, {"rollout": {"status": "promoted", "reason": "", "seconds": 1.0}})

    monkeypatch.setattr(module, "startable", lambda context, version, **rest: version)
    monkeypatch.setattr(module, "go_on", go_on)
    done = start_rollout(context, "2", environments=BOTH)
    assert begun == ["production"]
    assert [(one.environment, one.status) for one in done] == [("staging", "skipped"), ("production", "promoted")]
    assert done[0].result["rollout"]["reason"] == "version 2 is the champion of flights-staging already"


class Superseding:
    """Version 2's rollout to staging is in the way of version 3; somebody holds its lease."""

    def __init__(self, context, monkeypatch, owner):
        self.world, self.aborted, self.looks = World(), [], 0
        self.context = context
        context.clock, context.version = self.world, lambda: None
        context.stores.leases, self.name = self.world.leases, "rollout:flights-staging"
        self.journal = Journal.begin(context.stores.rollouts, make_plan(endpoint="flights-staging"))
        self.journal.append(RolloutState(Phase.STEP, 0, 1), action="advance", evidence={}, now=1.0)
        self.world.leases.acquire(self.name, owner=owner, ttl=60, now=self.world.now())
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: float(self.looks), sleep=self._wait))
        monkeypatch.setattr(module, "EnvironmentRollout", lambda *_: SimpleNamespace(abort=self._abort))
        monkeypatch.setattr(module, "_rollout", lambda *_: SimpleNamespace(check=lambda _: None))

    happens = staticmethod(lambda looks: None)

    def _wait(self, seconds):
        self.looks += 1
        self.happens(self.looks)

    def _abort(self, rollout_id, *, reason):
        self.aborted.append((rollout_id, reason))

    def end(self):
        module.end_others(self.context, "3", "staging", but="r3")


def test_what_a_dead_process_ran_is_ended_here_and_at_once(context, monkeypatch):
    place = Superseding(context, monkeypatch, f"{claims._place()}:999999999:1")
    place.end()
    assert (place.aborted, place.looks) == ([("r1", "superseded")], 0)


def test_what_a_process_runs_that_dies_meanwhile_is_ended_here(context, monkeypatch):
    place = Superseding(context, monkeypatch, "elsewhere:1:0")
    place.happens = lambda looks: place.world.leases.leases.clear() if looks == 3 else None
    place.end()
    assert (place.aborted, place.looks) == ([("r1", "superseded")], 3)


def test_what_takes_its_place_waits_until_the_lease_of_what_has_obeyed_is_free(context, monkeypatch):
    place = Superseding(context, monkeypatch, "elsewhere:1:0")

    def happens(looks):
        if looks == 2:
            place.journal.append(RolloutState(Phase.ROLLED_BACK, 0, 2), action="rolled back", evidence={}, now=2.0)
        if looks == 5:
            place.world.leases.leases.clear()

    place.happens = happens
    place.end()
    assert (place.aborted, place.looks) == ([], 5)
    assert place.context.stores.rollouts.next_command("r1", after=0).order == "abort"


def test_what_does_not_obey_is_in_the_way(context, monkeypatch):
    place = Superseding(context, monkeypatch, "elsewhere:1:0")
    with pytest.raises(ConflictError, match="rollout r1 has not obeyed for 60 s"):
        place.end()
    assert place.aborted == []


def test_a_probation_is_gone_on_with(context):
    journal = Journal.begin(context.stores.rollouts, make_plan(endpoint="flights-staging"))
    journal.append(RolloutState(Phase.PROBATION, 3, 1), action="on probation", evidence={}, now=1.0)
    assert without_champion(context, "2", BOTH) == BOTH


def test_where_it_is_the_champion_of_all_it_is_refused(context):
    with pytest.raises(InputError, match="version 2 is the champion of flights-staging already"):
        without_champion(context, "2", ("staging",))
    context.stores.traffic.publish(TrafficDocument("flights-production", 2, Arm("2", 1.0, "b", "d")))
    with pytest.raises(InputError, match="of flights-staging, flights-production already"):
        without_champion(context, "2", BOTH)
