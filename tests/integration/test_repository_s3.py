"""Tables, branches and merges on an object store: moto's S3, over HTTP on this machine."""

from __future__ import annotations

import threading
import time

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError

from sluiceway.catalog.identity import CatalogIdentity
from sluiceway.catalog.leases import LeaseStore
from sluiceway.catalog.lost_versions import LostVersionStore
from sluiceway.catalog.pipeline import PipelineStore
from sluiceway.catalog.repository import RepositoryStore
from sluiceway.catalog.tags import TagStore
from sluiceway.core.clock import SystemClock
from sluiceway.core.errors import ConfigError, MergeConflictError
from sluiceway.data import commit, delta_log, places, tables
from sluiceway.data.commit_files import Delivery
from sluiceway.data.contract.load import (
    contract_beside,
    contract_place,
    find_contract,
    read_contract,
    refuse_existing,
    write_contract,
)
from sluiceway.data.ingest import planning
from sluiceway.data.key_set import KeySet
from sluiceway.data.merging import merge, revert
from sluiceway.data.needs import NeedStores, living_copies, needs_of
from sluiceway.data.optimize import optimize
from sluiceway.data.repository import Repository
from sluiceway.data.rewrite import Rewriting, replace_rows, rewrite_share
from sluiceway.data.stored_files import list_files
from sluiceway.data.vacuum import CareDoors, Retention, plan_vacuum, vacuum

pytestmark = pytest.mark.integration

CONTRACT = """
apiVersion: v3.1.0
kind: DataContract
id: sales
version: 1.0.0
status: active
schema:
  - name: sales
    properties:
      - {name: id, logicalType: integer}
"""


@pytest.fixture
def lake(catalog) -> Repository:
    return Repository(RepositoryStore(catalog), SystemClock())


def rows(*ids: int) -> pa.Table:
    return pa.table({"id": pa.array(ids, pa.int64())})


def append(place: str, *ids: int) -> None:
    commit.append(place, rows(*ids), message="rows", source="test")


def held(place: str) -> list[int]:
    return sorted(places.dataset(tables.open_table(place), place).to_table()["id"].to_pylist())


def drop(place: str, *ids: int) -> None:
    target = planning.existing_target(place)
    job = Rewriting(target, rows(*ids), "DELETE", Delivery("gone", "test"), "0123456789ab", len(ids))
    replace_rows(job, lambda shares: [rewrite_share(share, KeySet(job.keys)) for share in shares])


@pytest.mark.parametrize("name", ["sales", "my tables/a=b&c"])
def test_a_branch_from_beginning_to_end(bucket, lake, name):
    uri = f"{bucket}/{name}"
    append(uri, 1, 2)
    lake.add(uri, key=("id",))
    lake.commit(message="first")
    lake.branch("exp")
    place = lake.place_to_write(uri, "exp")
    append(place, 10)
    lake.commit("exp", message="ten")
    append(uri, 3)
    assert (held(uri), held(place)) == ([1, 2, 3], [1, 2, 10])
    merge(lake, "exp")
    assert held(uri) == [1, 2, 3, 10]
    assert sorted(DeltaTable(uri).to_pyarrow_table()["id"].to_pylist()) == [1, 2, 3, 10]
    lake.branch("again")
    append(lake.place_to_write(uri, "again"), 3)
    lake.commit("again", message="three")
    append(uri, 4)
    lake.commit(message="four")
    revert(lake, "main")
    assert held(uri) == [1, 2, 3, 10]
    append(uri, 3)
    with pytest.raises(MergeConflictError, match="id=3"):
        merge(lake, "again")


@pytest.mark.parametrize("name", ["sales", "my tables/a=b&c"])
def test_rows_are_dropped_on_a_branch_and_merged(bucket, lake, name):
    uri = f"{bucket}/{name}"
    append(uri, 1, 2, 3)
    append(uri, 4)
    lake.add(uri, key=("id",))
    lake.commit(message="first")
    lake.branch("exp")
    place = lake.place_to_write(uri, "exp")
    drop(place, 2, 4, 77)
    drop(place, 1)
    assert (held(uri), held(place)) == ([1, 2, 3, 4], [3])
    append(uri, 5)
    lake.commit("exp", message="gone")
    merge(lake, "exp")
    assert held(uri) == [3, 5]
    drop(uri, 3)
    assert sorted(DeltaTable(uri).to_pyarrow_table()["id"].to_pylist()) == [5]
    commit.overwrite(place, rows(9), message="anew", source="test")
    assert held(place) == [9]


def test_of_two_entries_of_one_version_one_is_refused(bucket):
    uri = f"{bucket}/t"
    append(uri, 1)
    said: list[str] = []

    def write(number: int) -> None:
        try:
            delta_log.write_entry(uri, 1, [delta_log.commit_info(f"TEST {number}", {})])
            said.append("ok")
        except CommitFailedError:
            said.append("refused")

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(said) == ["ok"] + ["refused"] * 7
    assert DeltaTable(uri).version() == 1


def test_appends_beside_merges_lose_nothing(bucket, lake):
    uri = f"{bucket}/t"
    append(uri, 0)
    lake.add(uri)
    lake.commit(message="first")
    for number in range(5):
        lake.branch(f"b{number}")
        append(lake.place_to_write(uri, f"b{number}"), 100 + number)
        lake.commit(f"b{number}", message="one row")
    others = threading.Thread(target=lambda: [append(uri, 200 + number) for number in range(8)])
    others.start()
    for number in range(5):
        merge(lake, f"b{number}")
    others.join()
    assert held(uri) == [0, *range(100, 105), *range(200, 208)]


@pytest.mark.parametrize("name", ["sales", "my tables/a=b&c"])
def test_a_vacuum_and_an_optimize(bucket, catalog, lake, name):
    uri = f"{bucket}/{name}"
    part = pa.table({"id": pa.array([1], pa.int64()), "shop": ["a b/c"]})
    for _ in range(2):
        commit.append(uri, part, message="rows", source="test", partition_by=("shop",))
    lake.add(uri)
    lake.commit(message="first")
    lake.tag("h1")
    lake.branch("exp")
    place = lake.place_to_write(uri, "exp")
    commit.append(place, part, message="rows", source="test")
    commit.append(uri, part, message="rows", source="test")
    done = optimize(uri, leases=LeaseStore(catalog), clock=SystemClock())
    assert (done.added, done.removed) == (1, 3)
    asked = NeedStores(TagStore(catalog), lake.store, LeaseStore(catalog), PipelineStore(catalog), SystemClock())
    lost = LostVersionStore(catalog)
    doors = CareDoors(
        lambda since: needs_of(uri, asked, since=since),
        lambda: living_copies(lake.store, uri),
        CatalogIdentity(catalog),
        lost,
        asked.leases,
        asked.clock,
    )
    later = Retention(time.time() + 1e7)
    stored = {file.path for file in list_files(uri) if file.path.endswith("parquet")}
    plan = plan_vacuum(uri, doors, later)
    # Only the third file of main: the tag has the first two, and the branch has its own.
    assert len(plan.files) == 1
    assert vacuum(uri, doors, later).plan.files == plan.files
    left = {file.path for file in list_files(uri) if file.path.endswith("parquet")}
    assert stored - left == {file.path for file in plan.files}
    assert (held(uri), held(place)) == ([1, 1, 1], [1, 1, 1])
    lake.delete("exp", "branch")
    lake.delete("h1", "tag")
    lake.commit(message="newest")
    done = vacuum(uri, doors, later)
    assert done.plan.dead == (place,)
    assert len([file for file in list_files(uri) if file.path.endswith("parquet")]) == 1
    assert not tables.is_table(place)
    assert held(uri) == [1, 1, 1]


def test_a_contract_lies_beside_the_table(bucket):
    uri = f"{bucket}/my tables/sales"
    append(uri, 1)
    with pytest.raises(ConfigError, match="has no contract"):
        find_contract(uri)
    assert contract_beside(uri) is None
    write_contract(contract_place(uri), CONTRACT)
    assert find_contract(uri) == f"{uri}/_contract.yaml"
    assert read_contract(find_contract(uri)) == contract_beside(uri)
    with pytest.raises(ConfigError, match="exists already"):
        refuse_existing(contract_place(uri))
    assert held(uri) == [1]
