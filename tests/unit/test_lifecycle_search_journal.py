"""The trials of a search outlive its process."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from sluiceway.catalog.pipeline import DONE, FAILED, PipelineStore
from sluiceway.core.clock import SystemClock
from sluiceway.core.references import TableVersion
from sluiceway.data.needs import _of_runs
from sluiceway.lifecycle.search_journal import SearchJournal
from sluiceway.training.trials import Trial

VERSION = TableVersion("/t", 3, "d1", 100, "newest")


@pytest.fixture
def store(catalog):
    return PipelineStore(catalog)


def opened(store, key="k") -> SearchJournal:
    journal = SearchJournal(store, key, clock=SystemClock())
    journal.open(VERSION, "model: {}")
    return journal


def trial(number, status="finished", **more) -> Trial:
    return Trial(number, {"max_depth": number}, (0.5, 0.25), status, 1.5, **more)


def test_settled_trials_are_known_to_the_next_process_and_others_are_tried_again(store):
    first = opened(store)
    assert first.known == ()
    settled = [trial(0), trial(2, "stopped"), trial(3, "failed", error="no")]
    for one in [settled[2], *settled[:2], trial(1, "cut"), trial(4, "failed", error="gone", lost=True)]:
        first.keep(one)
    second = opened(store)
    assert (second.run_id, second.known) == (first.run_id, tuple(settled))
    second.keep(trial(4))
    second.keep(trial(1, "cut"))
    assert [one.number for one in opened(store).known] == [0, 2, 3, 4]


def test_another_search_knows_nothing_of_it(store):
    opened(store).keep(trial(0))
    assert opened(store, "another").known == ()


def test_the_time_of_all_tries_adds_up(store, monkeypatch):
    now = 1000.0
    monkeypatch.setattr("sluiceway.lifecycle.search_journal.time.monotonic", lambda: now)
    first = opened(store)
    now += 30
    first.keep(trial(0))
    now += 500  # killed here: nobody knows of these
    second = SearchJournal(store, "k", clock=SystemClock())
    now += 500
    assert second.seconds == 30
    second.open(VERSION, "")
    now += 12
    assert second.seconds == 42
    second.keep(trial(1))
    now += 1200  # the best is trained
    second.close()
    third = opened(store)
    assert third.seconds == 42
    now += 60  # it is only told again
    third.close()
    assert opened(store).seconds == 42


def needed(store, *, days=0) -> list[tuple[str, int]]:
    """What is held for runs, so many days from now."""
    now = datetime.now(UTC) + timedelta(days=days)
    return [(pin.uri, pin.version) for _, pin in _of_runs(store, SimpleNamespace(now=lambda: now))]


@pytest.mark.parametrize("status", [DONE, FAILED])
def test_until_it_has_ended_it_needs_its_version_of_the_table(store, status):
    journal = opened(store)
    assert needed(store) == [("/t", 3)]
    journal.close(status=status)
    assert needed(store) == []
    assert store.newest("k").status == status
    again = opened(store)  # it is given more
    assert (again.run_id, store.newest("k").ended) == (journal.run_id, None)
    assert needed(store) == [("/t", 3)]


def test_a_run_that_nobody_goes_on_with_is_waited_for_a_week_after_its_last_step(store):
    long_ago = datetime.now(UTC) - timedelta(days=20)
    SearchJournal(store, "k", clock=SimpleNamespace(now=lambda: long_ago)).open(VERSION, "")
    assert needed(store) == []
    opened(store).keep(trial(0))  # it is gone on with after all
    assert needed(store, days=6.9) == [("/t", 3)]
    assert needed(store, days=7.1) == []
