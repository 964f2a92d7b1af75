"""Shadows: models that score a share of the requests once these are answered, and answer nobody themselves."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sluiceway.core.errors import RequestError
from sluiceway.serving.inputs import Input
from sluiceway.serving.ledger import Answer, Ledger
from sluiceway.serving.record_batches import SHADOW_MARK
from sluiceway.serving.route import LoadedArm, Route
from sluiceway.serving.scorer import BundleScorer
from sluiceway.serving.turns import TurnCaller
from sluiceway.telemetry.metrics import ServingMetrics
from sluiceway.telemetry.traffic import TrafficMetrics

logger = logging.getLogger(__name__)

# Long enough for an answer to leave the process, and for one call to serve many.
GATHER_SECONDS = 0.02
# Rows that wait for shadows or are with them; what comes beyond is dropped and counted.
ROWS_UNDER_WAY = 10_000


@dataclass(frozen=True, slots=True)
class Seen:
    """A request that a shadow is going to score.

    Attributes:
        route: that it was answered by.
        request_id: of the request.
        matrix: shape (n_rows, n_features), float32: encoded for the champion.
        given: its rows.
        key: what arms are drawn by; None where they are drawn by chance.
    """

    route: Route
    request_id: str
    matrix: np.ndarray
    given: Input
    key: str | None


class Shadows:
    """Scores for shadows, beside the requests' way: nothing here can slow or fail an answer.

    What a shadow says is recorded under its arm, with the champion's score of the same rows beside it.

    Args:
        ledger: where records and counts go.
        metrics: what Prometheus sees.
        traffic: what Prometheus sees of what is dropped.
        callers: of shadows with an application of their own, by its name.
    """

    def __init__(
        self, *, ledger: Ledger, metrics: ServingMetrics, traffic: TrafficMetrics, callers: Mapping[str, TurnCaller]
    ) -> None:
        self._ledger, self._metrics, self._traffic, self._callers = ledger, metrics, traffic, callers
        self._waiting: defaultdict[LoadedArm, list[Seen]] = defaultdict(list)
        self._rows = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def see(self, shadow: LoadedArm, seen: Seen) -> None:
        """Let a shadow score a request soon; it is dropped and counted where too many are under way."""
        if self._rows + len(seen.matrix) > ROWS_UNDER_WAY:
            self._traffic.dropped(shadow.arm.version)
            return
        if not self._waiting:
            asyncio.get_running_loop().call_later(GATHER_SECONDS, self._begin)
        self._rows += len(seen.matrix)
        self._waiting[shadow].append(seen)

    async def settled(self) -> None:
        """Return when everything that was under way is scored."""
        while self._waiting or self._tasks:
            await asyncio.sleep(GATHER_SECONDS)

    def _begin(self) -> None:
        waiting, self._waiting = self._waiting, defaultdict(list)
        for shadow, requests in waiting.items():
            task = asyncio.get_running_loop().create_task(self._score(shadow, requests))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _score(self, shadow: LoadedArm, requests: Sequence[Seen]) -> None:
        begun = time.perf_counter()
        try:
            matrices = [seen.matrix for seen in requests]
            if not shadow.encoded_like_champion:
                matrices = await asyncio.to_thread(_encoded, shadow, requests)
            told = await self._told(shadow, matrices)
        except Exception as error:  # noqa: BLE001 (whatever it is, it is the shadow's failure and nobody else's)
            told = [error] * len(requests)
        finally:
            self._rows -= sum(len(seen.matrix) for seen in requests)
        seconds = time.perf_counter() - begun
        for seen, scores in zip(requests, told, strict=True):
            self._note(shadow, seen, scores, seconds)

    async def _told(self, shadow: LoadedArm, matrices: Sequence[np.ndarray]) -> Sequence[np.ndarray | BaseException]:
        if not shadow.arm.application:
            return await asyncio.to_thread(_scored, shadow.scorer, matrices)
        caller = self._callers[shadow.arm.application]
        told = await asyncio.gather(*(caller.score(matrix) for matrix in matrices), return_exceptions=True)
        return [scores if isinstance(scores, BaseException) else _shaped(shadow, scores) for scores in told]

    def _note(self, shadow: LoadedArm, seen: Seen, scores: np.ndarray | BaseException, seconds: float) -> None:
        generation = seen.route.generation
        failed = isinstance(scores, BaseException) or len(scores) != len(seen.matrix) or not np.isfinite(scores).all()
        self._ledger.counted(generation, shadow, seconds=seconds, failed=failed)
        series = self._metrics.arm(version=shadow.arm.version, arm=shadow.name)
        series.requests.inc()
        if isinstance(scores, BaseException) or failed:
            series.errors.inc()
            logger.debug("shadow %s: %s", shadow.arm.version, scores)
            return
        series.model_latency.observe(seconds)
        decisions = shadow.scorer.decide(scores)
        # An id of its own: the request's is that of the record of who answered.
        record_id = f"{seen.request_id}{SHADOW_MARK}{shadow.arm.version}"
        champion = seen.route.champion
        self._ledger.answered(
            Answer(record_id, time.time(), generation, shadow, scores, decisions, seen.matrix, champion, key=seen.key)
        )


def _encoded(shadow: LoadedArm, requests: Sequence[Seen]) -> list[np.ndarray]:
    try:
        return [seen.given.encode(shadow.scorer.schema)[0] for seen in requests]
    except RequestError as error:
        raise ValueError("the shadow has other features than the champion") from error


def _scored(scorer: BundleScorer, matrices: Sequence[np.ndarray]) -> list[np.ndarray | BaseException]:
    """Scores of each request, all in one call; one by one where that fails, so that a request fails for itself."""
    try:
        scores = scorer.score_matrix(np.concatenate(matrices))
    except Exception as error:  # noqa: BLE001 (told to the request that it is of)
        if len(matrices) == 1:
            return [error]
        return [_scored(scorer, [matrix])[0] for matrix in matrices]
    ends = np.cumsum([len(matrix) for matrix in matrices])
    return list(np.split(scores, ends[:-1]))


def _shaped(shadow: LoadedArm, scores: np.ndarray) -> np.ndarray | BaseException:
    try:
        return shadow.scorer.shaped(scores.reshape(-1))
    except ValueError as error:
        return error
