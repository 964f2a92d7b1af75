"""A challenger: a model in a deployment of its own, without a route; endpoint replicas call it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sluiceway.core.traffic import Arm
from sluiceway.serving.batching import TurnBatcher
from sluiceway.serving.route import load_scorer
from sluiceway.serving.specs import ChallengerSpec


class Challenger:
    """Scores what endpoint replicas send.

    Args:
        spec: what to load; a bundle that is missing or another one fails the deployment.
    """

    def __init__(self, spec: ChallengerSpec) -> None:
        self._raise_every = spec.raise_every
        self._scorer = load_scorer(Arm(spec.version, 0.0, spec.bundle_uri, spec.digest))
        self._width = len(self._scorer.schema.names)
        self._batcher = TurnBatcher()
        self._requests = 0

    async def score(self, matrix: bytes, requests: int = 1) -> bytes:
        """Score encoded rows.

        Args:
            matrix: float32, C order, of shape (n_rows, n_features).
            requests: how many requests the rows are of.

        Returns:
            float64, C order, of shape (n_rows,) or (n_rows, classes).
        """
        return await self._scored(self._scorer.score_matrix, matrix, requests)

    async def raw_scores(self, matrix: bytes, requests: int = 1) -> bytes:
        """As :meth:`score`, before the calibrator: what MLflow's protocol answers."""
        return await self._scored(self._scorer.raw_scores, matrix, requests)

    async def _scored(self, score: Callable[[np.ndarray], np.ndarray], matrix: bytes, requests: int) -> bytes:
        self._count(requests)
        rows = np.frombuffer(matrix, dtype=np.float32).reshape(-1, self._width)
        scores = await self._batcher.score(score, rows)
        return scores.tobytes()

    def _count(self, requests: int) -> None:
        """Let every so many requests fail, where that is the drill.

        A call of several requests with one of these among them is asked again one by one, and counts only then.
        """
        after = self._requests + requests
        fails = self._raise_every is not None and after // self._raise_every != self._requests // self._raise_every
        if requests == 1 or not fails:
            self._requests = after
        if fails:
            raise RuntimeError(f"a drill: every {self._raise_every}th request fails")

    async def ready(self) -> bool:
        """True: the model is loaded. Opens the way of a handle before the first request needs it."""
        return True
