"""``sluiceway data check`` and ``data contract init``: what they print, where they look, and their exit codes."""

from __future__ import annotations

import contextlib
import datetime as dt
import io
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml

from command_line import sluiceway
from sluiceway.cli.main import run_command
from sluiceway.data import commit
from sluiceway.data.contract.load import FILE_NAME, read_contract

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("ray_for_all")]


@pytest.fixture(scope="module")
def ray_for_all(ray_cluster, module_patch):
    """One Ray for the commands of this file, which would each start and end one of their own."""
    from sluiceway.wiring import cluster  # noqa: PLC0415 (collected without Ray, too)

    module_patch.setattr(cluster, "disconnect", lambda: None)


@pytest.fixture(scope="module")
def module_patch():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


def rows(start: int, n: int) -> pa.Table:
    ids = range(start, start + n)
    now = dt.datetime.now(dt.UTC)
    return pa.table(
        {
            "trip_id": [f"t{i:05}" for i in ids],
            "amount": [0.5 + i for i in ids],
            "fee": pa.array([Decimal(i) / 4 for i in ids], pa.decimal128(12, 2)),
            "shop": pa.array([None if i % 50 == 0 else f"s{i % 4}" for i in ids]),
            "paid": [i % 2 == 0 for i in ids],
            "at": pa.array([now - dt.timedelta(minutes=i) for i in ids], pa.timestamp("us", "UTC")),
        }
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a table of two commits in data/trips."""
    for start in (0, 100):
        commit.append(str(tmp_path / "data/trips"), rows(start, 100), message="rows", source="test")
    return tmp_path


def said(folder: Path, *arguments: str, expect: int) -> str:
    """What a person reads of a command."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run_command(list(arguments))
    assert code == expect, out.getvalue() + err.getvalue()
    return out.getvalue() + err.getvalue()


def edited(path: Path, **of_column: dict[str, Any]) -> None:
    """Change columns of a contract file."""
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    for one in document["schema"][0]["properties"]:
        one.update(of_column.get(one["name"], {}))
    path.write_text(yaml.safe_dump(document), encoding="utf-8")


def test_a_drafted_contract_is_passed_by_its_version_and_broken_by_other_rows(folder):
    said(folder, "data", "check", "data/trips", expect=2)
    made = sluiceway(folder, "data", "contract", "init", "data/trips")
    path = folder / "data/trips" / FILE_NAME
    assert made == {"table": str(folder / "data/trips"), "version": 1, "file": str(path)}
    properties = {p.name: p for p in read_contract(path).table.properties}
    assert (properties["trip_id"].unique, properties["trip_id"].required) == (True, True)
    assert properties["shop"].quality[0].allowed == ("s0", "s1", "s2", "s3")
    passed = sluiceway(folder, "data", "check", "data/trips")
    assert passed["status"] == "PASS"
    assert {one["status"] for one in passed["verdicts"]} == {"PASS"}
    assert {one["check"] for one in passed["verdicts"]} >= {"amount maximum", "trip_id unique", "row count"}

    bad = rows(150, 60).set_column(1, "amount", pa.array([-5.0, *[1e6] * 59]))
    commit.append(str(folder / "data/trips"), bad, message="bad", source="test")
    broken = sluiceway(folder, "data", "check", "data/trips", expect=1)
    fails = {one["check"]: one for one in broken["verdicts"] if one["status"] == "FAIL"}
    assert set(fails) == {"amount minimum", "amount maximum", "fee maximum", "trip_id unique"}
    assert fails["amount minimum"]["examples"] == ["-5.0"]
    assert fails["trip_id unique"]["measurement"]["value"] == 50
    assert fails["trip_id unique"]["examples"] == ["t00150", "t00151", "t00152"]
    assert sluiceway(folder, "data", "check", "data/trips@1")["status"] == "PASS"


def test_a_draft_is_not_overwritten_unasked(folder):
    path = folder / "data/trips" / FILE_NAME
    path.write_text("mine", encoding="utf-8")
    assert "--force" in said(folder, "data", "contract", "init", "data/trips", expect=2)
    assert path.read_text(encoding="utf-8") == "mine"
    sluiceway(folder, "data", "contract", "init", "data/trips@0", "--out", "other.yaml")
    sluiceway(folder, "data", "contract", "init", "data/trips@0", "--force")
    assert path.read_text(encoding="utf-8") == (folder / "other.yaml").read_text(encoding="utf-8")
    assert "found 100" in path.read_text(encoding="utf-8")


def test_the_table_of_verdicts_says_owner_purpose_and_what_broke(folder):
    said(folder, "data", "contract", "init", "data/trips", expect=0)
    path = folder / "data/trips" / FILE_NAME
    edited(path, amount={"logicalTypeOptions": {"maximum": 150}}, shop={"required": True})
    with path.open("a", encoding="utf-8") as file:
        file.write("description: {purpose: paid trips}\nteam:\n  members: [{username: ann, role: owner}]\n")
    text = said(folder, "data", "check", "data/trips", expect=1)
    assert "owner:    ann" in text
    assert "about:    paid trips" in text
    line = next(line for line in text.splitlines() if line.startswith("amount maximum"))
    assert line.split() == ["amount", "maximum", "FAIL", "50", "rows", "0", "rows", "200", "150.5,", "151.5,", "152.5"]
    assert any(line.split()[:5] == ["shop", "required", "FAIL", "4", "rows"] for line in text.splitlines())
    assert "FAIL: " in text


def test_a_contract_that_cannot_be_used_is_bad_input(folder):
    assert "data contract init" in said(folder, "data", "check", "data/trips", expect=2)
    broken = folder / "broken.yaml"
    said(folder, "data", "contract", "init", "data/trips", "--out", "broken.yaml", expect=0)
    edited(broken, amount={"logicalTypeOption": {"maximum": 1}})
    text = said(folder, "data", "check", "data/trips", "--contract", "broken.yaml", expect=2)
    assert "schema[0].properties[1].logicalTypeOption: unknown key; did you mean 'logicalTypeOptions'?" in text
    document = sluiceway(folder, "data", "check", "data/trips", "--contract", "broken.yaml", expect=2)
    assert document["error"] == "ConfigError"
    assert len(document["problems"]) == 1
    assert "cannot be read" in said(folder, "data", "check", "data/trips", "--contract", "no.yaml", expect=2)


def test_an_empty_version_is_inconclusive_or_fails(folder):
    said(folder, "data", "contract", "init", "data/trips", expect=0)
    empty = rows(0, 2).slice(0, 0)
    commit.overwrite(str(folder / "data/trips"), empty, message="emptied", source="test")
    found = sluiceway(folder, "data", "check", "data/trips", expect=1)
    statuses = {one["check"]: one["status"] for one in found["verdicts"]}
    assert statuses.pop("row count") == "FAIL"
    assert set(statuses.values()) == {"INCONCLUSIVE"}
    path = folder / "data/trips" / FILE_NAME
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    del document["schema"][0]["quality"]
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    assert sluiceway(folder, "data", "check", "data/trips", expect=3)["status"] == "INCONCLUSIVE"
    assert "no rows" in said(folder, "data", "contract", "init", "data/trips", "--force", expect=2)


def test_a_file_that_is_gone_is_an_error(folder):
    said(folder, "data", "contract", "init", "data/trips", expect=0)
    next((folder / "data/trips").glob("*.parquet")).unlink()
    found = sluiceway(folder, "data", "check", "data/trips", expect=4)
    assert {one["status"] for one in found["verdicts"]} == {"PASS", "ERROR"}
