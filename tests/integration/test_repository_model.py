"""Random histories of a repository against plain Python, and two processes at once against what has to come out."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from sluiceway.catalog.engine import open_catalog
from sluiceway.catalog.repository import RepositoryStore
from sluiceway.catalog.stores import stores_on
from sluiceway.config.platform import PlatformSection
from sluiceway.core.clock import SystemClock
from sluiceway.core.errors import ConflictError, DataError, MergeConflictError
from sluiceway.core.repository import BRANCH, MAIN
from sluiceway.data import commit, places, tables
from sluiceway.data.commit_files import Delivery
from sluiceway.data.ingest import planning
from sluiceway.data.ingest.file_writer import FileWriter
from sluiceway.data.key_set import KeySet
from sluiceway.data.merging import cherry_pick, merge, recover, revert
from sluiceway.data.repository import Repository
from sluiceway.data.rewrite import Rewriting, replace_rows, rewrite_share
from sluiceway.data.vacuum import Retention, vacuum
from sluiceway.wiring.care import build_care

pytestmark = pytest.mark.integration


def rows(ids: list[int]) -> pa.Table:
    return pa.table({"id": pa.array(ids, pa.int64())})


def append(place: str, ids: list[int]) -> None:
    commit.append(place, rows(ids), message="rows", source="test")


def held(place: str, version: int | None = None) -> list[int]:
    return sorted(places.dataset(tables.open_table(place, version=version), place).to_table()["id"].to_pylist())


def live(place: str, version: int | None = None) -> frozenset[str]:
    """The files of a version, by the last part of their names."""
    paths = tables.files(tables.open_table(place, version=version))["path"].to_pylist()
    return frozenset(path.rpartition("/")[2] for path in paths)


def by_key(place: str, gone: list[int], come: list[int]) -> None:
    """Take rows out by key and put others in, in one commit."""
    target = planning.existing_target(place)
    with FileWriter(target, run="0123456789ab", number=0) as writer:
        for batch in rows(come).to_batches():
            writer.add(batch, where="rows")
        written = tuple(writer.finish())
    job = Rewriting(target, rows(gone), "MERGE", Delivery("by key", "test"), "0123456789ab", len(come), written)
    replace_rows(job, lambda shares: [rewrite_share(share, KeySet(job.keys)) for share in shares])


class Histories(RuleBasedStateMachine):
    """In the model a branch is a set of files, which hold rows; a merge puts a change of such sets onto one."""

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="swrepo")
        self.engine = open_catalog(f"sqlite:///{self.folder.name}/catalog.db")
        self.stores = stores_on(self.engine, str(self.engine.url))
        self.repository = Repository(self.stores.repository, SystemClock(), lost=self.stores.lost_versions)
        self.uri = str(Path(self.folder.name) / "t")
        self.vacuumed = False
        self.next = 0
        self.files: dict[str, list[int]] = {}  # file -> its rows
        self.present: dict[str, frozenset[str]] = {}  # branch -> its files
        self.commits: dict[str, frozenset[str]] = {}  # commit id -> files
        self.names: dict[str, str] = {}  # tag -> commit id

    def teardown(self):
        self.engine.dispose()
        self.folder.cleanup()

    def fresh(self) -> int:
        self.next += 1
        return self.next

    def wrote(self, place: str, *given: list[int]) -> frozenset[str]:
        """The files that were just written, which hold these rows and no others."""
        new = sorted(live(place) - self.files.keys())
        found = {name: sorted(pq.read_table(next(Path(self.uri).rglob(name)))["id"].to_pylist()) for name in new}
        assert sorted(found.values()) == sorted(map(sorted, given))
        self.files |= found
        return frozenset(new)

    def held_by(self, files: frozenset[str]) -> list[int]:
        return sorted(one for name in files for one in self.files[name])

    def commit(self, branch: str) -> str:
        made = self.repository.commit(branch, message=f"commit of {branch}")
        self.commits[made.id] = self.present[branch]
        return made.id

    @initialize()
    def begin(self):
        first = self.fresh()
        append(self.uri, [first])
        self.repository.add(self.uri)
        self.present[MAIN] = self.wrote(self.uri, [first])
        self.commit(MAIN)

    @rule(data=st.data())
    def branch(self, data):
        if len(self.present) > 3:
            return
        at = data.draw(st.sampled_from(sorted(self.present)))
        name = f"b{self.fresh()}"
        self.repository.branch(name, at)
        self.present[name] = self.commits[self.repository.find(at).id]

    @rule(data=st.data())
    def write(self, data):
        name = data.draw(st.sampled_from(sorted(self.present)))
        ids = [self.fresh() for _ in range(data.draw(st.integers(1, 3)))]
        place = self.repository.place_to_write(self.uri, name)
        append(place, ids)
        self.present[name] |= self.wrote(place, ids)
        if data.draw(st.booleans()):
            self.commit(name)

    @rule(data=st.data())
    def replace(self, data):
        name = data.draw(st.sampled_from(sorted(self.present)))
        one = self.fresh()
        place = self.repository.place_to_write(self.uri, name)
        commit.overwrite(place, rows([one]), message="anew", source="test")
        self.present[name] = self.wrote(place, [one])
        if data.draw(st.booleans()):
            self.commit(name)

    @rule(data=st.data(), upsert=st.booleans())
    def change_by_key(self, data, upsert):
        name = data.draw(st.sampled_from(sorted(self.present)))
        files = self.present[name]
        there = sorted(set(self.held_by(files)))
        gone = data.draw(st.lists(st.sampled_from([*there, self.fresh()]), min_size=1, max_size=3, unique=True))
        place = self.repository.place_to_write(self.uri, name)
        by_key(place, gone, gone if upsert else [])
        hit = frozenset(one for one in files if set(self.files[one]) & set(gone))
        left = [one for one in self.held_by(hit) if one not in gone]
        new = self.wrote(place, *([left] if left else []), *([gone] if upsert else []))
        self.present[name] = files - hit | new
        if data.draw(st.booleans()):
            self.commit(name)

    @rule(data=st.data())
    def restore_main(self, data):
        newest = DeltaTable(self.uri).version()
        version = data.draw(st.integers(max(0, newest - 3), newest))
        try:
            commit.restore(self.uri, version, message="back")
        except DataError:
            assert self.vacuumed
            return
        self.present[MAIN] = live(self.uri, version)

    @rule()
    def vacuum(self):
        """Whatever it deletes: what branches and tags name is read as before, which the invariant looks at."""
        platform = PlatformSection(state=self.folder.name)
        doors = build_care(self.uri, platform, self.stores, clock=SystemClock())
        vacuum(self.uri, doors, Retention(time.time() + 1, 0, quiet=True))
        self.vacuumed = True
        again = vacuum(self.uri, doors, Retention(time.time() + 1, 0, quiet=True)).plan
        assert again.files == again.abandoned == again.dead == ()

    @rule(data=st.data())
    def delete_branch(self, data):
        others = sorted(self.present.keys() - {MAIN})
        if others:
            name = data.draw(st.sampled_from(others))
            self.repository.delete(name, BRANCH)
            del self.present[name]

    @rule(data=st.data())
    def tag(self, data):
        name = f"t{self.fresh()}"
        at = data.draw(st.sampled_from(sorted(self.present)))
        self.repository.tag(name, at)
        self.names[name] = self.repository.find(at).id

    @rule(data=st.data())
    def merge(self, data):
        source, dest = (data.draw(st.sampled_from(sorted(self.present))) for _ in range(2))
        if source != MAIN:
            self.commit(source)
        theirs, onto = self.repository.find(source), self.repository.find(dest)
        base = self.repository.merge_base(theirs.id, onto.id)
        if base == theirs.id:
            assert merge(self.repository, source, dest).nothing
            return
        self.apply(lambda: merge(self.repository, source, dest), base, theirs.id, dest)

    @rule(data=st.data())
    def revert_or_pick(self, data):
        name, dest = (data.draw(st.sampled_from(sorted(self.present))) for _ in range(2))
        found = data.draw(st.sampled_from(self.repository.log(name)))
        if not found.parents:
            return
        if len(found.parents) == 2:
            theirs, base = found.parents[1], self.repository.merge_base(*found.parents)
            with contextlib.suppress(DataError):  # an old commit, of which a file is gone
                self.apply(lambda: revert(self.repository, found.id, dest), theirs, base, dest)
            return
        try:
            if data.draw(st.booleans()):
                self.apply(lambda: revert(self.repository, found.id, dest), found.id, found.parents[0], dest)
            else:
                self.apply(lambda: cherry_pick(self.repository, found.id, dest), found.parents[0], found.id, dest)
        except DataError:
            assert self.vacuumed  # an old commit, of which a file is gone; nothing has changed

    def apply(self, do, base: str, source: str, dest: str):
        b, s, d = self.commits[base], self.commits[source], self.present[dest]
        lost = (b - s) & (b - d)
        conflict = s != d and lost and (s - b) != (d - b)
        try:
            done = do()
        except MergeConflictError:
            assert conflict
            return
        assert not conflict
        self.present[dest] = (d - (b - s)) | (s - b)
        if done.nothing:
            return
        onto = self.commits[done.commit.parents[0]]
        self.commits[done.commit.id] = self.present[dest] if done.changed else onto

    @invariant()
    def every_branch_holds_what_the_model_says(self):
        for name, files in self.present.items():
            pin = self.repository.pin(self.uri, name)
            assert held(pin.uri, pin.version) == self.held_by(files), name
        for name, made in self.names.items():
            pin = self.repository.pin(self.uri, name)
            assert held(pin.uri, pin.version) == self.held_by(self.commits[made]), name
        if self.present:
            assert sorted(DeltaTable(self.uri).to_pyarrow_table()["id"].to_pylist()) == self.held_by(self.present[MAIN])


Histories.TestCase.settings = settings(
    max_examples=12, stateful_step_count=14, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
)
TestHistories = Histories.TestCase


def open_repository(folder: str) -> Repository:
    return Repository(RepositoryStore(open_catalog(f"sqlite:///{folder}/catalog.db")), SystemClock())


def work(folder: str, what: str, name: str) -> list[str]:
    """One of two processes: say ready, wait for go, then do it ten times."""
    repository, uri = open_repository(folder), f"{folder}/t"
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    said = []
    for number in range(10):
        if what == "append":
            append(uri, [int(name) + number])
        elif what == "compact":
            try:
                DeltaTable(uri).optimize.compact()
            except Exception as error:  # noqa: BLE001 (a loser is told so by the engine)
                said.append(str(error)[:20])
        else:
            branch = f"{name}{number}"
            try:
                merge(repository, branch)
            except ConflictError:
                recover(repository)
                merge(repository, branch)
    return said


@pytest.mark.parametrize("other", ["merge", "append", "compact"])
def test_merges_of_one_process_beside_another(tmp_path, other):
    repository, uri = open_repository(str(tmp_path)), str(tmp_path / "t")
    append(uri, [0])
    repository.add(uri, key=("id",))
    repository.commit(message="first")
    expected = [0]
    for side, start in (("one", 1000), ("two", 2000)):
        for number in range(10):
            expected.append(start + number)
            if side == "two" and other != "merge":
                continue
            repository.branch(f"{side}{number}")
            append(repository.place_to_write(uri, f"{side}{number}"), [start + number])
            repository.commit(f"{side}{number}", message="one row")
    if other == "compact":
        expected = expected[:11]
    commands = [["merge", "one"], [other, "two" if other == "merge" else "2000"]]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    both = [subprocess.Popen([sys.executable, __file__, str(tmp_path), *command], **pipes) for command in commands]
    for process in both:
        assert process.stdout.readline() == "ready\n"
    for process in both:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in both:
        process.communicate(timeout=240)
        assert process.returncode == 0
    assert held(uri) == expected
    assert repository.store.open_merges() == []
    merged = [made for made in repository.log() if len(made.parents) == 2]
    assert len(merged) == (20 if other == "merge" else 10)
    versions = [made.tree[uri].version for made in repository.log()]
    assert versions == sorted(versions, reverse=True)
    if other == "merge":
        assert versions[0] == DeltaTable(uri).version()
    operations = [entry["operation"] for entry in DeltaTable(uri).history()]
    assert operations.count("MERGE BRANCH") == len(merged)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(work(*sys.argv[1:])))
