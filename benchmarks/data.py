"""The area ``data``: what versions of tables cost. ``python benchmarks/data.py`` takes all its numbers."""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pyarrow as pa
from bench_line import Bench, Number, run_area
from deltalake import DeltaTable, write_deltalake
from many_files import PARTITION, lay_files, make_log
from many_files import ROWS as FILE_ROWS
from wide_rows import wide_table

from sluiceway.catalog.engine import open_catalog
from sluiceway.catalog.repository import RepositoryStore
from sluiceway.config.platform import RaySection
from sluiceway.core.clock import SystemClock
from sluiceway.core.references import TableVersion
from sluiceway.data import commit
from sluiceway.data.delta_log import replay
from sluiceway.data.digest import digest_of
from sluiceway.data.merging import merge
from sluiceway.data.ray_read import read_version
from sluiceway.data.repository import Repository
from sluiceway.data.row_digest import digest_rows
from sluiceway.data.scan import dataset_of, files_in
from sluiceway.data.tables import open_table
from sluiceway.wiring.cluster import connect_ray, disconnect

ROWS, REPEATS = 1_000_000, 5
TABLES, BRANCHES = 50, 50
MERGED_FILES, MERGES = 1_000, 5
ROW_DIGEST = Number("row_digest", "ratio<=0.25")
BRANCH = Number("branch", "ours<=2", unit="ms")
MERGE = Number("merge", "ours<=150", unit="ms")
PLANNED_FILES, PARTITIONS, PLANS = 100_000, 100, 5
PLAN = Number("plan_a_partition", "ours<=1")


def row_digest(bench: Bench) -> None:
    """The digest of rows in one process against pandas' hash of rows, turn and turn about."""
    table = wide_table(ROWS)
    frame = table.to_pandas()
    ours, theirs = [], []
    for _ in range(REPEATS):
        ours.append(_took(lambda: digest_rows(table)))
        theirs.append(_took(lambda: pd.util.hash_pandas_object(frame)))
    bench.add(
        Number(
            ROW_DIGEST.name,
            ROW_DIGEST.goal,
            statistics.median(ours),
            statistics.median(theirs),
            note=f"{ROWS:,} rows x {table.num_columns}, {REPEATS} repeats; 128 bits against 64, the frame made before",
        )
    )
    bench.tell("rows digested per second", f"{ROWS / statistics.median(ours):,.0f}")


@contextmanager
def _repository() -> Iterator[tuple[Path, Repository]]:
    with tempfile.TemporaryDirectory(prefix="sluiceway-bench-") as name:
        engine = open_catalog(f"sqlite:///{name}/catalog.db")
        yield Path(name), Repository(RepositoryStore(engine), SystemClock())
        engine.dispose()


def branch(bench: Bench) -> None:
    """A new branch of a repository of many tables."""
    with _repository() as (folder, repository):
        for number in range(TABLES):
            uri = str(folder / f"t{number}")
            commit.append(uri, pa.table({"id": [number]}), message="a row", source="bench")
            repository.add(uri)
        repository.commit(message="all tables")
        took = [_took(lambda n=n: repository.branch(f"b{n}")) * 1000 for n in range(BRANCHES)]  # type: ignore[misc]
    note = f"{TABLES} tables, median of {BRANCHES} on SQLite; slowest {max(took):.2f} ms"
    bench.add(Number(BRANCH.name, BRANCH.goal, statistics.median(took), unit=BRANCH.unit, note=note))


def merge_files(bench: Bench) -> None:
    """A merge of many new files into a main that has moved, against the engine's append of one file."""
    parts = pa.array(range(MERGED_FILES))
    ours, theirs = [], []
    with _repository() as (folder, repository):
        uri = str(folder / "t")
        for start in (0, 1):
            rows = pa.table({"id": pa.array(range(MERGED_FILES)), "part": parts}).slice(0, 1 + start)
            commit.append(uri, rows, message="rows", source="bench", partition_by=("part",))
        repository.add(uri)
        repository.commit(message="first")
        for number in range(MERGES):
            repository.branch(f"b{number}")
            place = repository.place_to_write(uri, f"b{number}")
            commit.append(place, pa.table({"id": parts, "part": parts}), message="a file each", source="bench")
            repository.commit(f"b{number}", message="many files")
            theirs.append(1000 * _took(lambda: write_deltalake(uri, pa.table({"id": [1], "part": [0]}), mode="append")))
            ours.append(1000 * _took(lambda n=number: merge(repository, f"b{n}")))  # type: ignore[misc]
    note = f"{MERGED_FILES:,} files, median of {MERGES}, slowest {max(ours):.0f}; the peer appends one file of one row"
    bench.add(Number(MERGE.name, MERGE.goal, statistics.median(ours), statistics.median(theirs), MERGE.unit, note))


def plan_a_partition(bench: Bench) -> None:
    """From a table's place to Ray's plan of reading one partition, against what Ray's own reader begins with."""
    wanted = "d042"
    with _repository() as (folder, repository):
        uri = str(folder / "many")
        make_log(uri, files=PLANNED_FILES, partitions=PARTITIONS)
        found = files_in(open_table(uri), {PARTITION: [wanted]})
        lay_files(uri, found["path"].to_pylist())
        version = TableVersion(uri, 0, "", PLANNED_FILES * FILE_ROWS, "newest")
        connect_ray(RaySection())
        try:
            ours = [
                _took(lambda: read_version(version, columns=["id", PARTITION], partitions={PARTITION: [wanted]}))
                for _ in range(PLANS)
            ]
        finally:
            disconnect()
        engine = _took(lambda: DeltaTable(uri).to_pyarrow_dataset())
        note = f"{found.num_rows:,} of {PLANNED_FILES:,} files, checkpoint, median of {PLANS}; the first, while Ray "
        note += (
            f"starts its workers, {ours[0]:.1f}; the peer: the engine's dataset of all files, as Ray's reader has it"
        )
        bench.add(Number(PLAN.name, PLAN.goal, statistics.median(ours), engine, PLAN.unit, note))
        _tell_of_many_files(bench, uri, repository)


def _tell_of_many_files(bench: Bench, uri: str, repository: Repository) -> None:
    """What else is paid once for each file of a version, in one process."""
    table = open_table(uri)
    repository.add(uri)
    repository.commit(message="many files")
    repository.branch("exp")
    costs = {
        "opening": lambda: open_table(uri),
        "digest of the version": lambda: digest_of(table),
        "planning a read of all": lambda: dataset_of(table, files_in(table)),
        "state of the log, for a merge": lambda: replay(uri, 0),
    }
    told = [f"{name} {min(_took(work) for _ in range(3)):.2f} s" for name, work in costs.items()]
    told.append(f"a branch's first write {_took(lambda: repository.place_to_write(uri, 'exp')):.2f} s")
    bench.tell(f"{PLANNED_FILES:,} files", ", ".join(told))


def _took(work: object) -> float:
    began = time.perf_counter()
    work()  # type: ignore[operator]
    return time.perf_counter() - began


# Each measurement, with the numbers that it owes: they are `short` where it fails.
MEASUREMENTS = [(row_digest, [ROW_DIGEST]), (branch, [BRANCH]), (merge_files, [MERGE]), (plan_a_partition, [PLAN])]

if __name__ == "__main__":
    sys.exit(run_area("data", MEASUREMENTS))
