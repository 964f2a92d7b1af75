"""Holds the counts of both sources side by side, whatever either is late by.

Both only grow. So what Prometheus counted up to a moment lies between what the replicas' counters said
``settle_seconds`` before it and what they say ``settle_seconds`` after it; and so does the growth between two moments.
A difference beyond these bounds is none of time. Where a process came, went or began anew, counts were lost on one
side, and the comparison begins again.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from sluiceway.rollout.evidence import Observations
from sluiceway.rollout.told import Compared

# So many spans of ``settle_seconds`` of either source are remembered; less than three are looked back on.
REMEMBERED = 6
# Fewer requests of a challenger say nothing about whether two sources agree.
COMPARED_LEAST = 20
WHATS = ("requests", "errors")

Counts = Mapping[str, tuple[int, int]]


@dataclass(frozen=True)
class _Begin:
    time: float
    prometheus: Counts
    low: Counts
    high: Counts


class Comparison:
    """Remembers the counts of both sources.

    Args:
        settle_seconds: the longest that one may be behind the other.
    """

    def __init__(self, settle_seconds: float) -> None:
        self._settle = settle_seconds
        self._counters: list[tuple[float, Counts]] = []
        self._told: list[tuple[float, Counts]] = []
        self._processes: Hashable = None
        self._begin: _Begin | None = None
        self._compared: tuple[Compared, ...] = ()

    def counted(self, now: float, counts: Counts) -> None:
        """What the replicas' counters say: requests and errors of each arm in the whole rollout."""
        self._counters.append((now, counts))
        _forget(self._counters, now - REMEMBERED * self._settle)

    def told(self, at: float, counts: Counts, processes: Hashable) -> None:
        """What Prometheus says.

        Args:
            at: when it was asked.
            counts: requests and errors of each arm, from any beginning.
            processes: another value means that counts may be lost.
        """
        if processes != self._processes:
            self._processes, self._begin, self._told, self._compared = processes, None, [], ()
        self._told.append((at, counts))
        _forget(self._told, at - REMEMBERED * self._settle)

    def compared(self, now: float) -> tuple[Compared, ...]:
        """Each count of each arm by both sources; () where they cannot be compared yet."""
        settled = [one for one in self._told if one[0] <= now - self._settle]
        if self._begin is None:
            self._begin = next((one for one in map(self._from, settled) if one is not None), None)
        if self._begin is None or not settled or settled[-1][0] <= self._begin.time:
            return self._compared
        at, told = settled[-1]
        low, high = self._at_or_before(at - self._settle), self._at_or_after(at + self._settle)
        if low is None or high is None:
            return self._compared
        begin = self._begin
        self._compared = tuple(
            Compared(
                arm,
                what,
                told[arm][i] - begin.prometheus[arm][i],
                max(0, low[arm][i] - begin.high[arm][i]),
                high[arm][i] - begin.low[arm][i],
            )
            for arm in sorted(told)
            for i, what in enumerate(WHATS)
        )
        return self._compared

    def _from(self, told: tuple[float, Counts]) -> _Begin | None:
        low, high = self._at_or_before(told[0] - self._settle), self._at_or_after(told[0] + self._settle)
        return None if low is None or high is None else _Begin(*told, low, high)

    def _at_or_before(self, time: float) -> Counts | None:
        place = bisect_right(self._counters, time, key=lambda one: one[0])
        return self._counters[place - 1][1] if place else None

    def _at_or_after(self, time: float) -> Counts | None:
        place = bisect_left(self._counters, time, key=lambda one: one[0])
        return self._counters[place][1] if place < len(self._counters) else None


def counts_of(seen: Observations) -> dict[str, tuple[int, int]]:
    """Requests and errors of each arm in the whole rollout, by the replicas' counters."""
    arms = {name: [getattr(step, name) for step in seen.steps] for name in ("champion", "challenger")}
    return {name: (sum(a.requests for a in arm), sum(a.errors for a in arm)) for name, arm in arms.items()}


def _forget(entries: list[tuple[float, Counts]], before: float) -> None:
    # The newest one that is as old stays: the others are looked at from it on.
    place = bisect_right(entries, before, key=lambda one: one[0])
    del entries[: max(0, place - 1)]


def compared_enough(compared: Sequence[Compared]) -> bool:
    """True where a source that counts a third more, or less, than the other would have been found out.

    The bounds are wide at first: what came within ``settle_seconds`` may be counted or not. They have to be within a
    factor of 2, for each arm that was asked anything, and on ``COMPARED_LEAST`` requests of the challenger. From then
    on they close in on the tolerance.
    """
    requests = {one.arm: one for one in compared if one.what == "requests"}
    narrow = all(one.high < COMPARED_LEAST or 2 * one.low >= one.high for one in requests.values())
    return narrow and "challenger" in requests and requests["challenger"].low >= COMPARED_LEAST


def disagreement(compared: Sequence[Compared], what: str, *, tolerance: float, slack: int) -> str:
    """Where the sources disagree on a count, with the numbers of both; "" where they do not.

    Args:
        compared: side by side.
        what: ``requests`` or ``errors``.
        tolerance: relative difference that is none.
        slack: absolute one that is none.
    """
    for one in compared:
        if one.what != what:
            continue
        below = one.low - max(slack, tolerance * one.low)
        above = one.high + max(slack, tolerance * one.high)
        if not below <= one.prometheus <= above:
            counters = f"{one.low:,}" if one.low == one.high else f"{one.low:,} to {one.high:,}"
            return (
                f"the sources disagree: of the {one.arm}'s {what} Prometheus has counted {one.prometheus:,} more, "
                f"and the replicas {counters}"
            )
    return ""
