"""The area ``training``: folds and a final model against the peers. ``python benchmarks/training.py`` takes it.

``BENCH_SCALE=0.05`` takes a twentieth of the rows and a tenth of the rounds, to try it; such numbers are not kept. Each
side runs in a process of its own with two threads in all, does the same rounds, and tells of itself in one line.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import training_scaling
from bench_line import Bench, Number, run_area
from side_process import HERE, Run, run_side
from training_table import Job, make_table

from sluiceway.training.legacy import PACKAGES

SCALE = float(os.environ.get("BENCH_SCALE", "1"))
PICTURE = HERE.parent / "docs" / "pictures" / "training-scaling.svg"
LEGACY = HERE.parent / ".bench" / "xgboost-ray"
LEGACY_PACKAGES = ("ray[train]==2.60.0", *PACKAGES)
ROUNDS = 100 if SCALE == 1 else 10
SMALL = Job(rows=round(1_000_000 * SCALE), features=10, rounds=ROUNDS)
LARGE = Job(rows=round(5_000_000 * SCALE), features=20, rounds=ROUNDS)
# 6.4 GB of floats of 4 bytes against a limit of a quarter. Many features, because some 60 bytes a row stay in memory.
BEYOND = Job(rows=round(8_000_000 * SCALE), features=200, rounds=5, depth=6, folds=2)
BEYOND_LIMIT = BEYOND.rows * BEYOND.features * 4 // 4
SHARED = Job(rows=round(800_000 * SCALE), features=20, rounds=10)
REPEATS = 2
STOCK_ROUNDS = 10

SMALL_BOOSTING = Number("boosting_1m_x_10", "ratio<=1.25")
LARGE_BOOSTING = Number("boosting_5m_x_20", "ratio<=1.1")
SMALL_PLAIN = Number("whole_1m_x_10", "ratio<=1.25")  # Ray's start: docs/decisions/0048
LARGE_PLAIN = Number("whole_5m_x_20", "ratio<=1")
LARGE_PEAK = Number("peak_memory_5m_x_20", "ratio<=0.5", unit="GB")
RECIPE = Number("ray_recipe_1m_x_10", "ratio<=0.5")
XGBOOST_RAY = Number("xgboost_ray_1m_x_10", "ratio<=1")
EXTERNAL = Number("larger_than_memory", "ours>=4", unit="times the limit, or what was held")
# Each side of a process: its module and function.
OURS, ARRANGED = "training_ours.ours", "training_ours.arranged"
BARE, PLAIN = "training_peers.bare", "training_peers.plain"
RECIPE_SIDE, RECIPE_ONCE = "training_peers.recipe", "training_peers.recipe_once"
LEGACY_SIDE = "training_xgboost_ray.xgboost_ray"


def small(bench: Bench) -> None:
    """1 million rows of 10 features against everybody, turn and turn about."""
    with tempfile.TemporaryDirectory(prefix="sluiceway-bench-") as name:
        folder = Path(name)
        make_table(folder, SMALL)
        run_side(ARRANGED, folder)
        runs: dict[str, list[Run]] = {OURS: [], BARE: [], PLAIN: []}
        for _ in range(REPEATS):
            for side, taken in runs.items():
                taken.append(run_side(side, folder))
        _compare(bench, SMALL, runs, SMALL_BOOSTING, SMALL_PLAIN)
        _two_workers(bench, folder)
        mine = statistics.median(run.wall for run in runs[OURS])
        auc = runs[OURS][0].told["metric"]
        _against_the_recipe(bench, folder, mine, auc)
        _against_xgboost_ray(bench, folder, mine, auc)


def large(bench: Bench) -> None:
    """5 million rows of 20 features against bare calls and the plain script, once each."""
    with tempfile.TemporaryDirectory(prefix="sluiceway-bench-") as name:
        folder = Path(name)
        make_table(folder, LARGE)
        run_side(ARRANGED, folder)
        runs = {side: [run_side(side, folder)] for side in (OURS, BARE, PLAIN)}
        _compare(bench, LARGE, runs, LARGE_BOOSTING, LARGE_PLAIN)
        ours, plain = runs[OURS][0].memory, runs[PLAIN][0].memory
        note = "all processes of a side together: anonymous memory and Ray's object store, columns of doubles"
        gigabytes = ours.together / 1e9, plain.together / 1e9
        bench.add(Number(LARGE_PEAK.name, LARGE_PEAK.goal, *gigabytes, LARGE_PEAK.unit, note))
        largest = [max(memory.own.values()) / 1e9 for memory in (ours, plain)]
        bench.tell(f"{_size(LARGE)}: largest process", f"ours {largest[0]:.2f} GB, plain {largest[1]:.2f} GB")
        bench.tell(f"{_size(LARGE)}: our processes at their peaks", ours.listed())


def _compare(bench: Bench, job: Job, runs: dict[str, list[Run]], boosting: Number, whole: Number) -> None:
    ours, bare, plain = (runs[side] for side in (OURS, BARE, PLAIN))
    if ours[0].told["rows"] != bare[0].told["rows"]:
        raise RuntimeError(f"not the same rows: {ours[0].told} and {bare[0].told}")
    for run in (*bare, *plain):
        _same_work(ours[0].told["metric"], run.told["metric"])
    trained = [[_boosting(run) for run in side] for side in (ours, bare)]
    walls = [[run.wall for run in side] for side in (ours, plain)]
    note = f"{ours[0].told['rows']:,} rows, {job.rounds} rounds, depth {job.depth}, {len(ours)} repeats"
    bench.add(Number(boosting.name, boosting.goal, *map(statistics.median, trained), note=f"folds and final; {note}"))
    cold = "processes and Ray cold; peer: pandas, StratifiedKFold, DMatrix"
    bench.add(Number(whole.name, whole.goal, *map(statistics.median, walls), note=cold))
    size = _size(job)
    for part in ("connect", "profile", "read", "start", "load", "build", "folds", "final", "oof", "total"):
        peer = f"; bare calls {_middle(bare, part):.2f} s" if part in bare[0].told["seconds"] else ""
        bench.tell(f"{size}: ours, {part}", f"{_middle(ours, part):.2f} s{peer}")
    bench.tell(f"{size}: single runs", "; ".join(_listed(*each) for each in zip(_NAMES, trained + walls, strict=True)))
    aucs = ", ".join(f"{side[0].told['metric']:.5f}" for side in (ours, bare, plain))
    bench.tell(f"{size}: mean auc of the folds", f"ours, bare, plain: {aucs}")
    bench.tell(f"{size}: engine", f"{ours[0].told['engine']}: {ours[0].told['why']}")
    peaks = [max(run.memory.together for run in side) / 1e9 for side in (ours, plain)]
    bench.tell(f"{size}: peak of all processes", f"ours {peaks[0]:.2f} GB, plain {peaks[1]:.2f} GB")


_NAMES = ("ours boosting", "bare boosting", "ours whole", "plain whole")


def _boosting(run: Run) -> float:
    return float(run.told["seconds"]["folds"] + run.told["seconds"]["final"])


def _middle(runs: list[Run], part: str) -> float:
    return statistics.median(run.told["seconds"][part] for run in runs)


def _listed(name: str, values: list[float]) -> str:
    return f"{name} {', '.join(f'{value:.1f}' for value in values)} s"


def _size(job: Job) -> str:
    return f"{job.rows / 1e6:g}M x {job.features}"


def _same_work(ours: float, theirs: float) -> None:
    if abs(ours - theirs) > 0.005:
        raise RuntimeError(f"not the same work: mean auc {ours:.4f} against {theirs:.4f}")


def _two_workers(bench: Bench, folder: Path) -> None:
    """The same rows in a Ray Train group of two workers, for those who ask for one."""
    replace(SMALL, workers=2).write(folder)
    run = run_side(OURS, folder)
    SMALL.write(folder)
    seconds = ", ".join(f"{part} {run.told['seconds'][part]:.2f} s" for part in ("read", "start", "folds", "final"))
    bench.tell(f"{_size(SMALL)}: ours with workers: 2, a thread each", f"whole {run.wall:.1f} s: {seconds}")


def _against_the_recipe(bench: Bench, folder: Path, ours: float, auc: float) -> None:
    fast = {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.05"}
    run = run_side(RECIPE_SIDE, folder, **fast)
    _same_work(auc, run.told["metric"])
    note = "a fit() for each fold, frames, the stock callback with RAY_TRAIN_HEALTH_CHECK_INTERVAL_S=0.05"
    bench.add(Number(RECIPE.name, RECIPE.goal, ours, run.wall, note=note))
    bench.tell("Ray's recipe, each fit()", ", ".join(f"{seconds:.1f}" for seconds in run.told["fits"]) + " s")
    replace(SMALL, rounds=STOCK_ROUNDS).write(folder)
    quick, stock = (run_side(RECIPE_ONCE, folder, **given).told["fits"][0] for given in (fast, {}))
    SMALL.write(folder)
    per_round = (stock - quick) / STOCK_ROUNDS
    bench.tell(
        f"Ray's recipe as documented, one fit() of {STOCK_ROUNDS} rounds",
        f"{stock:.1f} s; {quick:.1f} s with the interval of 0.05 s: {per_round:.2f} s more a round, "
        f"{per_round * SMALL.rounds:.0f} s more a fit() of {SMALL.rounds}",
    )


def _against_xgboost_ray(bench: Bench, folder: Path, ours: float, auc: float) -> None:
    python = LEGACY / "bin" / "python"
    if not (LEGACY / "made").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(LEGACY)], check=True)
        # Its warnings say where packages come from, which is nobody's business here.
        subprocess.run([str(python), "-m", "pip", "install", "-q", "-q", *LEGACY_PACKAGES], check=True)
        (LEGACY / "made").touch()
    peer = {"rows": SMALL.rows, "rounds": SMALL.rounds, "folds": SMALL.folds, "names": SMALL.names}
    (folder / "peer.json").write_text(json.dumps(peer | {"params": SMALL.params, "store_mb": SMALL.store_mb}))
    run = run_side(LEGACY_SIDE, folder, python=str(python))
    _same_work(auc, run.told["metric"])
    note = "xgboost-ray 0.1.19 on xgboost 2.0.3, two actors of one thread, pandas"
    bench.add(Number(XGBOOST_RAY.name, XGBOOST_RAY.goal, ours, run.wall, note=note))


def external(bench: Bench) -> None:
    """Floats of four times what the worker may hold, and of four times all that its process held."""
    job = replace(BEYOND, memory=BEYOND_LIMIT)
    with tempfile.TemporaryDirectory(prefix="sluiceway-bench-") as name:
        folder = Path(name)
        make_table(folder, job, single=True)
        run = run_side(OURS, folder)
    peak = run.memory.own["ray::_train"]
    # The 0.4 GB of a worker's own hide a smaller limit: a try is judged by the limit alone.
    times = run.told["rows"] * job.features * 4 / (max(BEYOND_LIMIT, peak) if SCALE == 1 else BEYOND_LIMIT)
    note = (
        f"{run.told['rows']:,} rows x {job.features}, limit {BEYOND_LIMIT / 1e6:.0f} MB, the worker's process held "
        f"{peak / 1e6:.0f} MB; done in {run.wall:.0f} s"
    )
    bench.add(Number(EXTERNAL.name, EXTERNAL.goal, round(times, 2), None, EXTERNAL.unit, note))
    bench.tell("larger than memory: engine", f"{run.told['engine']}: {run.told['why']}")
    bench.tell("larger than memory: anonymous memory of processes at their peaks", run.memory.listed())


def scaling(bench: Bench) -> None:
    """1, 2, 4 and 8 workers of one thread: simulated, see ``training_scaling``."""
    with tempfile.TemporaryDirectory(prefix="sluiceway-bench-") as name:
        folder = Path(name)
        make_table(folder, SHARED)
        run_side(ARRANGED, folder)
        points = [training_scaling.Point(**point) for point in run_side("training_scaling.scaling", folder).told]
    kind = "simulated by processes of one thread on this machine; compute is CPU time, allreduce is measured apart"
    bench.tell(f"scaling of {_size(SHARED)}", kind)
    for number, text in training_scaling.told(points):
        bench.tell(number, text)
    if SCALE == 1:
        PICTURE.parent.mkdir(exist_ok=True)
        PICTURE.write_text(training_scaling.picture(points))
        bench.tell("curve", f"[docs/pictures/{PICTURE.name}](../docs/pictures/{PICTURE.name})")


# Each measurement, with the numbers that it owes: they are `short` where it fails.
MEASUREMENTS = [
    (small, [SMALL_BOOSTING, SMALL_PLAIN, RECIPE, XGBOOST_RAY]),
    (large, [LARGE_BOOSTING, LARGE_PLAIN, LARGE_PEAK]),
    (external, [EXTERNAL]),
    (scaling, []),
]

if __name__ == "__main__":
    sys.exit(run_area("training", MEASUREMENTS, keep=SCALE == 1))
