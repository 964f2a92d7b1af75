"""Deliveries by key to a branch, its merge, and rows dropped and found by Ray tasks wherever they lie."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from sluiceway.catalog.repository import RepositoryStore
from sluiceway.core.clock import SystemClock
from sluiceway.core.errors import DataError, MergeConflictError
from sluiceway.data import commit, history, places, tables
from sluiceway.data.commit_files import Delivery
from sluiceway.data.ingest.request import IngestReport, IngestRequest
from sluiceway.data.merging import merge, revert
from sluiceway.data.places import file_uris
from sluiceway.data.repository import Repository

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("ray_cluster")]


CONTRACT = """
apiVersion: v3.1.0
kind: DataContract
id: sales
version: 1.0.0
status: active
schema:
  - name: sales
    properties:
      - {name: id, logicalType: integer, required: true}
      - {name: x, logicalType: number, logicalTypeOptions: {minimum: 0}}
      - {name: shop, logicalType: string}
      - {name: new, logicalType: integer}
      - {name: newer, logicalType: string}
"""
PLAIN_AND_PARTITIONED = pytest.mark.parametrize("sales", [(), ("shop",)], ids=["plain", "partitioned"], indirect=True)


def ingest(source: object, place: str, mode: str = "append", **options: object) -> IngestReport:
    from sluiceway.data.ray_ingest import ingest as by_ray  # noqa: PLC0415 (collected without Ray, too)

    key = ("id",) if mode in ("upsert", "delete") else ()
    return by_ray([source], place, IngestRequest(**{"mode": mode, "key": key} | options))


def rows(*ids: int, x: float = 0.0) -> pa.Table:
    return pa.table({"id": pa.array(ids, pa.int64()), "x": [x] * len(ids), "shop": [f"s {i % 2}" for i in ids]})


def held(place: str) -> list[tuple[int, float]]:
    found = places.dataset(tables.open_table(place), place).to_table(columns=["id", "x"]).to_pylist()
    return sorted((row["id"], row["x"]) for row in found)


def files(folder: str) -> list[str]:
    return sorted(str(p) for p in Path(folder).rglob("*.parquet") if "_delta_log" not in p.parts)


@pytest.fixture
def lake(catalog) -> Repository:
    return Repository(RepositoryStore(catalog), SystemClock())


@pytest.fixture
def sales(request, lake, tmp_path) -> str:
    """Three deliveries of ten rows, on main; the branch exp begins there."""
    uri = str(tmp_path / "sales")
    for start in (0, 10, 20):
        commit.append(
            uri, rows(*range(start, start + 10)), message="r", source="test", partition_by=getattr(request, "param", ())
        )
    lake.add(uri, key=("id",))
    lake.commit(message="first")
    lake.branch("exp")
    return uri


@PLAIN_AND_PARTITIONED
def test_a_branch_is_deleted_from_and_merged(lake, sales, tmp_path):
    place = lake.place_to_write(sales, "exp")
    (tmp_path / "gone.csv").write_text("why,id\nold,3\nold,14\nnever there,99\n")
    report = ingest(str(tmp_path / "gone.csv"), place, "delete", batch_id="d", message="gone")
    assert (report.rows, report.deleted, report.inserted, report.updated) == (3, 2, 0, 0)
    assert ingest(str(tmp_path / "gone.csv"), place, "delete", batch_id="d").skipped
    left = [(i, 0.0) for i in range(30) if i not in (3, 14)]
    assert held(place) == left
    assert len(held(sales)) == 30
    commit.append(sales, rows(50), message="meanwhile", source="test")
    lake.commit("exp", message="gone")
    merge(lake, "exp")
    assert held(sales) == [*left, (50, 0.0)]
    assert sorted(DeltaTable(sales).to_pyarrow_table()["id"].to_pylist()) == [i for i, _ in [*left, (50, 0.0)]]
    revert(lake, "exp")
    assert len(held(sales)) == 31


@PLAIN_AND_PARTITIONED
def test_a_branch_is_upserted_and_merged(lake, sales):
    place = lake.place_to_write(sales, "exp")
    report = ingest(rows(28, 29, 30, 31, x=1.0), place, "upsert", batch_id="u")
    assert (report.rows, report.inserted, report.updated, report.deleted, report.version) == (4, 2, 2, 0, 1)
    assert held(place) == [*((i, 0.0) for i in range(28)), *((i, 1.0) for i in range(28, 32))]
    assert ingest(rows(28, x=2.0), place, "upsert", batch_id="u").skipped
    assert ingest(rows(30, x=3.0), place, "upsert").updated == 1
    lake.commit("exp", message="changed")
    expected = held(place)
    merge(lake, "exp")
    assert held(sales) == expected
    named = {Path(one).name for one in files(sales)}
    live = {Path(one).name for one in DeltaTable(sales).file_uris()}
    assert live <= named
    told = tables.files(tables.open_table(sales))
    assert (min(told["min.id"].to_pylist()), max(told["max.id"].to_pylist())) == (0, 31)


def test_both_sides_that_rewrite_a_file_are_a_conflict(lake, sales):
    place = lake.place_to_write(sales, "exp")
    ingest(rows(3, x=1.0), place, "upsert")
    ingest(rows(5), sales, "delete")  # of the same file
    lake.commit("exp", message="three")
    with pytest.raises(MergeConflictError, match="rewrote or removed the same files"):
        merge(lake, "exp")
    lake.branch("other")
    ingest(rows(25), lake.place_to_write(sales, "other"), "delete")
    lake.commit("other", message="not in the same")
    commit.append(sales, rows(60), message="meanwhile", source="test")
    merge(lake, "other")
    assert Counter(i for i, _ in held(sales)) == Counter([*(i for i in range(30) if i not in (5, 25)), 60])


def test_a_branch_that_begins_on_a_branch_is_written_by_key(lake, sales):
    ingest(rows(1), lake.place_to_write(sales, "exp"), "delete")
    lake.commit("exp", message="one less")
    lake.branch("inner", "exp")
    inner = lake.place_to_write(sales, "inner")
    ingest(rows(2, 40, x=1.0), inner, "upsert")
    lake.commit("inner", message="two")
    merge(lake, "inner", "exp")
    merge(lake, "exp")
    assert held(sales) == sorted([(0, 0.0), *((i, 0.0) for i in range(3, 30)), (2, 1.0), (40, 1.0)])


def test_rules_of_the_table_hold_on_a_branch_and_a_failure_leaves_no_file(lake, tmp_path):
    uri = str(tmp_path / "t")
    schema = pa.schema([pa.field("id", pa.int64(), nullable=False), ("x", pa.float64())])
    write_deltalake(uri, pa.table({"id": [1, 2, 3], "x": [1.0, 2.0, 3.0]}, schema=schema))
    DeltaTable(uri).alter.add_constraint({"small": "x < 5"})
    lake.add(uri)
    lake.commit(message="first")
    lake.branch("exp")
    place = lake.place_to_write(uri, "exp")
    before = files(uri)
    with pytest.raises(DataError, match="break the constraint small"):
        ingest(pa.table({"id": [2], "x": [9.0]}), place, "upsert")
    with pytest.raises(DataError, match="come more than once"):
        ingest(pa.table({"id": [2, 2], "x": [1.0, 1.5]}), place, "upsert")
    Path(before[0]).rename(f"{before[0]}.away")
    with pytest.raises(DataError, match="is gone"):
        ingest(pa.table({"id": [2], "x": [4.0]}), place, "upsert")
    Path(f"{before[0]}.away").rename(before[0])
    assert (files(uri), DeltaTable(place).version()) == (before, 0)
    assert ingest(pa.table({"id": [2, 4], "x": [4.0, 4.5]}), place, "upsert").inserted == 1
    assert held(place) == [(1, 1.0), (2, 4.0), (3, 3.0), (4, 4.5)]
    DeltaTable(place).alter.set_table_properties({"delta.appendOnly": "true"})
    with pytest.raises(DataError, match="append-only"):
        ingest(pa.table({"id": [2]}), place, "delete")


def test_new_columns_and_misfits_on_a_branch(lake, sales):
    place = lake.place_to_write(sales, "exp")
    report = ingest(rows(60).append_column("new", pa.array([1])), place, evolve=True)
    assert (report.version, report.added_columns) == (1, ("new",))
    report = ingest(pa.table({"id": [3, 61], "newer": ["a", "b"]}), place, "upsert", evolve=True)
    assert (report.version, report.inserted, report.updated) == (2, 1, 1)
    (Path(sales) / "_contract.yaml").write_text(CONTRACT)
    bad = pa.table({"id": [4, 5, 62], "x": [-1.0, 1.0, -2.0], "shop": ["s"] * 3, "new": [1, 2, 3], "newer": ["c"] * 3})
    refused = ingest(bad, place, "upsert", strict=True)
    assert (refused.version, refused.quarantined, tables.is_table(f"{sales}_quarantine")) == (None, 2, False)
    report = ingest(bad, place, "upsert", batch_id="m")
    assert (report.rows, report.updated, report.inserted, report.quarantined) == (1, 1, 0, 2)
    assert (report.version, DeltaTable(f"{sales}_quarantine").count()) == (3, 2)
    assert history.log(place, limit=1)[0].metadata["sluiceway.quarantined"] == 2
    lake.commit("exp", message="columns")
    held_there = places.dataset(tables.open_table(place), place).to_table().sort_by("id")
    changed = {3: None, 5: 1.0, 60: 0.0, 61: None}
    assert dict(zip(held_there["id"].to_pylist(), held_there["x"].to_pylist(), strict=True)) == (
        dict.fromkeys(range(30), 0.0) | changed
    )
    merge(lake, "exp")
    assert DeltaTable(sales).to_pyarrow_table().sort_by("id").to_pylist() == held_there.to_pylist()


def test_a_key_that_is_a_partition_of_times_is_found_on_both_sides(lake, tmp_path):
    uri = str(tmp_path / "t")
    at = pa.array([0, 1_000_001], pa.timestamp("us", "UTC"))
    commit.append(uri, pa.table({"id": [1, 2], "at": at}), message="r", source="test", partition_by=("at",))
    lake.add(uri, key=("at", "id"))
    lake.commit(message="first")
    lake.branch("exp")
    one = pa.table({"id": [3], "at": at.slice(1)})
    for place in (uri, lake.place_to_write(uri, "exp")):
        commit.append(place, one, message="r", source="test")
    lake.commit("exp", message="three")
    with pytest.raises(MergeConflictError, match="id=3"):
        merge(lake, "exp")


def test_rows_are_found_and_replaced_wherever_they_lie(lake, sales):
    from sluiceway.core.doors import SilentProgress  # noqa: PLC0415
    from sluiceway.data.ray_replace import Replacements  # noqa: PLC0415
    from sluiceway.data.ray_rewrite import find_rows  # noqa: PLC0415

    place = lake.place_to_write(sales, "exp")
    ingest(rows(3, 40, x=1.0), place, "upsert")
    keys = pa.table({"id": pa.array([3, 40, None, 77], pa.int64())})
    old = [*file_uris(sales, DeltaTable(sales).get_add_actions()["path"].to_pylist()).values()]
    own = [*file_uris(place, DeltaTable(place).get_add_actions()["path"].to_pylist()).values()]
    every = sorted({*old, *own})
    counts = find_rows(every, keys)
    assert sum(counts.values()) == 3
    assert {one for one, count in counts.items() if count} == {
        one for one in every if any(i in (3, 40) for i in _ids(one))
    }
    hit = {places.plain_path(one): count for one, count in counts.items() if count}
    new = Replacements(sales, keys, SilentProgress())
    said = Delivery("erased", "test", more={"why": "asked"})
    assert [new.put(where, hit, said) for where in (sales, place)] == [1, 2]
    assert {i for i, _ in [*held(sales), *held(place)]} & {3, 40} == set()
    (info,) = history.log(sales, limit=1)
    assert (info.message, info.metadata["why"], info.metadata["sluiceway.deleted"]) == ("erased", "asked", 1)
    version = DeltaTable(sales).version()
    assert new.put(sales, hit, said) == 0
    assert DeltaTable(sales).version() == version
    gone = next(one for one, count in counts.items() if count)
    Path(places.plain_path(gone)).unlink()
    assert find_rows(every, keys)[gone] is None
    by_shop = pa.table({"shop": ["s 1"], "id": pa.array([3], pa.int64())})
    others = [one for one in own if one != gone]
    assert sum(count or 0 for count in find_rows(others, by_shop).values()) <= 1


def _ids(identity: str) -> list[int]:
    import pyarrow.parquet as pq  # noqa: PLC0415

    return pq.ParquetFile(places.plain_path(identity)).read(columns=["id"])["id"].to_pylist()
