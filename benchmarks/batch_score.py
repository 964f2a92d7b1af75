"""The area ``batch_score``: a table scored by a registered model against a plain script and Ray's documented recipe.

``python benchmarks/batch_score.py`` takes all its numbers. ``BENCH_SCALE=0.05`` takes a twentieth of the rows, to try
it; such numbers are not kept. Each side runs in a process of its own on two CPUs, turn and turn about.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from pathlib import Path

from bench_line import Bench, Number, run_area
from side_process import Run, run_side
from training_table import Job

SCALE = float(os.environ.get("BENCH_SCALE", "1"))
ROWS = round(2_000_000 * SCALE)
# Of which the part to train on is a little less; the whole table is scored.
JOB = Job(rows=round(ROWS * 0.98), features=10, rounds=100, depth=6, store_mb=500)
REPEATS = 3
OURS, PLAIN, RECIPE = "ours", "plain", "recipe"

RATE_PLAIN = Number("rows_per_second_against_plain", "ratio>=1", unit="rows/s")
RATE_RECIPE = Number("rows_per_second_against_recipe", "ratio>=1.5", unit="rows/s")
PEAK_PLAIN = Number("peak_of_a_process_against_plain", "ratio<=0.5", unit="GB")
PEAK_RECIPE = Number("peak_of_all_processes_against_recipe", "ratio<=0.8", unit="GB")


def a_table_scored(bench: Bench) -> None:
    """The same rows by everybody."""
    with tempfile.TemporaryDirectory(prefix="sluiceway-bench-") as name:
        folder = Path(name)
        JOB.write(folder)
        run_side("batch_sides.prepare", folder)
        size = sum(path.stat().st_size for path in (folder / "table").glob("*.parquet"))
        runs: dict[str, list[Run]] = {OURS: [], PLAIN: [], RECIPE: []}
        for _ in range(REPEATS):
            for side, taken in runs.items():
                taken.append(run_side(f"batch_sides.{side}", folder))
    _refuse_other_work(runs)
    ours, plain, recipe = runs[OURS], runs[PLAIN], runs[RECIPE]
    note = f"{JOB.table_rows:,} rows x {JOB.features} of {size / 1e6:.0f} MB, {JOB.rounds} trees of depth {JOB.depth}"
    note += f", from the first look at the table to the commit, {REPEATS} repeats"
    bench.add(_of(RATE_PLAIN, _rate(ours), _rate(plain), f"{note}; peer: pandas, mlflow.pyfunc, write_deltalake"))
    bench.add(_of(RATE_RECIPE, _rate(ours), _rate(recipe), "peer: read_delta, map_batches of frames, write_delta"))
    largest = "anonymous memory of the largest process"
    bench.add(_of(PEAK_PLAIN, max(run.largest for run in ours), max(run.largest for run in plain), largest))
    together = [max(run.memory.together for run in side) / 1e9 for side in (ours, recipe)]
    bench.add(_of(PEAK_RECIPE, together[0], together[1], "anonymous memory of all, and Ray's object store"))
    for side, taken in runs.items():
        seconds = ", ".join(f"{run.told['seconds']:.2f}" for run in taken)
        walls = ", ".join(f"{run.wall:.1f}" for run in taken)
        bench.tell(f"{side}: single runs", f"{seconds} s; with the process and Ray, cold: {walls} s")
        bench.tell(f"{side}: files written", str(taken[0].told["files"]))
        bench.tell(f"{side}: peak of all processes", f"{max(run.memory.together for run in taken) / 1e9:.2f} GB")
        bench.tell(f"{side}: peaks by process", taken[0].memory.listed())


def _of(number: Number, ours: float, peer: float, note: str) -> Number:
    return Number(number.name, number.goal, ours, peer, number.unit, note)


def _rate(runs: list[Run]) -> float:
    return JOB.table_rows / statistics.median(run.told["seconds"] for run in runs)


def _refuse_other_work(runs: dict[str, list[Run]]) -> None:
    expected = runs[OURS][0].told["mean"]
    for side, taken in runs.items():
        for told in (run.told for run in taken):
            if {told["rows"], told["distinct"]} != {JOB.table_rows} or abs(told["mean"] - expected) > 1e-6:
                raise RuntimeError(f"{side} has not done the same work: {told}")


# Each measurement, with the numbers that it owes: they are `short` where it fails.
MEASUREMENTS = [(a_table_scored, [RATE_PLAIN, RATE_RECIPE, PEAK_PLAIN, PEAK_RECIPE])]

if __name__ == "__main__":
    sys.exit(run_area("batch_score", MEASUREMENTS, keep=SCALE == 1))
