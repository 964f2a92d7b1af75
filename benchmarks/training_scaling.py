"""How boosting scales over workers, by simulation: many processes of one thread each on few cores.

One row set is cut into 1, 2, 4 and 8 shares. Each share has a process, XGBoost's own tracker joins them, and they boost
together as the workers of a cluster do. A process counts its own CPU seconds: what a round would take on a core of its
own, less what the exchange costs. The exchange is measured apart: the same processes sum arrays of the sizes that a
round's histograms have, level by level. Its wall time is taken from the slowest process; with more processes than cores
they wait for each other's turn, so for 4 and 8 workers it reads longer than on machines of their own, and the CPU time
of one process says how long the copying and adding take there. It goes over the loopback: a network adds its own time.
"""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import xgboost
from training_table import Job, read_job
from xgboost import collective
from xgboost.tracker import RabitTracker

WORKERS = (1, 2, 4, 8)
WARM = 2  # rounds that are not counted


@dataclass(frozen=True)
class Point:
    """One number of workers, seconds of a round.

    Attributes:
        workers: processes.
        compute: CPU seconds of the busiest worker.
        allreduce: wall seconds of the exchange.
        exchange: CPU seconds of it, of the busiest worker.
    """

    workers: int
    compute: float
    allreduce: float
    exchange: float

    @property
    def longest(self) -> float:
        """A round, where the exchange takes as long as here, with all workers on these cores."""
        return self.compute + self.allreduce

    @property
    def shortest(self) -> float:
        """A round, where the exchange takes its CPU time only."""
        return self.compute + self.exchange


def scaling(folder: Path) -> None:
    """Print a point for each number of workers."""
    print(json.dumps([vars(_point(folder, workers)) for workers in WORKERS]))


def _point(folder: Path, workers: int) -> Point:
    tracker = RabitTracker(n_workers=workers, host_ip="127.0.0.1", sortby="task")
    tracker.start()
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for rank in range(workers):
        mine, theirs = context.Pipe()
        process = context.Process(target=_rank, args=(folder, rank, workers, tracker.worker_args(), theirs))
        process.start()
        theirs.close()
        pipes.append(mine)
        processes.append(process)
    found = [pipe.recv() for pipe in pipes]
    for process in processes:
        process.join()
    tracker.wait_for()
    return Point(
        workers,
        compute=max(cpu - exchange for cpu, exchange, _ in found),
        allreduce=max(wall for _, _, wall in found),
        exchange=max(exchange for _, exchange, _ in found),
    )


def _rank(folder: Path, rank: int, workers: int, joined: Mapping[str, Any], told: Connection) -> None:
    """One worker: boost a share of the rows, then exchange arrays as large as the histograms were."""
    job = read_job(folder)
    x, y = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("x", "y"))
    share = slice(len(y) * rank // workers, len(y) * (rank + 1) // workers)
    clock = _Clock()
    with collective.CommunicatorContext(**joined, dmlc_task_id=f"{rank:03}"):
        matrix = xgboost.QuantileDMatrix(np.array(x[share]), y[share], nthread=1, max_bin=256)
        xgboost.train(job.params | {"nthread": 1}, matrix, job.rounds + WARM, callbacks=[clock], verbose_eval=False)
        cpu, wall = _exchange(job) if workers > 1 else (0.0, 0.0)
    told.send((float(np.median(clock.seconds[WARM:])), cpu, wall))


class _Clock(xgboost.callback.TrainingCallback):
    """CPU seconds of this process in each round."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def before_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        self._began = time.process_time()
        return False

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        self.seconds.append(time.process_time() - self._began)
        return False


def _exchange(job: Job) -> tuple[float, float]:
    """CPU and wall seconds of summing a round's histograms over all workers.

    A level of a tree exchanges the histogram of one of two siblings, the other is the difference: 1, 1, 2, 4 ... nodes,
    each with a sum of gradients and one of hessians, 8 bytes each, for each bin of each feature.
    """
    levels = [np.ones(max(1, 2 ** (depth - 1)) * job.features * 256 * 2) for depth in range(job.depth)]
    cpus, walls = [], []
    for _ in range(job.rounds):
        cpu, wall = time.process_time(), time.perf_counter()
        for level in levels:
            collective.allreduce(level, collective.Op.SUM)
        cpus.append(time.process_time() - cpu)
        walls.append(time.perf_counter() - wall)
    return float(np.median(cpus)), float(np.median(walls))


def told(points: list[Point]) -> list[tuple[str, str]]:
    """A line a point, for people."""
    return [
        (f"{point.workers} workers" if point.workers > 1 else "1 worker", _line(point, points[0])) for point in points
    ]


def _line(point: Point, one: Point) -> str:
    """Its bar is the speed-up over one worker, as seen here."""
    low, high = one.longest / point.longest, one.longest / point.shortest
    return (
        f"{point.longest * 1000:.0f} ms a round: compute {point.compute * 1000:.0f}, "
        f"allreduce {point.allreduce * 1000:.0f} (CPU of one worker {point.exchange * 1000:.0f}); "
        f"{low:.2f} to {high:.2f} times as fast `{'#' * max(1, round(4 * low))}`"
    )


def picture(points: list[Point]) -> str:
    """The same as SVG: a bar for each number of workers, compute below and allreduce on top of it."""
    width, height, foot = 420, 260, 40
    scale = (height - foot - 30) / max(point.longest for point in points)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-size="11">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        '<text x="10" y="16">ms a round; simulated: processes of one thread, on fewer cores than 4 and 8</text>',
    ]
    for place, point in enumerate(points):
        left, base = 30 + place * 98, height - foot
        compute, exchange = point.compute * scale, point.allreduce * scale
        parts += [
            f'<rect x="{left}" y="{base - compute:.1f}" width="60" height="{compute:.1f}" fill="#4477aa"/>',
            f'<rect x="{left}" y="{base - compute - exchange:.1f}" width="60" height="{exchange:.1f}" fill="#ee8866"/>',
            f'<text x="{left}" y="{base - compute - exchange - 4:.1f}">{point.longest * 1000:.0f}</text>',
            f'<text x="{left}" y="{base + 14}">{point.workers} x {points[0].longest / point.longest:.2f}</text>',
        ]
    foot_text = "workers x speed-up; blue: compute (CPU of the busiest), orange: allreduce (wall)"
    return "\n".join([*parts, f'<text x="10" y="{height - 8}">{foot_text}</text>', "</svg>", ""])
