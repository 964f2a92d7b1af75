"""What is counted on the way of a request: plain numbers, read when Prometheus asks.

The client library's own counters and histograms take a lock and look for a bucket one by one: ten times the time of
these, at every request. One thread writes them, the event loop's; a reader may see one request's latency before its
count, never a wrong number.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence

# What gauges that are rates look back on.
WINDOW_SECONDS = 60.0
SNAPSHOT_SECONDS = 1.0


class Count:
    """A number that grows."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    def inc(self, by: int = 1) -> None:
        """Count so many more."""
        self.value += by


class Buckets:
    """A histogram.

    Args:
        bounds: upper bounds of the buckets, ascending; the last bucket, without one, comes by itself.

    Attributes:
        counts: of each bucket, shape (len(bounds) + 1,); not cumulative.
        total: sum of what was observed.
    """

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value

    def cumulative(self) -> list[tuple[str, int]]:
        """As Prometheus has it: the upper bound as text, and how many values lie at it or below."""
        found, below = [], 0
        for bound, count in zip((*self._bounds, float("inf")), list(self.counts), strict=True):
            below += count
            found.append(("+Inf" if bound == float("inf") else repr(float(bound)), below))
        return found


class Window:
    """How much counts have grown in the last minute.

    Args:
        now: monotonic seconds; the counts are 0 then.
        size: how many counts there are.
        seconds: what it looks back on.
    """

    __slots__ = ("_seconds", "_snapshots")

    def __init__(self, now: float, *, size: int, seconds: float = WINDOW_SECONDS) -> None:
        self._seconds = seconds
        self._snapshots: deque[tuple[float, tuple[float, ...]]] = deque([(now, (0,) * size)])

    def remember(self, now: float, counts: tuple[float, ...]) -> None:
        """Take a snapshot, once a second at most, and forget those that nobody will look back on."""
        if now - self._snapshots[-1][0] < SNAPSHOT_SECONDS:
            return
        self._snapshots.append((now, counts))
        while len(self._snapshots) > 1 and self._snapshots[1][0] <= now - self._seconds:
            self._snapshots.popleft()

    def grown(self, now: float, counts: tuple[float, ...]) -> tuple[float, tuple[float, ...]]:
        """Seconds looked back on, at least one, and by how much each count has grown in them."""
        then, before = self._snapshots[0]
        for moment, kept in list(self._snapshots):
            if moment > now - self._seconds:
                break
            then, before = moment, kept
        return max(SNAPSHOT_SECONDS, now - then), tuple(a - b for a, b in zip(counts, before, strict=True))
