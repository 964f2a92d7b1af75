"""The document that says which share of an endpoint's requests goes where.

It lives in the catalog under (endpoint, generation). The rollout writes it, replicas obey the newest one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from sluiceway.core.errors import InputError

# Upper bounds of the latency buckets, in seconds: 0.1 ms to about 60 s in steps of 15 %, so that a quantile read from
# the counts is off by at most 15 %. The last bucket is open.
LATENCY_BOUNDS_SECONDS: tuple[float, ...] = tuple(1e-4 * 1.15**i for i in range(96))
# What Prometheus gets: every fourth one, up to 40 s in steps of 75 %, 25 series a histogram and arm.
EXPORTED_LATENCY_BOUNDS_SECONDS = LATENCY_BOUNDS_SECONDS[::4]
# What of it can be judged: the quantile of each metric.
LATENCY_QUANTILES = {"latency_p50": 0.5, "latency_p95": 0.95, "latency_p99": 0.99}


def latency_bounds(counts: Sequence[int]) -> tuple[float, ...]:
    """The bounds that belong to a latency histogram, by the number of its buckets: the catalog's or Prometheus's."""
    exported = len(counts) == len(EXPORTED_LATENCY_BOUNDS_SECONDS) + 1
    return EXPORTED_LATENCY_BOUNDS_SECONDS if exported else LATENCY_BOUNDS_SECONDS


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
        challengers: each scored by its own application, or in process where it names none.
        rollout_id: which rollout wrote it.
        shadows: scored beside the arm that answers, and never answer; a weight is the share of the requests that it
            sees, and counts for nothing in the sum.
        warm: kept in memory without requests, so that a switch to one is instant; their weight is 0.
        salt: of the hash that places routing keys; the same salt gives a key the same place at every generation.
    """

    endpoint: str
    generation: int
    champion: Arm
    challengers: tuple[Arm, ...] = field(default=())
    rollout_id: str = ""
    shadows: tuple[Arm, ...] = field(default=())
    warm: tuple[Arm, ...] = field(default=())
    salt: str = ""

    def __post_init__(self) -> None:
        weights = [self.champion.weight, *(arm.weight for arm in self.challengers)]
        if any(not 0 <= w <= 1 for w in weights) or not math.isclose(sum(weights), 1, abs_tol=1e-9):
            raise InputError(f"the weights of {self.endpoint} are {weights}; each is 0 to 1 and they sum to 1")
        if any(not 0 <= arm.weight <= 1 for arm in self.shadows):
            raise InputError(f"the shadows of {self.endpoint} see shares of the requests; each is 0 to 1")
        if any(arm.weight for arm in self.warm):
            raise InputError(f"what {self.endpoint} keeps warm gets no requests; its weight is 0")
        versions = [arm.version for arm in self.arms]
        if len(set(versions)) < len(versions):
            raise InputError(f"versions {versions} are arms of {self.endpoint}; each may be only one of them")

    @property
    def arms(self) -> tuple[Arm, ...]:
        """Champion, challengers, shadows, and those that are kept warm."""
        return (self.champion, *self.challengers, *self.shadows, *self.warm)

    def to_json(self) -> str:
        """Text for the catalog."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> TrafficDocument:
        """The inverse of :meth:`to_json`; also reads what earlier releases wrote, without shadows and the like."""
        body = json.loads(text)
        body["champion"] = Arm(**body["champion"])
        for arms in ("challengers", "shadows", "warm"):
            body[arms] = tuple(Arm(**arm) for arm in body.get(arms, ()))
        return cls(**body)


def endpoint_name(experiment: str, environment: str) -> str:
    """What the endpoint of an environment is called, in the catalog and in Serve."""
    return f"{experiment}-{environment}"
