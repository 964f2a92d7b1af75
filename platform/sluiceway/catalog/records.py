"""What serving counted: prediction records, feedback, requests and errors per arm."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import sqlalchemy as sa

from sluiceway.catalog.dialect import insert, reaching
from sluiceway.catalog.first_answer import insertion, one_writer
from sluiceway.catalog.folded import FoldedRequest, add_folded, row_of, unfold
from sluiceway.catalog.schema import arm_counts, feedback, folded_predictions, predictions, traffic

# Bounds how long one transaction holds SQLite's only write lock.
ROWS_PER_TRANSACTION = 5_000


class PredictionRecord(NamedTuple):
    """One answered row, version 1; a tuple, because a second of a busy endpoint has thousands.

    Attributes:
        request_id: the request's id; of a request with more than one row ``<id>/<row>``, rows from 0.
        time: UTC epoch seconds of the answer.
        endpoint: name of the endpoint.
        generation: of the traffic document that routed it.
        arm: ``champion`` or ``challenger``: who answered.
        version: of the model that answered.
        score: what it said.
        decision: score against the model's threshold, 0 or 1; the score itself for regression; of several classes the
            number that ``core.classes.class_codes`` gives the one with the largest probability.
        key_hash: keyed hash of what the arm was drawn by, hex; "" where it was drawn by chance.
        champion_version: who else scored it, for pairs; None where the champion answered.
        champion_score: what that one said, or None.
        champion_decision: its decision, or None.
    """

    request_id: str
    time: float
    endpoint: str
    generation: int
    arm: str
    version: str
    score: float
    decision: float
    key_hash: str = ""
    champion_version: str | None = None
    champion_score: float | None = None
    champion_decision: float | None = None


# Places in a record.
REQUEST_ID, ENDPOINT = (PredictionRecord._fields.index(name) for name in ("request_id", "endpoint"))


@dataclass(frozen=True)
class FeedbackRecord:
    """The true outcome of a request, version 1.

    Attributes:
        request_id: as in the prediction record.
        outcome: 0 or 1, or the true value for regression, or the number of the class.
        time: when it became true, UTC epoch seconds.
        received: when the endpoint got it, UTC epoch seconds.
        value: what came of it in a unit of the caller's own, e.g. revenue; None where nobody says.
    """

    request_id: str
    outcome: float
    time: float
    received: float
    value: float | None = None


@dataclass(frozen=True)
class ReplicaCounts:
    """What one replica counted for one arm in one generation, from its start to now.

    Attributes:
        endpoint: name of the endpoint.
        generation: of the traffic document.
        replica: the replica's id; a restarted one has another.
        version: of the model.
        arm: ``champion`` or ``challenger``.
        requests: requests that the arm was asked to answer.
        errors: of these, how many it did not answer.
        latency: counts per bucket of ``core.traffic.LATENCY_BOUNDS_SECONDS`` plus the open one.
        updated: UTC epoch seconds.
        errors_in_row: the longest row of failures; requests that were under way together fail together, as one.
    """

    endpoint: str
    generation: int
    replica: str
    version: str
    arm: str
    requests: int
    errors: int
    latency: tuple[int, ...]
    updated: float
    errors_in_row: int = 0


@dataclass(frozen=True)
class ArmCounts:
    """The counts of an arm in a generation, summed over replicas; fields as in :class:`ReplicaCounts`.

    The row of failures is the longest one of any replica.
    """

    version: str
    arm: str
    generation: int
    requests: int
    errors: int
    latency: tuple[int, ...]
    errors_in_row: int = 0


@dataclass(frozen=True)
class PairCounts:
    """Requests that a challenger answered and the champion scored too, against their outcomes.

    A prediction is right when its decision equals the outcome.

    Attributes:
        both_right: pairs where both were right.
        only_champion_right: pairs where the champion alone was right.
        only_challenger_right: pairs where the challenger alone was right.
        both_wrong: pairs where neither was right.
        predictions: rows that the challenger answered.
        with_outcome: of these, how many have an outcome.
        outcomes_without_prediction: of ``outcomes``, those that find no record.
        outcomes: the endpoint's feedback since the first of the generations, up to the time that was asked for.
    """

    both_right: int
    only_champion_right: int
    only_challenger_right: int
    both_wrong: int
    predictions: int
    with_outcome: int
    outcomes_without_prediction: int
    outcomes: int = 0

    @property
    def n(self) -> int:
        """Number of complete pairs."""
        return self.both_right + self.only_champion_right + self.only_challenger_right + self.both_wrong


class RecordStore:
    """Writes what replicas send and reads what a rollout judges."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def add_predictions(self, rows: Iterable[tuple[Any, ...]]) -> int:
        """Write prediction records; of two of an endpoint with the same request id the first stays, folded or not.

        Args:
            rows: :class:`PredictionRecord`, or plain tuples of the same values in the same order.

        Returns:
            How many were written.
        """
        values, written = list(rows), 0
        for start in range(0, len(values), ROWS_PER_TRANSACTION):
            with reaching(self._engine), self._engine.begin() as connection:
                written += _add_rows(connection, values[start : start + ROWS_PER_TRANSACTION])
        return written

    def add_folded(self, requests: Iterable[FoldedRequest]) -> int:
        """Write requests of many rows as one record each; what the endpoint has answered before stays as it is.

        Args:
            requests: answered ones.

        Returns:
            How many rows were written.
        """
        return add_folded(self._engine, requests)

    def add_feedback(self, endpoint: str, rows: Iterable[FeedbackRecord]) -> set[str]:
        """Write outcomes of an endpoint, durably when this returns; of two with the same request id the first stays.

        Args:
            endpoint: that was told of them; they are joined with its own predictions only.
            rows: the outcomes.

        Returns:
            The request ids that had no outcome before.
        """
        values = [{"endpoint": endpoint, **asdict(row)} for row in rows]
        statement = insert(self._engine, feedback).on_conflict_do_nothing().returning(feedback.c.request_id)
        new: set[str] = set()
        for start in range(0, len(values), ROWS_PER_TRANSACTION):
            with reaching(self._engine), self._engine.begin() as connection:
                new |= set(connection.execute(statement, values[start : start + ROWS_PER_TRANSACTION]).scalars())
        return new

    def put_counts(self, rows: Iterable[ReplicaCounts]) -> None:
        """Write a replica's cumulative counts over its earlier ones."""
        values = [{**asdict(row), "latency": json.dumps(row.latency)} for row in rows]
        if not values:
            return
        statement = insert(self._engine, arm_counts)
        statement = statement.on_conflict_do_update(
            index_elements=list(arm_counts.primary_key.columns),
            set_={
                name: statement.excluded[name] for name in ("requests", "errors", "latency", "updated", "errors_in_row")
            },
        )
        with reaching(self._engine), self._engine.begin() as connection:
            connection.execute(statement, values)

    def counts(self, endpoint: str, generations: Sequence[int]) -> list[ArmCounts]:
        """Counts of every arm in the given generations, by generation, arm and version."""
        query = (
            sa.select(arm_counts)
            .where(arm_counts.c.endpoint == endpoint, arm_counts.c.generation.in_(generations))
            .order_by(arm_counts.c.generation, arm_counts.c.arm, arm_counts.c.version)
        )
        sums: dict[tuple[str, str, int], ArmCounts] = {}
        with reaching(self._engine), self._engine.connect() as connection:
            for row in connection.execute(query):
                key = (row.version, row.arm, row.generation)
                latency = tuple(json.loads(row.latency))
                before = sums.get(key, ArmCounts(*key, 0, 0, (0,) * len(latency)))
                sums[key] = ArmCounts(
                    *key,
                    before.requests + row.requests,
                    before.errors + row.errors,
                    tuple(a + b for a, b in zip(before.latency, latency, strict=True)),
                    max(before.errors_in_row, row.errors_in_row),
                )
        return list(sums.values())

    def pairs(
        self,
        endpoint: str,
        version: str,
        generations: Sequence[int],
        *,
        shadow: bool = False,
        settled: float = math.inf,
    ) -> PairCounts:
        """Join the records of a challenger, or of a shadow, with the outcomes.

        Args:
            endpoint: name of the endpoint.
            version: the challenger's.
            generations: of the traffic documents to look at.
            shadow: True: of the shadow of this version; an outcome is that of the request that it saw.
            settled: UTC epoch seconds; outcomes received later may still find their prediction, and are left out of
                ``outcomes`` and ``outcomes_without_prediction``. Pairs they are all the same.
        """
        p, f = predictions.c, feedback.c
        arm, same = ("shadow", same_request_as_shadow(version)) if shadow else ("challenger", same_request())
        chosen = (p.endpoint == endpoint) & (p.arm == arm) & (p.version == version) & p.generation.in_(generations)
        paired = f.outcome.is_not(None) & p.champion_decision.is_not(None)
        champion, challenger = p.champion_decision == f.outcome, p.decision == f.outcome
        query = (
            sa.select(
                _count(paired & champion & challenger),
                _count(paired & champion & ~challenger),
                _count(paired & ~champion & challenger),
                _count(paired & ~champion & ~challenger),
                sa.func.count(),
                sa.func.count(f.outcome),
            )
            .select_from(predictions.outerjoin(feedback, same))
            .where(chosen)
        )
        with reaching(self._engine), self._engine.connect() as connection:
            since = connection.execute(begun(endpoint, generations)).scalar_one()
        unfold(self._engine, endpoint, received=since)
        with reaching(self._engine), self._engine.connect() as connection:
            numbers = [int(value) for value in connection.execute(query).one()]
            received = connection.execute(_outcomes_between(endpoint, since, settled)).one()
        both, only_champion, only_challenger, neither, rows, with_outcome = numbers
        return PairCounts(
            both_right=both,
            only_champion_right=only_champion,
            only_challenger_right=only_challenger,
            both_wrong=neither,
            predictions=rows,
            with_outcome=with_outcome,
            outcomes_without_prediction=int(received[0]),
            outcomes=int(received[1]),
        )


def _add_rows(connection: sa.Connection, rows: Sequence[tuple[Any, ...]]) -> int:
    """In one transaction; rows of requests with several are left out where the request is recorded as a whole."""
    alone: list[tuple[Any, ...]] = []
    of_several: list[tuple[Any, ...]] = []
    for row in rows:
        found = row_of(row[REQUEST_ID])
        if found is None:
            alone.append(row)
        else:
            of_several.append((*row, row[ENDPOINT], found[0]))
    for endpoint in sorted({row[ENDPOINT] for row in of_several}):
        one_writer(connection, endpoint)
    written = 0
    for values, unless in ((alone, None), (of_several, folded_predictions)):
        if values:
            statement = insertion(connection, predictions, PredictionRecord._fields, unless=unless)
            written += connection.exec_driver_sql(statement, values).rowcount
    return written


def same_request(mark: str = "") -> sa.ColumnElement[bool]:
    """What joins predictions with their outcomes.

    Args:
        mark: behind the id of a shadow's record; "" finds the one of who answered.
    """
    given = feedback.c.request_id + mark if mark else feedback.c.request_id
    return (predictions.c.endpoint == feedback.c.endpoint) & (predictions.c.request_id == given)


def same_request_as_shadow(version: str) -> sa.ColumnElement[bool]:
    """What joins a shadow's predictions with outcomes, found by the outcomes' key: a look is at all of them."""
    p, f = predictions.c, feedback.c
    request = sa.func.substr(p.request_id, 1, sa.func.length(p.request_id) - len(version) - 1)
    return (p.endpoint == f.endpoint) & (f.request_id == request)


def _count(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
    return sa.func.coalesce(sa.func.sum(sa.case((condition, 1), else_=0)), 0)


def begun(endpoint: str, generations: Sequence[int]) -> sa.Select[float]:
    """When the first of the generations was written; 0 where none is known."""
    return sa.select(sa.func.coalesce(sa.func.min(traffic.c.created), 0.0)).where(
        traffic.c.endpoint == endpoint, traffic.c.generation.in_(generations)
    )


def _outcomes_between(endpoint: str, since: float, until: float) -> sa.Select[int, int]:
    query = (
        sa.select(_count(predictions.c.request_id.is_(None)), sa.func.count())
        .select_from(feedback.outerjoin(predictions, same_request()))
        .where(feedback.c.endpoint == endpoint, feedback.c.received >= since)
    )
    return query if math.isinf(until) else query.where(feedback.c.received <= until)
