"""Ray reads pinned versions: columns, order, parts, profiles, and a million-row source in small."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from sluiceway.catalog.tags import TagStore
from sluiceway.config.experiment import DataSection
from sluiceway.core.errors import DataError, ReferenceNotFoundError, SchemaMismatchError, TableNotFoundError
from sluiceway.core.references import TableVersion
from sluiceway.data import commit, generate_fraud, history, membership, references
from sluiceway.data.profile import check_trainable, profile_table
from sluiceway.data.ray_profile import profile
from sluiceway.data.ray_read import key_columns, labelled_dataset, labelled_rows, read_part, read_version

pytestmark = [
    pytest.mark.integration,
    pytest.mark.usefixtures("ray_cluster"),
    # Ray Data warns about its own fields whenever it makes a context.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),
]

SEED = 7


@pytest.fixture(scope="session")
def ray_cluster():
    """For now: the session's own Ray, until wiring starts one."""
    import ray  # noqa: PLC0415

    if ray.is_initialized():
        yield
        return
    ray.init(num_cpus=2, object_store_memory=150_000_000, include_dashboard=False, log_to_driver=True)
    yield
    ray.shutdown()


def made(start: int, n: int) -> pa.Table:
    ids = np.arange(start, start + n)
    columns = {"id": ids, "x": np.sqrt(ids), "shop": [f"s{i % 4}" for i in ids], "y": (ids % 3 == 0).astype("int8")}
    return pa.table(columns | {"extra": ids * 2})


@pytest.fixture
def data(tmp_path: Path) -> DataSection:
    return DataSection(path=str(tmp_path / "table"), features=("x", "shop"), target="y", key=("id",))


@pytest.fixture
def version(data: DataSection, catalog) -> TableVersion:
    for start in (0, 500, 1000):
        commit.append(data.path, made(start, 500), message="rows", source="test")
    return references.resolve(data.path, 1, tags=TagStore(catalog))


def together(dataset) -> pa.Table:
    import ray  # noqa: PLC0415 (collected without Ray, too)

    return pa.concat_tables(ray.get(dataset.to_arrow_refs()))


def test_a_version_is_read_as_it_was(version):
    table = together(read_version(version, columns=["y", "id"]))
    assert table.column_names == ["y", "id"]
    assert sorted(table["id"].to_pylist()) == list(range(1000))
    with pytest.raises(SchemaMismatchError, match="no column nope"):
        read_version(version, columns=["nope"])


def test_order_is_the_same_each_time_and_after_a_checkpoint(version, data, catalog):
    newest = references.resolve(data.path, None, tags=TagStore(catalog))
    first = together(labelled_dataset(labelled_rows(newest, data=data, seed=SEED, n_folds=3)))
    assert together(labelled_dataset(labelled_rows(newest, data=data, seed=SEED, n_folds=3))).equals(first)
    DeltaTable(newest.uri).create_checkpoint()
    assert together(labelled_dataset(labelled_rows(newest, data=data, seed=SEED, n_folds=3))).equals(first)


def test_labels_are_those_of_the_membership(version, data):
    labelled = labelled_dataset(labelled_rows(version, data=data, seed=SEED, n_folds=3, extra_columns=["extra"]))
    table = together(labelled)
    assert table.column_names == ["x", "shop", "y", "extra", "__part__", "__fold__", "__key__"]
    ids = pa.table({"id": pa.array(table["extra"].to_numpy() // 2)})
    hashes = membership.row_hashes(ids, ["id"])
    np.testing.assert_array_equal(table["__key__"].to_numpy(), hashes)
    np.testing.assert_array_equal(table["__part__"].to_numpy(), membership.parts(hashes, SEED, data.split))
    np.testing.assert_array_equal(table["__fold__"].to_numpy(), membership.folds(hashes, SEED, 3))
    assert table["__part__"].type == table["__fold__"].type == pa.uint8()


def test_parts_are_complete_and_disjoint_and_stay(version, data, catalog):
    import ray  # noqa: PLC0415

    parts = [ray.get(read_part(version, data=data, seed=SEED, part=part, extra_columns=["id"])) for part in range(3)]
    found = [set(part["id"].to_pylist()) for part in parts]
    assert sum(map(len, found)) == 1000
    assert set().union(*found) == set(range(1000))
    assert parts[0].column_names == ["x", "shop", "y", "id", "__key__"]
    assert 620 < len(found[0]) < 780
    newest = references.resolve(data.path, None, tags=TagStore(catalog))
    later = ray.get(read_part(newest, data=data, seed=SEED, part=2, extra_columns=["id"]))
    assert found[2] <= set(later["id"].to_pylist())


def test_a_limit_takes_a_stable_sample(version, data):
    import ray  # noqa: PLC0415

    def sample(limit: int) -> list[int]:
        ref = read_part(version, data=data, seed=SEED, part=0, extra_columns=["id"], row_limit=limit)
        return ray.get(ref)["id"].to_pylist()

    few, more = sample(50), sample(100)
    assert (len(few), len(more)) == (50, 100)
    assert set(few) < set(more)


def test_content_identifies_rows_without_a_key(version, data, tmp_path):
    free = data.model_copy(update={"key": ()})
    table = together(labelled_dataset(labelled_rows(version, data=free, seed=SEED, n_folds=2)))
    assert len(set(table["__key__"].to_pylist())) == 1000
    assert table.column_names == ["x", "shop", "y", "__part__", "__fold__", "__key__"]
    nested = pa.schema([("a", pa.int64()), ("b", pa.list_(pa.int64()))])
    with pytest.raises(DataError, match="b is a list or a struct"):
        key_columns(nested, free)


def test_profile_in_ray_and_refusals(tmp_path, catalog):
    data = DataSection(path=str(tmp_path / "t"), features=("x", "shop"), target="y")
    commit.append(data.path, made(0, 700), message="a", source="test")
    found = profile(references.resolve(data.path, None, tags=TagStore(catalog)), ["x", "shop", "y", "absent"])
    assert found.rows == found.columns["x"].n == 700
    assert found.categories == {"shop": ("s0", "s1", "s2", "s3")}
    assert (found.columns["x"].low, found.columns["y"].values) == (0.0, (0.0, 1.0))
    check_trainable(found, data)
    broken = made(700, 2).set_column(1, "x", pa.array([float("inf"), float("nan")]))
    commit.append(data.path, broken, message="b", source="test")
    with pytest.raises(DataError, match="'x' has 1 infinite values"):
        check_trainable(profile(references.resolve(data.path, None, tags=TagStore(catalog)), ["x", "shop", "y"]), data)


def test_the_profile_of_many_files_is_that_of_the_rows(tmp_path, catalog, monkeypatch):
    """Several tasks, partition columns, columns that older files lack, a path that has to be quoted."""
    monkeypatch.setattr("sluiceway.data.ray_files.BYTES_PER_TASK", 1)
    uri = str(tmp_path / "t")
    rows = made(0, 900)
    write_deltalake(uri, rows, partition_by=["shop"])
    later = made(900, 300).set_column(2, "shop", pa.array(["a b/c"] * 300))
    later = later.append_column("new", pa.array([None, 2.5, float("nan")] * 100))
    write_deltalake(uri, later, mode="append", schema_mode="merge", partition_by=["shop"])
    names = ["x", "shop", "y", "new"]
    found = profile(references.resolve(uri, None, tags=TagStore(catalog)), names)
    assert found.columns == profile_table(DeltaTable(uri).to_pyarrow_table(columns=names))
    assert list(found.columns) == names
    assert found.columns["new"].nulls == 900 + 200


def test_the_profile_of_a_table_without_rows(tmp_path):
    data = DataSection(path=str(tmp_path / "t"), features=("x", "shop"), target="y")
    write_deltalake(data.path, made(0, 5)[:0])
    found = profile(TableVersion(data.path, 0, "", 0, "0"), ["x", "shop", "y"])
    assert [(column.kind, column.n) for column in found.columns.values()] == [("number", 0), ("text", 0), ("number", 0)]
    with pytest.raises(DataError, match="has no rows"):
        check_trainable(found, data)


def test_what_is_not_there(version, data, tmp_path):
    gone = TableVersion(str(tmp_path / "nothing"), 0, "", 1, "newest")
    with pytest.raises(TableNotFoundError):
        profile(gone, ["x"])
    with pytest.raises(ReferenceNotFoundError):
        labelled_dataset(labelled_rows(TableVersion(version.uri, 99, "", 1, "99"), data=data, seed=SEED, n_folds=2))


def test_generated_transactions_are_one_commit_once(tmp_path):
    uri = str(tmp_path / "fraud")
    first = generate_fraud.generate(uri, rows=120_000, seed=1)
    assert (first.version, first.rows, first.skipped) == (0, 120_000, False)
    assert DeltaTable(uri).count() == 120_000
    assert sum(DeltaTable(uri).to_pyarrow_table(columns=["is_fraud"])["is_fraud"].to_pylist()) == first.positives
    again = generate_fraud.generate(uri, rows=120_000, seed=1)
    assert again.skipped
    assert (again.version, again.positives, again.best_auc) == (0, first.positives, first.best_auc)
    with pytest.raises(DataError, match="another number"):
        generate_fraud.generate(uri, rows=10, seed=1)
    drifted = generate_fraud.generate(uri, rows=50_000, seed=1, drift=True)
    assert drifted.best_precision < 0.9 < first.best_precision
    assert [info.rows for info in history.log(uri)] == [50_000, 120_000]
    ids = DeltaTable(uri).to_pyarrow_table(columns=["transaction_id"])["transaction_id"].to_numpy()
    assert len(np.unique(ids)) == 170_000
