"""The document that says which share of an endpoint's requests goes where.

It lives in the catalog under (endpoint, generation). The rollout writes it, replicas obey the newest one.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field

from sluiceway.core.errors import InputError

# Upper bounds of the latency buckets, in seconds: 0.1 ms to about 60 s in steps of 15 %, so that a quantile read from
# the counts is off by at most 15 %. The last bucket is open.
LATENCY_BOUNDS_SECONDS: tuple[float, ...] = tuple(1e-4 * 1.15**i for i in range(96))


@dataclass(frozen=True)
class Arm:
    """One model version behind an endpoint.

    Attributes:
        version: the registry's version of the model.
        weight: share of the requests, 0 to 1.
        bundle: folder or URI of the model bundle.
        digest: digest of the bundle; a replica refuses another one.
        application: Serve application that scores it, or "" where the endpoint's replicas do it in process.
    """

    version: str
    weight: float
    bundle: str
    digest: str
    application: str = ""


@dataclass(frozen=True)
class TrafficDocument:
    """The arms of one endpoint at one generation.

    Attributes:
        endpoint: name of the endpoint.
        generation: grows by one with each change; a replica ignores a lower one.
        champion: scored in process; the remainder of the weight is its.
        challengers: each scored by its own application.
        rollout_id: which rollout wrote it.
    """

    endpoint: str
    generation: int
    champion: Arm
    challengers: tuple[Arm, ...] = field(default=())
    rollout_id: str = ""

    def __post_init__(self) -> None:
        weights = [self.champion.weight, *(arm.weight for arm in self.challengers)]
        if any(not 0 <= w <= 1 for w in weights) or not math.isclose(sum(weights), 1, abs_tol=1e-9):
            raise InputError(f"the weights of {self.endpoint} are {weights}; each is 0 to 1 and they sum to 1")

    def to_json(self) -> str:
        """Text for the catalog."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> TrafficDocument:
        """The inverse of :meth:`to_json`."""
        body = json.loads(text)
        body["champion"] = Arm(**body["champion"])
        body["challengers"] = tuple(Arm(**arm) for arm in body["challengers"])
        return cls(**body)
