"""Requests of many rows as one record: what outcomes make of them, and that nothing is counted twice or lost."""

import threading

import numpy as np
import pytest

from sluiceway.catalog import folded as folded_module
from sluiceway.catalog.folded import FoldedRequest, folded_body, unfold
from sluiceway.catalog.outcomes import OutcomeStore, VersionAccuracy
from sluiceway.catalog.records import FeedbackRecord, PredictionRecord, RecordStore
from sluiceway.catalog.traffic import TrafficStore
from sluiceway.core.traffic import Arm, TrafficDocument
from sluiceway.data.tables import open_table
from sluiceway.monitoring.archive import archive

NOW = 1_000_000_000.0
WEEK = 7 * 86_400.0


def folded(request_id, rows=100, *, time=NOW, version="1", endpoint="e"):
    scores = np.linspace(0, 1, rows)
    body = folded_body(scores, np.round(scores))
    return FoldedRequest(request_id, time, endpoint, 1, "champion", version, "", rows, body)


def outcomes(store, *ids, outcome=1.0, time=NOW + 5):
    store.add_feedback("e", [FeedbackRecord(name, outcome, time, time) for name in ids])


@pytest.fixture
def records(catalog):
    store = RecordStore(catalog)
    assert store.add_folded([folded("a"), folded("b", 20)]) == 120
    return store


def accuracy(catalog):
    return OutcomeStore(catalog).accuracy("e")


def test_folded_rows_count_as_predictions(catalog, records):
    assert accuracy(catalog) == [VersionAccuracy("e", "1", "champion", 120, 0, 0)]
    assert OutcomeStore(catalog).accuracy() == accuracy(catalog)


def test_a_row_with_an_outcome_becomes_a_record_with_its_own_decision(catalog, records):
    outcomes(records, "a/0", "a/99", "b/3")
    assert accuracy(catalog) == [VersionAccuracy("e", "1", "champion", 120, 3, 1)]
    judged = OutcomeStore(catalog).judged_since("e", NOW)
    assert {(one.request_id, one.right) for one in judged} == {("a/0", False), ("a/99", True), ("b/3", False)}
    outcomes(records, "a/98", "a/0")
    assert accuracy(catalog) == [VersionAccuracy("e", "1", "champion", 120, 4, 2)]


def test_an_outcome_may_come_before_its_record(catalog):
    records = RecordStore(catalog)
    outcomes(records, "late/7")
    assert accuracy(catalog) == []
    records.add_folded([folded("late", 16)])
    assert accuracy(catalog) == [VersionAccuracy("e", "1", "champion", 16, 1, 0)]


def test_a_request_that_comes_again_is_written_once(catalog, records):
    outcomes(records, "a/1")
    unfold(catalog, "e")
    assert records.add_folded([folded("a"), folded("c", 30)]) == 30
    assert accuracy(catalog) == [VersionAccuracy("e", "1", "champion", 150, 1, 0)]


@pytest.mark.parametrize(
    "name", ["a/100", "a/01", "a/-1", "a/x", "a/", "/1", "a/1/2", "a", "a/²", "a/9999999999999999999"]
)
def test_what_only_looks_like_a_row_changes_nothing(catalog, records, name):
    outcomes(records, name)
    assert accuracy(catalog) == [VersionAccuracy("e", "1", "champion", 120, 0, 0)]


def test_other_endpoints_rows_stay_folded(catalog, records):
    records.add_folded([folded("a", 50, endpoint="other")])
    outcomes(records, "a/1")
    found = {one.endpoint: (one.predictions, one.with_outcome) for one in OutcomeStore(catalog).accuracy()}
    assert found == {"e": (120, 1), "other": (50, 0)}


def test_a_rollout_finds_the_predictions_of_folded_outcomes(catalog, records):
    TrafficStore(catalog).publish(TrafficDocument("e", 1, Arm("1", 1.0, "x", "d")))
    pairs = records.pairs("e", "2", [1])
    assert (pairs.outcomes, pairs.outcomes_without_prediction) == (0, 0)
    now = 4e9  # after the document
    outcomes(records, "a/1", "b/2", "nobody/3", time=now)
    pairs = records.pairs("e", "2", [1])
    assert (pairs.outcomes, pairs.outcomes_without_prediction) == (3, 1)


def test_many_that_unfold_at_once_end_as_one_does(catalog, records):
    outcomes(records, *(f"a/{row}" for row in range(0, 100, 2)), *(f"b/{row}" for row in range(20)))
    threads = [threading.Thread(target=unfold, args=(catalog, "e")) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert accuracy(catalog) == [VersionAccuracy("e", "1", "champion", 120, 70, 35)]


def test_somebody_who_was_faster_is_not_undone(catalog, records, monkeypatch):
    """Two have read the same request; the second one's outdated rows are not written over the first one's."""
    outcomes(records, "a/1")
    real, between = folded_module._unfold_one, []

    def slower(engine, request, wanted):
        if not between:
            between.append(True)
            outcomes(records, "a/2")
            unfold(catalog, "e")
        real(engine, request, wanted)

    monkeypatch.setattr(folded_module, "_unfold_one", slower)
    unfold(catalog, "e")
    monkeypatch.undo()
    assert accuracy(catalog) == [VersionAccuracy("e", "1", "champion", 120, 2, 0)]


def test_rows_without_an_outcome_are_archived_after_a_week(catalog, records, tmp_path, monkeypatch):
    outcomes(records, "a/1", "b/2")
    store = OutcomeStore(catalog)
    assert archive(store, tmp_path, endpoint="e", cutoff=NOW + 10, wait=WEEK) == 2
    records.add_folded([folded("young", 16, time=NOW + 100)])
    monkeypatch.setattr("sluiceway.monitoring.archive.REQUESTS_AT_ONCE", 1)
    assert archive(store, tmp_path, endpoint="e", cutoff=NOW + WEEK, wait=WEEK) == 118
    rows = open_table(str(tmp_path / "e")).to_pyarrow_table().to_pylist()
    assert len({row["request_id"] for row in rows}) == len(rows) == 120
    by_id = {row["request_id"]: row for row in rows}
    assert (by_id["a/99"]["score"], by_id["a/99"]["decision"], by_id["a/99"]["outcome"]) == (1.0, 1.0, None)
    assert (by_id["a/1"]["outcome"], by_id["a/1"]["version"], by_id["a/99"]["time"]) == (1.0, "1", NOW)
    assert accuracy(catalog) == [VersionAccuracy("e", "1", "champion", 16, 0, 0)]


def test_a_crash_in_the_archive_of_folded_rows_moves_none_twice(catalog, records, tmp_path, monkeypatch):
    store = OutcomeStore(catalog)
    monkeypatch.setattr("sluiceway.monitoring.archive.REQUESTS_AT_ONCE", 1)

    def die(*_args, **_kwargs):
        raise RuntimeError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(store, "archived_folded", die)
        with pytest.raises(RuntimeError):
            archive(store, tmp_path, endpoint="e", cutoff=NOW + WEEK, wait=WEEK)
    archive(store, tmp_path, endpoint="e", cutoff=NOW + 2 * WEEK, wait=WEEK)
    rows = open_table(str(tmp_path / "e")).to_pyarrow_table()
    assert len(set(rows["request_id"].to_pylist())) == rows.num_rows == 120


def test_an_outcome_that_comes_while_its_row_is_archived_does_not_bring_it_there_twice(
    catalog, records, tmp_path, monkeypatch
):
    store, cutoff = OutcomeStore(catalog), NOW + WEEK
    real = store.archived_folded

    def slow(endpoint, requests):
        outcomes(records, "a/3", time=cutoff)
        assert store.judged_since("e", 0.0) == []  # as where it had come after the archive
        assert accuracy(catalog) == [VersionAccuracy("e", "1", "champion", 120, 0, 0)]
        real(endpoint, requests)

    with monkeypatch.context() as patched:
        patched.setattr(store, "archived_folded", slow)
        assert archive(store, tmp_path, endpoint="e", cutoff=cutoff, wait=WEEK) == 120
    assert archive(store, tmp_path, endpoint="e", cutoff=cutoff + 100, wait=WEEK) == 0
    rows = open_table(str(tmp_path / "e")).to_pyarrow_table()
    assert len(set(rows["request_id"].to_pylist())) == rows.num_rows == 120


@pytest.mark.parametrize("appended", [False, True])
def test_an_outcome_after_a_killed_archive_does_not_bring_its_row_there_twice(
    catalog, records, tmp_path, monkeypatch, appended
):
    store, cutoff = OutcomeStore(catalog), NOW + WEEK

    def die(*_args, **_kwargs):
        raise RuntimeError("killed")

    with monkeypatch.context() as patched:
        if appended:
            patched.setattr(store, "archived_folded", die)
        else:
            patched.setattr("sluiceway.monitoring.archive.append", die)
        with pytest.raises(RuntimeError):
            archive(store, tmp_path, endpoint="e", cutoff=cutoff, wait=WEEK)
    records.add_folded([folded("older", 30, time=NOW - 10)])  # before the first of what was being moved
    outcomes(records, "a/3", "older/2", time=cutoff)
    for later in (100, 200):
        archive(store, tmp_path, endpoint="e", cutoff=cutoff + later, wait=WEEK)
    rows = open_table(str(tmp_path / "e")).to_pyarrow_table()
    assert len(set(rows["request_id"].to_pylist())) == rows.num_rows == 150
    assert accuracy(catalog) == []


def test_a_piece_has_a_bounded_number_of_rows(catalog, records, monkeypatch):
    records.add_folded([folded("c", 40, time=NOW + 1), folded("d", 500, time=NOW + 2), folded("e", 30, time=NOW + 3)])
    store, cutoff, pieces = OutcomeStore(catalog), NOW + WEEK + 60, []
    for piece in store.archivable_folded("e", cutoff=cutoff, wait=WEEK, at_once=3, rows_at_once=130):
        pieces.append([request.request_id for request in piece])
        store.archived_folded("e", piece)
    assert pieces == [["a", "b"], ["c"], ["d"], ["e"]]


def test_a_request_that_is_folded_is_answered_at_this_endpoint_only(catalog, records):
    def row(request_id, endpoint="e"):
        return PredictionRecord(request_id, NOW, endpoint, 1, "challenger", "2", 0.7, 1.0)

    shadow = row("a/1#2")._replace(arm="shadow")
    assert records.add_predictions([row("a/1"), row("a/1", "other"), row("c/1"), row("a"), shadow]) == 4
    assert records.add_folded([folded("c"), folded("a", endpoint="other")]) == 200  # neither has the row 0
    assert records.add_predictions([row("d/0")]) == 1
    assert records.add_folded([folded("d"), folded("d", endpoint="other")]) == 100


def test_single_records_beside_folded_ones(catalog, records):
    records.add_predictions([PredictionRecord("r1", NOW, "e", 1, "champion", "1", 0.7, 1.0)])
    outcomes(records, "r1", "a/0")
    assert accuracy(catalog) == [VersionAccuracy("e", "1", "champion", 121, 2, 1)]
