"""Work that a service was in the way of is gone on with, later and later, and not for ever."""

from __future__ import annotations

import pytest

from rollout_world import World
from sluiceway.core.errors import BackendError, ConflictError, InputError
from sluiceway.lifecycle.persistent import HEALTHY_SECONDS, LONGEST_SECONDS, TRIES, persistently


class Fails:
    def __init__(self, clock, errors, *, lasts=0.0):
        self.clock, self.errors, self.lasts, self.times = clock, list(errors), lasts, []

    def __call__(self):
        self.times.append(self.clock.time)
        self.clock.sleep(self.lasts)
        if self.errors:
            raise self.errors.pop(0)
        return "done"


def test_it_is_gone_on_with_after_pauses_that_grow():
    work = Fails(World(), [BackendError("no database"), ConflictError("run by another"), BackendError("x")])
    assert persistently(work, clock=work.clock) == "done"
    assert [round(b - a) for a, b in zip(work.times, work.times[1:], strict=False)] == [1, 2, 4]


def test_what_never_works_ends_and_is_no_storm():
    work = Fails(World(), [BackendError(str(n)) for n in range(100)])
    with pytest.raises(BackendError):
        persistently(work, clock=work.clock)
    assert len(work.times) == TRIES
    assert max(b - a for a, b in zip(work.times, work.times[1:], strict=False)) == LONGEST_SECONDS


def test_what_has_worked_for_long_is_tried_as_often_again():
    work = Fails(World(), [BackendError(str(n)) for n in range(3 * TRIES)], lasts=HEALTHY_SECONDS + 1)
    assert persistently(work, clock=work.clock) == "done"


def test_what_no_repetition_changes_is_told_at_once():
    work = Fails(World(), [InputError("no such version")])
    with pytest.raises(InputError):
        persistently(work, clock=work.clock)
    assert len(work.times) == 1
