"""Which environments a version is still to be rolled out to."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from rollout_world import MemoryDocuments, MemoryRollouts, make_plan
from sluiceway.core.errors import InputError
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
