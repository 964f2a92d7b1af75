"""Deliveries that their senders number arrive once, whoever sends them again and whoever commits beside."""

import concurrent.futures
from collections import Counter

import pyarrow as pa
import pytest

from sluiceway.core.errors import DataError, SchemaMismatchError
from sluiceway.data import tables
from sluiceway.data.commit_numbered import NewTable, Numbered, append_numbered
from sluiceway.data.history import log

pytestmark = pytest.mark.integration


def delivery(sender, number, **columns):
    rows = {"id": [f"{sender}{number}"], "day": ["2026-11-26"], **columns}
    return Numbered(sender, number, pa.table(rows))


def append(uri, *deliveries):
    return append_numbered(uri, deliveries, message="m", source="s", new=NewTable(("day",)))


def rows(uri):
    return sorted(tables.open_table(uri).to_pyarrow_table().to_pylist(), key=lambda row: row["id"])


@pytest.fixture
def uri(tmp_path):
    return str(tmp_path / "log")


def test_what_has_arrived_is_left_out(uri):
    assert append(uri, delivery("a", 0), delivery("b", 7)).rows == 2
    done = append(uri, delivery("a", 0), delivery("a", 1), delivery("b", 6), delivery("b", 7))
    assert (done.version, done.rows, done.skipped) == (1, 1, False)
    assert [row["id"] for row in rows(uri)] == ["a0", "a1", "b7"]
    again = append(uri, delivery("a", 0), delivery("a", 1))
    assert (again.rows, again.skipped) == (0, True)
    assert tables.open_table(uri).version() == 1
    assert [(commit.message, commit.rows) for commit in log(uri)] == [("m", 1), ("m", 2)]


def test_the_log_keeps_one_number_a_sender(uri):
    for number in range(5):
        append(uri, delivery("a", number), delivery("b", number))
    table = tables.open_table(uri)
    assert [table.transaction_version(f"sluiceway.sender:{sender}") for sender in "abc"] == [4, 4, None]


def test_new_columns_join_the_table_in_the_same_commit(uri):
    append(uri, delivery("a", 0, old=[1.5]))
    append(uri, delivery("a", 1, new=["x"]), delivery("b", 0, old=[2.5]))
    assert tables.open_table(uri).version() == 1
    assert [(row["id"], row["old"], row["new"]) for row in rows(uri)] == [
        ("a0", 1.5, None),
        ("a1", None, "x"),
        ("b0", 2.5, None),
    ]


def test_another_type_is_refused_and_nothing_arrives(uri):
    append(uri, delivery("a", 0, x=[1.5]))
    with pytest.raises((SchemaMismatchError, DataError)):
        append(uri, delivery("a", 1, x=["text"]))
    assert len(rows(uri)) == 1
    assert append(uri, delivery("a", 1, x=[2.5])).rows == 1


def test_two_that_commit_the_same_at_once_bring_it_once(uri):
    append(uri, delivery("z", 0))
    deliveries = [delivery(sender, number) for sender in "abcd" for number in range(5)]

    def send(_worker):
        for number in range(5):
            append(uri, *[one for one in deliveries if one.number <= number])

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(send, range(4)))
    counts = Counter(row["id"] for row in rows(uri))
    assert counts == {"z0": 1, **{f"{one.sender}{one.number}": 1 for one in deliveries}}


def test_two_that_make_the_table_at_once(uri):
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda sender: append(uri, delivery(sender, 0)), "abcd"))
    assert [row["id"] for row in rows(uri)] == ["a0", "b0", "c0", "d0"]
    assert tables.open_table(uri).metadata().partition_columns == ["day"]


def test_a_place_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError):
        append(str(tmp_path / "file" / "log"), delivery("a", 0))
