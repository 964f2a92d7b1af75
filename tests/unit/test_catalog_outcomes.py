"""Predictions, outcomes, and their way into the archive."""

import pyarrow as pa
import pytest

from sluiceway.catalog.outcomes import WAIT_FOR_OUTCOME_SECONDS, OutcomeStore
from sluiceway.catalog.records import FeedbackRecord, PredictionRecord, RecordStore
from sluiceway.data.commit import append
from sluiceway.data.tables import open_table
from sluiceway.monitoring.accuracy import observed_accuracy
from sluiceway.monitoring.archive import SCHEMA, archive

NOW = 1_000_000_000.0


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
    assert archive(store, tmp_path, endpoint="e", cutoff=NOW + 10) == 8
    assert open_table(str(tmp_path / "e")).to_pyarrow_table().num_rows == 8
    (found,) = observed_accuracy(store, tmp_path)
    assert (found.predictions, found.with_outcome, found.accuracy) == (10, 8, 0.5)
    # The outcome that comes late still finds its prediction, here and in the archive afterwards.
    records.add_feedback("e", [FeedbackRecord("r0008", 0.0, NOW + 20, NOW + 20)])
    assert archive(store, tmp_path, endpoint="e", cutoff=NOW + 30) == 1
    rows = open_table(str(tmp_path / "e")).to_pyarrow_table().to_pylist()
    assert sorted(row["request_id"] for row in rows) == [f"r{i:04d}" for i in range(9)]


def test_a_prediction_without_an_outcome_is_archived_after_a_week(catalog, records, tmp_path):
    assert archive(OutcomeStore(catalog), tmp_path, endpoint="e", cutoff=NOW + WAIT_FOR_OUTCOME_SECONDS) == 10


def test_a_crash_between_the_commit_and_the_removal_moves_no_row_twice(catalog, records, tmp_path, monkeypatch):
    store = OutcomeStore(catalog)

    def die(*_args, **_kwargs):
        raise RuntimeError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(store, "end_archive", die)
        with pytest.raises(RuntimeError):
            archive(store, tmp_path, endpoint="e", cutoff=NOW + 10)
    records.add_predictions([prediction(99)._replace(time=NOW + 50)])
    records.add_feedback("e", [FeedbackRecord("r0099", 1.0, NOW + 50, NOW + 50)])
    assert archive(store, tmp_path, endpoint="e", cutoff=NOW + 100) == 8
    assert archive(store, tmp_path, endpoint="e", cutoff=NOW + 100) == 1
    rows = open_table(str(tmp_path / "e")).to_pyarrow_table()
    assert rows.num_rows == 9
    assert len(set(rows["request_id"].to_pylist())) == 9


def test_an_outcome_that_comes_between_a_crash_and_the_next_try_is_not_lost(catalog, records, tmp_path, monkeypatch):
    store = OutcomeStore(catalog)

    def die(*_args, **_kwargs):
        raise RuntimeError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(store, "end_archive", die)
        with pytest.raises(RuntimeError):
            archive(store, tmp_path, endpoint="e", cutoff=NOW + 10)
    records.add_feedback("e", [FeedbackRecord("r0008", 1.0, NOW + 20, NOW + 20)])  # its prediction is before the cutoff
    assert archive(store, tmp_path, endpoint="e", cutoff=NOW + 100) == 8
    assert archive(store, tmp_path, endpoint="e", cutoff=NOW + 100) == 1
    rows = open_table(str(tmp_path / "e")).to_pyarrow_table().to_pylist()
    assert sorted(row["request_id"] for row in rows) == [f"r{i:04d}" for i in range(9)]
    assert {row["outcome"] for row in rows if row["request_id"] == "r0008"} == {1.0}


def test_what_answers_were_worth_goes_into_an_archive_of_before(catalog, records, tmp_path):
    old = pa.table({field.name: pa.nulls(1, field.type) for field in SCHEMA if field.name != "value"})
    append(str(tmp_path / "e"), old, message="of a release before", source="test")
    records.add_predictions([prediction(50)])
    records.add_feedback("e", [FeedbackRecord("r0050", 1.0, NOW, NOW, value=12.5)])
    assert archive(OutcomeStore(catalog), tmp_path, endpoint="e", cutoff=NOW + 10) == 9
    rows = open_table(str(tmp_path / "e")).to_pyarrow_table().to_pylist()
    assert {row["request_id"]: row["value"] for row in rows if row["value"] is not None} == {"r0050": 12.5}
    assert len(rows) == 10
