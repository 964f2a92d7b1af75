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
from deltalake import write_deltalake
from wide_rows import wide_table

from sluiceway.catalog.engine import open_catalog
from sluiceway.catalog.repository import RepositoryStore
from sluiceway.core.clock import SystemClock
from sluiceway.data import commit
from sluiceway.data.merging import merge
from sluiceway.data.repository import Repository
from sluiceway.data.row_digest import digest_rows

ROWS, REPEATS = 1_000_000, 5
TABLES, BRANCHES = 50, 50
MERGED_FILES, MERGES = 1_000, 5
ROW_DIGEST = Number("row_digest", "ratio<=0.25")
BRANCH = Number("branch", "ours<=2", unit="ms")
MERGE = Number("merge", "ours<=150", unit="ms")


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


def _took(work: object) -> float:
    began = time.perf_counter()
    work()  # type: ignore[operator]
    return time.perf_counter() - began


# Each measurement, with the numbers that it owes: they are `short` where it fails.
MEASUREMENTS = [(row_digest, [ROW_DIGEST]), (branch, [BRANCH]), (merge_files, [MERGE])]

if __name__ == "__main__":
    sys.exit(run_area("data", MEASUREMENTS))
