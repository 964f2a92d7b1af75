"""Rows that differ between versions of real tables: what is found, what is read, and what is refused."""

from __future__ import annotations

import uuid
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, WriterProperties, write_deltalake

from sluiceway.catalog.stores import empty_stores
from sluiceway.core.errors import DataError, SchemaMismatchError
from sluiceway.data import commit, ray_row_diff, tables
from sluiceway.data.clone import make_clone
from sluiceway.data.diff import diff_versions
from sluiceway.data.references import resolve
from sluiceway.data.row_diff import RowDiff, diff_tables

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("ray_cluster")]


def rows(n, *, start=0, seed=1):
    random = np.random.default_rng(seed)
    return pa.table(
        {
            "id": np.arange(start, start + n),
            "value": pa.array(random.normal(size=n), mask=random.random(n) < 0.1),
            "place": pa.array(random.choice(["x", "y z", "ä/ö"], n), mask=random.random(n) < 0.1),
        }
    )


def replaced(table, name, place, value):
    values = table[name].to_pylist()
    values[place] = value
    return table.set_column(table.column_names.index(name), name, pa.array(values, table.schema.field(name).type))


@pytest.fixture
def uri(tmp_path):
    return str(tmp_path / "a table")


def differing(uri, old, new=None, **more):
    tags = empty_stores().tags
    return ray_row_diff.diff_rows(diff_versions(resolve(uri, old, tags=tags), resolve(uri, new, tags=tags)), **more)


def counts(found: RowDiff):
    return found.added, found.removed, found.changed


@pytest.mark.parametrize("partition_by", [(), ("place",)])
def test_append_overwrite_and_one_changed_value(uri, partition_by):
    first, more = rows(300), rows(50, start=300, seed=2)
    commit.append(uri, first, message="first", source="test", partition_by=partition_by)
    commit.append(uri, more, message="more", source="test")
    changed = replaced(replaced(pa.concat_tables([first, more]), "value", 7, -5.0), "place", 9, "elsewhere")
    commit.overwrite(uri, changed.slice(1), message="one less, two others", source="test")

    appended = differing(uri, 0, 1, key=["id"], limit=5)
    assert counts(appended) == (50, 0, 0)
    by_id = {row["id"]: row for row in more.to_pylist()}
    assert len(appended.added_rows) == 5
    assert all(row == by_id[row["id"]] for row in appended.added_rows)

    written_over = differing(uri, 1, 2, key=["id"])
    assert counts(written_over) == (0, 1, 2)
    assert written_over.removed_rows == (first.slice(0, 1).to_pylist()[0],)
    assert [(row.key, row.changes) for row in written_over.changed_rows] == [
        ({"id": 7}, {"value": (first["value"][7].as_py(), -5.0)}),
        ({"id": 9}, {"place": (first["place"][9].as_py(), "elsewhere")}),
    ]
    assert counts(differing(uri, 1, 2)) == (2, 3, 0)
    assert counts(differing(uri, 2, 0, key=["id"])) == (1, 50, 2)


def test_a_key_of_several_columns_one_of_them_of_the_partition(uri):
    old = pa.table({"day": ["a", "a", "b", None], "shop": [1, 2, 1, 1], "n": [10, 20, 30, 40]})
    new = pa.table({"day": ["a", "b", "b", None], "shop": [1, 1, 2, 1], "n": [10, 31, 20, 41]})
    commit.append(uri, old, message="old", source="test", partition_by=("day",))
    commit.overwrite(uri, new, message="new", source="test")
    found = differing(uri, 0, 1, key=["day", "shop"])
    assert counts(found) == (1, 1, 2)
    assert found.added_rows == ({"day": "b", "shop": 2, "n": 20},)
    assert found.removed_rows == ({"day": "a", "shop": 2, "n": 20},)
    assert [(row.key, row.changes) for row in found.changed_rows] == [
        ({"day": "b", "shop": 1}, {"n": (30, 31)}),
        ({"day": None, "shop": 1}, {"n": (40, 41)}),
    ]


def test_compaction_changes_every_file_and_no_row(uri):
    for seed in range(4):
        commit.append(uri, rows(200, start=200 * seed, seed=seed), message="part", source="test")
    DeltaTable(uri).optimize.compact()
    tags = empty_stores().tags
    files = diff_versions(resolve(uri, 3, tags=tags), resolve(uri, None, tags=tags))
    assert (len(files.removed.paths), len(files.added.paths), files.kept.paths) == (4, 1, ())
    assert files.added.rows == files.removed.rows == 800
    assert counts(ray_row_diff.diff_rows(files, key=["id"])) == (0, 0, 0)
    assert counts(ray_row_diff.diff_rows(files)) == (0, 0, 0)


def test_a_column_that_came_later_is_null_in_older_rows(uri):
    commit.append(uri, rows(5), message="first", source="test")
    new = rows(5).append_column("new", pa.array([None, None, "n", None, None]))
    write_deltalake(uri, new, mode="overwrite", schema_mode="merge")
    found = differing(uri, 0, key=["id"])
    assert counts(found) == (0, 0, 1)
    assert found.changed_rows[0].changes == {"new": (None, "n")}
    write_deltalake(uri, rows(5), mode="overwrite", schema_mode="overwrite")
    assert differing(uri, 1, key=["id"]).changed_rows[0].changes == {"new": ("n", None)}


def test_files_of_both_versions_are_not_read(uri):
    commit.append(uri, rows(100), message="first", source="test")
    (kept,) = Path(uri).glob("*.parquet")
    commit.append(uri, rows(10, start=100), message="more", source="test")
    kept.unlink()
    assert counts(differing(uri, 0, 1, key=["id"])) == (10, 0, 0)


def test_it_needs_no_ray_where_no_file_differs(uri, monkeypatch):
    commit.append(uri, rows(100), message="first", source="test")
    monkeypatch.setattr(ray_row_diff, "ray", None)
    monkeypatch.setattr(ray_row_diff, "finished", None)
    assert differing(uri, 0, key=["id"]) == RowDiff(("id",))


def test_a_file_that_a_vacuum_deleted_is_named(uri):
    commit.append(uri, rows(100), message="first", source="test")
    (gone,) = Path(uri).glob("*.parquet")
    commit.overwrite(uri, rows(100, seed=2), message="other", source="test")
    DeltaTable(uri).vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    assert not gone.exists()
    with pytest.raises(DataError, match=rf"is gone: .*{gone.name}") as caught:
        differing(uri, 0, 1, key=["id"])
    assert "vacuum" in caught.value.hint
    tags = empty_stores().tags
    assert diff_versions(resolve(uri, 0, tags=tags), resolve(uri, 1, tags=tags)).removed.rows == 100


def test_a_file_that_was_changed_in_place_and_a_key_that_is_not_there_are_refused(uri):
    commit.append(uri, rows(100), message="first", source="test")
    commit.append(uri, rows(10, start=100), message="more", source="test")
    with pytest.raises(SchemaMismatchError, match="'nothing' is not in the old and the new version"):
        differing(uri, 0, 1, key=["nothing"])
    live = tables.files(tables.open_table(uri)).to_pylist()
    (changed,) = [file["path"] for file in live if file["num_records"] == 10]
    pq.write_table(rows(9, start=100), Path(uri) / changed)
    with pytest.raises(DataError, match=rf"{changed} .* holds 9 rows, the log says 10"):
        differing(uri, 0, 1, key=["id"])


@pytest.mark.parametrize("key", [("id",), ()])
def test_many_parts_and_pieces_of_files_find_what_one_comparison_finds(uri, monkeypatch, key):
    old = rows(3_000)
    new = pa.concat_tables([old.slice(17), rows(40, start=2_990, seed=3)])
    for place in (0, 500, 501, 1_999):
        new = replaced(new, "value", place, float("nan"))
    small_groups = WriterProperties(max_row_group_size=200)
    for table in (old, new.take(pa.array(np.random.default_rng(5).permutation(len(new))))):
        write_deltalake(uri, table, mode="overwrite", writer_properties=small_groups)
    assert (
        pq.ParquetFile(max(Path(uri).glob("*.parquet"), key=lambda path: path.stat().st_mtime_ns)).num_row_groups == 16
    )
    monkeypatch.setattr(ray_row_diff, "ROWS_PER_TASK", 500)
    monkeypatch.setattr(ray_row_diff, "ROWS_PER_PART", 900)
    shares = list(ray_row_diff._side(resolve(uri, 0, tags=empty_stores().tags), whole(uri, 0)).shares())
    assert len(shares) == 6
    expected = diff_tables(old, new, key=key, limit=15)
    assert expected.added > 15
    # NaN is not itself in Python; as text it is.
    assert repr(differing(uri, 0, 1, key=key, limit=15)) == repr(expected)


def test_a_branch_is_compared_with_its_table_by_what_it_has_of_its_own(uri):
    commit.append(uri, rows(100), message="first", source="test", partition_by=("place",))
    branch = make_clone(uri, uuid.uuid4().hex, uri=uri, version=0)
    commit.append(branch, rows(10, start=100, seed=2), message="more", source="test")
    tags = empty_stores().tags
    main, own = resolve(uri, None, tags=tags), resolve(branch, None, tags=tags)
    files = diff_versions(main, own)
    assert (files.removed.paths, files.kept.rows, files.added.rows) == ((), 100, 10)
    assert counts(ray_row_diff.diff_rows(files, key=["id"])) == (10, 0, 0)
    commit.overwrite(branch, rows(100).slice(1), message="one less", source="test")
    found = ray_row_diff.diff_rows(diff_versions(main, resolve(branch, None, tags=tags)), key=["id"])
    assert counts(found) == (0, 1, 0)
    assert found.removed_rows[0]["id"] == 0
    back = ray_row_diff.diff_rows(diff_versions(resolve(branch, 1, tags=tags), main), key=["id"])
    assert counts(back) == (0, 10, 0)


def whole(uri, version):
    """All files of a version, as what only it has."""
    one = resolve(uri, version, tags=empty_stores().tags)
    return diff_versions(one, one).kept
