"""The newest rows of a table that grows by time."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable, write_deltalake

from sluiceway.core.errors import TableNotFoundError
from sluiceway.data import newest_rows as module
from sluiceway.data.newest_rows import newest_rows

pytestmark = pytest.mark.integration

START = datetime(2026, 11, 20, tzinfo=UTC)
HOURS = 240


def hour(number):
    return START + timedelta(hours=float(number))


@pytest.fixture
def uri(tmp_path):
    """Ten days, a row an hour, one file for each six hours, written in no order."""
    folder = str(tmp_path / "log")
    for six in np.random.default_rng(1).permutation(HOURS // 6):
        hours = [int(six) * 6 + i for i in range(6)]
        write_deltalake(
            folder,
            pa.table(
                {
                    "time": pa.array([hour(h) for h in hours], pa.timestamp("us", "UTC")),
                    "day": [hour(h).date() for h in hours],
                    "x": pa.array(hours, pa.float32()),
                    "arm": ["champion" if h % 2 else "shadow" for h in hours],
                }
            ),
            mode="append",
            partition_by=["day"],
        )
    return folder


def asked(uri, **more):
    options = {"columns": ["x"], "by": "time", "since": START, "limit": 10, **more}
    return newest_rows(uri, **options)


@pytest.mark.parametrize("limit", [1, 10, 50, 1000])
def test_the_newest_come_first_and_no_more_than_the_limit(uri, limit):
    found = asked(uri, limit=limit)
    assert found.column_names == ["x", "time"]
    assert found["x"].to_pylist() == list(range(HOURS - 1, max(-1, HOURS - 1 - limit), -1))


def test_files_that_cannot_hold_newer_rows_are_not_read(uri, monkeypatch):
    read = []
    whole = module._batches
    monkeypatch.setattr(module, "_batches", lambda *given: read.append(given[1]) or whole(*given))
    assert asked(uri, limit=10).num_rows == 10
    assert len(read) == 2
    assert asked(uri, since=hour(HOURS - 3), limit=100)["x"].to_pylist() == [239, 238, 237]
    assert len(read) == 3


def test_older_rows_and_rows_that_do_not_fit_are_left_out(uri):
    found = asked(uri, since=hour(HOURS - 20), limit=100, where=pc.field("arm") != "shadow")
    assert found["x"].to_pylist() == [h for h in range(HOURS - 1, HOURS - 21, -1) if h % 2]


def test_no_row_fits(uri):
    assert asked(uri, where=pc.field("arm") == "nobody").num_rows == 0


def test_it_holds_after_files_were_put_together(uri):
    DeltaTable(uri).optimize.compact()
    assert asked(uri, limit=30)["x"].to_pylist() == list(range(239, 209, -1))


def test_a_column_that_the_table_lacks_is_left_out(uri):
    assert asked(uri, columns=["x", "y"], limit=1).column_names == ["x", "time"]


def test_nothing_is_new_enough(uri):
    found = asked(uri, since=hour(HOURS + 1))
    assert found.num_rows == 0
    assert found.column_names == ["x", "time"]


def test_there_is_no_table(tmp_path):
    with pytest.raises(TableNotFoundError):
        asked(str(tmp_path / "none"))
