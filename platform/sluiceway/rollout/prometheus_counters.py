"""Counts of both arms from Prometheus's raw samples: exact differences of counters, nothing extrapolated.

The samples themselves are read (``metric[300s]``), each once. A counter that fell, or whose process began anew, began
at 0 again. What lies between two samples of which one is outside of a step belongs to no step: a step misses up to one
scrape at its beginning, and of a process that died what it counted after its last scrape; nothing is counted twice.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sluiceway.core.errors import BackendError
from sluiceway.core.promql import quoted
from sluiceway.core.traffic import EXPORTED_LATENCY_BOUNDS_SECONDS
from sluiceway.rollout.evidence import ArmSeen
from sluiceway.rollout.prometheus_api import PrometheusApi, Series

REQUESTS, ERRORS, LATENCY = "model_requests_total", "model_errors_total", "prediction_latency_seconds_bucket"
STARTED = "process_start_time_seconds"
ARMS = ("champion", "challenger")
CHUNK_SECONDS = 300.0
# Samples that come late, and what was there before a rollout: how far back each question looks beyond the last one.
OVERLAP_SECONDS = 60.0
# Two processes that took turns at one address do not begin in the same second.
SAME_PROCESS_SECONDS = 1.0

Instance = frozenset[tuple[str, str]]
_OF_SERIES = frozenset({"__name__", "model", "version", "arm", "le", "component", "exported_component"})
_BOUNDS = (*EXPORTED_LATENCY_BOUNDS_SECONDS, math.inf)


@dataclass(frozen=True)
class Window:
    """When a step was, by Prometheus's clock; ``end`` is inf for the present one."""

    start: float
    end: float


@dataclass
class _Tally:
    requests: float = 0.0
    errors: float = 0.0
    # Cumulative, as Prometheus has them, by upper bound.
    buckets: dict[float, float] = field(default_factory=lambda: defaultdict(float))

    def add(self, name: str, bound: str, grown: float) -> None:
        if name == REQUESTS:
            self.requests += grown
        elif name == ERRORS:
            self.errors += grown
        else:
            self.buckets[float(bound)] += grown

    def seen(self) -> ArmSeen:
        """As a rollout has it.

        Raises:
            BackendError: the histogram has other buckets than the platform's.
        """
        bounds = sorted(self.buckets)
        if bounds and not (len(bounds) == len(_BOUNDS) and all(map(_same, bounds, _BOUNDS))):
            raise BackendError(f"{LATENCY} has {len(bounds)} buckets up to {bounds[-1]:g} s, not those of this release")
        cumulative = [round(self.buckets[bound]) for bound in bounds]
        latency = tuple(max(0, n - before) for n, before in zip(cumulative, [0, *cumulative], strict=False))
        requests = round(self.requests)
        # A scrape may see an error whose request it does not see yet.
        return ArmSeen(requests, min(requests, round(self.errors)), latency)


@dataclass(frozen=True)
class _Last:
    time: float
    value: float
    started: float | None


class CounterReader:
    """Adds up what an endpoint's processes have counted for both arms.

    Args:
        api: who is asked.
        endpoint: its name.
        version: of the challenger.
        labels: further labels of the platform's series there.
    """

    def __init__(self, api: PrometheusApi, *, endpoint: str, version: str, labels: Mapping[str, str]) -> None:
        self._api, self._version = api, version
        names = "|".join((REQUESTS, ERRORS, LATENCY, STARTED))
        chosen = {"model": endpoint, **labels}
        matchers = ",".join(f"{label}={quoted(value)}" for label, value in sorted(chosen.items()))
        self._selector = f'{{__name__=~"{names}",{matchers}}}'
        self._until: float | None = None
        self._last: dict[frozenset[tuple[str, str]], _Last] = {}
        self._started: dict[Instance, float] = {}
        self._newest: dict[Instance, float] = {}
        self._restarts = 0
        self._steps: dict[tuple[int, str], _Tally] = defaultdict(_Tally)
        self._whole: dict[str, _Tally] = defaultdict(_Tally)

    def read(self, windows: Sequence[Window], now: float) -> None:
        """Add what is new.

        Args:
            windows: of the steps so far.
            now: Prometheus's time.

        Raises:
            BackendError: Prometheus does not answer; what was read stays, and the rest is read the next time.
        """
        begin = windows[0].start if self._until is None else self._until
        at = max(begin - OVERLAP_SECONDS, 0.0)
        while at < now:
            until = min(now, at + CHUNK_SECONDS)
            seconds = math.ceil(until - at)
            answer = self._api.ask(f"{self._selector}[{seconds}s]", at=until)
            self._take(answer.series, windows)
            at = until
        self._until = now

    def steps(self, n: int) -> list[tuple[ArmSeen, ArmSeen]]:
        """Champion and challenger in each of so many steps.

        Raises:
            BackendError: the histogram has other buckets than the platform's.
        """
        return [(self._steps[step, ARMS[0]].seen(), self._steps[step, ARMS[1]].seen()) for step in range(n)]

    def totals(self) -> dict[str, tuple[int, int]]:
        """Requests and errors of each arm since the beginning, also between two steps."""
        return {arm: (round(self._whole[arm].requests), round(self._whole[arm].errors)) for arm in ARMS}

    def processes(self, *, alive_since: float) -> tuple[frozenset[Instance], int]:
        """Who has been scraped since then, and how often one began anew: another value, and counts were lost."""
        return frozenset(one for one, time in self._newest.items() if time >= alive_since), self._restarts

    @property
    def newest(self) -> float | None:
        """Time of the newest sample, or None without any."""
        return max(self._newest.values(), default=None)

    def _take(self, found: Sequence[Series], windows: Sequence[Window]) -> None:
        counters = [one for one in found if one.labels.get("__name__") != STARTED]
        processes = [one for one in found if one.labels.get("__name__") == STARTED]
        began = {(_instance(one), time): value for one in processes for time, value in one.samples}
        scrapes: dict[Instance, set[float]] = defaultdict(set)
        for one in found:
            scrapes[_instance(one)].update(time for time, _ in one.samples)
        before = {instance: sorted(times) for instance, times in scrapes.items()}
        for one in counters:
            arm = one.labels.get("arm", "")
            if arm not in ARMS or (arm == ARMS[1] and one.labels.get("version") != self._version):
                continue
            name, bound = one.labels["__name__"], one.labels.get("le", "")
            for since, until, grown in self._grown(one, arm, began, before[_instance(one)], windows):
                self._whole[arm].add(name, bound, grown)
                for step, window in enumerate(windows):
                    if since >= window.start and until <= window.end:
                        self._steps[step, arm].add(name, bound, grown)
        for instance, times in before.items():
            self._newest[instance] = max(times[-1], self._newest.get(instance, 0.0))

    def _grown(
        self,
        series: Series,
        arm: str,
        began: Mapping[tuple[Instance, float], float],
        scrapes: Sequence[float],
        windows: Sequence[Window],
    ) -> Iterator[tuple[float, float, float]]:
        """From when, until when, and by how much a counter has grown, for each new sample."""
        key, instance = frozenset(series.labels.items()), _instance(series)
        for time, value in series.samples:
            last = self._last.get(key)
            if last is not None and time <= last.time:
                continue
            started = began.get((instance, time), self._started.get(instance))
            if started is not None:
                self._started[instance] = started
            self._last[key] = _Last(time, value, started)
            if last is None:
                since = self._born(arm, started, _before(scrapes, time) or self._newest.get(instance), windows)
                yield (time, time, 0.0) if since is None else (since, time, value)
            elif value < last.value or _another(last.started, started):
                self._restarts += series.labels["__name__"] == REQUESTS
                yield last.time, time, value
            else:
                yield last.time, time, value - last.value

    def _born(self, arm: str, started: float | None, scraped: float | None, windows: Sequence[Window]) -> float | None:
        """Since when a series that is new here has counted from 0; None where it may have counted long before."""
        if scraped is not None:
            since = scraped
        elif started is not None and started >= windows[0].start - OVERLAP_SECONDS:
            since = started
        else:
            return None
        # Before the first step a challenger is asked nothing.
        return max(since, windows[0].start) if arm == ARMS[1] else since


def _instance(series: Series) -> Instance:
    return frozenset(pair for pair in series.labels.items() if pair[0] not in _OF_SERIES)


def _before(scrapes: Sequence[float], time: float) -> float | None:
    place = bisect_left(scrapes, time)
    return scrapes[place - 1] if place else None


def _another(before: float | None, now: float | None) -> bool:
    return before is not None and now is not None and abs(now - before) > SAME_PROCESS_SECONDS


def _same(a: float, b: float) -> bool:
    return a == b or math.isclose(a, b, rel_tol=1e-6)
