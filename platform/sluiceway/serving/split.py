"""Which challenger has which requests: pure, exact, and the same in every replica.

A request falls on a point of [0, 1): its key's by a hash, any where it has no key. Each challenger has a part of [0, 1)
that is as long as its weight; what nobody has is the champion's. docs/serving/traffic.md draws it.
"""

from __future__ import annotations

import itertools
import random
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

import xxhash

# A point is k / 2**53: as many as a float64 tells apart at equal distances.
BITS = 53
POINTS = 1 << BITS
# Whose the points are that no challenger has; as an index, the last of (challenger, challenger, ..., champion).
CHAMPION = -1


@dataclass(frozen=True)
class Part:
    """A piece of [0, 1) that one challenger has.

    Attributes:
        start: where it begins.
        end: where it ends; the point itself is not in it.
        challenger: position of the challenger among the challengers.
    """

    start: Fraction
    end: Fraction
    challenger: int


class Split:
    """The parts of all challengers, ready to be asked many thousand times a second.

    Args:
        weights: of the challengers, in the order of the traffic document; each 0 to 1, together at most 1.
        salt: of the hash; another one puts every key somewhere else.
    """

    __slots__ = ("_ends", "_owners", "_prefix", "parts")

    def __init__(self, weights: Sequence[float], *, salt: str) -> None:
        self.parts = parts_of(weights)
        self._prefix = key_prefix(salt)
        self._ends, self._owners = _table(self.parts)

    def of_key(self, key: str) -> int:
        """Position of the challenger that has a key, or ``CHAMPION``."""
        return self._owners[bisect_right(self._ends, point_of(self._prefix, key))]

    def by_chance(self) -> int:
        """Position of a challenger that is drawn by its weight, or ``CHAMPION``."""
        return self._owners[bisect_right(self._ends, random.getrandbits(BITS))]

    def at(self, point: int) -> int:
        """Position of the challenger that has a point of 0 to ``POINTS`` - 1, or ``CHAMPION``."""
        return self._owners[bisect_right(self._ends, point)]


def key_prefix(salt: str) -> bytes:
    """What is hashed before a key: the salt in UTF-8 and a line feed."""
    return f"{salt}\n".encode("utf-8", "surrogatepass")


def point_of(prefix: bytes, key: str) -> int:
    """Where a key falls: the top 53 of the 64 bits of xxh64(salt, line feed, key) with seed 0.

    Args:
        prefix: of :func:`key_prefix`.
        key: any text; hashed in UTF-8. A surrogate without its partner, which JSON can hold, is no error.
    """
    return xxhash.xxh64_intdigest(prefix + key.encode("utf-8", "surrogatepass")) >> (64 - BITS)


def parts_of(weights: Sequence[float]) -> tuple[Part, ...]:
    """Give every challenger its part of [0, 1).

    Each grows from a place of its own, in one direction: the first from 0 upwards, the second from 1 downwards, the
    third and the fourth from 1/2, then two each from 1/4, 3/4, 1/8, 3/8 and so on. Between two such places lies a
    segment, with at most one challenger growing into it from each end. While the two fit into it, a challenger's part
    depends on its own weight alone, so a key never goes from one challenger to another when weights only grow; with
    one or two challengers they always fit. No rule can promise that for three: the first would have to end where the
    second begins and also where the third does. Where two do not fit, each keeps half of the segment, and what is left
    over goes on in its direction into what is free elsewhere; such keys move when others grow.

    Args:
        weights: of the challengers, in their order; each 0 to 1, together at most 1 (the last that finds less room,
            because their sum in floating point is a little more, gets what is left).

    Returns:
        Without overlaps, in the order of their places; the lengths of a challenger's parts sum to its weight exactly.
    """
    wanted = [Fraction(weight) for weight in weights]
    segments = _segments(len(wanted))
    parts: list[Part] = []
    missing = list(wanted)
    for segment in segments:
        for part in segment.own_parts(wanted):
            missing[part.challenger] -= part.end - part.start
            parts.append(part)
    for challenger, left in enumerate(missing):
        parts += _elsewhere(challenger, left, segments)
    return tuple(sorted((part for part in parts if part.start < part.end), key=lambda part: part.start))


@dataclass
class _Segment:
    """Between two neighbouring places: who grows into it from its low and from its high end, and what is free."""

    low: Fraction
    high: Fraction
    upward: int | None
    downward: int | None

    def own_parts(self, wanted: Sequence[Fraction]) -> list[Part]:
        length = self.high - self.low
        up, down = (Fraction(0) if i is None else wanted[i] for i in (self.upward, self.downward))
        parts: list[Part] = []
        if self.upward is not None:
            taken = min(up, max(length / 2, length - down))
            parts.append(Part(self.low, self.low + taken, self.upward))
            self.low += taken
        if self.downward is not None:
            taken = min(down, max(length / 2, length - up), self.high - self.low)
            parts.append(Part(self.high - taken, self.high, self.downward))
            self.high -= taken
        return parts


def _elsewhere(challenger: int, left: Fraction, segments: Sequence[_Segment]) -> list[Part]:
    """Parts of what does not fit into a challenger's own segment, taken from what is free, on in its direction."""
    if left <= 0:
        return []
    upward = challenger % 2 == 0
    own = next(i for i, s in enumerate(segments) if challenger in (s.upward, s.downward))
    parts: list[Part] = []
    for step in range(1, len(segments)):
        segment = segments[(own + step if upward else own - step) % len(segments)]
        taken = min(left, segment.high - segment.low)
        if upward:
            parts.append(Part(segment.low, segment.low + taken, challenger))
            segment.low += taken
        else:
            parts.append(Part(segment.high - taken, segment.high, challenger))
            segment.high -= taken
        left -= taken
    return parts


def _segments(challengers: int) -> list[_Segment]:
    places = {_place(i) for i in range(challengers)} | {Fraction(0), Fraction(1)}
    up = {_place(i): i for i in range(0, challengers, 2)}
    down = {_place(i): i for i in range(1, challengers, 2)}
    cuts = sorted(places)
    return [_Segment(low, high, up.get(low), down.get(high)) for low, high in itertools.pairwise(cuts)]


def _place(challenger: int) -> Fraction:
    """Where a challenger grows from: 0, 1, then twice each 1/2, 1/4, 3/4, 1/8, 3/8, 5/8, 7/8, 1/16 ..."""
    if challenger < 2:
        return Fraction(challenger)
    pair = challenger // 2
    depth = pair.bit_length()
    return Fraction(2 * (pair - (1 << (depth - 1))) + 1, 1 << depth)


def _table(parts: Sequence[Part]) -> tuple[list[int], list[int]]:
    """Where owners change, as points, and who owns what lies before, between and behind."""
    ends: list[int] = []
    owners: list[int] = []

    def add(until: Fraction, owner: int) -> None:
        # The point k / 2**53 lies before a place exactly where k is less than this.
        end = ceil(until * POINTS)
        if end > (ends[-1] if ends else 0):
            ends.append(end)
            owners.append(owner)

    reached = Fraction(0)
    for part in parts:
        add(part.start, CHAMPION)
        add(part.end, part.challenger)
        reached = part.end
    if reached < 1:
        add(Fraction(1), CHAMPION)
    if not owners:
        return [], [CHAMPION]
    return ends[:-1], owners
