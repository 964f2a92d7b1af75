"""What we rely on in the pinned deltalake: of two writers that race, one is told so and no row is doubled or lost.

Releases 1.6.4 to 1.6.6 let both of two racing compactions succeed and keep every row twice. A change of the pin has to
get past these tests.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import CommitProperties, DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError

from sluiceway.data import commit

pytestmark = pytest.mark.integration


def rows(start: int, n: int) -> pa.Table:
    return pa.table({"id": pa.array(range(start, start + n), pa.int64())})


@pytest.fixture
def uri(tmp_path: Path) -> str:
    place = str(tmp_path / "table")
    for start in range(0, 90, 10):
        commit.append(place, rows(start, 10), message="rows", source="test")
    return place


def compact(uri: str) -> list[str]:
    table = DeltaTable(uri)
    yield_to_the_other()
    try:
        table.optimize.compact()
    except CommitFailedError:
        return ["refused"]
    return ["ok"]


def append(uri: str, start: str, batch: str = "") -> list[bool]:
    yield_to_the_other()
    return [
        commit.append(
            uri, rows(int(start) + i, 1), message="race", source="test", batch_id=f"{batch}{i}" if batch else None
        ).skipped
        for i in range(5)
    ]


def yield_to_the_other() -> None:
    """Say that this process is ready, and wait until the test says go to both."""
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()


def in_two_processes(*commands: list[str]) -> list:
    # This file again as a script: pytest's import mode gives a test module no name that a child could import.
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    both = [subprocess.Popen([sys.executable, __file__, *command], **pipes) for command in commands]
    try:
        for process in both:
            assert process.stdout.readline() == "ready\n"
        for process in both:
            process.stdin.write("go\n")
            process.stdin.flush()
        answers = [process.communicate(timeout=120)[0] for process in both]
        assert [process.returncode for process in both] == [0, 0]
    finally:
        for process in both:
            process.kill()
            process.communicate()
    return [outcome for answer in answers for outcome in json.loads(answer)]


def ids(uri: str) -> list[int]:
    return sorted(DeltaTable(uri).to_pyarrow_table()["id"].to_pylist())


def test_racing_compactions_keep_every_row_once(uri):
    assert "ok" in in_two_processes(["compact", uri], ["compact", uri])
    assert ids(uri) == list(range(90))


def test_stale_compaction_is_refused(uri):
    stale = DeltaTable(uri)
    DeltaTable(uri).optimize.compact()
    with pytest.raises(CommitFailedError):
        stale.optimize.compact()
    assert ids(uri) == list(range(90))


def test_stale_overwrite_after_an_append_is_refused_without_retries(uri):
    stale = DeltaTable(uri)
    write_deltalake(uri, rows(90, 10), mode="append")
    with pytest.raises(CommitFailedError):
        write_deltalake(stale, rows(0, 1), mode="overwrite", commit_properties=CommitProperties(max_commit_retries=0))
    assert ids(uri) == list(range(100))


def test_racing_appends_lose_nothing(uri):
    skipped = in_two_processes(["append", uri, "1000"], ["append", uri, "2000"])
    assert skipped == [False] * 10
    assert ids(uri)[90:] == [*range(1000, 1005), *range(2000, 2005)]


def test_racing_deliveries_of_one_batch_arrive_once(uri):
    skipped = in_two_processes(["append", uri, "1000", "same"], ["append", uri, "1000", "same"])
    assert sorted(skipped) == [False] * 5 + [True] * 5
    assert ids(uri)[90:] == [*range(1000, 1005)]


if __name__ == "__main__":
    sys.stdout.write(json.dumps({"compact": compact, "append": append}[sys.argv[1]](*sys.argv[2:])))
