"""``sluiceway data`` over branches: what a person types and sees."""

from __future__ import annotations

import json
import shutil

import pyarrow as pa
import pytest
import yaml
from deltalake import DeltaTable

from sluiceway.catalog.engine import open_catalog
from sluiceway.catalog.repository import RepositoryStore
from sluiceway.cli.main import run_command
from sluiceway.core.clock import SystemClock
from sluiceway.data import commit
from sluiceway.data.repository import Repository

pytestmark = pytest.mark.integration


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.yaml").write_text(
        yaml.safe_dump(
            {
                "experiment": {"name": "any"},
                "data": {"path": "sales", "features": ["id"], "target": "late"},
                "platform": {"state": str(tmp_path / "state")},
            }
        )
    )
    append("sales", 1, 2)
    return tmp_path


def append(place, *ids):
    commit.append(str(place), pa.table({"id": pa.array(ids, pa.int64())}), message="rows", source="test")


@pytest.fixture
def data(capsys, folder):
    """Runs a word; gives exit code and JSON."""

    def run(*words, code=0):
        found = run_command(["data", *words, "-c", "c.yaml", "--json"])
        said = capsys.readouterr()
        assert found == code, said
        return json.loads(said.out)

    return run


@pytest.fixture
def shown(capsys, folder):
    """Runs a word; gives what a person sees."""

    def run(*words, code=0):
        found = run_command(["data", *words, "-c", "c.yaml"])
        said = capsys.readouterr()
        assert found == code, said
        return said.out + said.err

    return run


def write(folder, branch, *ids):
    store = RepositoryStore(open_catalog(f"sqlite:///{folder}/state/catalog.db"))
    append(Repository(store, SystemClock()).place_to_write("sales", branch), *ids)
    store.engine.dispose()


def test_a_branch_from_beginning_to_end(data, shown, folder):
    assert "no commits" in shown("log")
    data("add", "sales", "--key", "id")
    first = data("commit", "-m", "first", "--meta", "ticket=42", "--author", "ada")
    data("branch", "exp")
    write(folder, "exp", 10, 11)
    assert data("show", "sales@exp")["rows"] == 4
    assert data("show", "sales@main")["rows"] == 2
    assert data("show", "sales")["rows"] == 2
    data("commit", "-b", "exp", "-m", "more")
    append("sales", 3)
    data("commit", "-m", "three")
    assert [(r["files"], r["rows"]) for r in data("diff", "main..exp")] == [("+1 -1", "+2 -1")]
    assert data("diff", "main...exp") == [
        {"table": str(folder / "sales"), "from": 0, "to": 1, "files": "+1 -0", "rows": "+2 -0"}
    ]
    assert data("diff", "@main", "@exp") == data("diff", "main..exp")
    done = data("merge", "exp", "-m", "bring it in")
    assert done["tables"] == [{"table": str(folder / "sales"), "version": 2}]
    assert data("merge", "exp")["nothing"]
    assert "nothing to do" in shown("merge", "exp")
    log = data("log")
    assert [r["message"] for r in log] == ["bring it in", "three", "more", "first"]
    assert log[-1]["metadata"] == {"ticket": "42"}
    assert log[-1]["commit"] == first["commit"]
    assert log[0]["names"] == "main"
    data("tag", "@main", "release-1")
    data("revert", "exp", "-m", "not yet")
    assert data("show", "sales")["rows"] == 3
    assert data("show", "sales@release-1")["rows"] == 5
    data("cherry-pick", "exp")
    assert data("show", "sales")["rows"] == 5
    data("untag", "@", "release-1")
    data("branch", "exp", "--delete")
    assert [r["branch"] for r in data("branch")] == ["main"]
    assert data("show", "sales")["rows"] == 5


def test_a_conflict_names_the_keys_and_has_exit_code_1(data, shown, folder):
    data("add", "sales", "--key", "id")
    data("commit", "-m", "first")
    data("branch", "exp")
    write(folder, "exp", 7)
    data("commit", "-b", "exp", "-m", "seven")
    append("sales", 7)
    said = shown("merge", "exp", code=1)
    assert "id=7" in said
    assert "--strategy" in said
    assert data("show", "sales")["version"] == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["branch", "exp", "--at", "nothing"], "nothing in the repository is called 'nothing'"),
        (["branch", "a b"], "cannot be a name"),
        (["branch", "main"], "is taken"),
        (["add", "nowhere"], "there is no Delta table"),
        (["add", "sales", "--key", "idd"], "no column idd"),
        (["commit", "-m", "x", "--meta", "novalue"], "not KEY=VALUE"),
        (["commit", "-m", "x", "-b", "exq"], "called 'exq'"),
        (["merge", "exq"], "called 'exq'"),
        (["diff", "main..", "--json"], "not A..B"),
        (["revert", "main"], "is the first commit"),
        (["show", "sales@exq"], "no version, tag, branch or time 'exq'"),
        (["untag", "@", "exq"], "called 'exq'"),
    ],
)
def test_bad_input_is_told_and_changes_nothing(data, shown, words, said):
    data("add", "sales")
    data("commit", "-m", "first")
    before = data("log"), data("branch")
    told = shown(*words, code=2)
    assert said in " ".join(told.split())
    assert (data("log"), data("branch")) == before


def test_an_own_version_of_a_branch_is_neither_tagged_nor_restored(data, shown, folder):
    data("add", "sales")
    data("commit", "-m", "first")
    data("branch", "exp")
    write(folder, "exp", 10)
    assert "data tag @REF" in shown("tag", "sales@exp", "x", code=2)
    assert "data merge" in shown("restore", "sales@exp", code=2)


def test_questions_make_no_catalog(shown, folder):
    shown("log")
    shown("branch")
    assert not (folder / "state").exists()


@pytest.mark.usefixtures("ray_cluster")
def test_files_come_into_a_branch(data, folder, monkeypatch):
    monkeypatch.setattr("sluiceway.wiring.cluster.disconnect", lambda: None)
    data("add", "sales", "--key", "id")
    data("commit", "-m", "first")
    data("branch", "exp")
    (folder / "new.csv").write_text("id\n10\n11\n")
    assert data("ingest", "new.csv", "sales@exp", "--batch-id", "d1")["rows"] == 2
    assert data("ingest", "new.csv", "sales@exp", "--batch-id", "d1")["skipped"]
    assert (data("show", "sales")["rows"], data("show", "sales@exp")["rows"]) == (2, 4)
    data("commit", "-b", "exp", "-m", "delivery")
    data("merge", "exp")
    found = data("diff", "sales@0", "sales", "--rows", "--key", "id")["row_changes"]
    assert [row["id"] for row in found["added"]["examples"]] == [10, 11]
    data("ingest", "new.csv", "sales@exq", code=2)
    assert data("ingest", "sales@exp", "a copy")["rows"] == 4
    assert data("ingest", "a copy", "another")["rows"] == 4


def test_a_merge_is_taken_back(data, folder):
    """As the page on branches types it."""
    data("add", "sales")
    data("commit", "-m", "as delivered")
    data("branch", "exp")
    write(folder, "exp", 10)
    data("commit", "-b", "exp", "-m", "new rows")
    append("sales", 3)
    data("merge", "exp")
    assert rows_of("sales") == [1, 2, 3, 10]
    data("revert", "main")
    assert rows_of("sales") == [1, 2, 3]
    data("revert", "main")
    assert rows_of("sales") == [1, 2, 3, 10]
    assert "first commit" in data("revert", "main~3", code=2)["message"]


def test_a_table_made_anew_is_not_changed_by_old_commits(data, folder):
    data("add", "sales")
    data("commit", "-m", "first")
    append("sales", 3)
    data("commit", "-m", "second")
    shutil.rmtree(folder / "sales")
    append("sales", 100)
    append("sales", 101)
    assert "made anew" in data("revert", "main", code=2)["message"]
    assert rows_of("sales") == [100, 101]


def test_what_is_protected_is_written_by_no_word(data, shown, folder):
    (folder / "new.csv").write_text("id\n9\n")
    data("add", "sales")
    data("commit", "-m", "first")
    append("sales", 3)
    assert "protected:      yes" in shown("protect", "main")
    for words in (("ingest", "new.csv", "sales"), ("ingest", "new.csv", "sales@main"), ("restore", "sales@0")):
        assert "protected" in data(*words, code=2)["message"]
    assert rows_of("sales") == [1, 2, 3]
    data("protect", "main", "--off")
    data("restore", "sales@0")
    assert rows_of("sales") == [1, 2]


def test_nothing_to_commit_is_said(data, shown):
    data("add", "sales")
    data("commit", "-m", "first")
    assert "nothing to commit" in shown("commit", "-m", "again")
    assert data("commit", "-m", "again")["nothing"]


def test_forebears_and_near_names_of_a_table(data, folder):
    data("add", "sales")
    data("commit", "-m", "first")
    append("sales", 3)
    data("commit", "-m", "second")
    data("branch", "release")
    assert (data("show", "sales@main~1")["version"], data("show", "sales@release")["version"]) == (0, 1)
    assert "release" in data("show", "sales@relese", code=2)["hint"]


def rows_of(place):
    return sorted(DeltaTable(place).to_pyarrow_table()["id"].to_pylist())
