"""A person's rows are gone: from main, from branches, from history; what could not be reached is told."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake

from sluiceway.catalog.stores import Stores, open_stores
from sluiceway.cli.main import run_command
from sluiceway.config.platform import PlatformSection
from sluiceway.core.clock import SystemClock
from sluiceway.core.errors import DataError, InputError, ReferenceNotFoundError
from sluiceway.data import places, tables
from sluiceway.data import ray_erase as room
from sluiceway.data.commit import append, overwrite
from sluiceway.data.erase import Erasure
from sluiceway.data.hold import hold
from sluiceway.data.merging import merge
from sluiceway.data.ray_erase import EraseDoors, EraseRequest, erase
from sluiceway.data.references import resolve
from sluiceway.data.repository import Repository
from sluiceway.wiring.care import build_erase

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("ray_cluster")]

PERSON = 7


@pytest.fixture
def platform(tmp_path: Path) -> PlatformSection:
    return PlatformSection(state=str(tmp_path / "state"))


@pytest.fixture
def stores(platform: PlatformSection) -> Iterable[Stores]:
    found = open_stores(f"sqlite:///{platform.state}/catalog.db")
    yield found
    found.repository.engine.dispose()


@pytest.fixture
def repository(stores: Stores) -> Repository:
    return Repository(stores.repository, SystemClock(), lost=stores.lost_versions)


@pytest.fixture
def doors(platform: PlatformSection, stores: Stores, repository: Repository) -> EraseDoors:
    return build_erase(platform, stores, repository, clock=SystemClock())


@pytest.fixture
def uri(tmp_path: Path) -> str:
    """Two files with the person in one of them, then a version that has it no more in that file."""
    place = str(tmp_path / "people")
    put(place, PERSON, 1)
    put(place, 2, 3)
    return place


def put(uri: str, *persons: int, mode=append) -> int:
    rows = pa.table(
        {
            "person": pa.array(persons, pa.int64()),
            "name": [f"name {number}" for number in persons],
            "day": ["a b"] * len(persons),
        }
    )
    return mode(uri, rows, message="rows", source="test").version


def people(uri: str, version: int | None = None) -> list[int]:
    table = tables.open_table(uri, version=version)
    found = places.dataset(table, uri).to_table() if places.is_clone(uri) else table.to_pyarrow_table()
    return sorted(found["person"].to_pylist())


def on_disk(uri: str, person: int = PERSON) -> list[str]:
    """Every file at the place, in a version or not, that still has the person."""
    files = [path for path in Path(uri).rglob("*.parquet") if "_delta_log" not in path.parts]
    return [str(path) for path in files if person in pq.read_table(path, columns=["person"])["person"].to_pylist()]


def ask(*persons: object, apply: bool = True, **more) -> EraseRequest:
    return EraseRequest(pa.table({"person": [str(one) for one in persons]}), apply=apply, reason="asked to", **more)


def erased(uri: str, doors: EraseDoors, *persons: object, **more) -> Erasure:
    return erase(uri, ask(*(persons or (PERSON,)), **more), doors)[0]


def pin(uri: str, ref: str, stores: Stores):
    return resolve(uri, ref, tags=stores.tags, repository=stores.repository, lost=stores.lost_versions)


def tag(uri: str, stores: Stores, name: str, version: int) -> None:
    stores.tags.set(uri, name, version, pin(uri, str(version), stores).digest, "", 0.0)


def test_main_and_its_history(uri: str, doors: EraseDoors, stores: Stores) -> None:
    put(uri, 4, PERSON, mode=overwrite)
    assert len(on_disk(uri)) == 2
    done = erased(uri, doors)
    assert on_disk(uri) == []
    assert people(uri) == [4]
    assert done.rows == {uri: 1}
    assert (done.files, done.lost[uri]) == (2, (0, 1, 2))
    assert [one.where for one in done.left] == ["2 entries of the log"]
    for lost in "012":
        with pytest.raises(ReferenceNotFoundError, match="`data erase` deleted files"):
            pin(uri, lost, stores)
    entry = tables.open_table(uri).history(1)[0]
    assert "asked to" in entry["sluiceway.message"]
    assert str(PERSON) not in entry["sluiceway.message"]


def test_a_dry_run_changes_nothing(uri: str, doors: EraseDoors) -> None:
    would = erased(uri, doors, apply=False)
    assert (would.applied, would.rows, would.files) == (False, {uri: 1}, 1)
    assert would.complete
    assert tables.open_table(uri).version() == 1
    assert len(on_disk(uri)) == 1
    assert doors.erasures.list(uri) == []


def test_who_is_not_there(uri: str, doors: EraseDoors) -> None:
    done = erased(uri, doors, 99)
    assert (done.rows, done.files, done.complete) == ({}, 0, True)
    assert tables.open_table(uri).version() == 1


def test_every_branch(uri: str, doors: EraseDoors, repository: Repository) -> None:
    repository.add(uri)
    repository.commit(message="first")
    repository.branch("untouched")
    repository.branch("written")
    put(repository.place_to_write(uri, "written"), PERSON, 5)
    repository.commit("written", message="more")
    repository.branch("open")
    put(repository.place_to_write(uri, "open"), 6, PERSON)  # in no commit
    done = erased(uri, doors)
    assert on_disk(uri) == []
    assert people(uri) == [1, 2, 3]
    assert {name: people(repository.pin(uri, name).uri) for name in ("untouched", "written", "open")} == {
        "untouched": [1, 2, 3],
        "written": [1, 2, 3, 5],
        "open": [1, 2, 3, 6],
    }
    assert sum(done.rows.values()) == 1 + 1 + 2 + 2
    # Branches point at commits that can be read.
    for name in ("main", "untouched", "written", "open"):
        found = repository.find(name).tree[uri]
        assert PERSON not in people(found.uri, found.version)
    merge(repository, "written")
    assert PERSON not in people(uri)
    assert 5 in people(uri)


def test_what_a_tag_names_stays_and_is_told(uri: str, doors: EraseDoors, stores: Stores) -> None:
    tag(uri, stores, "h1", 1)
    done = erased(uri, doors)
    assert people(uri) == [1, 2, 3]
    assert people(uri, 1) == [1, 2, 3, PERSON]
    assert [(one.where, one.why, one.rows) for one in done.left] == [(f"version 1 of {uri}", "tag h1", 1)]
    assert not done.complete
    again = erased(uri, doors, break_names=True)
    assert on_disk(uri) == []
    assert again.broken == ("tag h1",)
    assert again.lost[uri] == (0, 1)
    with pytest.raises(ReferenceNotFoundError, match="`data erase`"):
        pin(uri, "h1", stores)


def test_who_reads_now_stays_even_where_names_break(uri: str, doors: EraseDoors, stores: Stores) -> None:
    reading = hold(
        pin(uri, "1", stores), leases=stores.leases, lost=stores.lost_versions, clock=SystemClock(), who="data diff"
    )
    with reading:
        done = erased(uri, doors, break_names=True)
        assert [one.why for one in done.left] == ["data diff"]
        assert people(uri, 1) == [1, 2, 3, PERSON]
    done = erased(uri, doors)
    assert on_disk(uri) == []


def test_a_protected_branch_is_told(uri: str, doors: EraseDoors, repository: Repository) -> None:
    repository.add(uri)
    repository.commit(message="first")
    repository.branch("release")
    repository.protect("release")
    would = erased(uri, doors, apply=False)
    assert [one.why for one in would.left] == ["it is protected: `data protect --off` opens it"]
    done = erased(uri, doors)
    assert people(uri) == [1, 2, 3]
    assert {one.why for one in done.left} >= {"branch release", "it is protected: `data protect --off` opens it"}
    assert people(repository.pin(uri, "release").uri, repository.pin(uri, "release").version) == [1, 2, 3, PERSON]


def test_files_of_no_version(uri: str, doors: EraseDoors) -> None:
    """What a crash has left is looked into, too; what may be committed yet stays and is told."""
    stray = Path(uri) / "part-stray.parquet"
    pq.write_table(pa.table({"person": [PERSON], "name": ["x"], "day": ["d"]}), stray)
    done = erased(uri, doors)
    assert on_disk(uri) == [str(stray)]
    assert "may be committed yet" in [one.why for one in done.left]
    os.utime(stray, (0, 0))
    erased(uri, doors)
    assert on_disk(uri) == []


def test_the_change_feed(tmp_path: Path, doors: EraseDoors) -> None:
    uri = str(tmp_path / "fed")
    rows = pa.table({"person": [PERSON, 1], "name": ["a", "b"], "day": ["d", "d"]})
    write_deltalake(uri, rows, configuration={"delta.enableChangeDataFeed": "true"})
    tables.open_table(uri).delete(f"person = {PERSON}")
    assert [path for path in on_disk(uri) if "_change_data" in path]
    erased(uri, doors)
    assert on_disk(uri) == []
    assert people(uri) == [1]


@pytest.mark.parametrize("person", ["x", "a b", "a=b&c"])
def test_a_key_that_is_a_partition(tmp_path: Path, doors: EraseDoors, person: str) -> None:
    """No file has it as a column: its folder is named for it."""
    uri = str(tmp_path / "parted")
    rows = pa.table({"person": [person, "other"], "n": [1, 2]})
    append(uri, rows, message="rows", source="test", partition_by=("person",))
    erased(uri, doors, person)
    assert tables.open_table(uri).to_pyarrow_table()["person"].to_pylist() == ["other"]
    assert len(list(Path(uri).rglob("*.parquet"))) == 1


def test_the_quarantine(uri: str, doors: EraseDoors) -> None:
    put(uri + "_quarantine", PERSON, 8)
    main, beside = erase(uri, ask(PERSON), doors)
    assert (main.uri, beside.uri) == (uri, uri + "_quarantine")
    assert on_disk(beside.uri) == []
    assert people(beside.uri) == [8]


def test_it_is_written_down_without_the_keys(uri: str, doors: EraseDoors) -> None:
    erased(uri, doors, PERSON, 1)
    (found,) = doors.erasures.list(uri)
    assert (found.reason, found.report["keys"], found.report["rows"]) == ("asked to", 2, {uri: 2})
    assert "person" not in json.dumps(found.report)
    erased(uri, doors, 1, PERSON)
    assert len({one.keys_digest for one in doors.erasures.list(uri)}) == 1


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"nobody": ["1"]}, "no column nobody"),
        ({"person": ["seven"]}, "do not fit"),
        ({"person": pa.array([], pa.string())}, "no keys"),
    ],
)
def test_wrong_keys(uri: str, doors: EraseDoors, keys: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        erase(uri, EraseRequest(pa.table(keys), apply=True), doors)
    assert tables.open_table(uri).version() == 1


def test_a_table_that_only_grows(tmp_path: Path, doors: EraseDoors) -> None:
    uri = str(tmp_path / "grows")
    rows = pa.table({"person": [PERSON], "name": ["a"], "day": ["d"]})
    write_deltalake(uri, rows, configuration={"delta.appendOnly": "true"})
    with pytest.raises(DataError, match="append"):
        erased(uri, doors)
    assert people(uri) == [PERSON]


@pytest.mark.parametrize("after", ["put", "write_down", "delete_files", "entries_that_name"])
def test_cut_off_after_any_step_it_is_finished_by_the_next(
    uri: str, doors: EraseDoors, repository: Repository, after: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.add(uri)
    repository.commit(message="first")
    repository.branch("exp")
    put(repository.place_to_write(uri, "exp"), PERSON, 5)
    place = room.Replacements if after == "put" else room
    real = getattr(place, after)

    def cut(*given, **named):
        real(*given, **named)
        raise KeyboardInterrupt

    monkeypatch.setattr(place, after, cut)
    with pytest.raises(KeyboardInterrupt):
        erased(uri, doors)
    monkeypatch.undo()
    # In between nobody reads nonsense: what can be read is whole.
    assert people(uri) in ([1, 2, 3], [1, 2, 3, PERSON])
    erased(uri, doors)
    assert on_disk(uri) == []
    assert people(uri) == [1, 2, 3]
    assert people(repository.pin(uri, "exp").uri) == [1, 2, 3, 5]


def test_the_command(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sluiceway.wiring.cluster.disconnect", lambda: None)

    def run(*words: str, code: int = 0) -> str:
        assert run_command(["data", "erase", *words]) == code
        said = capsys.readouterr()
        return said.out + said.err

    assert "would be erased" in run("people", "--key", f"person={PERSON}")
    assert len(on_disk(uri)) == 1
    # The log's statistics name the person, which is told.
    done = run("people", "--key", f"person={PERSON}", "--apply", "-m", "letter of 3 May", code=1)
    assert "entries of the log" in done
    assert on_disk(uri) == []
    assert "letter of 3 May" in run("people", "--history")
    (tmp_path / "keys.csv").write_text("person,name\n1,name 1\n2,name 1\n")
    run("people", "--keys-from", "keys.csv", "--apply", code=1)
    assert people(uri) == [2, 3]
    assert "--keys-from" in run("people", "--key", "person=1", "--key", "name=x", code=2)
    assert "give keys" in run("people", code=2)
