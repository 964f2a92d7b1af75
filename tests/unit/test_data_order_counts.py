"""What a block answers the driver that looks for order statistics."""

import pickle

import numpy as np

from sluiceway.data.ray_order_statistics import _count


def test_a_block_answers_with_what_it_has_and_no_more():
    random = np.random.default_rng(0)
    numbers, kinds = random.integers(0, 2**60, 20_000, dtype=np.uint64), random.integers(0, 100, 20_000)
    prefixes = {kind: sorted({int(2**60 * fold / 20) >> 48 for fold in range(1, 20)}) for kind in range(100)}
    found = _count._function(None, lambda block: (numbers, kinds), 36, prefixes)
    assert len(pickle.dumps(found)) < 500_000  # all of the 4,096 counts of 1,900 places are 62 MB
    for (kind, head), (digits, counts) in found.items():
        here = numbers[(kinds == kind) & (numbers >> np.uint64(48) == head)] >> np.uint64(36) & np.uint64(4095)
        assert (np.repeat(digits, counts) == np.sort(here)).all()
    assert sum(counts.sum() for _, counts in found.values()) == sum(
        int(numbers[i]) >> 48 in prefixes[int(kind)] for i, kind in enumerate(kinds)
    )
