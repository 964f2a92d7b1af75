"""What an actor of a rollout does when it has promoted its environment's: the next one has to begin."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from sluiceway.core.clock import SystemClock
from sluiceway.core.errors import BackendError
from sluiceway.lifecycle.start_rollout import Started
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
    monkeypatch.setattr(rollout_actor, "begin_detached", lambda start: made.done.append(("began", start)))
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
