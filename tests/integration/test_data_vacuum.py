"""What a vacuum deletes, and what it never does: real tables, real branches, a real catalog."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
import sqlalchemy as sa
from deltalake import DeltaTable, write_deltalake

from sluiceway.catalog.stores import Stores, stores_on
from sluiceway.cli.main import run_command
from sluiceway.config.platform import PlatformSection
from sluiceway.core.clock import SystemClock
from sluiceway.core.errors import ConflictError, DataError, InputError, ReferenceNotFoundError
from sluiceway.core.repository import BRANCH
from sluiceway.data import places, tables
from sluiceway.data import vacuum as room
from sluiceway.data.commit import append, overwrite, restore
from sluiceway.data.hold import hold
from sluiceway.data.known_by import make_known
from sluiceway.data.log_retention import log_days
from sluiceway.data.merging import merge, revert
from sluiceway.data.optimize import CARE
from sluiceway.data.references import resolve
from sluiceway.data.repository import Repository
from sluiceway.data.vacuum import CareDoors, Retention, plan_vacuum, vacuum
from sluiceway.registry.bundle import Bundle
from sluiceway.registry.runs import RunRecord
from sluiceway.wiring.care import build_care
from sluiceway.wiring.context import build_registry

pytestmark = pytest.mark.integration

NOW = time.time()
DAY = 86_400.0
# A day on which everything that a test has done is long past.
LATER = Retention(NOW + 100 * DAY)


@pytest.fixture
def care_platform(tmp_path: Path) -> PlatformSection:
    return PlatformSection(state=str(tmp_path / "state"))


@pytest.fixture
def care_stores(catalog: sa.Engine) -> Stores:
    return stores_on(catalog, str(catalog.url))


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return str(tmp_path / "a table")


@pytest.fixture
def doors(uri: str, care_platform: PlatformSection, care_stores: Stores) -> CareDoors:
    return build_care(uri, care_platform, care_stores, clock=SystemClock())


@pytest.fixture
def branches(care_stores: Stores) -> Repository:
    return Repository(care_stores.repository, SystemClock(), lost=care_stores.lost_versions)


def rows_of(*ids: int) -> pa.Table:
    return pa.table({"id": pa.array(ids, pa.int64()), "place": [f"a b/{number % 2}" for number in ids]})


def put(uri: str, *ids: int, mode=append, **more) -> int:
    return mode(uri, rows_of(*ids), message="rows", source="test", **more).version


def ids(uri: str, version: int | None = None) -> list[int]:
    table = tables.open_table(uri, version=version)
    found = places.dataset(table, uri).to_table() if places.is_clone(uri) else table.to_pyarrow_table()
    return sorted(found["id"].to_pylist())


def parquet(uri: str) -> set[str]:
    return {str(path) for path in Path(uri).rglob("*.parquet") if "_delta_log" not in path.parts}


def pin(uri: str, ref: str, care_stores: Stores):
    return resolve(uri, ref, tags=care_stores.tags, repository=care_stores.repository, lost=care_stores.lost_versions)


def tag(uri: str, care_stores: Stores, name: str, version: int) -> None:
    found = pin(uri, str(version), care_stores)
    care_stores.tags.set(uri, name, version, found.digest, "", NOW)


def test_nothing_goes_within_the_window(uri: str, doors: CareDoors) -> None:
    for number in range(3):
        put(uri, number, mode=overwrite)
    before = parquet(uri)
    done = vacuum(uri, doors, Retention(time.time() + 60))
    assert done.plan.files == done.plan.abandoned == ()
    assert parquet(uri) == before
    assert [ids(uri, version) for version in range(3)] == [[0], [1], [2]]


@pytest.mark.parametrize("partition_by", [(), ("place",)])
def test_old_versions_go_and_what_is_named_stays(
    uri: str, doors: CareDoors, care_stores: Stores, partition_by: tuple[str, ...]
) -> None:
    put(uri, 0, 1, partition_by=partition_by)
    for number in range(2, 6):
        put(uri, number, mode=overwrite)
    tag(uri, care_stores, "h1", 0)
    plan = plan_vacuum(uri, doors, LATER)
    assert len(parquet(uri)) == len(plan.files) + (1 if not partition_by else 2) + 1
    done = vacuum(uri, doors, LATER)
    assert {file.path for file in done.plan.files} == {file.path for file in plan.files}
    assert done.plan.size == sum(file.size for file in plan.files) > 0
    assert ids(uri, 0) == [0, 1]
    assert ids(uri) == [5]
    for lost in (1, 2, 3):
        with pytest.raises(ReferenceNotFoundError, match=f"version {lost} .* can be read no more"):
            pin(uri, str(lost), care_stores)
    assert vacuum(uri, doors, LATER).plan.files == ()


def test_a_dry_run_deletes_nothing(uri: str, doors: CareDoors, care_stores: Stores) -> None:
    put(uri, 0)
    put(uri, 1, mode=overwrite)
    before = parquet(uri)
    assert len(plan_vacuum(uri, doors, LATER).files) == 1
    assert parquet(uri) == before
    assert pin(uri, "0", care_stores).rows == 1


def test_a_branch_keeps_what_it_began_with_and_what_it_has(uri: str, doors: CareDoors, branches: Repository) -> None:
    put(uri, 0)
    branches.add(uri)
    branches.commit(message="first")
    branches.branch("exp")
    place = branches.place_to_write(uri, "exp")
    put(place, 1)
    put(uri, 7, mode=overwrite)
    put(uri, 8, mode=overwrite)
    vacuum(uri, doors, LATER)
    assert ids(place) == [0, 1]
    assert ids(uri) == [8]
    branches.commit("exp", message="more")
    # Main replaced everything meanwhile: what the branch added comes in.
    merge(branches, "exp")
    assert ids(uri) == [1, 8]
    vacuum(uri, doors, LATER)
    assert ids(uri) == [1, 8]
    assert ids(place) == [0, 1]


def test_files_of_a_branch_that_is_gone_go_but_not_what_was_merged(
    uri: str, doors: CareDoors, branches: Repository
) -> None:
    put(uri, 0)
    branches.add(uri)
    branches.commit(message="first")
    branches.branch("exp")
    place = branches.place_to_write(uri, "exp")
    put(place, 1)
    branches.commit("exp", message="one")
    merge(branches, "exp")
    put(place, 2)
    branches.delete("exp", BRANCH)
    assert vacuum(uri, doors, Retention(time.time())).plan.dead == ()  # it may have been a mistake
    assert ids(place) == [0, 1, 2]
    done = vacuum(uri, doors, LATER)
    assert done.plan.dead == ()  # the merge can still be taken back
    assert len(done.plan.files) == 1
    put(uri, 3)
    branches.commit(message="further")
    done = vacuum(uri, doors, LATER)
    assert done.plan.dead == (place,)
    assert not tables.is_table(place)
    assert ids(uri) == [0, 1, 3]
    assert len([path for path in parquet(uri) if "_branches" in path]) == 1


def test_a_commit_that_its_branch_has_left_long_ago_needs_nothing(
    uri: str, doors: CareDoors, branches: Repository
) -> None:
    put(uri, 0)
    branches.add(uri)
    first = branches.commit(message="first")
    put(uri, 1, mode=overwrite)
    branches.commit(message="second")
    branches.tag("kept", first.id)
    vacuum(uri, doors, LATER)
    assert ids(uri, 0) == [0]
    branches.delete("kept", "tag")
    vacuum(uri, doors, LATER)
    with pytest.raises(ReferenceNotFoundError, match="can be read no more"):
        branches.branch("late", first.id)
    assert branches.store.ref("late") is None
    assert branches.branch("now").name == "now"


def test_a_commit_whose_files_are_gone_is_not_brought_back(uri: str, doors: CareDoors, branches: Repository) -> None:
    put(uri, 0)
    branches.add(uri)
    branches.commit(message="first")
    put(uri, 1, mode=overwrite)
    branches.commit(message="second")
    put(uri, 2)
    branches.commit(message="third")
    vacuum(uri, doors, LATER)
    with pytest.raises(ReferenceNotFoundError, match=r"version 0 .* can be read no more"):
        revert(branches, "main~1")
    assert ids(uri) == [1, 2]
    assert branches.store.open_merges() == []


def test_files_that_another_program_deleted_are_named(uri: str, branches: Repository) -> None:
    put(uri, 0)
    branches.add(uri)
    branches.commit(message="first")
    put(uri, 1, mode=overwrite)
    branches.commit(message="second")
    DeltaTable(uri).vacuum(0, enforce_retention_duration=False, dry_run=False)
    with pytest.raises(DataError, match=r"a data file .* is gone: .*parquet"):
        revert(branches, "main")
    assert ids(uri) == [1]


def test_a_registered_model_keeps_what_it_was_trained_on(
    uri: str, care_platform: PlatformSection, doors: CareDoors
) -> None:
    put(uri, 0)
    put(uri, 1, mode=overwrite)
    put(uri, 2, mode=overwrite)
    registry = build_registry(care_platform)
    run = registry.log_run(RunRecord(experiment="late", name="one"))
    bundle = Bundle(model=b"{L-of-a-test", schema={}, decision={"kind": "regression"}, lineage={})
    registry.register("late", bundle, run, tags={"data_uri": uri, "data_version": "1"})
    done = vacuum(uri, doors, LATER)
    assert "model late@1" in done.plan.kept[0].reasons[1]
    assert ids(uri, 1) == [1]
    assert len(done.plan.files) == 1


def test_a_registry_that_does_not_answer_stops_it(
    uri: str, care_platform: PlatformSection, care_stores: Stores
) -> None:
    put(uri, 0)
    put(uri, 1, mode=overwrite)
    elsewhere = care_platform.model_copy(update={"tracking_uri": "http://127.0.0.1:9"})
    before = parquet(uri)
    with pytest.raises(Exception, match=r"127\.0\.0\.1:9"):
        vacuum(uri, build_care(uri, elsewhere, care_stores, clock=SystemClock()), LATER)
    assert parquet(uri) == before


def test_who_reads_keeps_what_is_read(uri: str, doors: CareDoors, care_stores: Stores) -> None:
    put(uri, 0)
    put(uri, 1, mode=overwrite)
    read = pin(uri, "0", care_stores)
    with hold(read, leases=care_stores.leases, lost=care_stores.lost_versions, clock=SystemClock(), who="somebody"):
        assert vacuum(uri, doors, LATER).plan.files == ()
        assert ids(uri, 0) == [0]
    assert len(vacuum(uri, doors, LATER).plan.files) == 1
    late = hold(read, leases=care_stores.leases, lost=care_stores.lost_versions, clock=SystemClock(), who="somebody")
    with pytest.raises(ReferenceNotFoundError, match="can be read no more"), late:
        pass


def test_an_unfinished_run_keeps_what_it_works_on(uri: str, doors: CareDoors, care_stores: Stores) -> None:
    put(uri, 0)
    put(uri, 1, mode=overwrite)
    found = pin(uri, "0", care_stores)
    care_stores.pipeline.create("r1", config_digest="d", config="", now=NOW)
    care_stores.pipeline.begin_step("r1", "train", key="k", now=NOW)
    care_stores.pipeline.end_step("r1", "train", status="done", result={"version": found.__dict__}, now=NOW)
    assert vacuum(uri, doors, LATER).plan.files == ()
    care_stores.pipeline.finish("r1", status="done", now=NOW)
    assert len(vacuum(uri, doors, LATER).plan.files) == 1


def test_files_that_nobody_has_committed_yet_stay_until_they_are_old(uri: str, doors: CareDoors) -> None:
    put(uri, 0)
    stray = Path(uri) / "part-00000-in-flight.parquet"
    stray.write_bytes(b"rows")
    plan = vacuum(uri, doors, Retention(time.time(), 3_600)).plan
    assert [file.path for file in plan.waiting] == [str(stray)]
    old = time.time() - 2 * DAY
    os.utime(stray, (old, old))
    assert vacuum(uri, doors, Retention(time.time(), 7 * DAY)).plan.abandoned == ()
    assert [file.path for file in vacuum(uri, doors, Retention(time.time(), 3_600)).plan.abandoned] == [str(stray)]
    assert not stray.exists()
    assert ids(uri) == [0]


def test_less_than_an_hour_wants_a_quiet_table(uri: str, doors: CareDoors) -> None:
    put(uri, 0)
    put(uri, 1, mode=overwrite)
    with pytest.raises(InputError, match="too short"):
        vacuum(uri, doors, Retention(time.time(), 0))
    assert len(vacuum(uri, doors, Retention(time.time(), 0, quiet=True)).plan.files) == 1
    assert ids(uri) == [1]


def test_what_is_no_parquet_is_left_alone(uri: str, doors: CareDoors) -> None:
    put(uri, 0)
    (Path(uri) / "_contract.yaml").write_text("x")
    assert vacuum(uri, doors, LATER).plan.foreign == 1
    assert (Path(uri) / "_contract.yaml").exists()


def test_a_table_with_names_in_another_catalog_is_refused(
    uri: str, doors: CareDoors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put(uri, 0)
    put(uri, 1, mode=overwrite)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert run_command(["data", "tag", f"{uri}@0", "h1"]) == 0
    with pytest.raises(InputError, match=r"in another catalog: sqlite:///.*/elsewhere/\.sluiceway/catalog\.db"):
        vacuum(uri, doors, LATER)
    assert ids(uri, 0) == [0]
    capsys.readouterr()
    assert len(document(capsys, uri, "--keep", "0h", "--quiet")["kept"]) == 2


def test_a_table_that_was_moved_is_refused(
    uri: str, doors: CareDoors, care_stores: Stores, branches: Repository
) -> None:
    """All that names its versions is known under the old place."""
    put(uri, 0)
    branches.add(uri)
    branches.commit(message="first")
    branches.branch("exp")
    put(branches.place_to_write(uri, "exp"), 5)
    put(uri, 1, mode=overwrite)
    moved = uri + " moved"
    Path(uri).rename(moved)
    with pytest.raises(InputError, match="was moved or copied") as caught:
        vacuum(moved, build_care(moved, PlatformSection(state=moved), care_stores, clock=SystemClock()), LATER)
    assert uri in str(caught.value)
    make_known(moved, care_stores.identity)  # a new name there does not make the old ones known
    with pytest.raises(InputError, match="was moved or copied"):
        vacuum(moved, build_care(moved, PlatformSection(state=moved), care_stores, clock=SystemClock()), LATER)
    Path(moved).rename(uri)
    vacuum(uri, doors, LATER)
    assert ids(branches.pin(uri, "exp").uri) == [0, 5]


def test_branches_merge_after_any_vacuum(uri: str, doors: CareDoors, branches: Repository) -> None:
    """The log says where two branches part, also when no file of that version is left, nor the branch between them."""
    write_deltalake(uri, rows_of(0))  # by another program: engines keep its log for 30 days only
    branches.add(uri)
    branches.commit(message="first")
    branches.branch("one")
    put(branches.place_to_write(uri, "one"), 1)
    branches.commit("one", message="one")
    branches.branch("two", "one")
    put(branches.place_to_write(uri, "two"), 2)
    branches.commit("two", message="two")
    for number in range(10, 13):
        put(uri, number)
    DeltaTable(uri).create_checkpoint()
    merge(branches, "one")
    branches.delete("one", BRANCH)
    put(uri, 13)
    branches.commit(message="more")
    done = vacuum(uri, doors, LATER, trim=True)
    assert done.log_kept
    vacuum(uri, doors, LATER, trim=True)
    merge(branches, "two")
    assert ids(uri) == [0, 1, 2, 10, 11, 12, 13]
    revert(branches, "main")
    assert ids(uri) == [0, 1, 10, 11, 12, 13]


def test_the_old_end_of_the_log_stays_where_a_merge_asks_for_it(
    uri: str, doors: CareDoors, branches: Repository
) -> None:
    put(uri, 0)
    branches.add(uri)
    branches.commit(message="first")
    branches.branch("exp")
    put(branches.place_to_write(uri, "exp"), 1)
    branches.commit("exp", message="one")
    for number in range(10, 14):
        put(uri, number, mode=overwrite)
    DeltaTable(uri).create_checkpoint()
    branches.commit(message="later")
    assert vacuum(uri, doors, LATER, trim=True).log_files == 0
    merge(branches, "exp")
    assert ids(uri) == [1, 13]
    branches.delete("exp", BRANCH)
    for number in (14, 15):
        put(uri, number)
        branches.commit(message="newer")
    assert vacuum(uri, doors, LATER, trim=True).log_files > 0


def test_another_table_inside_stops_it(uri: str, doors: CareDoors) -> None:
    put(uri, 0)
    put(uri, 1, mode=overwrite)
    write_deltalake(f"{uri}/inner", rows_of(5))
    before = parquet(uri)
    with pytest.raises(DataError, match="another table lies in"):
        vacuum(uri, doors, LATER)
    assert parquet(uri) == before


def test_a_log_with_a_gap_stops_it(uri: str, doors: CareDoors) -> None:
    for number in range(4):
        put(uri, number, mode=overwrite)
    DeltaTable(uri).create_checkpoint()  # the engine needs no more
    (Path(uri) / "_delta_log" / f"{1:020d}.json").unlink()
    before = parquet(uri)
    with pytest.raises(DataError, match="lacks version 1"):
        vacuum(uri, doors, LATER)
    assert parquet(uri) == before


def test_a_log_that_begins_with_a_checkpoint_is_read(uri: str, doors: CareDoors, care_stores: Stores) -> None:
    for number in range(4):
        put(uri, number, mode=overwrite if number < 3 else append)
    DeltaTable(uri).create_checkpoint()
    put(uri, 4)
    put(uri, 5, mode=overwrite)
    for number in range(4):
        (Path(uri) / "_delta_log" / f"{number:020d}.json").unlink()
    tag(uri, care_stores, "t", 3)
    done = vacuum(uri, doors, LATER)
    assert ids(uri, 3) == [2, 3]
    assert ids(uri) == [5]
    assert set(done.plan.kept[0].reasons) == {3, 5}


def test_the_old_end_of_the_log_goes_on_request(uri: str, doors: CareDoors, care_stores: Stores) -> None:
    for number in range(6):
        put(uri, number, mode=overwrite)
        if number in (2, 4):
            DeltaTable(uri).create_checkpoint()
    tag(uri, care_stores, "t", 3)
    done = vacuum(uri, doors, LATER, trim=True)
    left = sorted(path.name for path in (Path(uri) / "_delta_log").iterdir())
    assert done.log_files == 2
    assert f"{1:020d}.json" not in left
    assert f"{2:020d}.checkpoint.parquet" in left
    assert (ids(uri, 3), ids(uri)) == ([3], [5])
    with pytest.raises(ReferenceNotFoundError):
        pin(uri, "1", care_stores)
    put(uri, 9)
    assert ids(uri) == [5, 9]
    assert vacuum(uri, doors, LATER, trim=True).log_files == 0


def test_engines_keep_the_log_of_named_versions(uri: str, doors: CareDoors, care_stores: Stores) -> None:
    write_deltalake(uri, rows_of(1))
    assert log_days(uri) == 30
    assert not vacuum(uri, doors, LATER).log_kept
    tag(uri, care_stores, "t", 0)
    assert vacuum(uri, doors, LATER).log_kept
    assert log_days(uri) == 1825
    assert not vacuum(uri, doors, LATER).log_kept


def test_another_table_at_the_same_place_has_lost_nothing(uri: str, doors: CareDoors, care_stores: Stores) -> None:
    put(uri, 0)
    put(uri, 1, mode=overwrite)
    vacuum(uri, doors, LATER)
    Path(uri).rename(uri + " old")
    put(uri, 3)
    put(uri, 4, mode=overwrite)
    assert pin(uri, "0", care_stores).rows == 1


def test_a_restored_version_keeps_its_files(uri: str, doors: CareDoors) -> None:
    put(uri, 0)
    put(uri, 1, mode=overwrite)
    restore(uri, 0, message="back")
    put(uri, 2)
    done = vacuum(uri, doors, LATER)
    assert len(done.plan.files) == 1
    assert ids(uri) == [0, 2]


def test_one_at_a_time(uri: str, doors: CareDoors, care_stores: Stores) -> None:
    put(uri, 0)
    assert care_stores.leases.acquire(CARE + uri, owner="another machine:1:2", ttl=60, now=datetime.now(UTC))
    with pytest.raises(ConflictError, match="another machine"):
        vacuum(uri, doors, LATER)


@pytest.mark.parametrize("moment", ["asked", "written down"])
def test_a_tag_that_comes_meanwhile_is_kept_or_refused(
    uri: str, doors: CareDoors, care_stores: Stores, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at who needs what and the deletion somebody names a version that is going to be lost."""
    put(uri, 0)
    put(uri, 1, mode=overwrite)
    real, said = room.write_down, []

    def late(*given, **named):
        if moment == "asked":
            tag(uri, care_stores, "late", 0)
            return real(*given, **named)
        fresh = real(*given, **named)
        if not said:
            with pytest.raises(ReferenceNotFoundError, match="can be read no more"):
                tag(uri, care_stores, "late", 0)
            said.append("refused")
        return fresh

    monkeypatch.setattr(room, "write_down", late)
    done = vacuum(uri, doors, LATER)
    if moment == "asked":
        assert done.plan.files == ()
        assert (ids(uri, 0), pin(uri, "late", care_stores).version) == ([0], 0)
    else:
        assert said == ["refused"]
        assert len(done.plan.files) == 1


@pytest.mark.parametrize("stop", ["write_down", "_delete", "delete_log"])
def test_cut_off_anywhere_it_is_finished_by_the_next(
    uri: str, doors: CareDoors, branches: Repository, stop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(uri, 0)
    branches.add(uri)
    branches.commit(message="first")
    branches.branch("exp")
    put(branches.place_to_write(uri, "exp"), 1)
    branches.delete("exp", BRANCH)
    for number in range(3):
        put(uri, number, mode=overwrite)
    real = getattr(room, stop)

    def cut(*given, **named):
        real(*given, **named)
        raise KeyboardInterrupt

    monkeypatch.setattr(room, stop, cut)
    with pytest.raises(KeyboardInterrupt):
        vacuum(uri, doors, LATER)
    monkeypatch.undo()
    vacuum(uri, doors, LATER)
    assert len(parquet(uri)) == 1 + 1  # main is version 0's commit on the branch main, and the newest
    assert ids(uri) == [2]
    assert not list(Path(uri).rglob("_branches/*/_delta_log"))


def document(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> dict:
    assert run_command(["data", "vacuum", *words, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_the_command(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    for number in range(3):
        put(uri, number, mode=overwrite)
    assert run_command(["data", "tag", f"{uri}@0", "h1"]) == 0
    capsys.readouterr()
    assert document(capsys, uri)["files"] == []
    would = document(capsys, uri, "--keep", "0h", "--quiet")
    assert (len(would["files"]), would["applied"]) == (1, False)
    assert len(parquet(uri)) == 3
    assert run_command(["data", "vacuum", uri, "--keep", "0h", "--quiet"]) == 0
    shown = capsys.readouterr().out
    assert "tag h1" in shown
    assert "nothing was deleted; --apply deletes" in shown
    assert document(capsys, uri, "--keep", "0h", "--quiet", "--apply")["applied"]
    assert len(parquet(uri)) == 2
    assert run_command(["data", "log", uri, "--json"]) == 0
    assert [row["lost"] for row in json.loads(capsys.readouterr().out)] == ["", "yes", ""]
    assert run_command(["data", "show", f"{uri}@1"]) == 0
    assert "it can be read no more" in capsys.readouterr().out
    assert run_command(["data", "tag", f"{uri}@1", "late"]) == 2
    assert "can be read no more" in capsys.readouterr().err
    for words in (("--keep", "soon"), ("--keep", "1m")):
        assert run_command(["data", "vacuum", uri, *words]) == 2
