"""How throughput and memory grow with an endpoint's replicas, all of them on this machine."""

from __future__ import annotations

import os
import statistics
from dataclasses import dataclass
from pathlib import Path

from bench_line import Bench
from serving_model import Model
from serving_ours import Cluster, Endpoint, replicas
from serving_rates import CONNECTIONS
from serving_wrk import Load, Times, in_turn

from sluiceway.serving.deploy import remove_challenger

REPLICAS = (1, 2, 4)


@dataclass(frozen=True)
class Point:
    """One number of replicas.

    Attributes:
        replicas: of the endpoint.
        runs: of the load.
        own: bytes of a replica that no other process shares, each.
        resident: bytes in memory, each.
    """

    replicas: int
    runs: list[Load]
    own: list[int]
    resident: list[int]

    @property
    def rate(self) -> float:
        """Requests a second."""
        return statistics.median(run.rate for run in self.runs)

    @property
    def p99(self) -> float:
        """Milliseconds."""
        return statistics.median(run.p99 for run in self.runs)


def scaling(cluster: Cluster, model: Model, times: Times) -> list[Point]:
    """Measure each number of replicas, one endpoint after the other."""
    points = []
    for count in REPLICAS:
        endpoint = Endpoint(cluster, f"scaled{count}", model, replicas=count)
        target = endpoint.target(str(count))
        taken = in_turn([target], connections=CONNECTIONS, times=times)
        memory = [process.memory_full_info() for process in replicas(endpoint.name)]
        points.append(Point(count, taken[str(count)], [each.uss for each in memory], [each.rss for each in memory]))
        remove_challenger(endpoint.name)  # any application
    return points


def tell(bench: Bench, points: list[Point], picture: Path) -> None:
    """A line a point, and the curve."""
    cores = len(os.sched_getaffinity(0))
    for point in points:
        own, resident = (statistics.median(each) / 1e6 for each in (point.own, point.resident))
        bench.tell(
            f"{point.replicas} replicas" if point.replicas > 1 else "1 replica",
            f"{point.rate:,.0f} req/s, p99 {point.p99:.2f} ms, {point.rate / points[0].rate:.2f} times one; a replica "
            f"holds {own:.0f} MB of its own, {resident:.0f} MB with what it shares; cores in use: {_busiest(point)}",
        )
    shared = f"wrk and HAProxy share {cores} cores with the replicas"
    bench.tell("curve", f"[docs/pictures/{picture.name}](../docs/pictures/{picture.name}); {shared}")


def _busiest(point: Point, count: int = 5) -> str:
    """Cores that each kind of process has used, and what was left."""
    run = point.runs[-1]
    seconds = run.requests / run.rate
    names = sorted(run.used, key=lambda name: -run.used[name])[:count]
    listed = [f"{name.removeprefix('ray::')} {run.used[name] / seconds:.2f}" for name in names]
    return ", ".join([*listed, f"idle {run.idle / seconds:.2f}"])


def draw(points: list[Point], path: Path) -> None:
    """The curve as SVG."""
    import matplotlib  # noqa: PLC0415 (only here, and it is slow to load)

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "serving"
    from matplotlib import pyplot  # noqa: PLC0415

    figure, axes = pyplot.subplots(figsize=(5, 3))
    counts = [point.replicas for point in points]
    axes.plot(counts, [point.rate for point in points], "o-", color="#4477aa", label="measured")
    axes.plot(counts, [points[0].rate * count for count in counts], ":", color="#999999", label="in proportion")
    cores = len(os.sched_getaffinity(0))
    axes.set_xlabel(f"replicas, on {cores} cores with HAProxy and the load")
    axes.set_ylabel("requests a second")
    axes.set_xticks(counts)
    axes.set_ylim(bottom=0)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
