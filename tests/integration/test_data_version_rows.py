"""The row-set digest of versions: what keeps it, what changes it, and what is read for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from sluiceway.catalog.file_digests import FileDigestStore
from sluiceway.catalog.tags import TagStore
from sluiceway.core.errors import DataError
from sluiceway.core.row_digest import FORMAT, RowDigest
from sluiceway.data.commit import append, overwrite, restore
from sluiceway.data.ray_files import shares
from sluiceway.data.ray_row_digest import version_row_digest
from sluiceway.data.references import resolve
from sluiceway.data.row_digest import digest_rows

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("ray_cluster")]


def rows(n, *, seed=1, start=0):
    random = np.random.default_rng(seed)
    return pa.table(
        {
            "id": np.arange(start, start + n),
            "value": pa.array(random.normal(size=n), mask=random.random(n) < 0.1),
            "place": random.choice(["x", "y z", "ä/ö"], n),
        }
    )


class Digests:
    """Digests of versions of one table; remembers what is kept."""

    def __init__(self, uri, catalog):
        self.uri, self.tags, self.kept = str(uri), TagStore(catalog), FileDigestStore(catalog)

    def of(self, ref=None):
        return version_row_digest(resolve(self.uri, ref, tags=self.tags), kept=self.kept)

    def files(self):
        return self.kept.known(self.uri, format_name=FORMAT)


@pytest.fixture
def digests(tmp_path, catalog):
    return Digests(tmp_path / "a table", catalog)


def test_it_is_that_of_the_rows_whatever_the_partitions(digests):
    table = rows(3_000)
    append(digests.uri, table, message="first", source="test", partition_by=("place",))
    assert digests.of() == digest_rows(table)


def test_compaction_and_z_order_keep_it_and_one_value_changes_it(digests):
    parts = [rows(500, seed=seed, start=500 * seed) for seed in range(4)]
    for part in parts:
        append(digests.uri, part, message="part", source="test")
    whole = digests.of()
    DeltaTable(digests.uri).optimize.compact()
    assert len(DeltaTable(digests.uri).file_uris()) == 1
    assert digests.of() == whole
    DeltaTable(digests.uri).optimize.z_order(["value"])
    assert digests.of() == whole
    changed = pa.concat_tables(parts)
    values = changed["id"].to_numpy().copy()
    values[1_234] += 1
    overwrite(digests.uri, changed.set_column(0, "id", pa.array(values)), message="one value", source="test")
    assert digests.of() != whole
    restore(digests.uri, 3, message="back")
    assert digests.of() == whole


def test_a_commit_reads_only_what_it_brought(digests, monkeypatch):
    append(digests.uri, rows(500), message="first", source="test")
    first = digests.of()
    append(digests.uri, rows(300, seed=2, start=500), message="second", source="test")
    read = []
    keep = FileDigestStore.keep
    monkeypatch.setattr(
        FileDigestStore, "keep", lambda self, uri, found, **more: read.append(found) or keep(self, uri, found, **more)
    )
    second = digests.of()
    (found,) = read
    assert [one.rows for one in found.values()] == [300]
    assert second - first == digest_rows(rows(300, seed=2, start=500))
    assert digests.of(0) == first
    assert len(read) == 1


def test_a_column_that_came_later_leaves_what_is_kept_true(digests):
    append(digests.uri, rows(200), message="first", source="test")
    first = digests.of()
    later = rows(100, seed=2, start=200).append_column("new", pa.array(["n"] * 100))
    write_deltalake(digests.uri, later, mode="append", schema_mode="merge")
    kept = digests.of()
    assert kept - first == digest_rows(later)
    digests.kept.forget(digests.uri, digests.files())
    assert digests.files() == {}
    assert digests.of() == kept == digest_rows(DeltaTable(digests.uri).to_pyarrow_table())


def test_a_file_that_was_changed_in_place_or_is_gone_is_named(digests):
    append(digests.uri, rows(100), message="first", source="test")
    (file,) = Path(digests.uri).glob("*.parquet")
    pq.write_table(rows(99), file)
    with pytest.raises(DataError, match=rf"{file.name} .* holds 99 rows, the log says 100"):
        digests.of()
    assert digests.files() == {}
    file.unlink()
    with pytest.raises(DataError, match=file.name):
        digests.of()


def test_a_kept_digest_is_not_written_over(catalog):
    store = FileDigestStore(catalog)
    store.keep("t", {"a": RowDigest(1, 2**64 - 1, 0), "b": RowDigest(2, 3, 4)}, format_name="f")
    store.keep("t", {"a": RowDigest(9, 9, 9)}, format_name="f")
    assert store.known("t", format_name="f") == {"a": RowDigest(1, 2**64 - 1, 0), "b": RowDigest(2, 3, 4)}
    assert store.known("t", format_name="other") == store.known("u", format_name="f") == {}
    store.forget("t", ["a", "c"])
    assert list(store.known("t", format_name="f")) == ["b"]


def test_tasks_share_the_files_by_size():
    files = [(str(i), 60 * 2**20) for i in range(7)]
    assert list(shares(files)) == [["0", "1", "2"], ["3", "4", "5"], ["6"]]
    assert list(shares([])) == []
