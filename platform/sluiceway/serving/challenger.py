"""A challenger: a model in a deployment of its own, without a route; endpoint replicas call it."""

from __future__ import annotations

import numpy as np
from ray import serve

from sluiceway.core.traffic import Arm
from sluiceway.serving.batching import TurnBatcher
from sluiceway.serving.route import load_scorer
from sluiceway.serving.specs import CHALLENGER_DEPLOYMENT, ChallengerSpec

# A challenger that hangs must not take a slot from one that works: the endpoint gives up after its own timeout.
ONGOING_REQUESTS = 256


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

    async def score(self, matrix: bytes) -> bytes:
        """Score encoded rows.

        Args:
            matrix: float32, C order, of shape (n_rows, n_features).

        Returns:
            float64, C order, of shape (n_rows,) or (n_rows, classes).
        """
        self._requests += 1
        if self._raise_every and self._requests % self._raise_every == 0:
            raise RuntimeError(f"a drill: every {self._raise_every}th request fails")
        rows = np.frombuffer(matrix, dtype=np.float32).reshape(-1, self._width)
        scores = await self._batcher.score(self._scorer.score_matrix, rows)
        return scores.tobytes()

    async def ready(self) -> bool:
        """True: the model is loaded. Opens the way of a handle before the first request needs it."""
        return True


def challenger_application(spec: ChallengerSpec) -> serve.Application:
    """The Serve application of a challenger."""
    deployment = serve.deployment(
        Challenger,
        name=CHALLENGER_DEPLOYMENT,
        num_replicas=spec.serving.challenger_replicas,
        ray_actor_options={"num_cpus": spec.serving.replica_cpus},
        max_ongoing_requests=ONGOING_REQUESTS,
        graceful_shutdown_wait_loop_s=0.1,
        graceful_shutdown_timeout_s=5.0,
        max_constructor_retry_count=2,
    )
    return deployment.bind(spec)
