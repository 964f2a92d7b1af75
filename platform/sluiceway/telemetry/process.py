"""What a process takes of its machine: memory, CPU, network; read when Prometheus asks."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from sluiceway.telemetry.meters import Window

PROC = Path("/proc/self")
LABELS = ("model", "component")
LOOPBACK = "lo"
# In /proc/net/dev, behind an interface's name and colon.
RECEIVED, SENT = 0, 8


class ProcessMetrics:
    """The rows "infrastructure" of the catalogue, for the process that it is made in.

    What the system does not tell, as without ``/proc``, is absent. So is ``gpu_utilization``: serving uses no GPU.

    Args:
        registry: where to register.
        model: the endpoint's name.
        component: ``replica`` or ``recorder``.
        proc: the process's folder of facts.
        clock: monotonic seconds.
        started: when the process began to count, UTC epoch seconds; now if left out.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        model: str,
        component: str,
        proc: Path = PROC,
        clock: Callable[[], float] = time.monotonic,
        started: float | None = None,
    ) -> None:
        self._started = time.time() if started is None else started
        self._labels, self._proc, self._clock = (model, component), proc, clock
        self._window = Window(clock(), size=1)
        self._cpu_before = time.process_time()
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """What the system says now, as the client library asks its collectors."""
        began = GaugeMetricFamily(
            "process_start_time_seconds", "when the process began to count, UTC epoch seconds", labels=LABELS
        )
        began.add_metric(self._labels, self._started)
        yield began
        memory = resident_bytes(self._proc)
        if memory is not None:
            gauge = GaugeMetricFamily("memory_usage_bytes", "resident memory of the process", labels=LABELS)
            gauge.add_metric(self._labels, memory)
            yield gauge
        now, used = self._clock(), (time.process_time() - self._cpu_before,)
        seconds, (grown,) = self._window.grown(now, used)
        self._window.remember(now, used)
        cpu = GaugeMetricFamily("cpu_utilization", "CPUs that the process kept busy, over 60 s", labels=LABELS)
        cpu.add_metric(self._labels, grown / seconds)
        yield cpu
        sums = network_bytes(self._proc)
        if sums is not None:
            counter = CounterMetricFamily(
                "network_io_bytes",
                "bytes over the interfaces that the process sees but loopback: a pod's, or the whole machine's",
                labels=(*LABELS, "direction"),
            )
            for direction, value in zip(("receive", "transmit"), sums, strict=True):
                counter.add_metric((*self._labels, direction), value)
            yield counter


def resident_bytes(proc: Path = PROC) -> int | None:
    """Resident memory of this process; None where there is no ``/proc``."""
    try:
        return int((proc / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None


def network_bytes(proc: Path = PROC) -> tuple[int, int] | None:
    """Bytes received and sent over all interfaces but loopback; None where there is no ``/proc``."""
    try:
        lines = (proc / "net" / "dev").read_text().splitlines()
    except OSError:
        return None
    numbers = [
        [int(value) for value in rest.split()]
        for name, colon, rest in (line.partition(":") for line in lines)
        if colon and name.strip() != LOOPBACK
    ]
    return sum(row[RECEIVED] for row in numbers), sum(row[SENT] for row in numbers)
