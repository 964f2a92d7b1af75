"""What Prometheus told of a rollout: a part of what was seen, kept and judged again with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sluiceway.core.verdict import Status
from sluiceway.rollout.evidence import StepSeen


@dataclass(frozen=True)
class QuerySeen:
    """What a query of one's own gave.

    Attributes:
        name: of the query.
        value: of the challenger, or None where there is none.
        champion: of the champion, where the query compares; else None.
        n: samples behind the value.
        status: PASS where there are numbers; INCONCLUSIVE where there are none yet; ERROR where it cannot be used.
        problem: why there are none, and what to do.
    """

    name: str
    value: float | None = None
    champion: float | None = None
    n: int = 0
    status: Status = Status.PASS
    problem: str = ""


@dataclass(frozen=True)
class Compared:
    """How much a count has grown by both sources since they were first both seen.

    Attributes:
        arm: ``champion`` or ``challenger``.
        what: ``requests`` or ``errors``.
        prometheus: by Prometheus.
        low: at least so much by the replicas' counters, since neither is further behind than ``settle_seconds``.
        high: at most so much by them.
    """

    arm: str
    what: str
    prometheus: int
    low: int
    high: int


@dataclass(frozen=True)
class Told:
    """What Prometheus told.

    Attributes:
        steps: requests, errors and latencies of both arms in the steps so far; () where they are not read.
        queries: what queries of one's own gave.
        compared: both sources side by side; () where they are not, or not yet, compared.
        errors: questions in a row, up to the last one, that had no answer.
        error: why the last one had none, or "".
        stale: why the steps say nothing of the present, or "".
    """

    steps: tuple[StepSeen, ...] = ()
    queries: tuple[QuerySeen, ...] = ()
    compared: tuple[Compared, ...] = ()
    errors: int = 0
    error: str = ""
    stale: str = ""

    @property
    def line(self) -> str:
        """For people: how the source is."""
        if self.error:
            return f"no answer, {self.errors:,} times in a row: {self.error}"
        return self.stale or "answers"


def read_told(body: Mapping[str, Any], steps: tuple[StepSeen, ...]) -> Told:
    """The inverse of ``dataclasses.asdict``.

    Args:
        body: read from JSON.
        steps: those of the body, read already.
    """
    queries = tuple(QuerySeen(**{**one, "status": Status(one["status"])}) for one in body["queries"])
    compared = tuple(Compared(**one) for one in body["compared"])
    return Told(steps, queries, compared, body["errors"], body["error"], body["stale"])
