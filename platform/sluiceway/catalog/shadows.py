"""What shadows said beside the champion, compared."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from sluiceway.catalog.dialect import reaching
from sluiceway.catalog.schema import predictions


@dataclass(frozen=True)
class ShadowComparison:
    """One shadow against the champion, on the rows that both have scored.

    Attributes:
        version: the shadow's.
        champion_version: the champion's.
        rows: scored by both.
        mean_difference: mean absolute difference of their scores; of several classes, of the probabilities of the
            decided class.
        other_decisions: share of the rows that they decide differently.
    """

    version: str
    champion_version: str
    rows: int
    mean_difference: float
    other_decisions: float


class ShadowStore:
    """Reads the records of shadows that are still in the catalog."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def compare(self, endpoint: str, *, since_generation: int = 0) -> list[ShadowComparison]:
        """Each shadow of an endpoint against each champion that it stood beside, by version.

        Args:
            endpoint: name of the endpoint.
            since_generation: records of earlier generations are left out.
        """
        p = predictions.c
        differs = sa.case((p.decision != p.champion_decision, 1.0), else_=0.0)
        query = (
            sa.select(
                p.version,
                p.champion_version,
                sa.func.count(),
                sa.func.avg(sa.func.abs(p.score - p.champion_score)),
                sa.func.avg(differs),
            )
            .where(p.endpoint == endpoint, p.generation >= since_generation, p.arm == "shadow")
            .where(p.champion_score.is_not(None))
            .group_by(p.version, p.champion_version)
            .order_by(p.version, p.champion_version)
        )
        with reaching(self._engine), self._engine.connect() as connection:
            return [ShadowComparison(*row) for row in connection.execute(query)]
