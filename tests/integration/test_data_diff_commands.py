"""``sluiceway data diff``, and what ``show`` and ``log`` say of a version."""

from __future__ import annotations

import io
from contextlib import chdir, redirect_stderr, redirect_stdout
from urllib.parse import unquote

import pyarrow as pa
import pytest
from deltalake import CommitProperties, DeltaTable, write_deltalake

from command_line import sluiceway
from sluiceway.cli.main import run_command
from sluiceway.data import commit

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A table of four versions: two deliveries, a compaction, one changed value."""
    folder = tmp_path_factory.mktemp("diff")
    uri = str(folder / "sales")
    first = pa.table({"id": [1, 2, 3], "price": [0.5, None, float("nan")], "shop": ["a", "b/c", None]})
    second = pa.table({"id": [4, 5], "price": [1.5, -2.5], "shop": ["a", "b/c"]})
    commit.append(uri, first, message="January", source="crm", author="ann", partition_by=("shop",))
    commit.append(uri, second, message="February", source="crm", batch_id="feb")
    DeltaTable(uri).optimize.compact(commit_properties=CommitProperties(custom_metadata={"ticket": "OPS-7"}))
    third = pa.table({"id": [1, 2, 3, 4, 6], "price": [0.5, None, float("nan"), 9.5, 1.0], "shop": ["a"] * 5})
    commit.overwrite(uri, third, message="all in one shop", source="fix")
    sluiceway(folder, "data", "tag", "sales@1", "february")
    return folder


def said(folder, *arguments, expect=0):
    """What a person reads, on both streams."""
    out, err = io.StringIO(), io.StringIO()
    with chdir(folder), redirect_stdout(out), redirect_stderr(err):
        code = run_command([*arguments])
    assert code == expect, out.getvalue() + err.getvalue()
    return out.getvalue() + err.getvalue()


def test_files_and_counts_of_two_versions(folder):
    found = sluiceway(folder, "data", "diff", "sales@0", "sales@february")
    assert [found["old"][name] for name in ("version", "rows")] == [0, 3]
    assert [found["new"][name] for name in ("version", "rows", "ref")] == [1, 5, "february"]
    files = found["files"]
    assert {kind: (one["files"], one["rows"]) for kind, one in files.items()} == {
        "added": (2, 2),
        "removed": (0, 0),
        "kept": (3, 3),
    }
    paths = [folder / "sales" / unquote(path) for path in files["added"]["paths"]]
    assert files["added"]["bytes"] == sum(path.stat().st_size for path in paths)
    assert found["columns"] == []
    assert found["partition_columns"] == {"old": ["shop"], "new": ["shop"]}
    assert "row_changes" not in found


@pytest.mark.parametrize("second", [("sales@3",), ("@3",), ()])
def test_the_second_reference_may_be_short(folder, second):
    found = sluiceway(folder, "data", "diff", "sales@february", *second)
    assert (found["old"]["version"], found["new"]["version"]) == (1, 3)


def test_a_version_and_itself_differ_in_nothing_and_it_says_so(folder):
    found = sluiceway(folder, "data", "diff", "sales@3", "--rows", "--key", "id")
    assert found["empty"]
    assert [found["row_changes"][kind]["count"] for kind in ("added", "removed", "changed")] == [0, 0, 0]
    assert "no difference" in said(folder, "data", "diff", "sales@3")


@pytest.mark.usefixtures("ray_cluster")
def test_rows_of_a_compaction_and_of_a_correction(folder, monkeypatch):
    # The session's Ray goes on: the command would end the one that its process has.
    monkeypatch.setattr("sluiceway.wiring.cluster.disconnect", lambda: None)
    compacted = sluiceway(folder, "data", "diff", "sales@1", "@2", "--rows")
    assert compacted["files"]["removed"]["files"] == 4
    assert compacted["row_changes"] == {
        "key": [],
        "added": {"count": 0, "examples": []},
        "removed": {"count": 0, "examples": []},
        "changed": {"count": 0, "examples": []},
    }
    assert "no row differs" in said(folder, "data", "diff", "sales@1", "@2", "--rows")
    corrected = sluiceway(folder, "data", "diff", "sales@2", "--rows", "--key", "id")["row_changes"]
    assert corrected["key"] == ["id"]
    assert corrected["added"] == {"count": 1, "examples": [{"id": 6, "price": 1.0, "shop": "a"}]}
    assert corrected["removed"] == {"count": 1, "examples": [{"id": 5, "price": -2.5, "shop": "b/c"}]}
    assert corrected["changed"]["count"] == 3
    assert corrected["changed"]["examples"] == [
        {"key": {"id": 2}, "changes": {"shop": {"old": "b/c", "new": "a"}}},
        {"key": {"id": 3}, "changes": {"shop": {"old": None, "new": "a"}}},
        {"key": {"id": 4}, "changes": {"price": {"old": 1.5, "new": 9.5}}},
    ]
    text = said(folder, "data", "diff", "sales@2", "--rows", "--key", "id", "--limit", "1")
    assert "rows by id: 1 added, 1 removed, 3 changed" in text
    assert "not shown: 2 changed" in text
    whole = sluiceway(folder, "data", "diff", "sales@2", "--rows", "--limit", "0")["row_changes"]
    assert [(whole[kind]["count"], whole[kind]["examples"]) for kind in ("added", "removed")] == [(4, []), (4, [])]


def test_a_column_that_came_is_told(folder, tmp_path):
    write_deltalake(tmp_path / "t", pa.table({"id": [1]}))
    write_deltalake(tmp_path / "t", pa.table({"id": [2], "note": ["n"]}), mode="append", schema_mode="merge")
    (change,) = sluiceway(tmp_path, "data", "diff", "t@0", "t")["columns"]
    assert change == {"column": "note", "change": "added", "old": None, "new": "string"}
    assert "note" in said(tmp_path, "data", "diff", "t@0")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("sales@0", "sales@9"), "has no version 9"),
        (("sales@0", "@nothing"), "'nothing'"),
        (("sales@0", "--key", "id"), "--rows"),
        (("sales@0", "--rows", "--key", "nothing"), "'nothing'"),
        (("nowhere@0",), "no Delta table"),
    ],
)
def test_what_cannot_be_compared_is_bad_input(folder, arguments, named, request):
    if "--rows" in arguments:
        request.getfixturevalue("ray_cluster")
        request.getfixturevalue("monkeypatch").setattr("sluiceway.wiring.cluster.disconnect", lambda: None)
    assert named in said(folder, "data", "diff", *arguments, expect=2)


def test_two_tables_are_bad_input(folder, tmp_path):
    write_deltalake(tmp_path / "other", pa.table({"id": [1]}))
    assert "two tables" in said(folder, "data", "diff", "sales@0", str(tmp_path / "other"), expect=2)


def test_a_version_is_shown_with_its_files_tags_commit_and_statistics(folder):
    found = sluiceway(folder, "data", "show", "sales@february")
    assert (found["version"], found["rows"], found["files"], found["partition_columns"]) == (1, 5, 5, ["shop"])
    assert found["bytes"] > 0
    assert found["tags"] == ["february"]
    commit_of = found["commit"]
    assert (commit_of["message"], commit_of["source"], commit_of["author"]) == ("February", "crm", None)
    assert (commit_of["batch_id"], commit_of["rows"], commit_of["operation"]) == ("feb", 2, "WRITE")
    assert commit_of["time"]
    assert found["columns"] == {"id": "int64", "price": "double", "shop": "string"}
    assert found["statistics"]["id"] == {"nulls": 0, "min": 1, "max": 5}
    assert found["statistics"]["shop"] == {"nulls": 1, "min": "a", "max": "b/c"}
    # The file that holds nothing but NaN has no bounds: nobody knows them by the log.
    assert found["statistics"]["price"] == {"nulls": 1, "min": None, "max": None}
    text = said(folder, "data", "show", "sales@february")
    assert all(part in text for part in ("february", "February", "crm", "partitions:", "b/c"))


def test_the_log_tells_author_delivery_and_what_else_a_commit_says(folder):
    fixed, compacted, second, first = sluiceway(folder, "data", "log", "sales")
    assert [one["operation"] for one in (fixed, compacted, second, first)] == ["WRITE", "OPTIMIZE", "WRITE", "WRITE"]
    assert (first["author"], second["author"], second["batch_id"]) == ("ann", None, "feb")
    assert compacted["metadata"] == {"ticket": "OPS-7"}
    assert sluiceway(folder, "data", "show", "sales@2")["commit"]["metadata"] == {"ticket": "OPS-7"}
    text = said(folder, "data", "log", "sales")
    assert all(part in text for part in ("ann", "ticket=OPS-7", "OPTIMIZE", "feb"))


def test_a_log_without_authors_has_no_column_for_them(tmp_path):
    write_deltalake(tmp_path / "t", pa.table({"id": [1]}))
    heading = said(tmp_path, "data", "log", "t").splitlines()[0].split()
    assert heading == ["version", "tags", "time", "operation", "rows", "source", "message"]
