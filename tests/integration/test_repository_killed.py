"""A merge of two tables that is killed after any of its steps is finished by whoever comes next."""

from __future__ import annotations

import signal
from pathlib import Path

import pyarrow as pa
import pytest

from data_actors import actors
from sluiceway.catalog.repository import RepositoryStore
from sluiceway.core.clock import SystemClock
from sluiceway.data import commit, history, places, tables
from sluiceway.data.merging import merge, recover
from sluiceway.data.repository import Repository

pytestmark = pytest.mark.integration

# What is left of the merge; then "recover" has one to finish, or none.
STEPS = {
    "before begin_merge 1": 0,
    "after begin_merge 1": 1,
    "after write_entry 1": 1,
    "after write_entry 2": 1,
    "after publish 1": 0,
}


def append(place: str, *ids: int) -> None:
    commit.append(place, rows(*ids), message="rows", source="test")


def rows(*ids: int) -> pa.Table:
    return pa.table({"id": pa.array(ids, pa.int64())})


def held(place: str) -> list[int]:
    return sorted(places.dataset(tables.open_table(place), place).to_table()["id"].to_pylist())


@pytest.mark.parametrize("step", STEPS)
def test_a_killed_merge_is_finished_by_the_next(catalog, tmp_path: Path, step):
    lake = Repository(RepositoryStore(catalog), SystemClock())
    one, other = (str(tmp_path / name) for name in ("one table", "other"))
    for uri in (one, other):
        append(uri, 1, 2)
        lake.add(uri)
    lake.commit(message="first")
    lake.branch("exp")
    for uri in (one, other):
        append(lake.place_to_write(uri, "exp"), 10)
    lake.commit("exp", message="ten in both")
    with actors(1) as (process,):
        url = f"sqlite:///{tmp_path / 'catalog.db'}"
        process.prepare(uri=one, program=[{"op": "branch", "name": "m", "branch": "exp", "catalog": url, "kill": step}])
        process.go()
        assert process.answer() is None
        assert process.killed() == -signal.SIGKILL
    for uri in (one, other):
        assert held(uri) in ([1, 2], [1, 2, 10])
    # The world goes on; what the merge has put in already does not come a second time.
    there = 10 in held(one)
    commit.overwrite(one, rows(3), message="anew", source="test")
    assert len(recover(lake)) == STEPS[step]
    merge(lake, "exp")
    assert held(one) == ([3] if there else [3, 10])
    assert held(other) == [1, 2, 10]
    assert lake.store.open_merges() == []
    assert [len(made.parents) for made in lake.log()] == [2, 1, 0]
    for uri in (one, other):
        assert [info.operation for info in history.log(uri)].count("MERGE BRANCH") == 1
