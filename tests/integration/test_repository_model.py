"""Random histories of a repository against plain Python, and two processes at once against what has to come out."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from sluiceway.catalog.engine import open_catalog
from sluiceway.catalog.repository import RepositoryStore
from sluiceway.core.clock import SystemClock
from sluiceway.core.errors import ConflictError, MergeConflictError
from sluiceway.core.repository import MAIN
from sluiceway.data import commit, places, tables
from sluiceway.data.merging import cherry_pick, merge, recover, revert
from sluiceway.data.repository import Repository

pytestmark = pytest.mark.integration


def rows(ids: list[int]) -> pa.Table:
    return pa.table({"id": pa.array(ids, pa.int64())})


def append(place: str, ids: list[int]) -> None:
    commit.append(place, rows(ids), message="rows", source="test")


def held(place: str, version: int | None = None) -> list[int]:
    return sorted(places.dataset(tables.open_table(place, version=version), place).to_table()["id"].to_pylist())


class Histories(RuleBasedStateMachine):
    """In the model a branch is a set of files, each named by its row; a merge puts a change of such sets onto one."""

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="swrepo")
        self.engine = open_catalog(f"sqlite:///{self.folder.name}/catalog.db")
        self.repository = Repository(RepositoryStore(self.engine), SystemClock())
        self.uri = str(Path(self.folder.name) / "t")
        self.next = 0
        self.present: dict[str, frozenset[int]] = {}  # branch -> its files, each named by its only row
        self.commits: dict[str, frozenset[int]] = {}  # commit id -> files
        self.names: dict[str, str] = {}  # tag -> commit id

    def teardown(self):
        self.engine.dispose()
        self.folder.cleanup()

    def fresh(self) -> int:
        self.next += 1
        return self.next

    def commit(self, branch: str) -> str:
        made = self.repository.commit(branch, message=f"commit of {branch}")
        self.commits[made.id] = self.present[branch]
        return made.id

    @initialize()
    def begin(self):
        first = self.fresh()
        append(self.uri, [first])
        self.repository.add(self.uri)
        self.present[MAIN] = frozenset([first])
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
        one = self.fresh()
        append(self.repository.place_to_write(self.uri, name), [one])
        self.present[name] |= {one}
        if data.draw(st.booleans()):
            self.commit(name)

    @rule(data=st.data())
    def replace(self, data):
        name = data.draw(st.sampled_from(sorted(self.present)))
        one = self.fresh()
        commit.overwrite(self.repository.place_to_write(self.uri, name), rows([one]), message="anew", source="test")
        self.present[name] = frozenset([one])
        if data.draw(st.booleans()):
            self.commit(name)

    @rule(data=st.data())
    def restore_main(self, data):
        newest = DeltaTable(self.uri).version()
        version = data.draw(st.integers(max(0, newest - 3), newest))
        self.present[MAIN] = frozenset(held(self.uri, version))
        commit.restore(self.uri, version, message="back")

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
        if len(found.parents) != 1:
            return
        if data.draw(st.booleans()):
            self.apply(lambda: revert(self.repository, found.id, dest), found.id, found.parents[0], dest)
        else:
            self.apply(lambda: cherry_pick(self.repository, found.id, dest), found.parents[0], found.id, dest)

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
            assert held(pin.uri, pin.version) == sorted(files), name
        for name, made in self.names.items():
            pin = self.repository.pin(self.uri, name)
            assert held(pin.uri, pin.version) == sorted(self.commits[made]), name
        if self.present:
            assert sorted(DeltaTable(self.uri).to_pyarrow_table()["id"].to_pylist()) == sorted(self.present[MAIN])


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
