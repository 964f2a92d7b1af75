"""A configuration's run given again: what has not ended is gone on with, what did not come true begins anew."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from rollout_world import World, make_plan
from sluiceway.catalog.leases import LeaseStore
from sluiceway.catalog.pipeline import DONE, FAILED, PipelineStore
from sluiceway.config.lifecycle import ReleaseStep
from sluiceway.core.clock import SystemClock
from sluiceway.core.doors import SilentProgress
from sluiceway.core.verdict import Status
from sluiceway.lifecycle import deployment
from sluiceway.lifecycle import run as module
from sluiceway.lifecycle.run import run_lifecycle
from sluiceway.lifecycle.summary import StepSummary
from sluiceway.rollout.controller import run


@pytest.fixture
def context(catalog):
    return SimpleNamespace(
        steps=(ReleaseStep(step="release", name="flights"),),
        config_digest="c" * 64,
        config_text="",
        clock=SystemClock(),
        progress=SilentProgress(),
        now=lambda: datetime.now(UTC).timestamp(),
        stores=SimpleNamespace(pipeline=PipelineStore(catalog), leases=LeaseStore(catalog)),
    )


@pytest.fixture
def world(monkeypatch):
    """Releases are only their rollout, of version 2, which pauses where there is not enough evidence."""
    world = World.served(rate=0)

    class Rollout:
        def __init__(self, *_, **__):
            """Nothing else of a release is needed."""

        def run(self, rollout_id):
            plan = make_plan(rollout_id=rollout_id, on_inconclusive="pause")
            outcome = run(plan, world.doors(), poll_seconds=60)
            return {"rollout": outcome.to_dict(), "load": None, "url": ""}

    def release(context, journal, step, *, number):
        name = f"{number:02d} flights: production"
        yield deployment.roll_out(context, journal, step, None, "2", environment="production", name=name).step

    monkeypatch.setattr(deployment, "EnvironmentRollout", Rollout)
    monkeypatch.setattr(module, "release", release)
    monkeypatch.setattr(module, "open_services", lambda context: None)
    return world


def test_a_run_that_ended_in_a_pause_goes_on_with_its_rollout(context, world):
    first = run_lifecycle(context)
    assert (first.exit_code, first.steps[-1].status) == (3, Status.INCONCLUSIVE)
    assert context.stores.pipeline.newest().ended is None
    again = run_lifecycle(context)  # still nobody asks
    assert (again.run_id, again.exit_code) == (first.run_id, 3)
    world.rate = 400
    done = run_lifecycle(context)
    assert (done.run_id, done.exit_code, done.steps[-1].reused) == (first.run_id, 0, False)
    assert world.documents.newest("flights").champion.version == "2"
    assert [row.rollout_id for row in world.rollouts.list()] == [f"{first.run_id}/01 flights: production"]
    assert context.stores.pipeline.newest().status == DONE
    told = run_lifecycle(context)
    assert (told.run_id, told.exit_code, told.steps[-1].reused) == (first.run_id, 0, True)


def test_a_run_whose_rollout_went_back_is_followed_by_a_new_one(context, world):
    world.rate, world.errors = 400, (0.0, 0.3)
    first = run_lifecycle(context)
    assert first.exit_code == 1
    assert context.stores.pipeline.newest().status == FAILED
    assert run_lifecycle(context).run_id != first.run_id


@pytest.mark.parametrize("status", [Status.FAIL, Status.INCONCLUSIVE])
def test_a_run_that_failed_a_gate_is_followed_by_a_new_one(context, monkeypatch, status):
    gates = StepSummary("01 flights: gates", status, "")
    monkeypatch.setattr(module, "release", lambda *_, **__: iter([gates]))
    first = run_lifecycle(context)
    assert context.stores.pipeline.newest().status == FAILED
    assert run_lifecycle(context).run_id != first.run_id
