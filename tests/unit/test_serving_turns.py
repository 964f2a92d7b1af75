"""What a challenger is asked fits into the messages between replicas."""

import asyncio

import numpy as np
import pytest

from sluiceway.serving.turns import BYTES_A_MESSAGE, ROWS_A_MESSAGE, handle_call


class Deployment:
    """A challenger's handle: the sum of each row, and what it was sent."""

    def __init__(self, width, *, fails_at=None):
        self.width, self.fails_at, self.sent = width, fails_at, []
        self.score = self

    def remote(self, matrix, requests):
        self.sent.append((len(matrix), requests))
        number = len(self.sent)

        async def answer():
            await asyncio.sleep(0.001 * (number % 3))
            if number == self.fails_at:
                raise RuntimeError("this part")
            rows = np.frombuffer(matrix, np.float32).reshape(-1, self.width)
            return rows.sum(axis=1, dtype=np.float64).tobytes()

        return answer()


@pytest.mark.parametrize(("rows", "width"), [(1, 3), (2_000, 3), (2_001, 3), (50_000, 3), (700, 3_000), (2, 600_000)])
def test_a_large_batch_goes_in_parts_and_comes_back_in_order(rows, width):
    matrix = np.arange(rows * width, dtype=np.float32).reshape(rows, width) % 97
    deployment = Deployment(width)
    scores = asyncio.run(handle_call(deployment)(matrix, 4, 30.0))
    np.testing.assert_array_equal(scores[:, 0], matrix.sum(axis=1, dtype=np.float64))
    row = width * 4
    assert all(size <= max(BYTES_A_MESSAGE, row) and size // row <= ROWS_A_MESSAGE for size, _ in deployment.sent)
    assert sum(requests for _, requests in deployment.sent) == 4


def test_a_batch_fails_with_any_of_its_parts():
    with pytest.raises(RuntimeError, match="this part"):
        asyncio.run(handle_call(Deployment(1, fails_at=3))(np.ones((10_000, 1), np.float32), 1, 30.0))
