"""Predictions joined with their outcomes, per version; and their removal once they are archived."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa

from sluiceway.catalog import archiving
from sluiceway.catalog.archiving import CHUNK, Page
from sluiceway.catalog.dialect import reaching
from sluiceway.catalog.folded import FoldedRequest, drop_folded, folded_counts, row_of, take_folded, unfold
from sluiceway.catalog.records import FeedbackRecord, same_request
from sluiceway.catalog.schema import feedback, folded_predictions, predictions


@dataclass(frozen=True)
class VersionAccuracy:
    """How often one version's decisions were right.

    Attributes:
        endpoint: where it served.
        version: the model version.
        arm: ``champion`` or ``challenger``.
        predictions: recorded ones.
        with_outcome: those whose outcome is known.
        right: those whose decision equals it.
    """

    endpoint: str
    version: str
    arm: str
    predictions: int
    with_outcome: int
    right: int

    @property
    def accuracy(self) -> float | None:
        """Share of right ones among those with an outcome, or None where there is none."""
        return self.right / self.with_outcome if self.with_outcome else None


@dataclass(frozen=True)
class JudgedPrediction:
    """A prediction whose outcome has come.

    Attributes:
        request_id: of both.
        received: when the outcome came, UTC epoch seconds.
        version: the model version that predicted.
        arm: ``champion`` or ``challenger``.
        right: whether the decision equals the outcome.
    """

    request_id: str
    received: float
    version: str
    arm: str
    right: bool


class OutcomeStore:
    """Reads predictions with outcomes and moves them out of the catalog."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def accuracy(self, endpoint: str | None = None) -> list[VersionAccuracy]:
        """Accuracy per endpoint, version and arm of the records that are still in the catalog."""
        unfold(self._engine, endpoint)
        p, f = predictions.c, feedback.c
        query = (
            sa.select(
                p.endpoint,
                p.version,
                p.arm,
                sa.func.count().label("predictions"),
                sa.func.count(f.outcome).label("with_outcome"),
                sa.func.coalesce(sa.func.sum(sa.case((p.decision == f.outcome, 1), else_=0)), 0).label("right"),
            )
            .select_from(predictions.outerjoin(feedback, same_request()))
            .group_by(p.endpoint, p.version, p.arm)
        )
        if endpoint is not None:
            query = query.where(p.endpoint == endpoint)
        with self._engine.connect() as connection:
            found = {tuple(row[:3]): VersionAccuracy(*row) for row in connection.execute(query)}
            for key, rows in folded_counts(connection, endpoint).items():
                known = found.get(key) or VersionAccuracy(*key, 0, 0, 0)
                found[key] = replace(known, predictions=known.predictions + rows)
        return [found[key] for key in sorted(found)]

    def judged_since(self, endpoint: str, received: float, *, shadows: Sequence[str] = ()) -> list[JudgedPrediction]:
        """The predictions of an endpoint whose outcome came at a time or later.

        Args:
            endpoint: whose.
            received: UTC epoch seconds.
            shadows: versions whose records stand beside those of who answered, as ``<request id>#<version>``.

        Raises:
            BackendError: the catalog cannot be reached.
        """
        unfold(self._engine, endpoint, received=received)
        p, f = predictions.c, feedback.c
        chosen = sa.select(p.request_id, f.received, p.version, p.arm, p.decision == f.outcome).where(
            f.received >= received, f.endpoint == endpoint
        )
        marks = ["", *(f"#{version}" for version in shadows)]
        rows: list[tuple[str, float, str, str, bool]] = []
        with reaching(self._engine), self._engine.connect() as connection:
            for mark in marks:
                query = chosen.select_from(feedback.join(predictions, same_request(mark)))
                rows += [tuple(row) for row in connection.execute(query)]
        return [JudgedPrediction(name, came, version, arm, bool(right)) for name, came, version, arm, right in rows]

    def begin_archive(self, endpoint: str, *, cutoff: float) -> float:
        """Write down up to which time records are being archived; gives an unfinished earlier cutoff first.

        Args:
            endpoint: whose records.
            cutoff: UTC epoch seconds; records up to it are complete.

        Returns:
            The cutoff to archive with.
        """
        unfold(self._engine, endpoint)
        return archiving.begin(self._engine, endpoint, cutoff=cutoff)

    def archivable(self, endpoint: str, *, wait: float, at_once: int) -> Iterator[Page]:
        """Predictions up to the cutoff whose outcome is known, or has not come in its time, in the order of their ids.

        The others stay, so that an outcome that comes late still finds its prediction. The caller calls
        :meth:`archived` with each page before it takes the next one.

        Args:
            endpoint: whose.
            wait: seconds that a prediction waits for its outcome.
            at_once: so many records a page at most.
        """
        after = ""
        while True:
            page = archiving.next_page(self._engine, endpoint, wait=wait, after=after, at_once=at_once)
            if page is None:
                return
            yield page
            # A page that an earlier archive has left tells nothing of what is before it.
            after = page.rows[-1]["request_id"] if page.new else after

    def archived(self, endpoint: str, page: Page) -> None:
        """Remove the records of a page that is now in Delta; an outcome that it has not stays."""
        archiving.forget(self._engine, endpoint, page)

    def archivable_folded(
        self, endpoint: str, *, cutoff: float, wait: float, at_once: int, rows_at_once: int
    ) -> Iterator[list[FoldedRequest]]:
        """Folded requests whose outcomes have not come in their time before the cutoff, oldest first, so many at once.

        No outcome unfolds them from then on. The caller calls :meth:`archived_folded` with each list before it takes
        the next one; a list that it has not, because it was killed, comes again as it was.

        Args:
            endpoint: whose.
            cutoff: as :meth:`begin_archive` gives it.
            wait: as of :meth:`archivable`.
            at_once: so many requests at most.
            rows_at_once: so many rows at most, but one request at least.
        """
        unfold(self._engine, endpoint)
        while found := take_folded(
            self._engine, endpoint, until=cutoff - wait, at_once=at_once, rows_at_once=rows_at_once
        ):
            yield found

    def archived_folded(self, endpoint: str, requests: Sequence[FoldedRequest]) -> None:
        """Remove what is now in Delta."""
        drop_folded(self._engine, endpoint, [request.request_id for request in requests])

    def unmatched(self, endpoint: str, *, until: float, at_once: int) -> Iterator[list[FeedbackRecord]]:
        """Outcomes whose prediction is not in the catalog, or not yet, in the order of their ids, so many at once.

        Args:
            endpoint: whose.
            until: UTC epoch seconds; those that came later are left out.
            at_once: so many at most.
        """
        f, after = feedback.c, ""
        columns = (f.request_id, f.outcome, f.time, f.received, f.value)
        query = (
            sa.select(*columns)
            .select_from(feedback.outerjoin(predictions, same_request()))
            .where(f.endpoint == endpoint, f.received <= until, predictions.c.request_id.is_(None))
            .order_by(f.request_id)
            .limit(at_once)
        )
        while True:
            with reaching(self._engine), self._engine.connect() as connection:
                found = [FeedbackRecord(*row) for row in connection.execute(query.where(f.request_id > after))]
            if not found:
                return
            yield found
            after = found[-1].request_id

    def unrecorded(self, endpoint: str, request_ids: Sequence[str]) -> set[str]:
        """Of some ids those that no prediction of the catalog has, also none that an archive is taking.

        A prediction goes from a large request's record to one of its own, and from either to the archive. It is looked
        for in this order, so that who reads the archive afterwards finds what has moved on meanwhile.
        """
        requests = {name: found[0] for name in request_ids if (found := row_of(name)) is not None}
        folded = self._those_in(folded_predictions, endpoint, sorted(set(requests.values())))
        return {name for name in request_ids if requests.get(name) not in folded} - self._those_in(
            predictions, endpoint, request_ids
        )

    def remove_outcomes(self, endpoint: str, request_ids: Sequence[str]) -> int:
        """Remove outcomes that stand in the archive now, or whose predictions are nowhere; gives how many."""
        removed = 0
        with reaching(self._engine), self._engine.begin() as connection:
            for start in range(0, len(request_ids), CHUNK):
                chunk = request_ids[start : start + CHUNK]
                gone = (feedback.c.endpoint == endpoint) & feedback.c.request_id.in_(chunk)
                removed += connection.execute(feedback.delete().where(gone)).rowcount
        return removed

    def _those_in(self, table: sa.Table, endpoint: str, request_ids: Sequence[str]) -> set[str]:
        found: set[str] = set()
        with reaching(self._engine), self._engine.connect() as connection:
            for start in range(0, len(request_ids), CHUNK):
                chunk = request_ids[start : start + CHUNK]
                query = sa.select(table.c.request_id).where(table.c.endpoint == endpoint, table.c.request_id.in_(chunk))
                found.update(connection.execute(query).scalars())
        return found

    def end_archive(self, endpoint: str) -> None:
        """Remove the note that an archive is under way."""
        archiving.end(self._engine, endpoint)
