"""Exact order statistics of a column that is spread over blocks; the driver sees counts, never values.

A number of 64 bits is found digit by digit, twelve bits at a time from the top: each pass counts how many values share
the digits found so far and have which next digit (a radix select, as for the k-th smallest of an array).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import ray

DIGIT_BITS = 12
_DIGITS = 1 << DIGIT_BITS
AT_ONCE = 64  # blocks whose counts are on their way to the driver
_TOP = 60  # 64 bits are digits at 60, 48, 36, 24, 12 and 0; the first has only four bits
_SIGN = np.uint64(1 << 63)

Values = Callable[[pa.Table], tuple[np.ndarray, np.ndarray]]
"""From a block to values, shape (n,), uint64, and the class of each, shape (n,), small whole numbers."""
Found = dict[int, list[int]]
Counts = tuple[np.ndarray, np.ndarray]
"""Digits that occur, ascending, and how often: most of a block's are none, and 64 blocks answer at a time."""


def order_statistics(
    blocks: Sequence[ray.ObjectRef], values: Values, ranks: Callable[[Mapping[int, int]], Found]
) -> Found:
    """The values at given ranks, for each class by itself.

    Args:
        blocks: Arrow tables in the object store.
        values: of a block.
        ranks: from the number of values of each class to the ranks that are wanted of it, from 0, each below that
            number.

    Returns:
        by class the values at its ranks.
    """
    counted = _passed(blocks, values, _TOP, {})
    wanted = ranks({kind: int(counts.sum()) for (kind, _), counts in counted.items()})
    left = {kind: list(of_class) for kind, of_class in wanted.items()}
    prefixes = {kind: [0] * len(of_class) for kind, of_class in wanted.items()}
    shift = _TOP
    while True:
        for kind, of_class in left.items():
            for i, rank in enumerate(of_class):
                ends = np.cumsum(counted[kind, prefixes[kind][i]])
                digit = int(np.searchsorted(ends, rank, side="right"))
                of_class[i] = rank - (int(ends[digit - 1]) if digit else 0)
                prefixes[kind][i] = prefixes[kind][i] << DIGIT_BITS | digit
        if shift == 0:
            return prefixes
        shift -= DIGIT_BITS
        counted = _passed(blocks, values, shift, prefixes)


def ordered_bits(numbers: np.ndarray) -> np.ndarray:
    """Signed numbers (int64) as unsigned ones in the same order."""
    return numbers.view(np.uint64) ^ _SIGN


def signed(bits: int) -> int:
    """The inverse of :func:`ordered_bits`, for one number."""
    return bits - (1 << 63)


def _passed(blocks: Sequence[ray.ObjectRef], values: Values, shift: int, prefixes: Found) -> dict[tuple[int, int], Any]:
    wanted = {kind: sorted(set(found)) for kind, found in prefixes.items()}
    total: dict[tuple[int, int], Any] = {}
    for start in range(0, len(blocks), AT_ONCE):
        for part in ray.get([_count.remote(block, values, shift, wanted) for block in blocks[start : start + AT_ONCE]]):
            for key, (digits, counts) in part.items():
                total.setdefault(key, np.zeros(_DIGITS, np.int64))[digits] += counts
    return total


@ray.remote(num_cpus=1)
def _count(block: pa.Table, values: Values, shift: int, prefixes: Found) -> dict[tuple[int, int], Counts]:
    """Counts of the next digit by (class, digits so far); all classes at the first digit."""
    numbers, kinds = values(block)
    digits = (numbers >> np.uint64(shift)) & np.uint64(_DIGITS - 1)
    if shift == _TOP:
        return {(int(kind), 0): _counted(digits[kinds == kind]) for kind in np.unique(kinds)}
    heads = numbers >> np.uint64(shift + DIGIT_BITS)
    found = {}
    for kind, of_class in prefixes.items():
        of_kind = kinds == kind
        for head in of_class:
            here = digits[of_kind & (heads == head)]
            if len(here):
                found[kind, head] = _counted(here)
    return found


def _counted(digits: np.ndarray) -> Counts:
    counts = np.bincount(digits.astype(np.int64))
    present = np.flatnonzero(counts)
    return present.astype(np.uint16), counts[present]
