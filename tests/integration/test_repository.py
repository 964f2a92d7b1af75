"""Branches, commits and merges over real Delta tables, as git has them over files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from sluiceway.catalog.repository import RepositoryStore
from sluiceway.core.clock import SystemClock
from sluiceway.core.errors import (
    DataError,
    InputError,
    MergeConflictError,
    ReferenceNotFoundError,
    UnsupportedTableError,
)
from sluiceway.core.repository import MAIN
from sluiceway.data import commit, delta_log, places, tables
from sluiceway.data.merging import cherry_pick, merge, recover, revert
from sluiceway.data.repository import Repository
from sluiceway.data.three_way import Strategy

pytestmark = pytest.mark.integration


def rows(*ids: int, value: str = "a") -> pa.Table:
    return pa.table({"id": pa.array(ids, pa.int64()), "value": pa.array([value] * len(ids), pa.string())})


def append(place: str, *ids: int, value: str = "a") -> None:
    commit.append(place, rows(*ids, value=value), message="rows", source="test")


def held(place: str, version: int | None = None) -> list[int]:
    """The ids at a place, read as Ray reads them."""
    return sorted(places.dataset(tables.open_table(place, version=version), place).to_table()["id"].to_pylist())


@pytest.fixture
def lake(catalog) -> Repository:
    return Repository(RepositoryStore(catalog), SystemClock())


@pytest.fixture
def sales(tmp_path: Path, lake: Repository) -> str:
    """A table of two files on main, committed; its folder has a space, as people's have."""
    uri = str(tmp_path / "my tables" / "sales")
    append(uri, 1, 2)
    append(uri, 3)
    lake.add(uri)
    lake.commit(message="first")
    return uri


def on(lake: Repository, uri: str, branch: str) -> list[int]:
    pin = lake.pin(uri, branch)
    return held(pin.uri, pin.version)


def test_a_branch_sees_main_as_it_was_and_main_sees_nothing_of_it(lake, sales):
    lake.branch("exp")
    append(sales, 4)
    assert on(lake, sales, "exp") == [1, 2, 3]
    append(lake.place_to_write(sales, "exp"), 10)
    assert on(lake, sales, "exp") == [1, 2, 3, 10]
    assert held(sales) == [1, 2, 3, 4]
    assert sorted(DeltaTable(sales).to_pyarrow_table()["id"].to_pylist()) == [1, 2, 3, 4]


def test_a_branch_copies_no_row(lake, sales):
    lake.branch("exp")
    place = lake.place_to_write(sales, "exp")
    assert [p.suffix for p in Path(place).rglob("*") if p.is_file()] == [".json"]


def test_a_merge_is_one_entry_of_metadata_and_main_stays_a_plain_table(lake, sales):
    lake.branch("exp")
    append(lake.place_to_write(sales, "exp"), 10, 11)
    lake.commit("exp", message="more")
    append(sales, 4)
    before = DeltaTable(sales).version()
    files = set(Path(sales).rglob("*.parquet"))
    done = merge(lake, "exp")
    assert DeltaTable(sales).version() == before + 1
    assert set(Path(sales).rglob("*.parquet")) == files
    # Read by the engine itself, without anything of ours.
    assert sorted(DeltaTable(sales).to_pyarrow_table()["id"].to_pylist()) == [1, 2, 3, 4, 10, 11]
    assert done.commit.parents[1] == lake.find("exp").id
    assert DeltaTable(sales).history(1)[0]["operation"] == "MERGE BRANCH"
    DeltaTable(sales).optimize.compact()
    assert held(sales) == [1, 2, 3, 4, 10, 11]


def test_the_same_merge_again_changes_nothing(lake, sales):
    lake.branch("exp")
    append(lake.place_to_write(sales, "exp"), 10)
    lake.commit("exp", message="more")
    merge(lake, "exp")
    version = DeltaTable(sales).version()
    again = merge(lake, "exp")
    assert again.nothing
    assert DeltaTable(sales).version() == version
    append(lake.place_to_write(sales, "exp"), 11)
    lake.commit("exp", message="still more")
    merge(lake, "exp")
    assert held(sales) == [1, 2, 3, 10, 11]


def test_rows_that_the_branch_took_out_go_from_main(lake, sales):
    lake.branch("exp")
    commit.overwrite(lake.place_to_write(sales, "exp"), rows(7), message="anew", source="test")
    lake.commit("exp", message="anew")
    append(sales, 4)
    merge(lake, "exp")
    assert held(sales) == [4, 7]


def test_both_sides_rewrote_the_same_file(lake, sales):
    lake.branch("exp")
    commit.overwrite(lake.place_to_write(sales, "exp"), rows(7), message="anew", source="test")
    lake.commit("exp", message="anew")
    DeltaTable(sales).delete("id = 1")
    before = DeltaTable(sales).version(), lake.find(MAIN).id
    with pytest.raises(MergeConflictError, match=r"rewrote or removed the same files \(part-"):
        merge(lake, "exp")
    assert (DeltaTable(sales).version(), lake.find(MAIN).id) == before
    merge(lake, "exp", strategy=Strategy.DEST_WINS)
    assert held(sales) == [2, 3]


def test_source_wins_makes_main_what_the_branch_is(lake, sales):
    lake.branch("exp")
    commit.overwrite(lake.place_to_write(sales, "exp"), rows(7), message="anew", source="test")
    lake.commit("exp", message="anew")
    DeltaTable(sales).delete("id = 1")
    append(sales, 5)
    merge(lake, "exp", strategy=Strategy.SOURCE_WINS)
    assert held(sales) == [7]


def test_a_compaction_of_main_does_not_hinder_an_appending_branch(lake, sales):
    lake.branch("exp")
    append(lake.place_to_write(sales, "exp"), 10)
    lake.commit("exp", message="more")
    DeltaTable(sales).optimize.compact()
    merge(lake, "exp")
    assert held(sales) == [1, 2, 3, 10]


def test_the_same_key_on_both_sides_is_found(lake, sales):
    lake.add(sales, key=("id",))
    lake.branch("exp")
    append(lake.place_to_write(sales, "exp"), 9, 10)
    lake.commit("exp", message="more")
    append(sales, 10, 11)
    with pytest.raises(MergeConflictError, match=r"same key.*id=10"):
        merge(lake, "exp")
    assert held(sales) == [1, 2, 3, 10, 11]


def test_a_new_column_comes_with_the_branch(lake, sales):
    lake.branch("exp")
    place = lake.place_to_write(sales, "exp")
    from deltalake import write_deltalake  # noqa: PLC0415

    wider = rows(10).append_column("more", pa.array([1.5]))
    write_deltalake(place, wider, mode="append", schema_mode="merge")
    lake.commit("exp", message="wider")
    append(sales, 4)
    merge(lake, "exp")
    found = DeltaTable(sales).to_pyarrow_table().sort_by("id").to_pydict()
    assert found["id"] == [1, 2, 3, 4, 10]
    assert found["more"] == [None, None, None, None, 1.5]


def test_rules_that_main_got_since_refuse_unchecked_rows(lake, sales):
    lake.branch("exp")
    append(lake.place_to_write(sales, "exp"), -10)
    lake.commit("exp", message="more")
    DeltaTable(sales).alter.add_constraint({"positive": "id > 0"})
    with pytest.raises(MergeConflictError, match="stricter rules"):
        merge(lake, "exp")


def test_revert_takes_one_change_back_and_leaves_later_ones(lake, sales):
    append(sales, 4)
    lake.commit(message="four")
    append(sales, 5)
    lake.commit(message="five")
    revert(lake, "main~1")
    assert held(sales) == [1, 2, 3, 5]
    revert(lake, MAIN)  # the revert itself
    assert held(sales) == [1, 2, 3, 4, 5]


def test_cherry_pick_brings_one_change_and_not_what_was_before(lake, sales):
    lake.branch("exp")
    place = lake.place_to_write(sales, "exp")
    append(place, 10)
    lake.commit("exp", message="ten")
    append(place, 11)
    eleven = lake.commit("exp", message="eleven")
    done = cherry_pick(lake, eleven.id)
    assert held(sales) == [1, 2, 3, 11]
    assert done.commit.message == "eleven"
    merge(lake, "exp")
    assert held(sales) == [1, 2, 3, 10, 11]


def test_main_comes_into_a_branch_and_back(lake, sales):
    lake.branch("exp")
    append(lake.place_to_write(sales, "exp"), 10)
    lake.commit("exp", message="ten")
    append(sales, 4)
    lake.commit(message="four")
    merge(lake, MAIN, "exp")
    assert on(lake, sales, "exp") == [1, 2, 3, 4, 10]
    append(lake.place_to_write(sales, "exp"), 11)
    lake.commit("exp", message="eleven")
    merge(lake, "exp")
    assert held(sales) == [1, 2, 3, 4, 10, 11]


def test_a_branch_of_a_branch_goes_straight_to_main(lake, sales):
    lake.branch("one")
    append(lake.place_to_write(sales, "one"), 10)
    lake.commit("one", message="ten")
    lake.branch("two", "one")
    append(lake.place_to_write(sales, "two"), 20)
    lake.commit("two", message="twenty")
    assert on(lake, sales, "one") == [1, 2, 3, 10]
    merge(lake, "two")
    assert held(sales) == [1, 2, 3, 10, 20]
    assert merge(lake, "one").nothing


def test_partitions_with_odd_values(lake, tmp_path):
    uri = str(tmp_path / "parts")
    table = pa.table({"id": pa.array([1, 2, 3], pa.int64()), "p": ["a b", "c/d", "e%f"]})
    commit.append(uri, table, message="rows", source="test", partition_by=("p",))
    lake.add(uri, key=("id", "p"))
    lake.commit(message="first")
    lake.branch("exp")
    place = lake.place_to_write(uri, "exp")
    commit.append(place, table.set_column(0, "id", pa.array([4, 5, 6], pa.int64())), message="rows", source="test")
    assert held(place) == [1, 2, 3, 4, 5, 6]
    lake.commit("exp", message="more")
    commit.append(uri, table.set_column(0, "id", pa.array([7, 8, 9], pa.int64())), message="rows", source="test")
    merge(lake, "exp")
    found = DeltaTable(uri).to_pyarrow_table().sort_by("id").to_pydict()
    assert found == {"id": list(range(1, 10)), "p": ["a b", "c/d", "e%f"] * 3}
    lake.branch("late")
    commit.append(lake.place_to_write(uri, "late"), table, message="rows", source="test")
    lake.commit("late", message="again")
    commit.append(uri, table.slice(1, 1), message="rows", source="test")
    with pytest.raises(MergeConflictError, match="id=2, p=c/d"):
        merge(lake, "late")


def test_several_tables_move_together(lake, sales, tmp_path):
    other = str(tmp_path / "other")
    append(other, 1)
    lake.add(other)
    lake.commit(message="two tables")
    lake.branch("exp")
    for uri in (sales, other):
        append(lake.place_to_write(uri, "exp"), 10)
    lake.commit("exp", message="ten in both")
    DeltaTable(other).delete("id = 1")
    commit.overwrite(lake.place_to_write(other, "exp"), rows(99), message="anew", source="test")
    lake.commit("exp", message="anew")
    before = lake.find(MAIN).tree
    with pytest.raises(MergeConflictError, match="other: both sides"):
        merge(lake, "exp")
    assert held(sales) == [1, 2, 3]
    assert lake.find(MAIN).tree == before


def test_uncommitted_versions_are_not_left_behind_silently(lake, sales):
    lake.branch("exp")
    append(lake.place_to_write(sales, "exp"), 10)
    with pytest.raises(InputError, match="no commit holds"):
        merge(lake, "exp")


@pytest.mark.parametrize("name", ["", "a b", "v7", "deadbeef", "a/b", "a@b", "-x", "a..b", "x" * 129, "7"])
def test_odd_names(lake, sales, name):
    with pytest.raises(InputError, match="cannot be a name"):
        lake.branch(name)


def test_names_that_are_taken_or_unknown(lake, sales):
    lake.branch("exp")
    lake.tag("first")
    for make in (lake.branch, lake.tag):
        for name in ("exp", "first", MAIN):
            with pytest.raises(InputError, match="is taken"):
                make(name)
    with pytest.raises(ReferenceNotFoundError, match="'exq'") as refused:
        lake.find("exq")
    assert "exp" in str(refused.value)
    with pytest.raises(ReferenceNotFoundError):
        merge(lake, "nothing")


def test_a_tag_holds_and_a_commit_is_found_by_its_first_digits(lake, sales):
    first = lake.find(MAIN)
    lake.tag("first")
    append(sales, 4)
    lake.commit(message="four")
    assert on(lake, sales, "first") == [1, 2, 3]
    assert on(lake, sales, first.id[:9]) == [1, 2, 3]
    assert lake.find("main~1").id == first.id
    assert [c.message for c in lake.log()] == ["four", "first"]


def test_nothing_moves_a_protected_branch(lake, sales):
    lake.branch("exp")
    append(lake.place_to_write(sales, "exp"), 10)
    lake.commit("exp", message="ten")
    lake.protect(MAIN)
    lake.protect("exp")
    version = DeltaTable(sales).version()
    with pytest.raises(InputError, match="protected"):
        merge(lake, "exp")
    with pytest.raises(InputError, match="protected"):
        lake.place_to_write(sales, "exp")
    append(sales, 4)
    with pytest.raises(InputError, match="protected"):
        lake.commit(message="four")
    with pytest.raises(InputError, match="protected"):
        lake.delete("exp", "branch")
    assert DeltaTable(sales).version() == version + 1
    lake.protect(MAIN, protected=False)
    merge(lake, "exp")
    assert held(sales) == [1, 2, 3, 4, 10]


def test_a_table_that_only_grows_gives_no_rows_away(lake, sales):
    DeltaTable(sales).alter.set_table_properties({"delta.appendOnly": "true"})
    append(sales, 4)
    lake.commit(message="four")
    with pytest.raises(UnsupportedTableError, match="only grows"):
        revert(lake, MAIN)
    assert held(sales) == [1, 2, 3, 4]
    assert lake.store.open_merges() == []


def test_what_can_never_be_finished_is_refused_before_it_is_begun(lake, sales, tmp_path):
    lake.branch("exp")
    append(lake.place_to_write(sales, "exp"), 10)
    lake.commit("exp", message="ten")
    DeltaTable(sales).alter.add_constraint({"small": "id < 100"})
    lake.commit(message="a rule, and with it another protocol")
    version = DeltaTable(sales).version()
    for strategy in (Strategy.FAIL, Strategy.SOURCE_WINS):
        with pytest.raises((DataError, MergeConflictError)):
            merge(lake, "exp", strategy=strategy)
        assert lake.store.open_merges() == []
    other = str(tmp_path / "other")
    append(other, 1)
    lake.add(other)
    lake.commit(message="another table")
    with pytest.raises(DataError, match="other features"):
        revert(lake, MAIN)
    assert lake.store.open_merges() == []
    assert DeltaTable(sales).version() == version
    assert held(other) == [1]


def test_a_copy_is_no_table_to_add_and_a_stranger_is_refused(lake, sales, tmp_path):
    lake.branch("exp")
    place = lake.place_to_write(sales, "exp")
    with pytest.raises(DataError, match="branch's copy"):
        lake.add(place)
    append(str(tmp_path / "stranger"), 1)
    with pytest.raises(DataError, match="not in the repository"):
        lake.place_to_write(str(tmp_path / "stranger"), "exp")


class KilledError(BaseException):
    """What a killed process does next: nothing."""


@pytest.mark.parametrize("at", ["before the record", "after the record", "one table", "all tables", "the end"])
def test_a_crash_anywhere_is_finished_by_the_next(lake, sales, tmp_path, monkeypatch, at):
    other = str(tmp_path / "other")
    append(other, 1)
    lake.add(other)
    lake.commit(message="two tables")
    lake.branch("exp")
    for uri in (sales, other):
        append(lake.place_to_write(uri, "exp"), 10)
    lake.commit("exp", message="ten in both")
    entries = []
    write, begin, publish = delta_log.write_entry, RepositoryStore.begin_merge, RepositoryStore.publish

    def write_entry(*given, **named):
        if at == "after the record" or (at == "one table" and entries):
            raise KilledError
        write(*given, **named)
        entries.append(given)

    def begin_merge(*given):
        if at == "before the record":
            raise KilledError
        begin(*given)

    def publishing(*given, **named):
        if at == "all tables":
            raise KilledError
        publish(*given, **named)
        if at == "the end":
            raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(delta_log, "write_entry", write_entry)
        patch.setattr(RepositoryStore, "begin_merge", begin_merge)
        patch.setattr(RepositoryStore, "publish", publishing)
        with pytest.raises(KilledError):
            merge(lake, "exp")
    append(sales, 4)  # the world goes on
    finished = recover(lake)
    assert len(finished) == (0 if at in ("before the record", "the end") else 1)
    merge(lake, "exp")
    assert held(sales) == [1, 2, 3, 4, 10]
    assert held(other) == [1, 10]
    assert len(lake.log()) == 4
    assert lake.store.open_merges() == []
    entries = [json.loads(p.read_text().splitlines()[0]) for p in (Path(other) / "_delta_log").glob("*.json")]
    assert sum(entry["commitInfo"]["operation"] == "MERGE BRANCH" for entry in entries) == 1


def test_a_merge_that_does_not_fit_any_more_after_a_crash_is_undone(lake, sales, tmp_path, monkeypatch):
    other = str(tmp_path / "zz")
    append(other, 1)
    lake.add(other)
    lake.commit(message="two tables")
    lake.branch("exp")
    append(lake.place_to_write(sales, "exp"), 10)
    commit.overwrite(lake.place_to_write(other, "exp"), rows(99), message="anew", source="test")
    lake.commit("exp", message="both")
    write = delta_log.write_entry

    def only_sales(uri, *given, **named):
        if uri == other:
            raise KilledError
        write(uri, *given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(delta_log, "write_entry", only_sales)
        with pytest.raises(KilledError):
            merge(lake, "exp")
    assert held(sales) == [1, 2, 3, 10]
    DeltaTable(other).delete("id = 1")
    append(sales, 4)
    assert recover(lake) == []
    assert held(sales) == [1, 2, 3, 4]
    assert held(other) == []
    assert lake.find(MAIN).message == "two tables"
    with pytest.raises(MergeConflictError):
        merge(lake, "exp")


def test_a_merge_that_cannot_be_finished_stands_in_nobodys_way(lake, sales, tmp_path, monkeypatch, caplog):
    other = str(tmp_path / "other")
    append(other, 1)
    lake.add(other)
    lake.commit(message="two tables")
    for name, uri in (("one", other), ("two", sales)):
        lake.branch(name)
        append(lake.place_to_write(uri, name), 10)
        lake.commit(name, message="ten")

    def killed(*given, **named):
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(delta_log, "write_entry", killed)
        with pytest.raises(KilledError):
            merge(lake, "one")
    shutil.move(other, f"{other}-away")
    merge(lake, "two")
    assert held(sales) == [1, 2, 3, 10]
    assert "left unfinished" in caplog.text
    shutil.move(f"{other}-away", other)
    assert len(recover(lake)) == 1
    assert held(other) == [1, 10]


def test_a_branch_that_a_merge_goes_into_stays_until_it_has(lake, sales, monkeypatch):
    lake.branch("exp")
    append(sales, 4)
    lake.commit(message="four")

    def killed(*given, **named):
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(delta_log, "write_entry", killed)
        with pytest.raises(KilledError):
            merge(lake, MAIN, "exp")
    with pytest.raises(InputError, match="not finished"):
        lake.delete("exp", "branch")
    recover(lake)
    assert on(lake, sales, "exp") == [1, 2, 3, 4]
    lake.delete("exp", "branch")
