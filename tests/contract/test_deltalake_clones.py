"""What we rely on in the pinned deltalake for branches: copies of logs, log entries of ours, versions that are kept."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import CommitProperties, DeltaTable, QueryBuilder, write_deltalake
from deltalake import exceptions as delta

from sluiceway.data import commit, delta_log
from sluiceway.data.clone import make_clone
from sluiceway.data.places import dataset, file_uri

pytestmark = pytest.mark.integration

BRANCH = "0" * 32


def rows(*ids: int, part: str = "a b") -> pa.Table:
    return pa.table({"id": pa.array(ids, pa.int64()), "part": [part] * len(ids)})


@pytest.fixture
def uri(tmp_path: Path) -> str:
    place = str(tmp_path / "table")
    for start, part in ((0, "a b"), (10, "c/d"), (20, "a b")):
        table = rows(*range(start, start + 10), part=part)
        commit.append(place, table, message="rows", source="test", partition_by=("part",))
    return place


@pytest.fixture
def clone(uri: str) -> str:
    return make_clone(uri, BRANCH, uri=uri, version=2)


def ids(uri: str) -> list[int]:
    return sorted(DeltaTable(uri).to_pyarrow_table()["id"].to_pylist())


def own_entry(uri: str, version: int, *, remove: int) -> None:
    """Take the first files out, as a merge does."""
    state = delta_log.replay(uri, version)
    files = list(state.adds.values())[:remove]
    actions = [delta_log.commit_info("TEST", {}), *(delta_log.removal(one) for one in files)]
    delta_log.write_entry(uri, version + 1, actions)


def test_the_engine_reads_a_copy_by_itself_and_pyarrow_needs_our_filesystem(clone):
    table = DeltaTable(clone)
    assert table.count() == 30
    found = QueryBuilder().register("t", table).execute("select count(*) as n, sum(id) as s from t").read_all()
    assert pa.table(found).to_pylist() == [{"n": 30, "s": sum(range(30))}]
    with pytest.raises(FileNotFoundError):
        table.to_pyarrow_table()
    assert sorted(dataset(table, clone).to_table()["id"].to_pylist()) == list(range(30))


def test_a_copy_is_appended_to_overwritten_and_checkpointed(clone):
    write_deltalake(clone, rows(100), mode="append")
    write_deltalake(clone, rows(7), mode="overwrite", predicate="part = 'a b'")
    DeltaTable(clone).create_checkpoint()
    found = dataset(DeltaTable(clone), clone).to_table()["id"].to_pylist()
    assert sorted(found) == [7, *range(10, 20)]
    write_deltalake(clone, rows(8), mode="overwrite")
    assert dataset(DeltaTable(clone), clone).to_table()["id"].to_pylist() == [8]


REWRITES = {
    "delete": lambda table: table.delete("id = 5"),
    "compact": lambda table: table.optimize.compact(),
    "restore": lambda table: table.restore(0),
}


@pytest.mark.parametrize("touch", REWRITES)
def test_a_copy_refuses_to_rewrite_what_it_inherited(clone, touch):
    write_deltalake(clone, rows(100), mode="append")
    write_deltalake(clone, rows(200, part="c/d"), mode="overwrite", predicate="part = 'c/d'")
    table = DeltaTable(clone)
    with pytest.raises(delta.DeltaError):
        REWRITES[touch](table)
    assert DeltaTable(clone).version() == table.version() == 2


def test_vacuum_of_the_table_never_lists_a_branch(uri, clone):
    write_deltalake(clone, rows(100), mode="append")
    found = DeltaTable(uri).vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False, full=True)
    assert found == []
    assert len(dataset(DeltaTable(clone), clone).to_table()) == 31


def test_versions_that_are_kept_outlive_a_vacuum(uri):
    commit.overwrite(uri, rows(1), message="anew", source="test")
    commit.overwrite(uri, rows(2), message="anew", source="test")
    DeltaTable(uri).vacuum(
        retention_hours=0, enforce_retention_duration=False, dry_run=False, full=True, keep_versions=[2]
    )
    assert len(DeltaTable(uri, version=2).to_pyarrow_table()) == 30
    with pytest.raises(FileNotFoundError):
        DeltaTable(uri, version=3).to_pyarrow_table()


def test_an_entry_of_ours_is_the_engines_as_well(uri):
    own_entry(uri, 2, remove=1)
    assert ids(uri) == list(range(10, 30))
    assert ids(uri) == sorted(dataset(DeltaTable(uri), uri).to_table()["id"].to_pylist())
    DeltaTable(uri).create_checkpoint()
    assert delta_log.replay(uri, 3).adds.keys() == set(DeltaTable(uri).get_add_actions()["path"].to_pylist())
    DeltaTable(uri).restore(2)
    assert ids(uri) == list(range(30))


def test_of_two_entries_of_one_version_the_second_is_refused(uri):
    own_entry(uri, 2, remove=1)
    with pytest.raises(delta.CommitFailedError):
        own_entry(uri, 2, remove=2)
    write_deltalake(uri, rows(50), mode="append")
    with pytest.raises(delta.CommitFailedError):
        own_entry(uri, 3, remove=1)
    assert ids(uri) == [*range(10, 30), 50]


ONCE = CommitProperties(max_commit_retries=0)
STALE = {
    "compact": lambda table: table.optimize.compact(),
    "delete": lambda table: table.delete("id = 5"),
    "overwrite": lambda table: write_deltalake(table, rows(1), mode="overwrite", commit_properties=ONCE),
    "update": lambda table: table.update({"id": "id + 1000"}),
    "merge": lambda table: (
        table.merge(rows(5), "t.id = s.id", source_alias="s", target_alias="t").when_matched_update_all().execute()
    ),
}


@pytest.mark.parametrize("stale", STALE)
def test_a_stale_writer_sees_that_an_entry_of_ours_took_files_away(uri, stale):
    table = DeltaTable(uri)
    own_entry(uri, 2, remove=3)
    with pytest.raises(delta.CommitFailedError):
        STALE[stale](table)
    assert ids(uri) == []


def test_raw_statistics_outlive_a_checkpoint(uri):
    before = delta_log.replay(uri, 2)
    DeltaTable(uri).create_checkpoint()
    for name in sorted((Path(uri) / "_delta_log").glob("*.json")):
        name.unlink()
    after = delta_log.replay(uri, 2)
    assert after.adds.keys() == before.adds.keys()
    for path, add in before.adds.items():
        found = after.adds[path]
        assert (found["stats"], found["partitionValues"], found["size"]) == (
            add["stats"],
            add["partitionValues"],
            add["size"],
        )
    assert after.metadata["schemaString"] == before.metadata["schemaString"]
    assert after.protocol == before.protocol
    assert file_uri(uri, path).startswith("file:///")
