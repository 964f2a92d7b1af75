"""The area ``ingest``: files into a table by Ray tasks against the engine alone.

``python benchmarks/ingest.py [ROWS]`` takes all its numbers; the peer writes rows that it holds in memory already.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import ray
from bench_line import Bench, Number, run_area
from deltalake import DeltaTable, write_deltalake
from peak_memory import PeakMemory
from wide_rows import wide_table

from sluiceway.config.platform import RaySection
from sluiceway.data.ingest.request import IngestRequest
from sluiceway.data.ray_ingest import ingest
from sluiceway.wiring.cluster import connect_ray, disconnect

DEFAULT_ROWS, FILE_ROWS, REPEATS = 2_000_000, 500_000, 3
PEER = "--engine-alone"
RATE = Number("rows_per_second", "ratio>=0.7", unit="rows/s")
PEAK = Number("peak_memory_of_a_process", "ours<=1.5", unit="GB")


def engine_alone(folder: Path) -> dict[str, float]:
    """The peer: ``write_deltalake`` of rows that lie in memory, in this process."""
    table = pa.concat_tables([pq.read_table(path) for path in sorted((folder / "in").glob("*.parquet"))])
    with PeakMemory() as memory:
        began = time.perf_counter()
        write_deltalake(str(folder / f"peer-{time.time_ns()}"), table)
        took = time.perf_counter() - began
    return {"seconds": took, "peak": memory.own["driver"] / 1e9}


def _peer(folder: Path) -> dict[str, float]:
    done = subprocess.run([sys.executable, __file__, PEER, str(folder)], check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _ours(folder: Path) -> dict[str, Any]:
    uri = str(folder / f"ours-{time.time_ns()}")
    with PeakMemory() as memory:
        began = time.perf_counter()
        report = ingest([str(folder / "in")], uri, IngestRequest())
        took = time.perf_counter() - began
    peaks = {name: peak / 1e9 for name, peak in memory.own.items()}
    return {"seconds": took, "peaks": peaks, "rows": DeltaTable(uri).count(), "files": report.files}


def files_into_a_table(bench: Bench) -> None:
    """The same rows from Parquet by Ray tasks, and from memory by the engine in one process, turn and turn about."""
    rows = int(next((one for one in sys.argv[1:] if one.isdigit()), DEFAULT_ROWS))
    with tempfile.TemporaryDirectory(prefix="sluiceway-bench-") as name:
        folder = Path(name)
        (folder / "in").mkdir()
        for number, start in enumerate(range(0, rows, FILE_ROWS)):
            part = wide_table(min(FILE_ROWS, rows - start), seed=number)
            pq.write_table(part, folder / "in" / f"{number:04}.parquet", row_group_size=FILE_ROWS // 4)
        size = sum(path.stat().st_size for path in (folder / "in").iterdir())
        connect_ray(RaySection())
        try:
            ingest([str(folder / "in" / "0000.parquet")], str(folder / "warm"), IngestRequest())
            ours, theirs = [], []
            for _ in range(REPEATS):
                ours.append(_ours(folder))
                theirs.append(_peer(folder))
            cpus = int(ray.cluster_resources()["CPU"])
        finally:
            disconnect()
    if any(one["rows"] != rows for one in ours):
        raise AssertionError(f"not all of {rows:,} rows arrived: {ours}")
    note = f"{rows:,} rows x 20 from {size / 1e6:,.0f} MB of Parquet, {cpus} CPUs, {REPEATS} repeats; peer: from memory"
    mine, engine = (rows / statistics.median(one["seconds"] for one in runs) for runs in (ours, theirs))
    bench.add(Number(RATE.name, RATE.goal, mine, engine, RATE.unit, note))
    peaks: dict[str, float] = {}
    for one in ours:
        for process, peak in one["peaks"].items():
            peaks[process] = max(peak, peaks.get(process, 0.0))
    largest = max(peaks, key=lambda process: peaks[process])
    peer_peak = max(one["peak"] for one in theirs)
    bench.add(Number(PEAK.name, PEAK.goal, peaks[largest], peer_peak, PEAK.unit, f"{largest}; without shared memory"))
    bench.tell("files written", str(ours[0]["files"]))
    bench.tell("single runs", ", ".join(f"{one['seconds']:.2f}" for one in ours) + " s")
    bench.tell("single runs of the peer", ", ".join(f"{one['seconds']:.2f}" for one in theirs) + " s")
    bench.tell("peak by process", ", ".join(f"{name} {peak:.2f} GB" for name, peak in sorted(peaks.items())))


# Each measurement, with the numbers that it owes: they are `short` where it fails.
MEASUREMENTS = [(files_into_a_table, [RATE, PEAK])]

if __name__ == "__main__":
    if PEER in sys.argv:
        print(json.dumps(engine_alone(Path(sys.argv[sys.argv.index(PEER) + 1]))))
        sys.exit(0)
    sys.exit(run_area("ingest", MEASUREMENTS))
