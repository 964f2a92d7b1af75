"""A store that cannot write "create only" is refused by every way to write: two writers would lose commits."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import obstore
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from obstore.store import from_url

import s3_gateway
from ray_head import clean_environment
from sluiceway.catalog.leases import LeaseStore
from sluiceway.catalog.repository import RepositoryStore
from sluiceway.cli.main import run_command
from sluiceway.core.clock import SystemClock
from sluiceway.core.errors import DataError
from sluiceway.data import commit, commit_files, delta_log, tables
from sluiceway.data.merging import merge
from sluiceway.data.optimize import optimize
from sluiceway.data.repository import Repository

pytestmark = pytest.mark.integration

DISABLED = "disabled"  # not of the server, of the clients' own settings


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with s3_gateway.running() as address:
        yield address


@pytest.fixture
def table(server, monkeypatch) -> str:
    """A table of two versions in a bucket of its own, which this process has not written to."""
    s3_gateway.change(server, s3_gateway.KEPT)
    for name, value in s3_gateway.environment(server).items():
        monkeypatch.setenv(name, value)
    uri = f"{s3_gateway.new_bucket(server)}/main/tables/sales"
    for ids in ((1, 2), (3,)):
        write_deltalake(uri, rows(*ids), mode="append")
    return uri


def rows(*ids: int) -> pa.Table:
    return pa.table({"id": pa.array(ids, pa.int64())})


def objects(uri: str) -> dict[str, str]:
    """Everything in the table's bucket, with what it is."""
    return {
        meta["path"]: meta["e_tag"] for part in obstore.list(from_url("/".join(uri.split("/")[:3]))) for meta in part
    }


def close(server: str, door: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if door == DISABLED:
        monkeypatch.setenv("AWS_CONDITIONAL_PUT", "disabled")
    else:
        s3_gateway.change(server, door)


def delivery() -> commit_files.Delivery:
    return commit_files.Delivery("rows", "test")


WRITES: dict[str, Callable[[str, Repository, LeaseStore], object]] = {
    "append": lambda uri, _lake, _leases: commit.append(uri, rows(4), message="rows", source="test"),
    "create": lambda uri, _lake, _leases: commit.append(uri + "2", rows(4), message="rows", source="test"),
    "overwrite": lambda uri, _lake, _leases: commit.overwrite(uri, rows(4), message="rows", source="test"),
    "restore": lambda uri, _lake, _leases: commit.restore(uri, 0, message="back"),
    "upsert": lambda uri, _lake, _leases: commit_files.merge(
        uri, lambda: rows(1).to_reader(), rows=1, key=("id",), mode=commit_files.UPSERT, delivery=delivery()
    ),
    "optimize": lambda uri, _lake, leases: optimize(uri, leases=leases, clock=SystemClock()),
    "own entry": lambda uri, _lake, _leases: delta_log.write_entry(uri, 2, [delta_log.commit_info("TEST", {})]),
    "own entry that is there": lambda uri, _lake, _leases: delta_log.write_entry(
        uri, 1, [delta_log.commit_info("TEST", {})]
    ),
    "branch": lambda uri, lake, _leases: lake.place_to_write(uri, "exp"),
}


@pytest.mark.parametrize("door", [s3_gateway.REFUSED, s3_gateway.IGNORED, DISABLED])
@pytest.mark.parametrize("write", WRITES)
def test_every_way_to_write_is_refused_with_one_line(server, table, catalog, monkeypatch, door, write):
    lake = Repository(RepositoryStore(catalog), SystemClock())
    lake.add(table)
    lake.commit(message="first")
    lake.branch("exp")
    before = objects(table)
    close(server, door, monkeypatch)
    with pytest.raises(DataError) as caught:
        WRITES[write](table, lake, LeaseStore(catalog))
    assert "create only" in str(caught.value)
    assert "If-None-Match" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 2, str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert caught.value.exit_code == 2
    s3_gateway.change(server, s3_gateway.KEPT)
    monkeypatch.delenv("AWS_CONDITIONAL_PUT", raising=False)
    assert objects(table) == before
    assert tables.open_table(table).version() == 1


def test_a_merge_is_refused_and_finished_later(server, table, catalog, monkeypatch):
    lake = Repository(RepositoryStore(catalog), SystemClock())
    lake.add(table)
    lake.commit(message="first")
    lake.branch("exp")
    commit.append(lake.place_to_write(table, "exp"), rows(10), message="rows", source="test")
    lake.commit("exp", message="ten")
    # The bucket is known to be safe by now; a store that says no all the same is told as it is.
    close(server, s3_gateway.REFUSED, monkeypatch)
    with pytest.raises(DataError, match="501") as caught:
        merge(lake, "exp")
    assert "If-None-Match" in str(caught.value)
    assert DeltaTable(table).version() == 1
    s3_gateway.change(server, s3_gateway.KEPT)
    merge(lake, "exp")
    assert sorted(DeltaTable(table).to_pyarrow_table()["id"].to_pylist()) == [1, 2, 3, 10]


def test_a_store_that_says_unchanged_for_taken_is_as_good(server, table, monkeypatch):
    close(server, s3_gateway.UNCHANGED, monkeypatch)
    assert commit.append(table, rows(4), message="rows", source="test").version == 2
    with pytest.raises(Exception, match="somebody else"):
        delta_log.write_entry(table, 2, [delta_log.commit_info("TEST", {})])
    assert commit.append(table, rows(5), message="rows", source="test").version == 3


def test_the_trial_leaves_nothing_and_is_made_once(server, table, monkeypatch):
    before = set(objects(table))
    commit.append(table, rows(4), message="rows", source="test")
    assert {path for path in set(objects(table)) - before if "create_only" in path} == set()
    # Known by now: nothing is tried again, so a store that would overwrite is not noticed any more.
    close(server, s3_gateway.IGNORED, monkeypatch)
    assert commit.append(table, rows(5), message="rows", source="test").version == 3


@pytest.mark.parametrize(("door", "status"), [(s3_gateway.KEPT, "ok"), (s3_gateway.IGNORED, "PROBLEM")])
def test_the_doctor_tries_a_store(server, table, tmp_path, monkeypatch, door, status):
    close(server, door, monkeypatch)
    out = io.StringIO()
    with contextlib.chdir(tmp_path), contextlib.redirect_stdout(out):
        code = run_command(["doctor", "--store", table, "--json"])
    (row,) = [row for row in json.loads(out.getvalue()) if row["what"] == "store"]
    assert (row["status"], row["value"]) == (status, table)
    assert ("create only" in row["problem"]) is (status == "PROBLEM")
    assert code == 4 or status == "ok"


def test_an_ingest_is_refused_and_leaves_no_file(server, table, tmp_path, monkeypatch):
    pq.write_table(rows(4), tmp_path / "new.parquet")
    before = objects(table)
    close(server, s3_gateway.IGNORED, monkeypatch)
    program = str(Path(sys.executable).with_name("sluiceway"))
    done = subprocess.run(
        [program, "data", "ingest", "new.parquet", table],
        cwd=tmp_path,
        env=clean_environment() | s3_gateway.environment(server),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 2, done.stderr
    assert "overwrites what was to be created only" in done.stderr
    assert "Traceback" not in done.stderr
    # pyarrow puts an empty object for the folder where it deletes the folder's last file.
    assert {path: tag for path, tag in objects(table).items() if not table.endswith(path)} == before
