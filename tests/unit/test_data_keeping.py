"""Which versions stay and which files they need: in examples, and against a slow way that asks each version."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sluiceway.data.keeping import NEWEST, RECENT, Need, keep, known_files, needed_files
from sluiceway.data.log_history import LogHistory, Span


def history(newest: int, *, place: str = "t", first: int = 0, step: float = 10.0, **more) -> LogHistory:
    times = more.pop("times", {version: version * step for version in range(first, newest + 1)})
    return LogHistory(place, "id", first, newest, times, more.pop("spans", {}), **more)


def reasons(newest: int, *needs: Need, since: float, **more) -> dict[int, tuple[str, ...]]:
    (kept,) = keep([history(newest, **more)], needs, since=since)
    return dict(kept.reasons)


def test_the_newest_stays_whatever_is_asked_for() -> None:
    assert reasons(3, since=1e9) == {3: (NEWEST,)}


def test_what_was_newest_within_the_window_stays() -> None:
    # Version 1 was replaced at 20, version 2 at 30.
    assert reasons(3, since=25) == {2: (RECENT,), 3: (NEWEST,)}
    assert reasons(3, since=20) == {1: (RECENT,), 2: (RECENT,), 3: (NEWEST,)}


def test_a_version_whose_successor_has_no_time_is_taken_for_recent() -> None:
    assert reasons(3, since=1e9, times={0: 0.0, 1: 10.0, 3: 30.0}) == {1: (RECENT,), 3: (NEWEST,)}


def test_names_keep_versions_and_are_told_once() -> None:
    tag, model = Need("t", 1, "tag a"), Need("t", 1, "model m@1")
    assert reasons(3, tag, tag, model, since=1e9) == {1: ("tag a", "model m@1"), 3: (NEWEST,)}


def test_needs_of_other_places_and_of_versions_that_the_log_has_lost_count_for_nothing() -> None:
    needs = (Need("other", 5, "x"), Need("t", 1, "too old"), Need("t", 9, "too new"))
    assert reasons(6, *needs, since=1e9, first=4) == {6: (NEWEST,)}


def test_lost_are_those_without_a_reason() -> None:
    (kept,) = keep([history(4)], [Need("t", 1, "tag")], since=1e9)
    assert kept.lost == (0, 2, 3)


def test_the_change_feed_of_a_version_goes_with_it() -> None:
    (kept,) = keep([history(3, changes={"c1": 1, "c3": 3})], [], since=1e9)
    assert needed_files([kept]) == {"c3"}
    assert known_files([kept.history]) == {"c1", "c3"}


@st.composite
def histories(draw: st.DrawFn) -> LogHistory:
    newest = draw(st.integers(0, 8))
    spans = {}
    for name in draw(st.lists(st.sampled_from("abcdef"), unique=True)):
        edges = sorted(draw(st.lists(st.integers(0, newest), min_size=1, max_size=4, unique=True)))
        pairs = [(edges[i], edges[i + 1] if i + 1 < len(edges) else None) for i in range(0, len(edges), 2)]
        spans[name] = tuple(Span(first, end) for first, end in pairs)
    return history(newest, spans=spans)


@given(histories(), st.lists(st.integers(0, 8)), st.floats(0, 100))
def test_a_file_is_needed_where_a_kept_version_has_it(log: LogHistory, named: list[int], since: float) -> None:
    (kept,) = keep([log], [Need("t", version, "tag") for version in named], since=since)
    slowly = set().union(*(log.files_of(version) for version in kept.reasons))
    assert needed_files([kept]) == slowly
    assert {version for version in named if version <= log.newest} <= set(kept.reasons)
    assert set(kept.lost).isdisjoint(kept.reasons)
