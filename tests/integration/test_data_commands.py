"""``sluiceway data``: versions of a table by command, what is printed, and the exit codes."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import deltalake
import pytest

from sluiceway.cli.main import run_command

pytestmark = pytest.mark.integration

PROGRAM = [sys.executable, "-c", "from sluiceway.cli.main import main; main()"]


def data(folder: Path, *arguments: str, expect: int = 0, **environment: str) -> Any:
    """Run a command; its JSON document, or all that it said where it is to fail."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        for name in [name for name in os.environ if name.startswith("SLUICEWAY_")]:
            patch.delenv(name)
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.chdir(folder)
        code = run_command(["data", *arguments, "--json"])
    assert code == expect, out.getvalue() + err.getvalue()
    return json.loads(out.getvalue()) if expect == 0 else out.getvalue() + err.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two versions of one table: v2.1 with 2,000 rows, v2.2 with 1,000 more."""
    folder = tmp_path_factory.mktemp("tables")
    first = data(folder, "generate", "fraud", "--rows", "2000", "--seed", "42")
    assert (first["rows"], first["version"], first["tag"], first["skipped"]) == (2000, 0, "v2.1", False)
    assert 0.9 < first["best_auc"] < 1
    assert 0 < first["best_recall"] < first["best_precision"] < 1
    second = data(folder, "generate", "fraud", "--rows", "1000", "--seed", "43", "--tag", "v2.2")
    assert (second["version"], second["tag"]) == (1, "v2.2")
    return folder


def versions(folder: Path) -> list[dict[str, Any]]:
    return data(folder, "log", "data/fraud")


def test_generating_the_same_rows_again_writes_nothing(folder):
    before = versions(folder)
    again = data(folder, "generate", "fraud", "--rows", "1000", "--seed", "43", "--tag", "v2.2")
    assert (again["skipped"], again["version"]) == (True, 1)
    assert versions(folder) == before


def test_other_rows_of_the_same_seed_are_refused(folder):
    said = data(folder, "generate", "fraud", "--rows", "3000", "--seed", "42", expect=2)
    assert "seed" in said
    assert len(versions(folder)) == 2


def test_the_log_says_when_how_much_from_where_and_why(folder):
    newest, oldest = versions(folder)
    assert (newest["version"], newest["tags"], newest["rows"]) == (1, "v2.2", 1000)
    assert (oldest["version"], oldest["tags"], oldest["rows"]) == (0, "v2.1", 2000)
    assert oldest["source"] == "sluiceway data generate fraud"
    assert "2,000 transactions, seed 42" in oldest["message"]
    assert oldest["time"] <= newest["time"]


def test_a_version_is_shown_by_tag_number_and_time(folder):
    tagged = data(folder, "show", "data/fraud@v2.1")
    numbered = data(folder, "show", "data/fraud@0")
    newest = data(folder, "show", "data/fraud")
    time.sleep(1)  # the second that the newest commit fell into is over
    timed = data(folder, "show", f"data/fraud@{versions(folder)[0]['time'].replace('+00:00', '.999+00:00')}")
    assert (tagged["version"], tagged["rows"]) == (0, 2000)
    assert tagged["columns"]["merchant_category"] == "string"
    assert numbered["digest"] == tagged["digest"] != newest["digest"]
    assert (newest["version"], newest["rows"]) == (1, 3000)
    assert timed["digest"] == newest["digest"]


def test_an_alias_of_the_environment_names_the_table(folder):
    alias = json.dumps({"s3://ml-data/training/fraud_v2.1/": "data/fraud"})
    shown = data(folder, "show", "s3://ml-data/training/fraud_v2.1@v2.1", SLUICEWAY_PLATFORM__ALIASES=alias)
    assert (shown["uri"], shown["rows"]) == (str(folder / "data/fraud"), 2000)


def test_a_tag_stays_until_it_is_moved_or_removed(folder):
    data(folder, "tag", "data/fraud@v2.1", "approved", "-m", "audit")
    data(folder, "tag", "data/fraud@v2.1", "approved", "-m", "audit")  # the same again is no conflict
    said = data(folder, "tag", "data/fraud@v2.2", "approved", expect=2)
    assert "approved" in said
    assert "move it" in said
    assert data(folder, "show", "data/fraud@approved")["version"] == 0
    data(folder, "tag", "data/fraud@v2.2", "approved", "--move")
    assert data(folder, "show", "data/fraud@approved")["version"] == 1
    assert versions(folder)[0]["tags"] == "approved, v2.2"
    removed = data(folder, "untag", "data/fraud", "approved")
    assert removed["removed"] == "approved"
    assert "v2.1" in data(folder, "show", "data/fraud@aproved", expect=2)
    data(folder, "untag", "data/fraud", "approved", expect=2)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("log", "data/nothing"), "data/nothing"),
        (("show", "data/fraud@99"), "99"),
        (("show", "data/fraud@v2.3"), "v2.2"),
        (("generate", "fraud", "--rows", "5"), "rows"),
    ],
)
def test_what_is_not_there_is_named(folder, arguments, named):
    assert named in data(folder, *arguments, expect=2)


def test_restoring_makes_a_new_version_and_loses_none(folder, tmp_path):
    data(tmp_path, "generate", "fraud", "--rows", "1000", "--seed", "1", "--tag", "a")
    data(tmp_path, "generate", "fraud", "--rows", "1000", "--seed", "2", "--tag", "b")
    restored = data(tmp_path, "restore", "data/fraud@a")
    assert (restored["version"], restored["equals"]) == (2, 0)
    assert data(tmp_path, "show", "data/fraud")["rows"] == 1000
    assert data(tmp_path, "show", "data/fraud@b")["rows"] == 2000
    assert "back to a" in versions(tmp_path)[0]["message"]
    assert deltalake.DeltaTable(str(tmp_path / "data/fraud")).version() == 2


def test_the_program_prints_a_table_and_exits_with_the_code(folder):
    done = subprocess.run(
        [*PROGRAM, "data", "log", "data/fraud"], cwd=folder, capture_output=True, text=True, check=True
    )
    assert "v2.2" in done.stdout
    done = subprocess.run(
        [*PROGRAM, "data", "show", "data/fraud@nothing"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert "nothing" in done.stderr
    assert "Traceback" not in done.stderr
