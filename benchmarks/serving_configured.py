"""A deployment whose weight is its ``user_config``: what :mod:`serving_weights` compares the broadcast with."""

from __future__ import annotations

from typing import Any

from ray import serve
from starlette.requests import Request
from starlette.responses import Response


@serve.deployment(num_replicas=2, max_ongoing_requests=512, ray_actor_options={"num_cpus": 0.1})
class Configured:
    """Answers with the weight that it has."""

    def __init__(self) -> None:
        self._weight = -1

    def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Take a new weight."""
        self._weight = int(user_config["weight"])

    async def weight(self) -> int:
        """The weight of this replica."""
        return self._weight

    async def __call__(self, _request: Request) -> Response:
        """The weight, for HTTP."""
        return Response(str(self._weight))


app = Configured.bind()
