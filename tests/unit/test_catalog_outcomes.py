"""Predictions, outcomes, and their way into the archive."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest

from sluiceway.catalog.folded import FoldedRequest, folded_body
from sluiceway.catalog.outcomes import OutcomeStore
from sluiceway.catalog.records import FeedbackRecord, PredictionRecord, RecordStore
from sluiceway.catalog.schema import leases
from sluiceway.data.commit import append
from sluiceway.data.tables import open_table
from sluiceway.monitoring.accuracy import observed_accuracy
from sluiceway.monitoring.archive import SCHEMA, archive
from sluiceway.monitoring.late_outcomes import ON_THEIR_WAY_SECONDS, LateOutcomes, join_late

NOW = 1_000_000_000.0
WEEK = 7 * 86_400.0
LATER = NOW + 3 * WEEK


def prediction(number, *, decision=1.0, time=NOW, version="1"):
    return PredictionRecord(f"r{number:04d}", time, "e", 1, "champion", version, 0.7, decision)


@pytest.fixture
def records(catalog):
    store = RecordStore(catalog)
    store.add_predictions([prediction(i, decision=float(i % 2)) for i in range(10)])
    store.add_feedback("e", [FeedbackRecord(f"r{i:04d}", 1.0, NOW, NOW) for i in range(8)])
    return store


def test_accuracy_counts_only_known_outcomes(catalog, records, tmp_path):
    (found,) = observed_accuracy(OutcomeStore(catalog), tmp_path / "none")
    assert (found.predictions, found.with_outcome, found.accuracy) == (10, 8, 0.5)
    assert found.low < 0.5 < found.high


def test_the_archive_takes_what_is_complete_and_loses_nothing(catalog, records, tmp_path):
    store = OutcomeStore(catalog)
    assert archive(store, tmp_path, endpoint="e", cutoff=NOW + 10, wait=WEEK) == 8
    assert open_table(str(tmp_path / "e")).to_pyarrow_table().num_rows == 8
    (found,) = observed_accuracy(store, tmp_path)
    assert (found.predictions, found.with_outcome, found.accuracy) == (10, 8, 0.5)
    # The outcome that comes late still finds its prediction, here and in the archive afterwards.
    records.add_feedback("e", [FeedbackRecord("r0008", 0.0, NOW + 20, NOW + 20)])
    assert archive(store, tmp_path, endpoint="e", cutoff=NOW + 30, wait=WEEK) == 1
    rows = open_table(str(tmp_path / "e")).to_pyarrow_table().to_pylist()
    assert sorted(row["request_id"] for row in rows) == [f"r{i:04d}" for i in range(9)]


def test_a_prediction_without_an_outcome_is_archived_after_a_week(catalog, records, tmp_path):
    assert archive(OutcomeStore(catalog), tmp_path, endpoint="e", cutoff=NOW + WEEK, wait=WEEK) == 10


def test_a_prediction_waits_as_long_as_it_is_told_to(catalog, records, tmp_path):
    store, wait = OutcomeStore(catalog), 100 * 86_400.0
    assert archive(store, tmp_path, endpoint="e", cutoff=NOW + wait - 1, wait=wait) == 8
    records.add_feedback("e", [outcome("r0008", received=NOW + wait - 1)])
    pairs = records.pairs("e", "1", [1])
    assert (pairs.outcomes, pairs.outcomes_without_prediction) == (1, 0)
    assert archive(store, tmp_path, endpoint="e", cutoff=NOW + wait, wait=wait) == 2


def outcome(name, truth=1.0, *, received=NOW + 2 * WEEK):
    return FeedbackRecord(name, truth, received, received, value=3.0)


def joined_late(store, folder):
    return join_late(store, folder, endpoint="e", now=LATER).joined


def outcomes_left(store):
    return [one.request_id for page in store.unmatched("e", until=LATER, at_once=1) for one in page]


def archived_outcomes(folder):
    rows = open_table(str(folder / "e")).to_pyarrow_table().to_pylist()
    return {row["request_id"]: (row["outcome"], row["value"]) for row in rows}


@pytest.fixture
def waited(catalog, records, tmp_path):
    """All in the archive, r0008, r0009 and a large request without their outcomes, two of which come after that."""
    scores = np.linspace(0, 1, 20)
    records.add_folded([FoldedRequest("f", NOW, "e", 1, "champion", "1", "", 20, folded_body(scores, scores))])
    store = OutcomeStore(catalog)
    archive(store, tmp_path, endpoint="e", cutoff=NOW + WEEK, wait=WEEK)
    records.add_feedback("e", [outcome(name) for name in ("r0008", "f/19", "nobody", "r0001")])
    return store


def test_an_outcome_that_comes_after_its_prediction_was_archived_is_joined_there(catalog, records, waited, tmp_path):
    assert records.pairs("e", "1", [1]).outcomes_without_prediction == 4
    before = archived_outcomes(tmp_path)
    assert joined_late(waited, tmp_path) == 2
    # Of two outcomes the first one counts, also where the second finds the first in the archive.
    assert archived_outcomes(tmp_path) == before | {"r0008": (1.0, 3.0), "f/19": (1.0, 3.0)}
    (found,) = observed_accuracy(waited, tmp_path)
    assert (found.predictions, found.with_outcome) == (30, 10)
    # What is joined is lost no more; what answered nobody still is.
    pairs = records.pairs("e", "1", [1])
    assert (pairs.outcomes, pairs.outcomes_without_prediction) == (1, 1)
    version = open_table(str(tmp_path / "e")).version()
    assert joined_late(waited, tmp_path) == 0
    assert open_table(str(tmp_path / "e")).version() == version


def test_a_late_outcome_is_joined_once_whoever_is_killed(catalog, records, waited, tmp_path, monkeypatch):
    def die(*_args, **_kwargs):
        raise RuntimeError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(waited, "remove_outcomes", die)
        with pytest.raises(RuntimeError, match="killed"):
            joined_late(waited, tmp_path)
    joined = archived_outcomes(tmp_path)
    assert joined_late(waited, tmp_path) == 0
    assert archived_outcomes(tmp_path) == joined
    assert len(joined) == 30
    assert outcomes_left(waited) == ["nobody"]


def test_late_outcomes_that_several_join_at_once_are_there_once(catalog, records, waited, tmp_path):
    with ThreadPoolExecutor(3) as pool:
        under_way = [pool.submit(joined_late, OutcomeStore(catalog), tmp_path) for _ in range(3)]
        for one in under_way:
            one.result()
    rows = open_table(str(tmp_path / "e")).to_pyarrow_table()
    assert len(rows) == len(set(rows["request_id"].to_pylist())) == 30
    assert archived_outcomes(tmp_path)["r0008"] == (1.0, 3.0)


def test_a_late_outcome_finds_its_place_in_an_archive_of_before(catalog, records, tmp_path):
    old = pa.table({field.name: pa.nulls(1, field.type) for field in SCHEMA if field.name != "value"})
    for name, value in (("request_id", "r"), ("time", NOW)):
        old = old.set_column(old.column_names.index(name), name, pa.array([value]))
    append(str(tmp_path / "e"), old, message="of a release before", source="test")
    records.add_feedback("e", [outcome("r")])
    assert joined_late(OutcomeStore(catalog), tmp_path) == 1
    assert open_table(str(tmp_path / "e")).to_pyarrow_table()["outcome"].to_pylist() == [1.0]


def test_of_two_answers_with_one_id_in_the_archive_the_first_gets_the_outcome(catalog, records, tmp_path):
    store = OutcomeStore(catalog)
    for later, score in ((0, 0.7), (50, 0.2)):
        records.add_predictions([prediction(9, time=NOW + later)._replace(score=score)])
        archive(store, tmp_path, endpoint="e", cutoff=NOW + WEEK + later, wait=WEEK)
    for truth in (1.0, 0.0):  # and of two outcomes the first
        records.add_feedback("e", [outcome("r0009", truth)])
        joined_late(store, tmp_path)
    rows = open_table(str(tmp_path / "e")).to_pyarrow_table().to_pylist()
    found = sorted((row["time"], row["score"], row["outcome"]) for row in rows if row["request_id"] == "r0009")
    assert found == [(NOW, 0.7, 1.0), (NOW + 50, 0.2, None)]


def test_an_outcome_waits_for_its_prediction_before_the_archive_is_asked(catalog, records, waited, tmp_path):
    """An id that is there again: its record may still be on its way, and the archive's is of another request."""
    came = NOW + 2 * WEEK
    young = join_late(waited, tmp_path, endpoint="e", now=came + ON_THEIR_WAY_SECONDS - 1)
    assert young == LateOutcomes(0, 0)
    records.add_predictions([prediction(8, time=came)])
    assert join_late(waited, tmp_path, endpoint="e", now=came + ON_THEIR_WAY_SECONDS).joined == 1
    assert archived_outcomes(tmp_path)["r0008"] == (None, None)
    assert archive(waited, tmp_path, endpoint="e", cutoff=came + 10, wait=WEEK) == 1
    rows = open_table(str(tmp_path / "e")).to_pyarrow_table().to_pylist()
    assert {row["time"]: row["outcome"] for row in rows if row["request_id"] == "r0008"} == {NOW: None, came: 1.0}


def test_an_outcome_that_matches_nothing_is_set_aside_once_it_has_waited(catalog, records, waited, tmp_path):
    came = NOW + 2 * WEEK
    assert join_late(waited, tmp_path, endpoint="e", now=LATER, give_up=came - 1) == LateOutcomes(2, 0)
    assert outcomes_left(waited) == ["nobody"]
    assert join_late(waited, tmp_path, endpoint="e", now=came + 60, give_up=came) == LateOutcomes(0, 0), "still young"
    assert join_late(waited, tmp_path, endpoint="e", now=LATER, give_up=came) == LateOutcomes(0, 1)
    assert outcomes_left(waited) == []


def test_no_outcome_is_set_aside_whose_prediction_is_anywhere(catalog, records, waited, tmp_path, monkeypatch):
    """A large request in the catalog that an archive is taking, and predictions that move while this looks."""
    scores = np.linspace(0, 1, 20)
    records.add_folded([FoldedRequest("g", NOW, "e", 1, "champion", "1", "", -20, folded_body(scores, scores))])
    records.add_predictions([prediction(i) for i in (70, 71)])
    records.add_feedback("e", [outcome(name) for name in ("g/3", "g/x", "r0071")])
    real = waited.unmatched

    def seen_before(*args, **kwargs):
        for page in real(*args, **kwargs):
            yield [*page, outcome("r0070"), outcome("r0071")]

    monkeypatch.setattr(waited, "unmatched", seen_before)
    assert join_late(waited, tmp_path, endpoint="e", now=LATER, give_up=LATER) == LateOutcomes(2, 2)
    monkeypatch.undo()
    assert outcomes_left(waited) == ["g/3"]
    assert records.pairs("e", "1", [1]).outcomes == 2


def test_where_the_archive_is_away_no_outcome_is_set_aside(catalog, records, waited, tmp_path):
    assert join_late(waited, tmp_path / "elsewhere", endpoint="e", now=LATER, give_up=LATER) == LateOutcomes(0, 0)
    assert len(outcomes_left(waited)) == 4


def test_without_an_archive_no_outcome_is_late(catalog, records, tmp_path):
    records.add_feedback("e", [outcome("nobody")])
    assert joined_late(OutcomeStore(catalog), tmp_path) == 0
    assert not (tmp_path / "e").exists()


def test_a_crash_between_the_commit_and_the_removal_moves_no_row_twice(catalog, records, tmp_path, monkeypatch):
    store = OutcomeStore(catalog)

    def die(*_args, **_kwargs):
        raise RuntimeError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(store, "archived", die)
        with pytest.raises(RuntimeError):
            archive(store, tmp_path, endpoint="e", cutoff=NOW + 10, wait=WEEK)
    records.add_predictions([prediction(99)._replace(time=NOW + 50)])
    records.add_feedback("e", [FeedbackRecord("r0099", 1.0, NOW + 50, NOW + 50)])
    assert archive(store, tmp_path, endpoint="e", cutoff=NOW + 100, wait=WEEK) == 8
    assert archive(store, tmp_path, endpoint="e", cutoff=NOW + 100, wait=WEEK) == 1
    rows = open_table(str(tmp_path / "e")).to_pyarrow_table()
    assert rows.num_rows == 9
    assert len(set(rows["request_id"].to_pylist())) == 9


def test_an_outcome_that_comes_between_a_crash_and_the_next_try_is_not_lost(catalog, records, tmp_path, monkeypatch):
    store = OutcomeStore(catalog)

    def die(*_args, **_kwargs):
        raise RuntimeError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(store, "archived", die)
        with pytest.raises(RuntimeError):
            archive(store, tmp_path, endpoint="e", cutoff=NOW + 10, wait=WEEK)
    records.add_feedback("e", [FeedbackRecord("r0008", 1.0, NOW + 20, NOW + 20)])  # its prediction is before the cutoff
    assert archive(store, tmp_path, endpoint="e", cutoff=NOW + 100, wait=WEEK) == 9
    assert archive(store, tmp_path, endpoint="e", cutoff=NOW + 100, wait=WEEK) == 0
    rows = open_table(str(tmp_path / "e")).to_pyarrow_table().to_pylist()
    assert sorted(row["request_id"] for row in rows) == [f"r{i:04d}" for i in range(9)]
    assert {row["outcome"] for row in rows if row["request_id"] == "r0008"} == {1.0}


def test_what_answers_were_worth_goes_into_an_archive_of_before(catalog, records, tmp_path):
    old = pa.table({field.name: pa.nulls(1, field.type) for field in SCHEMA if field.name != "value"})
    append(str(tmp_path / "e"), old, message="of a release before", source="test")
    records.add_predictions([prediction(50)])
    records.add_feedback("e", [FeedbackRecord("r0050", 1.0, NOW, NOW, value=12.5)])
    assert archive(OutcomeStore(catalog), tmp_path, endpoint="e", cutoff=NOW + 10, wait=WEEK) == 9
    rows = open_table(str(tmp_path / "e")).to_pyarrow_table().to_pylist()
    assert {row["request_id"]: row["value"] for row in rows if row["value"] is not None} == {"r0050": 12.5}
    assert len(rows) == 10


def test_an_archive_holds_a_bounded_number_of_records_and_commits_them_by_pages(
    catalog, records, tmp_path, monkeypatch
):
    monkeypatch.setattr("sluiceway.monitoring.archive.ROWS_AT_ONCE", 3)
    store, seen = OutcomeStore(catalog), []
    real = store.archived
    monkeypatch.setattr(store, "archived", lambda endpoint, page: (seen.append(len(page.rows)), real(endpoint, page)))
    assert archive(store, tmp_path, endpoint="e", cutoff=NOW + 10, wait=WEEK) == 8
    assert seen == [3, 3, 2]
    table = open_table(str(tmp_path / "e"))
    assert (table.version(), table.to_pyarrow_table().num_rows) == (2, 8)
    (found,) = observed_accuracy(store, tmp_path)
    assert (found.predictions, found.with_outcome, found.accuracy) == (10, 8, 0.5)
    # The same cutoff once more is another archive: nothing is taken for what has arrived.
    records.add_feedback("e", [FeedbackRecord(f"r{i:04d}", 1.0, NOW, NOW) for i in (8, 9)])
    assert archive(store, tmp_path, endpoint="e", cutoff=NOW + 10, wait=WEEK) == 2
    assert open_table(str(tmp_path / "e")).to_pyarrow_table().num_rows == 10


@pytest.mark.parametrize("moment", ["before the append", "after it", "after the removal"])
@pytest.mark.parametrize("page", [0, 1, 2])
def test_an_archive_that_is_killed_anywhere_has_each_record_once(catalog, records, tmp_path, monkeypatch, moment, page):
    monkeypatch.setattr("sluiceway.monitoring.archive.ROWS_AT_ONCE", 3)
    store, left = OutcomeStore(catalog), [page]

    def killed(real, *, late):
        def call(*args, **kwargs):
            if late:
                real(*args, **kwargs)
            if not left[0]:
                raise RuntimeError("killed")
            left[0] -= 1
            return None if late else real(*args, **kwargs)

        return call

    with monkeypatch.context() as patched:
        if moment == "before the append":
            patched.setattr("sluiceway.monitoring.archive.append", killed(append, late=False))
        else:
            patched.setattr(store, "archived", killed(store.archived, late=moment == "after the removal"))
        with pytest.raises(RuntimeError, match="killed"):
            archive(store, tmp_path, endpoint="e", cutoff=NOW + WEEK, wait=WEEK)
    records.add_predictions([prediction(number, time=NOW - 50) for number in (50, 51)])  # their ids are behind
    records.add_predictions([prediction(0)._replace(request_id="a")])  # and before
    known = [FeedbackRecord(name, 1.0, NOW + 20, NOW + 20) for name in ("r0008", "r0009", "a", "r0050")]
    records.add_feedback("e", known)
    for cutoff in (100, 200):
        archive(store, tmp_path, endpoint="e", cutoff=NOW + WEEK + cutoff, wait=WEEK)
    rows = open_table(str(tmp_path / "e")).to_pyarrow_table().to_pylist()
    ids = ["a", *(f"r{number:04d}" for number in (*range(10), 50, 51))]
    assert sorted(row["request_id"] for row in rows) == ids
    assert {row["request_id"]: row["outcome"] for row in rows}["r0007"] == 1.0
    assert store.accuracy("e") == []


def test_archives_at_the_same_time_have_each_record_once(catalog, records, tmp_path, monkeypatch):
    monkeypatch.setattr("sluiceway.monitoring.archive.ROWS_AT_ONCE", 2)
    monkeypatch.setattr("sluiceway.monitoring.archive.REQUESTS_AT_ONCE", 1)
    scores = np.linspace(0, 1, 20)
    records.add_folded(
        [FoldedRequest(f"f{i}", NOW, "e", 1, "champion", "1", "", 20, folded_body(scores, scores)) for i in range(4)]
    )
    cutoff = NOW + WEEK + 60
    with ThreadPoolExecutor(3) as pool:
        under_way = [
            pool.submit(archive, OutcomeStore(catalog), tmp_path, endpoint="e", cutoff=cutoff, wait=WEEK)
            for _ in range(3)
        ]
        for one in under_way:
            one.result()
    ids = open_table(str(tmp_path / "e")).to_pyarrow_table()["request_id"].to_pylist()
    assert len(ids) == len(set(ids)) == 90
    assert OutcomeStore(catalog).accuracy("e") == []


def test_an_archive_that_a_release_before_has_begun_is_gone_on_with(catalog, records, tmp_path):
    with catalog.begin() as connection:
        values = {"name": "archive:e", "owner": "archive", "expires": 0.0, "body": repr(NOW - 1)}
        connection.execute(leases.insert().values(values))
    store = OutcomeStore(catalog)
    assert archive(store, tmp_path, endpoint="e", cutoff=NOW + 10, wait=WEEK) == 0
    assert archive(store, tmp_path, endpoint="e", cutoff=NOW + 10, wait=WEEK) == 8
