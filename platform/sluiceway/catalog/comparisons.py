"""What two models said of the same requests, and what the answers of each were worth: sums, made by the database.

Each sum is by generation of the traffic document: a generation is a step of a rollout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa

from sluiceway.catalog.dialect import reaching
from sluiceway.catalog.folded import newest_scores, unfold
from sluiceway.catalog.records import begun, same_request, same_request_as_shadow
from sluiceway.catalog.schema import feedback, predictions
from sluiceway.core.moments import NOTHING, Moments
from sluiceway.core.pairs import LARGEST_IN_SPREADS, SMALLEST_PROBABILITY, Scores

Number = sa.ColumnElement[Any]
# Answers of large requests that tell the spread of scores: a sample of this size is off by less than 1 %.
SPREAD_ROWS = 20_000


@dataclass(frozen=True)
class ArmValues:
    """What the answers of an arm in a generation were worth.

    Attributes:
        moments: of the values, each brought into the bounds.
        clipped: how many were beyond them.
    """

    moments: Moments = NOTHING
    clipped: int = 0


class ComparisonStore:
    """Reads what a rollout judges beyond counts."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def score_shift(
        self, endpoint: str, version: str, generations: Sequence[int], *, scores: Scores, shadow: bool = False
    ) -> dict[int, Moments]:
        """How far the challenger's scores are from the champion's, as :mod:`sluiceway.core.pairs` says.

        Args:
            endpoint: its name.
            version: the challenger's.
            generations: to look at.
            scores: what the scores of both models are.
            shadow: True: of the shadow of this version.
        """
        p = predictions.c
        distance: Number = sa.func.abs(p.score - p.champion_score)
        if scores.kind == "multiclass":
            distance = sa.case((p.decision != p.champion_decision, 1.0), else_=distance)
        elif scores.kind == "regression":
            distance = _within(distance / scores.spread, 0.0, LARGEST_IN_SPREADS)
        return self._by_generation(distance, _pairs(endpoint, version, generations, shadow=shadow), predictions)

    def loss(
        self, endpoint: str, version: str, generations: Sequence[int], *, scores: Scores, shadow: bool = False
    ) -> dict[int, Moments]:
        """The challenger's loss less the champion's, as :mod:`sluiceway.core.pairs` says; arguments as above."""
        p, outcome = predictions.c, feedback.c.outcome
        if scores.kind == "regression":
            worse: Number = (sa.func.abs(p.score - outcome) - sa.func.abs(p.champion_score - outcome)) / scores.spread
            worse = _within(worse, -LARGEST_IN_SPREADS, LARGEST_IN_SPREADS)
        elif scores.kind == "multiclass":
            worse = _log_loss(p.score, p.decision == outcome) - _log_loss(
                p.champion_score, p.champion_decision == outcome
            )
        else:
            worse = _log_loss(p.score, outcome == 1) - _log_loss(p.champion_score, outcome == 1)
        joined = predictions.join(feedback, same_request_as_shadow(version) if shadow else same_request())
        return self._by_generation(worse, _pairs(endpoint, version, generations, shadow=shadow), joined)

    def values(
        self, endpoint: str, generations: Sequence[int], *, low: float, high: float
    ) -> dict[tuple[int, str, str], ArmValues]:
        """What answers were worth, by generation, arm and version.

        Args:
            endpoint: its name.
            generations: to look at.
            low: smaller values count as this.
            high: larger values count as this.
        """
        p, value = predictions.c, feedback.c.value
        key = (p.generation, p.arm, p.version)
        beyond = sa.func.sum(sa.case((value.between(low, high), 0), else_=1))
        query = (
            sa.select(*key, *_sums(_within(value, low, high)), beyond)
            .select_from(predictions.join(feedback, same_request()))
            .where(p.endpoint == endpoint, p.generation.in_(generations), value.is_not(None))
            .group_by(*key)
        )
        with reaching(self._engine), self._engine.connect() as connection:
            since = connection.execute(begun(endpoint, generations)).scalar_one()
        unfold(self._engine, endpoint, received=since)
        with reaching(self._engine), self._engine.connect() as connection:
            rows = connection.execute(query).all()
        return {
            (int(generation), str(arm), str(version)): ArmValues(_moments(sums), int(clipped))
            for generation, arm, version, *sums, clipped in rows
        }

    def spread(self, endpoint: str, version: str) -> tuple[int, float]:
        """How many of a champion's answers were looked at, and the standard deviation of their scores.

        Those are all that have a record of their own, and of large requests the newest.

        Args:
            endpoint: its name.
            version: that answered.
        """
        p = predictions.c
        chosen = (p.endpoint == endpoint) & (p.version == version) & (p.arm == "champion")
        mean = sa.select(sa.func.avg(p.score)).where(chosen).scalar_subquery()
        squares = sa.func.avg((p.score - mean) * (p.score - mean))
        query = sa.select(sa.func.count(), sa.func.avg(p.score), squares).where(chosen)
        with reaching(self._engine), self._engine.connect() as connection:
            n, middle, variance = connection.execute(query).one()
            newest = newest_scores(connection, endpoint, version, rows=SPREAD_ROWS)
        return _together((int(n), float(middle or 0.0), float(variance or 0.0)), newest)

    def _by_generation(
        self, value: Number, chosen: sa.ColumnElement[bool], source: sa.FromClause
    ) -> dict[int, Moments]:
        generation = predictions.c.generation
        query = sa.select(generation, *_sums(value)).select_from(source).where(chosen).group_by(generation)
        with reaching(self._engine), self._engine.connect() as connection:
            return {int(row[0]): _moments(row[1:]) for row in connection.execute(query)}


def _together(known: tuple[int, float, float], scores: np.ndarray) -> tuple[int, float]:
    """Number and standard deviation of both; around the means, as large numbers lose their spread in sums."""
    n, mean, variance = known
    total = n + len(scores)
    if not len(scores):
        return n, variance**0.5
    apart = (float(scores.mean()) - mean) ** 2 * n / total
    return total, float((n * variance + len(scores) * (float(scores.var()) + apart)) / total) ** 0.5


def _pairs(endpoint: str, version: str, generations: Sequence[int], *, shadow: bool) -> sa.ColumnElement[bool]:
    p = predictions.c
    return (
        (p.endpoint == endpoint)
        & p.generation.in_(generations)
        & (p.arm == ("shadow" if shadow else "challenger"))
        & (p.version == version)
        & p.champion_score.is_not(None)
    )


def _log_loss(probability: Number, true: sa.ColumnElement[bool]) -> Number:
    """Of what was said to be true with a probability."""
    given = sa.case((true, probability), else_=1 - probability)
    return -sa.func.ln(_within(given, SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY))


def _within(value: Number, low: float, high: float) -> Number:
    return sa.case((value < low, low), (value > high, high), else_=value)


def _sums(value: Number) -> tuple[sa.ColumnElement[Any], ...]:
    return sa.func.count(), sa.func.sum(value), sa.func.sum(value * value)


def _moments(row: Sequence[Any]) -> Moments:
    n, total, squares = row
    return Moments(int(n), float(total), float(squares))
