"""Planning a read: the files, rows and order of the engine's own dataset, however few of them are wanted."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as pads
import pytest
from deltalake import DeltaTable, write_deltalake
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sluiceway.core.errors import DataError
from sluiceway.core.references import TableVersion
from sluiceway.data import places, tables
from sluiceway.data.clone import make_clone
from sluiceway.data.ray_files import data_files
from sluiceway.data.scan import dataset_of, files_in

pytestmark = pytest.mark.integration

# Values of partition columns, by their Arrow type.
VALUES = {
    pa.string(): st.sampled_from(["a b", "ü/%", "x=1", "+&#?", "%20", "1", "A'b"]),
    pa.int64(): st.sampled_from([-1, 0, 2**53 + 1]),
    pa.date32(): st.dates(dt.date(1960, 1, 1), dt.date(2100, 1, 1)),
    pa.timestamp("us", "UTC"): st.integers(0, 4 * 10**9).map(lambda s: dt.datetime.fromtimestamp(s, dt.UTC)),
    pa.bool_(): st.booleans(),
    pa.float64(): st.sampled_from([0.5, -1e-7, 3.0]),
    pa.decimal128(9, 2): st.sampled_from([Decimal("0.10"), Decimal("-3.00"), Decimal("1234567.89")]),
}


@st.composite
def partitioned(draw):
    """A schema of partition columns, and commits of rows with values of them."""
    kinds = draw(st.lists(st.sampled_from(list(VALUES)), min_size=1, max_size=2))
    row = st.tuples(*(st.none() | VALUES[kind] for kind in kinds))
    commits = draw(st.lists(st.lists(row, min_size=1, max_size=5), min_size=1, max_size=3))
    return kinds, commits


def written(uri: str, kinds, commits) -> DeltaTable:
    names = [f"p{i}" for i in range(len(kinds))]
    number = 0
    for rows in commits:
        columns = {"n": pa.array(range(number, number + len(rows)), pa.int64())}
        number += len(rows)
        for i, kind in enumerate(kinds):
            columns[names[i]] = pa.array([row[i] for row in rows], kind)
        write_deltalake(uri, pa.table(columns), mode="append", partition_by=names)
    return tables.open_table(uri)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(partitioned(), st.data())
def test_files_and_rows_are_those_of_the_engines_dataset(tmp_path_factory, given_table, data):
    kinds, commits = given_table
    uri = str(tmp_path_factory.mktemp("scan") / "my table")
    table = written(uri, kinds, commits)
    theirs = table.to_pyarrow_dataset()
    ours = dataset_of(table, files_in(table))
    assert [f.path for f in ours.get_fragments()] == [f.path for f in theirs.get_fragments()]
    assert ours.schema == theirs.schema
    assert ours.to_table(use_threads=False) == theirs.to_table(use_threads=False)
    values = [[row[i] for rows in commits for row in rows] for i in range(len(kinds))]
    wanted = {
        f"p{i}": data.draw(st.lists(st.sampled_from(values[i]), min_size=1, max_size=3)) for i in range(len(kinds))
    }
    found = dataset_of(table, files_in(table, wanted)).to_table()
    rows = theirs.to_table().to_pylist()
    expected = sorted(row["n"] for row in rows if all(row[name] in some for name, some in wanted.items()))
    assert sorted(found["n"].to_pylist()) == expected
    paths = tables.files(table)["path"].to_pylist()[::-2]
    files, schema = data_files(table, paths)
    assert [file.path for file in files] == paths
    by_path = {f.path: f for f in theirs.get_fragments()}
    for file in files:
        assert list(file.batches(schema)) == list(by_path[file.fragment.path].to_batches(schema=schema))


@pytest.fixture
def sales(tmp_path) -> str:
    uri = str(tmp_path / "my tables" / "sales")
    for day in (1, 2, 3):
        rows = pa.table({"n": [day * 10, day * 10 + 1], "day": [day, day], "shop": ["a b", None]})
        write_deltalake(uri, rows, mode="append", partition_by=["day", "shop"])
    return uri


def numbers(dataset: pads.Dataset) -> list[int]:
    return sorted(dataset.to_table()["n"].to_pylist())


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"day": [1]}, [10, 11]),
        ({"day": ["2", "3"]}, [20, 21, 30, 31]),
        ({"day": [1, 2], "shop": [None]}, [11, 21]),
        ({"shop": ["a b"]}, [10, 20, 30]),
        ({"shop": ["a b", None], "day": [3]}, [30, 31]),
        ({"day": [7]}, []),
        ({"day": []}, []),
        ({}, [10, 11, 20, 21, 30, 31]),
    ],
)
def test_partitions_are_named_by_their_values_or_as_text(sales, wanted, found):
    table = tables.open_table(sales)
    assert numbers(dataset_of(table, files_in(table, wanted))) == found
    place = make_clone(sales, "0" * 32, uri=sales, version=table.version())
    copy = tables.open_table(place)
    assert places.is_clone(place)
    assert numbers(dataset_of(copy, files_in(copy, wanted))) == found


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"n": [1]}, "n does not partition"),
        ({"dya": [1], "shop": ["a b"]}, "dya does not partition"),
        ({"day": ["first"]}, "day of .* is int64 and cannot be any of"),
        ({"day": [1.5]}, "cannot be any of"),
    ],
)
def test_what_cannot_be_a_partition_is_refused(sales, wanted, said):
    with pytest.raises(DataError, match=said):
        files_in(tables.open_table(sales), wanted)


def test_a_table_without_partitions_says_so(tmp_path):
    write_deltalake(str(tmp_path / "t"), pa.table({"n": [1]}))
    with pytest.raises(DataError, match="does not partition") as refused:
        files_in(tables.open_table(str(tmp_path / "t")), {"n": [1]})
    assert "no partitions" in str(refused.value.hint)


@pytest.mark.usefixtures("ray_cluster")
def test_ray_reads_the_wanted_partitions_and_no_file_of_another(sales):
    from sluiceway.data.ray_read import read_version  # noqa: PLC0415 (collected without Ray, too)

    version = TableVersion(sales, 2, "", 6, "newest")
    for file in Path(sales, "day=1").rglob("*.parquet"):
        file.unlink()
    found = read_version(version, columns=["day", "n"], partitions={"day": [2], "shop": ["a b", None]}).take_all()
    assert sorted((row["day"], row["n"]) for row in found) == [(2, 20), (2, 21)]
    with pytest.raises(DataError, match=r"has no rows where day is one of \[7\]"):
        read_version(version, columns=["n"], partitions={"day": [7]})
