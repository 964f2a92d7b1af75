"""``sluiceway data ingest`` by command: what it prints, its exit codes, and rows that break a contract."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from command_line import sluiceway
from sluiceway.cli.main import run_command
from sluiceway.data import history

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("sessions_ray")]


@pytest.fixture
def sessions_ray(ray_cluster: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command ends the Ray that it runs on; here it is that of all tests."""
    from sluiceway.wiring import cluster  # noqa: PLC0415 (brings Ray)

    monkeypatch.setattr(cluster, "disconnect", lambda: None)


CONTRACT = """
apiVersion: v3.1.0
kind: DataContract
id: sales
version: 1.0.0
status: active
schema:
  - name: sales
    properties:
      - name: id
        logicalType: integer
        required: true
      - name: amount
        logicalType: number
        logicalTypeOptions:
          minimum: 0
"""


def ingest(folder: Path, *arguments: str, expect: int = 0):
    return sluiceway(folder, "data", "ingest", *arguments, expect=expect)


def ids(folder: Path, table: str) -> list[int]:
    return sorted(DeltaTable(str(folder / table)).to_pyarrow_table()["id"].to_pylist())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pq.write_table(pa.table({"id": range(1000), "amount": [1.5] * 1000}), tmp_path / "a.parquet")
    (tmp_path / "more.csv").write_text("id,amount\n1000,2.5\n1001,\n")
    return tmp_path


def test_files_and_tables_go_in_by_command(folder, capsys, monkeypatch):
    options = ("-m", "first", "--batch-id", "b1", "--meta", "ticket=D-1", "--author", "ann")
    first = ingest(folder, "a.parquet", "more.csv", "sales", *options)
    assert (first["version"], first["rows"], first["skipped"]) == (0, 1002, False)
    assert first["types"] == {"id": "int64", "amount": "double"}
    (info,) = history.log(str(folder / "sales"))
    assert (info.metadata["ticket"], info.message, info.author) == ("D-1", "first", "ann")
    copied = ingest(folder, "sales@0", "other", "--mode", "upsert", "--key", "id")
    assert copied["version"] == 0
    assert ids(folder, "other") == list(range(1002))
    refuse_ray(monkeypatch)
    again = ingest(folder, "a.parquet", "sales", "--batch-id", "b1")
    assert (again["version"], again["rows"], again["skipped"]) == (0, 1002, True)
    assert "write" in capsys.readouterr().err


def refuse_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    from sluiceway.wiring import cluster  # noqa: PLC0415 (brings Ray)

    monkeypatch.setattr(cluster, "connect_ray", lambda *_, **__: pytest.fail("Ray was started"))


def test_what_is_wrong_is_told_before_ray_starts(folder, monkeypatch):
    refuse_ray(monkeypatch)
    for arguments, named in (
        (["--mode", "upsert"], "needs a key"),
        (["--mode", "replace"], "none of append"),
        (["--meta", "novalue"], "not KEY=VALUE"),
        (["--meta", "sluiceway.rows=1"], "meta keys"),
        (["--format", "orc"], "format orc"),
    ):
        told = ingest(folder, "a.parquet", "sales", *arguments, expect=2)
        assert named in str(told)
    assert not (folder / "sales").exists()


def test_a_bad_value_has_exit_code_2_and_changes_nothing(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    (folder / "bad.csv").write_text("id,amount\n1,2\nx,3\n")
    write_deltalake(str(folder / "sales"), pq.read_table(folder / "a.parquet"))
    assert run_command(["data", "ingest", "bad.csv", "sales"]) == 2
    told = capsys.readouterr().err
    assert "bad.csv: row 3 (the header is row 1), column id: 'x' is not int64" in told
    assert "Traceback" not in told
    assert len(ids(folder, "sales")) == 1000
    assert len(list((folder / "sales").glob("*.parquet"))) == 1


def test_rows_that_break_the_contract_go_beside_or_refuse_the_delivery(folder):
    write_deltalake(str(folder / "sales"), pq.read_table(folder / "a.parquet"))
    (folder / "sales" / "_contract.yaml").write_text(CONTRACT)
    (folder / "bad.csv").write_text("id,amount\n2000,1\n2001,-5\n,3\n2002,4\n")
    refused = ingest(folder, "bad.csv", "sales", "--strict", expect=1)
    assert (refused["version"], refused["quarantined"]) == (None, 2)
    assert "2 rows break the contract" in refused["refused"]
    assert not (folder / "sales_quarantine").exists()
    assert len(list((folder / "sales").glob("*.parquet"))) == 1
    taken = ingest(folder, "bad.csv", "sales", "--batch-id", "b7")
    assert (taken["rows"], taken["quarantined"]) == (2, 2)
    assert ids(folder, "sales")[-2:] == [2000, 2002]
    beside = DeltaTable(str(folder / "sales_quarantine")).to_pyarrow_table().sort_by("amount").to_pylist()
    assert [(row["id"], row["amount"], row["_batch"]) for row in beside] == [(2001, -5.0, "b7"), (None, 3.0, "b7")]
    assert all(row["_reason"] and row["_source"].endswith("bad.csv") for row in beside)
    assert history.log(str(folder / "sales"))[0].metadata["sluiceway.quarantined"] == 2
    assert ingest(folder, "bad.csv", "sales", "--batch-id", "b7")["skipped"]
    assert DeltaTable(str(folder / "sales_quarantine")).version() == 0
    by_key = ("bad.csv", "sales", "--mode", "upsert", "--key", "id")
    assert ingest(folder, *by_key, "--strict", expect=1)["quarantined"] == 2
    assert (len(ids(folder, "sales")), DeltaTable(str(folder / "sales_quarantine")).version()) == (1002, 0)
    (folder / "bad.csv").write_text("id,amount\n2000,7\n2001,-5\n,3\n,4\n2003,4\n")
    merged = ingest(folder, *by_key, "--batch-id", "b8")
    assert (merged["rows"], merged["inserted"], merged["updated"], merged["quarantined"]) == (2, 1, 1, 3)
    assert ids(folder, "sales")[-3:] == [2000, 2002, 2003]
    assert history.log(str(folder / "sales"))[0].metadata["sluiceway.quarantined"] == 3
    beside = DeltaTable(str(folder / "sales_quarantine"))
    assert (beside.version(), beside.count()) == (1, 5)
    assert ingest(folder, *by_key, "--batch-id", "b8")["skipped"]


def test_rows_are_deleted_and_replaced_on_a_branch_and_merged(folder):
    def data(*words: str):
        return sluiceway(folder, "data", *words)

    ingest(folder, "a.parquet", "sales")
    data("add", "sales", "--key", "id")
    data("commit", "-m", "as delivered")
    data("branch", "exp")
    (folder / "gone.csv").write_text("id,why\n5,asked\n7,asked\n5000,asked\n")
    gone = ingest(folder, "gone.csv", "sales@exp", "--mode", "delete", "--key", "id", "--batch-id", "g")
    assert (gone["rows"], gone["deleted"]) == (3, 2)
    (folder / "new.csv").write_text("id,amount\n6,9.5\n5001,2\n")
    new = ingest(folder, "new.csv", "sales@exp", "--mode", "upsert", "--key", "id")
    assert (new["inserted"], new["updated"], len(ids(folder, "sales"))) == (1, 1, 1000)
    data("commit", "-b", "exp", "-m", "corrected")
    data("merge", "exp")
    assert ids(folder, "sales") == sorted({*range(1000), 5001} - {5, 7})
