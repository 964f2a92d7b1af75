"""The ready gate before merges and commits: real tables, real contracts, real Ray."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from deltalake import DeltaTable
from deltalake.transaction import AddAction

from command_line import sluiceway
from sluiceway.catalog.repository import RepositoryStore
from sluiceway.catalog.stores import open_stores
from sluiceway.cli.main import run_command
from sluiceway.config.platform import HookSection, PlatformSection
from sluiceway.core.clock import SystemClock
from sluiceway.core.errors import HookRefusedError
from sluiceway.core.repository import MAIN
from sluiceway.data import commit, places, tables
from sluiceway.data.contract.load import FILE_NAME
from sluiceway.data.merging import cherry_pick, merge, revert
from sluiceway.data.quality_gate import DataQualityGate
from sluiceway.data.repository import Repository
from sluiceway.data.three_way import Strategy
from sluiceway.wiring.hooks import build_repository_hooks

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("ray_cluster")]

CONTRACT = {
    "apiVersion": "v3.1.0",
    "kind": "DataContract",
    "id": "sales",
    "version": "1.0.0",
    "status": "active",
    "schema": [
        {
            "name": "sales",
            "properties": [
                {"name": "id", "logicalType": "integer", "required": True, "unique": True},
                {"name": "amount", "logicalType": "number", "logicalTypeOptions": {"minimum": 0}},
            ],
            "quality": [{"type": "library", "metric": "rowCount", "mustBeBetween": [1, 6]}],
        }
    ],
}


def rows(*ids: int, amount: float = 1.0) -> pa.Table:
    return pa.table({"id": pa.array(ids, pa.int64()), "amount": pa.array([amount] * len(ids), pa.float64())})


def append(place: str, *ids: int, amount: float = 1.0) -> None:
    commit.append(place, rows(*ids, amount=amount), message="rows", source="test")


def held(place: str) -> list[int]:
    return sorted(places.dataset(tables.open_table(place), place).to_table()["id"].to_pylist())


@pytest.fixture
def sales(tmp_path: Path) -> str:
    """A table with a contract beside it; its folder has a space, as people's have."""
    uri = str(tmp_path / "my tables" / "sales")
    append(uri, 1, 2)
    (Path(uri) / FILE_NAME).write_text(yaml.safe_dump(CONTRACT), encoding="utf-8")
    return uri


@pytest.fixture
def gated(tmp_path):
    """Makes the repository with a gate, of the same catalog each time."""
    stores = open_stores(f"sqlite:///{tmp_path / 'catalog.db'}")

    def build(**section) -> Repository:
        hook = HookSection(**{"on": ("pre-merge",), "branch": MAIN, "gate": "data_quality", **section})
        hooks = build_repository_hooks(PlatformSection(hooks=(hook,)), stores)
        return Repository(stores.repository, SystemClock(), hooks)

    yield build
    stores.repository.engine.dispose()


@pytest.fixture
def lake(gated, sales) -> Repository:
    found = gated()
    found.add(sales)
    found.commit(message="first")
    found.branch("exp")
    return found


def write(lake: Repository, sales: str, *ids: int, amount: float = 1.0, branch: str = "exp") -> str:
    place = lake.place_to_write(sales, branch)
    append(place, *ids, amount=amount)
    lake.commit(branch, message="rows")
    return place


def refused(lake: Repository, sales: str, work) -> HookRefusedError:
    """What the gate says; nothing may have changed."""

    def state():
        files = {str(p) for p in Path(sales).rglob("*") if p.is_file()}
        return DeltaTable(sales).version(), lake.find(MAIN).id, lake.store.open_merges(), files

    before = state()
    with pytest.raises(HookRefusedError) as caught:
        work()
    assert state() == before
    return caught.value


def test_a_bad_branch_is_refused_by_its_rules_and_comes_in_when_it_is_mended(lake, sales):
    place = write(lake, sales, 10, 11, amount=-5.0)
    error = refused(lake, sales, lambda: merge(lake, "exp"))
    assert error.exit_code == 1
    assert "amount minimum" in error.message
    assert "2 rows limit <= 0 rows, n=4" in error.message
    assert "-5.0" in error.message
    assert "id unique" not in error.message
    (told,) = error.fields["tables"].values()
    assert [one["status"] for one in told["verdicts"]] == ["FAIL"]
    commit.overwrite(place, rows(1, 2, 10, 11), message="mended", source="test")
    lake.commit("exp", message="mended")
    merge(lake, "exp")
    assert held(sales) == [1, 2, 10, 11]


def test_what_only_both_sides_together_break_is_found(lake, sales):
    write(lake, sales, 7, 8)
    append(sales, 7)  # without a key in the repository, a merge does not look
    error = refused(lake, sales, lambda: merge(lake, "exp"))
    assert "id unique" in error.message
    assert "n=5" in error.message
    DeltaTable(sales).delete("id = 7")
    append(sales, 20, 21, 22)
    error = refused(lake, sales, lambda: merge(lake, "exp"))
    assert "row count rows 7 rows" in error.message
    DeltaTable(sales).delete("id > 20")
    merge(lake, "exp")
    assert held(sales) == [1, 2, 7, 8, 20]
    assert {p.name for p in (Path(sales) / "_branches").iterdir()} == {lake.head("exp").id}


def test_only_what_changes_is_judged(lake, sales, tmp_path):
    other = str(tmp_path / "other")
    append(other, 1)  # no contract
    lake.add(other)
    lake.commit(message="two")
    lake.branch("more")
    write(lake, sales, 5, branch="more")
    merge(lake, "more")
    assert held(sales) == [1, 2, 5]


def test_a_table_without_a_contract_is_refused_unless_it_is_allowed(lake, gated, sales, caplog):
    (Path(sales) / FILE_NAME).unlink()
    write(lake, sales, 5)
    error = refused(lake, sales, lambda: merge(lake, "exp"))
    assert "has no contract" in error.message
    assert "missing_contract" in str(error.hint)
    merge(gated(missing_contract="allow"), "exp")
    assert "only its files are looked at" in caplog.text
    assert held(sales) == [1, 2, 5]


def test_a_contract_that_cannot_be_used_refuses(lake, gated, sales):
    (Path(sales) / FILE_NAME).write_text("schema: 7", encoding="utf-8")
    write(lake, sales, 5)
    assert "cannot be used" in refused(lake, sales, lambda: merge(lake, "exp")).message
    allowing = gated(missing_contract="allow")
    assert "cannot be used" in refused(lake, sales, lambda: merge(allowing, "exp")).message


def test_a_contract_elsewhere_is_named_by_the_table(lake, gated, sales, tmp_path):
    strict = json.loads(json.dumps(CONTRACT))
    strict["schema"][0]["properties"][1]["logicalTypeOptions"] = {"minimum": 100}
    (tmp_path / "strict.yaml").write_text(yaml.safe_dump(strict), encoding="utf-8")
    write(lake, sales, 5)
    named = gated(contracts={sales: str(tmp_path / "strict.yaml")})
    assert "amount minimum" in refused(lake, sales, lambda: merge(named, "exp")).message


def test_an_inconclusive_rule_is_no_pass(lake, sales):
    place = lake.place_to_write(sales, "exp")
    nothing = rows(1, 2).set_column(1, "amount", pa.array([None, None], pa.float64()))
    commit.overwrite(place, nothing, message="no amounts", source="test")
    lake.commit("exp", message="no amounts")
    error = refused(lake, sales, lambda: merge(lake, "exp"))
    assert "INCONCLUSIVE" in error.message


def test_revert_and_cherry_pick_are_judged_by_what_they_would_leave(lake, sales):
    append(sales, 3, 4)
    lake.commit(message="three and four")
    merge(lake, MAIN, "exp")
    bad = write(lake, sales, 9, amount=-1.0)
    picked = refused(lake, sales, lambda: cherry_pick(lake, "exp"))
    assert "the cherry-pick of main" in picked.message
    commit.overwrite(bad, rows(1, 2, 3, 4), message="back", source="test")
    DeltaTable(sales).delete("id < 3")  # the rest of main is what would be taken back
    error = refused(lake, sales, lambda: revert(lake, lake.find("main").id))
    assert "row count" in error.message
    append(sales, 5)
    revert(lake, lake.find("main").id)
    assert held(sales) == [5]


def test_a_strategy_is_judged_by_what_it_leaves(lake, sales):
    commit.overwrite(lake.place_to_write(sales, "exp"), rows(7, amount=-1.0), message="anew", source="test")
    lake.commit("exp", message="anew")
    DeltaTable(sales).delete("id = 1")
    error = refused(lake, sales, lambda: merge(lake, "exp", strategy=Strategy.SOURCE_WINS))
    assert "amount minimum" in error.message
    merge(lake, "exp", strategy=Strategy.DEST_WINS)
    assert held(sales) == [2]


def test_a_commit_on_a_branch_is_judged(lake, gated, sales):
    careful = gated(on=("pre-commit",), branch="exp")
    append(lake.place_to_write(sales, "exp"), 10, amount=-1.0)
    before = lake.find("exp").id
    error = refused(lake, sales, lambda: careful.commit("exp", message="ten"))
    assert "the commit of exp" in error.message
    assert "amount minimum" in error.message
    assert lake.find("exp").id == before
    commit.overwrite(lake.place_to_write(sales, "exp"), rows(1, 2, 10), message="mended", source="test")
    assert careful.commit("exp", message="ten").id == lake.find("exp").id


def foreign(place: str, name: str, table: pa.Table, *, count: int | None = None) -> Path:
    """A file that a writer puts in which knows Parquet and the log's form, and no rule of the table."""
    path = Path(place) / name
    pq.write_table(table, path)
    stats = json.dumps({"numRecords": table.num_rows if count is None else count})
    action = AddAction(name, path.stat().st_size, {}, 0, True, stats)
    DeltaTable(place).create_write_transaction([action], "append", DeltaTable(place).schema())
    return path


def test_files_that_skip_the_rules_of_the_table_itself_are_found(lake, sales):
    DeltaTable(sales).alter.add_constraint({"small": "amount < 100"})
    lake.commit(message="a rule")
    lake.branch("later")
    place = lake.place_to_write(sales, "later")
    foreign(place, "big.parquet", rows(8, amount=500.0))
    lake.commit("later", message="foreign")
    error = refused(lake, sales, lambda: merge(lake, "later"))
    assert "big.parquet: 1 rows break the constraint small (amount < 100)" in error.message
    assert "FAIL" not in error.message


@pytest.mark.parametrize("what", ["gone", "broken", "miscounted", "mistyped"])
def test_files_that_cannot_be_read_as_the_log_says_are_found(lake, sales, gated, what):
    (Path(sales) / FILE_NAME).unlink()
    allowing = gated(missing_contract="allow")
    place = lake.place_to_write(sales, "exp")
    odd = rows(8).set_column(1, "amount", pa.array(["much"])) if what == "mistyped" else rows(8)
    path = foreign(place, "odd.parquet", odd, count=2 if what == "miscounted" else None)
    if what == "gone":
        path.unlink()
    if what == "broken":
        path.write_bytes(b"no parquet")
    lake.commit("exp", message="foreign")
    error = refused(lake, sales, lambda: merge(allowing, "exp"))
    said = {
        "gone": "odd.parquet is not there",
        "broken": "cannot be read",
        "miscounted": "holds 1 rows, the log says 2",
        "mistyped": "odd.parquet cannot be read",
    }
    assert said[what] in error.message


def test_a_main_that_moves_while_it_is_judged_is_judged_again(lake, sales):
    write(lake, sales, 7)
    (action,) = lake.hooks.actions
    gate, judged = action.run, []
    assert isinstance(gate, DataQualityGate)

    @contextlib.contextmanager
    def reader():
        with gate.reader() as found:

            class Slow:
                file_problems = staticmethod(found.file_problems)

                @staticmethod
                def check_version(version, contract, *, now):
                    judged.append(version.rows)
                    if len(judged) == 1:
                        append(sales, 7)
                    return found.check_version(version, contract, now=now)

            yield Slow()

    slow = dataclasses.replace(gate, reader=reader)
    hooks = dataclasses.replace(lake.hooks, actions=(dataclasses.replace(action, run=slow),))
    with pytest.raises(HookRefusedError, match="id unique"):
        merge(dataclasses.replace(lake, hooks=hooks), "exp")
    assert judged == [3, 4]


def test_the_command_line_refuses_with_the_rules_and_exit_code_1(tmp_path, sales, monkeypatch):
    from sluiceway.wiring import cluster  # noqa: PLC0415 (collected without Ray, too)

    connected = []
    monkeypatch.setattr(cluster, "connect_ray", lambda section: connected.append(section))
    config = {
        "experiment": {"name": "any"},
        "data": {"path": sales, "features": ["id"], "target": "late"},
        "platform": {
            "state": str(tmp_path / "state"),
            "hooks": [{"on": ["pre-merge"], "branch": "main", "gate": "data_quality"}],
        },
    }
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")

    def data(*words: str, expect: int = 0):
        return sluiceway(tmp_path, "data", *words, "-c", "c.yaml", expect=expect)

    data("add", sales)
    data("commit", "-m", "first")
    data("branch", "exp")
    stores = open_stores(f"sqlite:///{tmp_path / 'state' / 'catalog.db'}")
    place = Repository(RepositoryStore(stores.repository.engine), SystemClock()).place_to_write(sales, "exp")
    append(place, 1, amount=-3.0)
    data("commit", "-b", "exp", "-m", "bad")
    assert connected == []
    document = data("merge", "exp", expect=1)
    assert document["error"] == "HookRefusedError"
    broken = {one["check"] for one in document["tables"][sales]["verdicts"]}
    assert broken == {"id unique", "amount minimum"}
    err = io.StringIO()
    with contextlib.chdir(tmp_path), contextlib.redirect_stderr(err):
        assert run_command(["data", "merge", "exp", "-c", "c.yaml"]) == 1
    assert "amount minimum" in err.getvalue()
    assert held(sales) == [1, 2]
    assert len(connected) == 2
    commit.overwrite(place, rows(1, 2, 3), message="mended", source="test")
    data("commit", "-b", "exp", "-m", "mended")
    assert data("merge", "exp")["tables"] == [{"table": sales, "version": 1}]
    assert held(sales) == [1, 2, 3]
    stores.repository.engine.dispose()
