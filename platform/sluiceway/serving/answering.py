"""Answers one request: draws the arm, scores, falls back to the champion, writes down what happened."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ray import serve

from sluiceway.core.classes import Class
from sluiceway.core.errors import ArmError, RequestError
from sluiceway.features.encode import encode_rows
from sluiceway.serving.batching import TurnBatcher
from sluiceway.serving.ledger import Answer, Ledger
from sluiceway.serving.route import CHAMPION, LoadedArm, Route
from sluiceway.serving.specs import CHALLENGER_DEPLOYMENT
from sluiceway.telemetry.metrics import ServingMetrics

logger = logging.getLogger(__name__)

# The first call of a handle learns from Serve's controller where the replicas are.
WARM_SECONDS = 5.0


class Answerer:
    """Answers requests by a route.

    Args:
        endpoint: name of the endpoint.
        ledger: where records and counts go.
        metrics: what Prometheus sees.
        challenger_timeout_seconds: a challenger that has not answered by then has failed.
    """

    def __init__(
        self, endpoint: str, *, ledger: Ledger, metrics: ServingMetrics, challenger_timeout_seconds: float
    ) -> None:
        self._endpoint, self._ledger, self._metrics = endpoint, ledger, metrics
        self._timeout = challenger_timeout_seconds
        self._batcher = TurnBatcher()
        self._handles: dict[str, Any] = {}

    def open(self, route: Route) -> None:
        """Get ready for a route: its series and counts at 0, handles of its challengers."""
        for arm in route.arms:
            self._metrics.arm(version=arm.arm.version, arm=arm.name)
        self._ledger.opened(route.generation, route.arms)
        # Handles of earlier challengers stay: requests that were drawn for them may still be under way.
        for application in {arm.arm.application for arm in route.challengers} - self._handles.keys():
            handle = serve.get_deployment_handle(CHALLENGER_DEPLOYMENT, app_name=application, _check_exists=False)
            self._handles[application] = handle

    async def warm(self, route: Route) -> None:
        """Open the way to a route's challengers before the first request needs it."""
        for arm in route.challengers:
            try:
                response = self._handles[arm.arm.application].ready.remote()
                await asyncio.wait_for(_result(response), timeout=WARM_SECONDS)
            except Exception as error:  # noqa: BLE001 (whatever it is, requests find it too, and the champion answers)
                logger.warning("%s of %s does not answer: %s", arm.arm.application, self._endpoint, error)

    async def answer(
        self, route: Route, rows: Sequence[Mapping[str, Any]], *, request_id: str, started: float
    ) -> dict[str, Any]:
        """Answer a request.

        Args:
            route: what to follow.
            rows: the request's rows.
            request_id: of the request.
            started: ``time.perf_counter()`` when the request came.

        Returns:
            The answer's body.

        Raises:
            RequestError: the rows are not the champion's features.
            ArmError: the champion failed.
        """
        matrix, unseen = encode_rows(rows, route.champion.scorer.schema)
        drawn = route.draw(random.random())
        answering = drawn
        try:
            scores = await self._score(drawn, matrix, rows)
        except ArmError as error:
            self._count(route, drawn, started=started, failed=True)
            if drawn.name == CHAMPION:
                raise
            logger.debug("failover: %s", error)
            answering = route.champion
            scores = await self._score(answering, matrix, rows)
        else:
            self._count(route, drawn, started=started, failed=False)
        if unseen:
            self._metrics.arm(version=answering.arm.version, arm=answering.name).unseen_categories.inc(unseen)
        decisions = answering.scorer.decide(scores)
        paired = None if answering.name == CHAMPION else route.champion
        self._ledger.answered(
            Answer(request_id, time.time(), route.generation, answering, scores, decisions, matrix, paired)
        )
        body = self._body(answering, scores, decisions, request_id=request_id)
        if answering is not drawn:
            body["failover"] = True
        if unseen:
            body["unseen_categories"] = unseen
        return body

    def _body(self, arm: LoadedArm, scores: np.ndarray, decisions: np.ndarray, *, request_id: str) -> dict[str, Any]:
        classes = arm.scorer.classes
        return {
            "predictions": _of_classes(scores, classes) if classes else _of_numbers(scores, decisions),
            **({"classes": list(classes)} if classes else {}),
            "model": self._endpoint,
            "version": arm.arm.version,
            "arm": arm.name,
            "request_id": request_id,
        }

    def _count(self, route: Route, arm: LoadedArm, *, started: float, failed: bool) -> None:
        seconds = time.perf_counter() - started
        self._ledger.counted(route.generation, arm, seconds=seconds, failed=failed)
        series = self._metrics.arm(version=arm.arm.version, arm=arm.name)
        series.requests.inc()
        series.prediction_latency.observe(seconds)
        if failed:
            series.errors.inc()

    async def _score(self, arm: LoadedArm, matrix: np.ndarray, rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
        begun = time.perf_counter()
        try:
            if arm.name == CHAMPION:
                scores = await self._batcher.score(arm.scorer.score_matrix, matrix)
            else:
                scores = await self._ask(arm, matrix, rows)
        except Exception as error:
            raise ArmError(f"{arm.name} {arm.arm.version} failed: {type(error).__name__}: {error}") from error
        if len(scores) != len(matrix) or not np.isfinite(scores).all():
            raise ArmError(f"{arm.name} {arm.arm.version} answered {len(scores)} scores, or not finite ones")
        series = self._metrics.arm(version=arm.arm.version, arm=arm.name)
        series.model_latency.observe(time.perf_counter() - begun)
        return scores

    async def _ask(self, arm: LoadedArm, matrix: np.ndarray, rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
        response = self._handles[arm.arm.application].score.remote(self._encoded_for(arm, matrix, rows))
        try:
            answer = await asyncio.wait_for(_result(response), timeout=self._timeout)
        except TimeoutError as error:
            response.cancel()
            raise ArmError(f"no answer within {self._timeout:g} s") from error
        return arm.scorer.shaped(np.frombuffer(answer, dtype=np.float64))

    @staticmethod
    def _encoded_for(arm: LoadedArm, matrix: np.ndarray, rows: Sequence[Mapping[str, Any]]) -> bytes:
        if arm.encoded_like_champion:
            return matrix.tobytes()
        try:
            encoded, _ = encode_rows(rows, arm.scorer.schema)
        except RequestError as error:
            raise ArmError("the challenger has other features than the champion") from error
        return encoded.tobytes()


def _of_numbers(scores: np.ndarray, decisions: np.ndarray) -> list[dict[str, Any]]:
    pairs = zip(scores.tolist(), decisions.tolist(), strict=True)
    return [{"score": score, "decision": decision} for score, decision in pairs]


def _of_classes(scores: np.ndarray, classes: Sequence[Class]) -> list[dict[str, Any]]:
    rows = zip(scores.tolist(), scores.argmax(axis=1).tolist(), strict=True)
    return [{"score": row[place], "decision": classes[place], "probabilities": row} for row, place in rows]


async def _result(response: Any) -> Any:
    return await response
