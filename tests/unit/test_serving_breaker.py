"""The breaker: what opens it, that it stays open, and that the catalog hears of it."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluiceway.catalog.breakers import BreakerStore, OpenBreaker
from sluiceway.config.serving import BreakerSection
from sluiceway.core.errors import BackendError
from sluiceway.serving.breaker import Breaker
from sluiceway.serving.breaker_reports import BreakerReports

LIMITS = BreakerSection(errors_in_row=3, errors_total=6, late_share=0.5, late_seconds=0.5, window=10)


def driven(events, limits=LIMITS):
    """A breaker after requests one after the other: "." answered, "x" failed, "s" answered slowly."""
    breaker, now, opened = Breaker(limits), 0.0, []
    for i, event in enumerate(events):
        done = now + (1.0 if event == "s" else 0.01)
        if breaker.note(asked=now, done=done, failed=event == "x"):
            opened.append(i)
        now = done
    return breaker, opened


@pytest.mark.parametrize(
    ("events", "opened", "reason"),
    [
        ("", [], ""),
        ("." * 100, [], ""),
        ("xx.xx.x", [], ""),
        ("xxx", [2], "3 errors in a row"),
        ("..xx.xxx", [7], "3 errors in a row"),
        ("xx.xx.x..x", [9], "6 errors in 10 requests"),
        ("ssss" + "." * 50, [], ""),
        ("s." * 4 + "s", [], ""),
        ("s." * 5, [9], "5 of the last 10 requests took more than 0.5 s"),
        ("." * 30 + "s" * 5, [34], "5 of the last 10 requests took more than 0.5 s"),
        ("." * 30 + "ssss......" * 5, [], ""),
    ],
)
def test_what_opens_it(events, opened, reason):
    breaker, found = driven(events)
    assert (found, breaker.reason) == (opened, reason)


@settings(deadline=None)
@given(st.text("x.s", max_size=80))
def test_it_opens_once_and_never_closes(events):
    breaker, opened = driven(events)
    assert len(opened) <= 1
    assert bool(opened) == bool(breaker.reason)
    before = breaker.reason
    for event in (False, True):
        assert not breaker.note(asked=1e6, done=1e6, failed=event) or not before
    assert breaker.reason.startswith(before)


@settings(deadline=None)
@given(st.text("x.s", max_size=80))
def test_it_is_open_exactly_where_a_budget_was_used_up(events):
    _, opened = driven(events)
    for i in range(len(events)):
        seen = events[: i + 1]
        last = seen[-LIMITS.window :]
        used_up = (
            seen.endswith("x" * LIMITS.errors_in_row)
            or seen.count("x") >= LIMITS.errors_total
            or (len(seen) >= LIMITS.window and last.count("s") >= LIMITS.late_share * LIMITS.window)
        )
        if used_up:
            assert opened == [i]
            return
    assert opened == []


def test_what_is_under_way_together_fails_together():
    """A stall of a second, 40 requests in it: one failure in a row, and not forty."""
    breaker = Breaker(BreakerSection(errors_in_row=2, errors_total=1000, window=1000))
    for i in range(40):
        assert not breaker.note(asked=i * 0.01, done=1 + i * 0.01, failed=True)
    assert breaker.note(asked=1.5, done=2.5, failed=True)


def test_only_an_answer_ends_a_row():
    breaker = Breaker(BreakerSection(errors_in_row=2))
    assert not breaker.note(asked=0.0, done=0.1, failed=True)
    assert not breaker.note(asked=0.2, done=0.3, failed=False)
    assert not breaker.note(asked=0.4, done=0.5, failed=True)
    assert breaker.note(asked=0.6, done=0.7, failed=True)


def test_the_store_keeps_the_first_of_a_replica_and_gives_them_by_generation(catalog):
    store = BreakerStore(catalog)
    first = OpenBreaker("flights", 3, "a", "2", "5 errors in a row", 1.0)
    store.add([first, OpenBreaker("flights", 3, "b", "2", "late", 2.0), OpenBreaker("fraud", 3, "c", "2", "x", 0.5)])
    store.add([OpenBreaker("flights", 3, "a", "2", "told again", 9.0), OpenBreaker("flights", 4, "a", "3", "y", 3.0)])
    store.add([])
    assert [(b.replica, b.reason) for b in store.opened("flights", [3])] == [("a", "5 errors in a row"), ("b", "late")]
    assert store.opened("flights", [3])[0] == first
    assert [b.version for b in store.opened("flights", [3, 4])] == ["2", "2", "3"]
    assert store.opened("flights", [1]) == []
    assert store.reasons("flights", 3) == {"2": ["a: 5 errors in a row", "b: late"]}


class Store:
    """Takes rows, unless it is down."""

    def __init__(self, failures):
        self.failures, self.rows, self.order = failures, [], []

    def add(self, rows):
        self.order.append("breaker")
        if self.failures:
            self.failures -= 1
            raise BackendError("down")
        self.rows += list(rows)


def reports(store):
    async def before():
        store.order.append("counts")

    return BreakerReports(store, endpoint="flights", replica="r1", before=before, retry_seconds=0.01)


def test_a_report_is_repeated_until_the_catalog_has_it_and_comes_after_the_counts():
    store = Store(failures=3)

    async def run():
        told = reports(store)
        told.opened(4, "2", "5 errors in a row")
        told.opened(4, "3", "late")
        while len(store.rows) < 2:
            await asyncio.sleep(0.005)
        await told.close()

    asyncio.run(run())
    assert [(r.endpoint, r.generation, r.replica, r.version, r.reason) for r in store.rows] == [
        ("flights", 4, "r1", "2", "5 errors in a row"),
        ("flights", 4, "r1", "3", "late"),
    ]
    assert store.order[:2] == ["counts", "breaker"]
    assert store.order.count("counts") == store.order.count("breaker")


@pytest.mark.parametrize("down", [False, True])
def test_at_the_end_it_is_written_once_more_or_told_in_the_log(down, caplog):
    store = Store(failures=100 if down else 0)

    async def run():
        told = reports(store)
        told.opened(4, "2", "5 errors in a row")
        await told.close()

    asyncio.run(run())
    assert len(store.rows) == (0 if down else 1)
    assert ("has not heard" in caplog.text) == down
