"""What an actor of a rollout does when it has promoted its environment's: the next one has to begin."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import pytest

from rollout_world import MemoryRollouts, make_plan
from sluiceway.core.clock import SystemClock
from sluiceway.core.errors import BackendError, ConflictError
from sluiceway.lifecycle.start_rollout import Started
from sluiceway.rollout.journal import Journal
from sluiceway.rollout.state import Phase, RolloutState
from sluiceway.wiring import rollout_actor
from sluiceway.wiring.rollout_actor import RolloutActor, Start

START = Start({"experiment": {"name": "flights"}}, ".", "2", ("staging", "production"), "r-staging", supersede=True)


class Impatient:
    """A clock whose pauses take no time."""

    def __init__(self):
        self.slept = timedelta(0)

    def now(self):
        return SystemClock().now() + self.slept

    def sleep(self, seconds):
        self.slept += timedelta(seconds=seconds)


@pytest.fixture
def actor(monkeypatch):
    """An actor without Ray; what it did is in ``done``, and what fails first in ``failures``."""
    made = RolloutActor.__new__(RolloutActor)
    made._start, made._settings, made.done, made.failures = START, None, [], []

    def end_others(_context, version, environment, *, but):
        if made.failures:
            raise made.failures.pop(0)
        made.done.append(("ended", version, environment, but))

    ended = Started("staging", {"rollout": {"status": "promoted"}})
    monkeypatch.setattr(made, "_go_on", lambda: ended)
    monkeypatch.setattr(rollout_actor, "SystemClock", Impatient)
    monkeypatch.setattr(rollout_actor, "build_context", lambda _: None)
    monkeypatch.setattr(rollout_actor, "name_rollout", lambda _context, _version, where, **_: f"r-{where}")
    monkeypatch.setattr(rollout_actor, "end_others", end_others)
    monkeypatch.setattr(rollout_actor, "begin_detached", lambda start, _: made.done.append(("began", start)))
    return made


NEXT = replace(START, environments=("production",), rollout_id="r-production")


def test_the_next_environment_is_superseded_too_before_it_begins(actor):
    actor._run()
    assert actor.done == [("ended", "2", "production", "r-production"), ("began", NEXT)]


def test_a_catalog_that_fails_once_does_not_end_the_chain(actor):
    actor.failures = [BackendError("database is locked")]
    actor._run()
    assert actor.done[-1] == ("began", NEXT)


def test_without_supersede_nobody_is_ended(actor):
    actor._start = replace(START, supersede=False)
    actor._run()
    assert actor.done == [("began", replace(NEXT, supersede=False))]


class Named:
    """A cluster with an actor of the name, which runs rollout r1 until some second; seconds pass when one waits."""

    def __init__(self, monkeypatch, phase, *, until):
        self.time, self.until, self.told, self.answers = 0.0, until, [], True
        rollouts = MemoryRollouts()
        Journal.begin(rollouts, make_plan()).append(RolloutState(phase, 0, 1), action="", evidence={}, now=1.0)
        self.context = SimpleNamespace(
            stores=SimpleNamespace(rollouts=rollouts),
            progress=SimpleNamespace(stage=lambda *told: self.told.append(told)),
        )
        made = SimpleNamespace(options=lambda **_: SimpleNamespace(remote=self._make))
        monkeypatch.setattr(rollout_actor, "ray", SimpleNamespace(remote=lambda _: made))
        monkeypatch.setattr(rollout_actor, "running", lambda _: ("old", "r1") if self.answers else None)
        monkeypatch.setattr(rollout_actor, "time", SimpleNamespace(monotonic=lambda: self.time, sleep=self._pass))

    def _pass(self, seconds):
        self.time += seconds
        self.answers = self.time < self.until - 40  # one that ends does not answer any more

    def _make(self, start):
        if self.time < self.until:
            raise ValueError("the name is taken")
        return "new"

    def begin(self):
        return rollout_actor.begin_detached(START, self.context)


def test_an_actor_that_archives_what_has_ended_is_waited_for_and_that_is_told_once(monkeypatch):
    cluster = Named(monkeypatch, Phase.ROLLED_BACK, until=400)
    assert cluster.begin() == "new"
    assert cluster.told == [("wait", "rollout r1 has ended, its actor archives it")]


@pytest.mark.parametrize(("phase", "seconds"), [(Phase.ROLLED_BACK, 600), (Phase.STEP, 30)])
def test_an_actor_that_stays_is_waited_for_no_longer_than_that(monkeypatch, phase, seconds):
    cluster = Named(monkeypatch, phase, until=10_000)
    with pytest.raises(ConflictError, match="runs r1"):
        cluster.begin()
    assert cluster.time == pytest.approx(seconds, abs=1)
