"""The area ``gates``: what judging a model costs. ``python benchmarks/gates.py`` takes all its numbers.

``BENCH_SCALE=0.05`` takes a twentieth of the rows and of the draws, to try it; such numbers are not kept. Each side
runs in a process of its own with two threads in all, and tells of itself in one line.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from pathlib import Path

from bench_line import Bench, Number, run_area
from gates_rows import Job, make_rows
from side_process import HERE, Run, run_side

SCALE = float(os.environ.get("BENCH_SCALE", "1"))
ROWS = round(1_000_000 * SCALE)
JOB = Job(rows=ROWS, fitted=round(200_000 * SCALE), disturbed=ROWS, resamples=max(100, round(500 * SCALE)))
REPEATS = 2
GIGABYTE = 1e9
# Threads of OpenMP that spin while they wait make a peer ten times slower wherever anything else runs.
THREADS = {"OMP_NUM_THREADS": str(JOB.threads), "OMP_WAIT_POLICY": "PASSIVE"}
WORKER = "ray::"  # how Ray calls a process that runs tasks

WHOLE = Number("all_gates_1m_x_20", "ratio<=0.25")
DIRECT = Number("against_one_process_1m_x_20", "ratio<=1.2")
MEMORY = Number("memory_of_a_task_1m_x_20", "ours<=1", unit="GB")
OURS, BY_DEFAULT, ONE_PROCESS = "gates_ours.ours", "gates_ours.ours_by_default", "gates_ours.direct"
PLAIN = "gates_peers.plain"
# Our verdicts and the numbers of the plain script that have to be the same, and how far they may be apart.
SAME = {
    "performance auc_roc": ("performance auc_roc", 1e-6),
    "performance average_precision": ("performance average_precision", 1e-6),
    "performance log_loss": ("performance log_loss", 1e-6),
    "performance ks": ("performance ks", 1e-6),
    "performance f1_score": ("performance f1_score", 1e-6),
    "fairness region AUC gap": ("fairness region auc", 1e-6),
    "fairness age_group AUC gap": ("fairness age_group auc", 1e-6),
    "fairness age_group demographic parity difference": ("fairness age_group selection rate", 1e-6),
    # Disturbed by other random numbers.
    "robustness loss under noise of 0.1 std": ("robustness noise of 0.1 std", 0.005),
    "robustness loss under 1 % missing values": ("robustness missing values", 0.005),
    "data_quality rows of the smallest class": ("smallest class", 0),
    "data_quality share of test rows that were trained on": ("overlap", 0),
    "leakage AUC of one feature alone": ("single feature", 0.01),
    "calibration slope of a logistic recalibration": ("slope", 0.005),
    "slices far AUC loss": ("slices far", 1e-6),
}


def gates(bench: Bench) -> None:
    """All gates but ``serving`` as Ray tasks, against one process and against the plain script."""
    with tempfile.TemporaryDirectory(prefix="sluiceway-bench-") as name:
        folder = Path(name)
        make_rows(folder, JOB)
        ours, direct = [], []
        for _ in range(REPEATS):
            ours.append(_run(OURS, folder))
            direct.append(_run(ONE_PROCESS, folder, **THREADS))
        by_default = _run(BY_DEFAULT, folder)
        plain = _run(PLAIN, folder, **THREADS)
    _same_work(ours[0], direct[0], plain)
    wholes = [statistics.median(run.told["whole"] for run in side) for side in (ours, direct)]
    draws = plain.told["draws"]
    taken = f"{draws['taken']} of {JOB.resamples} draws taken" if draws["taken"] < JOB.resamples else "all draws taken"
    note = f"{JOB.rows:,} test rows, 11 disturbances, {JOB.resamples} draws; Ray connected, its workers cold; "
    peer = f"scikit-learn, fairlearn, pandas in turn, roc_auc_score of both models a draw, {taken}"
    bench.add(Number(WHOLE.name, WHOLE.goal, wholes[0], plain.told["whole"], note=note + peer))
    one = f"our functions in turn, {JOB.threads} threads, {REPEATS} repeats"
    bench.add(Number(DIRECT.name, DIRECT.goal, *wholes, note=one))
    _memory(bench, ours)
    _tell(bench, ours, direct, by_default, plain)


def _run(side: str, folder: Path, **environment: str) -> Run:
    """A side with the package of this tree, whichever is installed."""
    path = os.pathsep.join([str(HERE), str(HERE.parent / "platform")])
    return run_side(side, folder, PYTHONPATH=path, **environment)


def _same_work(ours: Run, direct: Run, plain: Run) -> None:
    """Refuse to compare what is not the same."""
    mine, alone, theirs = (run.told["values"] for run in (ours, direct, plain))
    # A time passes between two runs.
    wrong = [
        f"{name}: {value:.6g} in tasks, {alone.get(name, float('nan')):.6g} in one process"
        for name, value in mine.items()
        if "age of" not in name and not abs(value - alone.get(name, float("nan"))) <= 1e-6
    ]
    wrong += [
        f"{name}: {mine[name]:.6g} by us, {theirs[other]:.6g} by the script"
        for name, (other, apart) in SAME.items()
        if not abs(mine[name] - theirs[other]) <= apart
    ]
    if wrong or "ERROR" in ours.told["statuses"]:
        raise RuntimeError("not the same work: " + "; ".join([*wrong, *ours.told["not_passed"]]))


def _memory(bench: Bench, ours: list[Run]) -> None:
    peaks: dict[str, int] = {}
    for run in ours:
        for process, own in run.memory.own.items():
            if process.startswith(WORKER):
                peaks[process] = max(peaks.get(process, 0), own)
    largest = max(peaks, key=lambda process: peaks[process])
    # An idle worker still has what its last task has left.
    note = f"anonymous memory of the largest worker, interpreter and libraries included: {largest.removeprefix(WORKER)}"
    bench.add(Number(MEMORY.name, MEMORY.goal, peaks[largest] / GIGABYTE, None, MEMORY.unit, note))
    tasks = sorted(((own, name) for name, own in peaks.items() if " " in name), reverse=True)
    listed = [f"{name.removeprefix(WORKER).removeprefix('gate ')} {own / GIGABYTE:.2f} GB" for own, name in tasks[:12]]
    bench.tell("largest workers by their task", ", ".join(listed))


def _tell(bench: Bench, ours: list[Run], direct: list[Run], by_default: Run, plain: Run) -> None:
    told = {name: side.told for name, side in (("ours", ours[0]), ("one process", direct[0]), ("plain script", plain))}
    bench.tell("single runs", f"ours {_wholes(ours)}, one process {_wholes(direct)}")
    used = ", ".join(f"{name} {side['cpu']:.0f} s" for name, side in told.items())
    bench.tell("CPU seconds of all threads and processes", used)
    starting = f"{told['ours']['connect']:.1f} s to start Ray, {told['ours']['put']:.1f} s to put the rows"
    bench.tell("ours, before", starting)
    bench.tell("ours, once more in the same workers", f"{told['ours']['again']:.1f} s")
    bench.tell("ours, 50,000 disturbed rows as by default", f"{by_default.told['whole']:.1f} s")
    bench.tell("ours, done after", _seconds(told["ours"]["seconds"]))
    bench.tell("one process, each gate", _seconds(told["one process"]["seconds"]))
    bench.tell("one process, each part", _seconds(told["one process"]["parts"]))
    scored = [
        f"{who} {made['times']} times, {made['rows']:,} rows"
        for who, made in zip(("candidate", "champion"), told["one process"]["scorings"], strict=True)
    ]
    bench.tell("scored", "; ".join(scored))
    bench.tell("plain script, each part", _seconds(told["plain script"]["seconds"]))
    without = told["plain script"]["whole"] - told["plain script"]["seconds"]["bootstrap"]
    bench.tell(
        "plain script without its draws",
        f"{without:.1f} s; average precision and KS of both models a draw "
        f"as well, as ours has them: {told['plain script']['further_draws']:.0f} s more",
    )
    bench.tell("verdicts", ", ".join(f"{count} {status}" for status, count in told["ours"]["statuses"].items()))


def _wholes(runs: list[Run]) -> str:
    return ", ".join(f"{run.told['whole']:.1f}" for run in runs) + " s"


def _seconds(parts: dict[str, float]) -> str:
    return ", ".join(f"{name} {seconds:.2f} s" for name, seconds in parts.items())


MEASUREMENTS = [(gates, [WHOLE, DIRECT, MEMORY])]

if __name__ == "__main__":
    sys.exit(run_area("gates", MEASUREMENTS, keep=SCALE == 1))
