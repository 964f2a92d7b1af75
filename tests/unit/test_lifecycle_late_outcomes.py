"""A rollout does not call outcomes lost whose predictions were archived before it began."""

import threading
from datetime import UTC, datetime, timedelta

from sluiceway.core.errors import BackendError
from sluiceway.lifecycle.late_outcomes import EVERY_SECONDS, LateOutcomesJoined
from sluiceway.rollout.evidence import Observations, StepSeen, lost_outcomes


class World:
    """Outcomes that find no prediction until they are joined, and the time."""

    def __init__(self):
        self.lost, self.joins, self.time = 50, 0, datetime(2026, 1, 1, tzinfo=UTC)
        self.go_on, self.error = threading.Event(), None
        self.go_on.set()

    def now(self):
        return self.time

    def observe(self, _plan, _state):
        return Observations((StepSeen(0.5),), outcomes=100, outcomes_lost=self.lost)

    def join(self):
        self.joins += 1
        assert self.go_on.wait(10)
        if self.error is not None:
            raise self.error
        self.lost = 0


def test_they_are_joined_beside_the_looks():
    world = World()
    world.go_on.clear()
    observe = LateOutcomesJoined(world.observe, world.join, clock=world)
    assert lost_outcomes(observe(None, None)), "no look waits, and until it is known they are lost"
    world.time += timedelta(seconds=2 * EVERY_SECONDS)
    assert lost_outcomes(observe(None, None)), "one at a time"
    world.go_on.set()
    observe.settled()
    assert not lost_outcomes(observe(None, None))
    assert world.joins == 1


def test_a_pass_that_fails_or_finds_nothing_is_repeated_after_a_while(caplog):
    world = World()
    world.error = BackendError("the catalog is away")
    observe = LateOutcomesJoined(world.observe, world.join, clock=world)
    for seconds in (0, EVERY_SECONDS - 1, 1):
        world.time += timedelta(seconds=seconds)
        assert lost_outcomes(observe(None, None))
        observe.settled()
    assert world.joins == 2
    assert "the catalog is away" in caplog.text


def test_nothing_is_looked_for_where_few_are_lost():
    world = World()
    world.lost = 1
    LateOutcomesJoined(world.observe, world.join, clock=world)(None, None)
    assert world.joins == 0
