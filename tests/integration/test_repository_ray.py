"""A branch read by Ray as any version is: features, digests of rows, and its lineage."""

import pyarrow as pa
import pytest

from sluiceway.catalog.file_digests import FileDigestStore
from sluiceway.catalog.repository import RepositoryStore
from sluiceway.catalog.tags import TagStore
from sluiceway.core.clock import SystemClock
from sluiceway.core.errors import ReferenceNotFoundError
from sluiceway.data import commit
from sluiceway.data.merging import merge
from sluiceway.data.ray_read import read_version
from sluiceway.data.ray_row_digest import version_row_digest
from sluiceway.data.references import resolve
from sluiceway.data.repository import Repository

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("ray_cluster")]


def rows(*ids):
    return pa.table({"id": pa.array(ids, pa.int64()), "part": ["a b" if i % 2 else "c/d" for i in ids]})


def test_a_branch_is_read_beside_main(catalog, tmp_path):
    uri = str(tmp_path / "my table")
    commit.append(uri, rows(1, 2, 3), message="rows", source="test", partition_by=("part",))
    store, tags, kept = RepositoryStore(catalog), TagStore(catalog), FileDigestStore(catalog)
    repository = Repository(store, SystemClock())
    repository.add(uri)
    repository.commit(message="first")
    repository.branch("exp")
    commit.append(repository.place_to_write(uri, "exp"), rows(4, 5), message="rows", source="test")

    def read(ref):
        version = resolve(uri, ref, tags=tags, repository=store)
        found = read_version(version, columns=["id", "part"]).take_all()
        return sorted((row["id"], row["part"]) for row in found), version_row_digest(version, kept=kept)

    def expected(*ids):
        return [(i, "a b" if i % 2 else "c/d") for i in ids]

    on_main, before = read(None)
    on_branch, more = read("exp")
    assert on_main == expected(1, 2, 3)
    assert on_branch == expected(1, 2, 3, 4, 5)
    assert before != more
    repository.commit("exp", message="more")
    merge(repository, "exp")
    merged, after = read("main")
    assert merged == on_branch
    assert after == more  # the same rows, wherever their files are named
    with pytest.raises(ReferenceNotFoundError):
        resolve(uri, "exq", tags=tags, repository=store)
