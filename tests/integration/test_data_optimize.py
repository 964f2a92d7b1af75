"""Files are put together and sorted; rows, digests of rows and old versions stay what they are."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
import sqlalchemy as sa
from deltalake import DeltaTable

from sluiceway.catalog.claim import claim
from sluiceway.catalog.leases import LeaseStore
from sluiceway.cli.main import run_command
from sluiceway.core.clock import SystemClock
from sluiceway.core.errors import BackendError, ConflictError, DataError
from sluiceway.data import optimize as room
from sluiceway.data import tables
from sluiceway.data.commit import append
from sluiceway.data.optimize import CARE, Optimized, optimize
from sluiceway.data.row_digest import digest_rows

pytestmark = pytest.mark.integration


@pytest.fixture
def leases(catalog: sa.Engine) -> LeaseStore:
    return LeaseStore(catalog)


def small_files(place: Path, count: int = 4, *, partition_by: tuple[str, ...] = ()) -> str:
    for number in range(count):
        rows = pa.table(
            {
                "id": pa.array(range(number * 10, number * 10 + 10), pa.int64()),
                "place": ["a b", "x/y"] * 5,
                "at": pa.array([datetime(2024, 1, 1 + number, tzinfo=UTC)] * 10, pa.timestamp("us", "UTC")),
            }
        )
        append(str(place), rows, message=f"part {number}", source="test", partition_by=partition_by)
    return str(place)


def rows(uri: str, version: int | None = None) -> list[dict]:
    found = tables.open_table(uri, version=version).to_pyarrow_table().to_pylist()
    return sorted(found, key=lambda row: row["id"])


def files(uri: str) -> int:
    return tables.files(tables.open_table(uri)).num_rows


def call(uri: str, leases: LeaseStore, **more) -> Optimized:
    return optimize(uri, leases=leases, clock=SystemClock(), **more)


def test_small_files_become_one(tmp_path: Path, leases: LeaseStore) -> None:
    uri = small_files(tmp_path / "t")
    before, digest = rows(uri), digest_rows(tables.open_table(uri).to_pyarrow_table())
    done = call(uri, leases, author="me")
    assert (done.version, done.added, done.removed) == (4, 1, 4)
    assert 0 < done.bytes_added < done.bytes_removed
    assert files(uri) == 1
    assert rows(uri) == before == rows(uri, 3)
    assert digest_rows(tables.open_table(uri).to_pyarrow_table()) == digest
    entry = tables.open_table(uri).history(1)[0]
    assert (entry["operation"], entry["sluiceway.author"]) == ("OPTIMIZE", "me")
    again = call(uri, leases)
    assert again.nothing
    assert again.version == 4 == tables.open_table(uri).version()


def test_one_partition_alone(tmp_path: Path, leases: LeaseStore) -> None:
    uri = small_files(tmp_path / "t", partition_by=("place",))
    before = rows(uri)
    assert files(uri) == 8
    done = call(uri, leases, partitions=[("place", "=", "a b")])
    assert (done.added, done.removed) == (1, 4)
    assert files(uri) == 5
    call(uri, leases)
    assert files(uri) == 2
    assert rows(uri) == before


def test_z_order_keeps_the_rows(tmp_path: Path, leases: LeaseStore) -> None:
    uri = small_files(tmp_path / "t")
    before = rows(uri)
    done = call(uri, leases, order_by=["at", "id"])
    assert done.removed == 4
    assert rows(uri) == before


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"order_by": ["nothing"]}, "no column nothing"),
        ({"partitions": [("id", "=", "1")]}, "no partition column id"),
        ({"order_by": ["place"]}, "place is a partition column"),
    ],
)
def test_wrong_columns(tmp_path: Path, leases: LeaseStore, more: dict, said: str) -> None:
    uri = small_files(tmp_path / "t", partition_by=("place",))
    with pytest.raises(DataError, match=said):
        call(uri, leases, **more)
    assert tables.open_table(uri).version() == 3


def test_a_branch_copy_is_refused(tmp_path: Path, leases: LeaseStore) -> None:
    with pytest.raises(DataError, match="branch's copy"):
        call(str(tmp_path / "t" / "_branches" / ("0" * 32)), leases)


def test_one_at_a_time(tmp_path: Path, leases: LeaseStore) -> None:
    uri = small_files(tmp_path / "t")
    with claim(leases, CARE + uri, clock=SystemClock()):
        pass  # given back
    assert leases.acquire(CARE + uri, owner="another machine:1:2", ttl=60, now=SystemClock().now())
    with pytest.raises(ConflictError, match="another machine"):
        call(uri, leases)
    assert tables.open_table(uri).version() == 3


def test_rows_that_doubled_are_brought_back(
    tmp_path: Path, leases: LeaseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine that takes no file out, as 1.6.4 to 1.6.6 do behind a stale handle."""
    uri = small_files(tmp_path / "t")
    before = rows(uri)

    class Doubling:
        def __init__(self, table: DeltaTable) -> None:
            self.table = table

        def compact(self, **options):
            numbers = self.table.optimize.compact(**options)
            place = tmp_path / "t" / "_delta_log" / f"{4:020d}.json"
            lines = place.read_text().splitlines()
            kept = [line for line in lines if "remove" not in json.loads(line)]
            kept += [line for line in lines if "remove" in json.loads(line)][:1]
            place.write_text("\n".join(kept) + "\n")
            return numbers

    class Table:
        def __init__(self, table: DeltaTable) -> None:
            self._table, self.optimize = table, Doubling(table)

        def __getattr__(self, name: str):
            return getattr(self._table, name)

    real = tables.open_table
    first = iter([True, True])
    monkeypatch.setattr(
        room.tables, "open_table", lambda *a, **k: Table(real(*a, **k)) if next(first, None) else real(*a, **k)
    )
    with pytest.raises((DataError, BackendError), match=r"10 rows .* became 40") as caught:
        call(uri, leases)
    assert "brought back" in str(caught.value)
    assert rows(uri) == before


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    uri = small_files(tmp_path / "t")
    monkeypatch.chdir(tmp_path)

    def run(*words: str, code: int = 0) -> str:
        assert run_command(["data", "optimize", *words]) == code
        said = capsys.readouterr()
        return said.out + said.err

    found = json.loads(run("t", "--json"))
    assert {name: found[name] for name in ("table", "version", "files", "instead of")} == {
        "table": uri,
        "version": 4,
        "files": 1,
        "instead of": 4,
    }
    assert "nothing to do" in run("t")
    assert "not COLUMN=VALUE" in run("t", "--where", "oops", code=2)
    assert "no Delta table" in run("nowhere", code=2)
