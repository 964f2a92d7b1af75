"""Answers one request: draws the arm, scores, falls back to the champion, writes down what happened."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from ray import serve

from sluiceway.config.serving import ServingSection
from sluiceway.core.errors import ArmError, NotReadyError, RequestError
from sluiceway.serving.batching import TurnBatcher
from sluiceway.serving.inputs import Input
from sluiceway.serving.ledger import Answer, Ledger
from sluiceway.serving.route import LoadedArm, Route
from sluiceway.serving.shadow import Seen, Shadows
from sluiceway.serving.specs import CHALLENGER_DEPLOYMENT
from sluiceway.serving.turns import TurnCaller, handle_call
from sluiceway.telemetry.metrics import ServingMetrics
from sluiceway.telemetry.traffic import TrafficMetrics

logger = logging.getLogger(__name__)

# The first call of a handle learns from Serve's controller where the replicas are.
WARM_SECONDS = 5.0
# So much of a request's time is the champion's, whatever a challenger does.
CHAMPIONS_SHARE = 0.25
# Told of a breaker that has opened: generation, version, reason.
Opened = Callable[[int, str, str], None]
# An arm's scores as everybody sees them, and raw where they were asked for and the arm has a calibrator.
Scored = tuple[np.ndarray, np.ndarray | None]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request says besides its rows.

    Attributes:
        request_id: of the request.
        started: ``time.perf_counter()`` when it came.
        key: what the arm is drawn by, from ``X-Routing-Key``; None draws by ``routing_field``, or by chance.
        version: the version that it is for, from ``X-Model-Version``, of a caller who may ask so; None draws.
        raw: scores before the calibrator are wanted, too, where the arm has one.
    """

    request_id: str
    started: float
    key: str | None = None
    version: str | None = None
    raw: bool = False


@dataclass(frozen=True, slots=True)
class Answered:
    """What came of a request.

    Attributes:
        request_id: of the request.
        arm: who answered.
        scores: shape (n_rows,) or (n_rows, classes), float64.
        decisions: shape (n_rows,), float64.
        unseen: categories in the rows that the champion, or the version that was asked for, does not know.
        failover: the champion answered for a challenger that did not.
        raw: ``scores`` before the calibrator, where they were asked for and the arm has one; else None.
    """

    request_id: str
    arm: LoadedArm
    scores: np.ndarray
    decisions: np.ndarray
    unseen: int
    failover: bool
    raw: np.ndarray | None = None


class Answerer:
    """Answers requests by a route.

    Args:
        endpoint: name of the endpoint.
        ledger: where records and counts go.
        metrics: what Prometheus sees.
        limits: timeouts, and by what arms are drawn.
        opened: told of each breaker that opens; nobody by default, where no challenger is ever routed.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        ledger: Ledger,
        metrics: ServingMetrics,
        limits: ServingSection,
        opened: Opened = lambda generation, version, reason: None,
    ) -> None:
        self._endpoint, self._ledger, self._metrics, self._limits = endpoint, ledger, metrics, limits
        self._opened = opened
        self._traffic = TrafficMetrics(endpoint, registry=metrics.registry)
        self._batcher = TurnBatcher()
        self._callers: dict[str, TurnCaller] = {}
        self._raw_callers: dict[str, TurnCaller] = {}
        self._handles: dict[str, Any] = {}
        self._warmed: set[str] = set()
        self._shadows = Shadows(ledger=ledger, metrics=metrics, traffic=self._traffic, callers=self._callers)
        # When a challenger has to be given up, seconds after a request has come.
        self._challengers_time = limits.request_timeout_seconds * (1 - CHAMPIONS_SHARE)
        # With less than its own limit, or half of what a request has for it, it would fail of others' slowness.
        self._challengers_least = min(limits.challenger_timeout_seconds, self._challengers_time / 2)

    def open(self, route: Route) -> None:
        """Get ready for a route: its series and counts at 0, its breakers closed, handles of its challengers."""
        for arm in (*route.arms, *route.pinned.values()):
            self._metrics.arm(version=arm.arm.version, arm=arm.name)
        self._traffic.follow(arm.arm.version for arm in route.challengers)
        for arm in route.shadows:
            self._traffic.shadow(arm.arm.version)
        self._ledger.opened(route.generation, route.arms)
        # Handles of earlier challengers stay: requests that were drawn for them may still be under way.
        for application in {arm.arm.application for arm in route.remote} - self._handles.keys():
            handle = serve.get_deployment_handle(CHALLENGER_DEPLOYMENT, app_name=application, _check_exists=False)
            self._handles[application] = handle
            seconds = self._limits.challenger_timeout_seconds
            self._callers[application] = TurnCaller(handle_call(handle), seconds=seconds)
            self._raw_callers[application] = TurnCaller(handle_call(handle, raw=True), seconds=seconds)

    async def warm(self, route: Route) -> None:
        """Open the way to the challengers and shadows that a route asks, before the first request needs it.

        Those that the route before asked have had it: a change of their weights does not wait for one that is dead.
        One without a weight is left to sleep, and may have gone to zero meanwhile.
        """
        before, self._warmed = self._warmed, {arm.arm.application for arm in route.remote if arm.arm.weight > 0}
        for application in self._warmed - before:
            try:
                response = self._handles[application].ready.remote()
                async with asyncio.timeout(WARM_SECONDS):
                    await response
            except Exception as error:  # noqa: BLE001 (whatever it is, requests find it too, and the champion answers)
                logger.warning("%s of %s does not answer: %s", application, self._endpoint, error)

    async def answer(self, route: Route, asked: Asked, given: Input) -> Answered:
        """Answer a request.

        Args:
            route: what to follow.
            asked: the request.
            given: its rows.

        Raises:
            RequestError: the rows are not the champion's features; 404 where it is for a version that is not there.
            ArmError: the champion failed.
            NotReadyError: the version that it is for did not answer.
        """
        if asked.version is not None:
            return await self._answer_as_asked(route, asked, given)
        matrix, unseen = given.encode(route.champion.scorer.schema)
        field = self._limits.routing_field
        key = asked.key or (given.first(field) if field else None) or None
        drawn = route.draw(key)
        # A request whose client or turn took so long that no fair time is left asks no challenger: it counts as the
        # champion's, and not as the challenger's failure.
        left = asked.started + self._challengers_time - time.perf_counter()
        challenged = drawn is not route.champion and left >= self._challengers_least
        scored = await self._challenge(route, drawn, asked, matrix, given, left) if challenged else None
        failover = drawn is not route.champion and scored is None
        answering = route.champion if failover else drawn
        if scored is None:
            scored = await self._answer_by_champion(route, asked, matrix, counted=not challenged)
        if route.shadows:
            seen = Seen(route, asked.request_id, matrix, given, key)
            for shadow in route.shadowing(key):
                self._shadows.see(shadow, seen)
        scores, raw = scored
        decisions = answering.scorer.decide(scores)
        answered = Answered(asked.request_id, answering, scores, decisions, unseen, failover, raw)
        paired = None if answering is route.champion else route.champion
        self._record(route, asked, answered, matrix, key, paired)
        return answered

    async def settled(self) -> None:
        """Return when the shadows have seen what is under way."""
        await self._shadows.settled()

    async def _answer_by_champion(self, route: Route, asked: Asked, matrix: np.ndarray, *, counted: bool) -> Scored:
        # A challenger's request that the champion answers is the challenger's failure, and not one more request.
        try:
            scored = await self._scored(route.champion, asked, matrix)
        except ArmError:
            if counted:
                self._count(route, route.champion, started=asked.started, failed=True)
            raise
        if counted:
            self._count(route, route.champion, started=asked.started, failed=False)
        return scored

    async def _challenge(
        self, route: Route, arm: LoadedArm, asked: Asked, matrix: np.ndarray, given: Input, left: float
    ) -> Scored | None:
        """A challenger's scores; None where it did not answer in the seconds that the request has left for it."""
        begun = time.perf_counter()
        try:
            rows = matrix if arm.encoded_like_champion else _encoded_for(arm, given)
            scored = await self._scored(arm, asked, rows, left)
        except ArmError as error:
            logger.debug("failover: %s", error)
            scored = None
        failed = scored is None
        self._count(route, arm, started=asked.started, failed=failed)
        breaker = arm.breaker
        if breaker is not None and breaker.note(asked=begun, done=time.perf_counter(), failed=failed):
            self._traffic.opened(arm.arm.version)
            self._opened(route.generation, arm.arm.version, breaker.reason)
        return scored

    async def _answer_as_asked(self, route: Route, asked: Asked, given: Input) -> Answered:
        arm = route.pinned.get(asked.version or "")
        if arm is None:
            there = ", ".join(f"{loaded.arm.version} ({loaded.name})" for loaded in (*route.arms, *route.warm))
            raise RequestError(f"version {asked.version} is not served here", status=404, hint=f"there are {there}")
        matrix, unseen = given.encode(arm.scorer.schema)
        try:
            left = asked.started + self._challengers_time - time.perf_counter()
            scores, raw = await self._scored(arm, asked, matrix, left)
        except ArmError as error:
            self._count(route, arm, started=asked.started, failed=True)
            logger.warning("request %s: %s", asked.request_id, error)
            raise NotReadyError(f"version {asked.version} did not answer") from error
        self._count(route, arm, started=asked.started, failed=False)
        answered = Answered(asked.request_id, arm, scores, arm.scorer.decide(scores), unseen, failover=False, raw=raw)
        # Encoded for this version alone: the champion may not know its features.
        self._record(route, asked, answered, matrix, None, None)
        return answered

    def _record(
        self,
        route: Route,
        asked: Asked,
        answered: Answered,
        matrix: np.ndarray,
        key: str | None,
        paired: LoadedArm | None,
    ) -> None:
        arm = answered.arm
        if answered.unseen:
            self._metrics.arm(version=arm.arm.version, arm=arm.name).unseen_categories.inc(answered.unseen)
        self._ledger.answered(
            Answer(
                asked.request_id,
                time.time(),
                route.generation,
                arm,
                answered.scores,
                answered.decisions,
                matrix,
                paired,
                time.perf_counter() - asked.started,
                key,
            )
        )

    def _count(self, route: Route, arm: LoadedArm, *, started: float, failed: bool) -> None:
        seconds = time.perf_counter() - started
        self._ledger.counted(route.generation, arm, seconds=seconds, failed=failed)
        series = self._metrics.arm(version=arm.arm.version, arm=arm.name)
        series.requests.inc()
        series.prediction_latency.observe(seconds)
        if failed:
            series.errors.inc()

    async def _scored(self, arm: LoadedArm, asked: Asked, rows: np.ndarray, left: float | None = None) -> Scored:
        """Scores of rows that are encoded for an arm, within so many seconds where it runs elsewhere.

        Raw ones beside them where that was asked for and the arm has a calibrator: it is put to them here.

        Raises:
            ArmError: it raised, took too long, or answered nonsense.
        """
        begun, raw = time.perf_counter(), None
        is_raw = asked.raw and arm.scorer.calibrated
        try:
            if arm.arm.application:
                callers = self._raw_callers if is_raw else self._callers
                told = callers[arm.arm.application].score(rows)
                # The call has a limit of its own: one timer for all requests of a turn, and seldom one more.
                if left is not None and left < self._limits.challenger_timeout_seconds:
                    scores = await asyncio.wait_for(told, timeout=left)
                else:
                    scores = await told
                scores = arm.scorer.shaped(scores.reshape(-1))
            else:
                score = arm.scorer.raw_scores if is_raw else arm.scorer.score_matrix
                scores = await self._batcher.score(score, rows)
            if is_raw:
                scores, raw = arm.scorer.calibrate(scores), scores
        except Exception as error:
            raise ArmError(f"{arm.name} {arm.arm.version} failed: {type(error).__name__}: {error}") from error
        # Raw ones, too: of an infinite one the calibrator makes a finite one.
        unsound = len(scores) != len(rows) or not np.isfinite(scores).all()
        if unsound or (raw is not None and not np.isfinite(raw).all()):
            raise ArmError(f"{arm.name} {arm.arm.version} answered {len(scores)} scores, or not finite ones")
        self._metrics.arm(version=arm.arm.version, arm=arm.name).model_latency.observe(time.perf_counter() - begun)
        return scores, raw


def _encoded_for(arm: LoadedArm, given: Input) -> np.ndarray:
    try:
        return given.encode(arm.scorer.schema)[0]
    except RequestError as error:
        raise ArmError("the challenger has other features than the champion") from error
