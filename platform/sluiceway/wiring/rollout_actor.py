"""A rollout that outlives whoever began it: a detached actor of the cluster runs it, one an endpoint.

Its name is ``rollout:ENDPOINT`` in the namespace ``sluiceway``. It is told by the catalog, as every rollout is, and
ends itself when its rollout has ended. Killed, Ray starts it again, and it goes on by the journal; the next
environment's rollout is another actor's.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError, RayTaskError

from sluiceway.config.settings import Settings
from sluiceway.core.clock import SystemClock
from sluiceway.core.errors import BackendError, ConflictError, SluicewayError
from sluiceway.core.traffic import endpoint_name
from sluiceway.lifecycle.context import Context
from sluiceway.lifecycle.persistent import persistently
from sluiceway.lifecycle.start_rollout import Started, end_others, go_on, name_rollout
from sluiceway.rollout.journal import Journal
from sluiceway.wiring.cluster import connect_ray
from sluiceway.wiring.context import build_context
from sluiceway.wiring.stores import build_stores, catalog_url

logger = logging.getLogger(__name__)

NAMESPACE = "sluiceway"
# Ray starts a dead one again at once, and so often; one that dies when it starts waits in between.
MAX_RESTARTS = 20
RESTART_SECONDS = 3.0
# Until the name of one that has ended is free, and until a new one has a process.
FREE_SECONDS = 30.0
PROCESS_SECONDS = 120.0
# Until one has archived, and written the history of, a rollout that has ended.
HISTORY_SECONDS = 600.0
# One that has ended stays so long for whoever waits for its beginning.
LINGER_SECONDS = 3.0
# Questions that it answers at once, beside the one that ends it.
CONCURRENCY = 4


@dataclass(frozen=True)
class Start:
    """What an actor is to do.

    Attributes:
        settings: the configuration, JSON-ready.
        folder: of whoever began it; relative paths are looked up there, where the node has it.
        version: number of the registered version.
        environments: the first one is this actor's, the rest is for those after it.
        rollout_id: of the first one's rollout.
        supersede: another version's rollout is aborted first.
    """

    settings: dict[str, Any]
    folder: str
    version: str
    environments: tuple[str, ...]
    rollout_id: str
    supersede: bool

    @property
    def name(self) -> str:
        """Of the actor."""
        return actor_name(endpoint_name(self.settings["experiment"]["name"], self.environments[0]))


def actor_name(endpoint: str) -> str:
    """Of the actor that runs an endpoint's rollout."""
    return f"rollout:{endpoint}"


def start_for(
    settings: Settings,
    context: Context,
    *,
    version: str,
    environments: tuple[str, ...],
    rollout_id: str,
    supersede: bool,
) -> Start:
    """What an actor is to do, with everything that is to be taken from this process: its folder, and its users.

    Args:
        settings: the configuration.
        context: built of it here.
        version: number of the registered version.
        environments: in this order.
        rollout_id: of the first one's rollout.
        supersede: another version's rollout is aborted first.
    """
    # On a worker the cluster is the one that it is in.
    ray_section = settings.platform.ray.model_copy(update={"address": "auto"})
    platform = settings.platform.model_copy(update={"ray": ray_section})
    sent = settings.model_copy(update={"deployment": context.deployment, "platform": platform})
    return Start(sent.model_dump(mode="json"), str(Path.cwd()), version, environments, rollout_id, supersede)


def begin_detached(start: Start, context: Context) -> Any:
    """Make the actor of a start, or find the one that runs its rollout already; gives its handle.

    Args:
        start: what it is to do.
        context: whose catalog says whether the rollout of an actor that has the name has ended: it is waited for.

    Raises:
        ConflictError: the endpoint's actor runs another rollout, or does not end although that has.
        BackendError: Ray has no process for it.
    """
    began, patience = time.monotonic(), FREE_SECONDS
    options = {
        "name": start.name,
        "namespace": NAMESPACE,
        "lifetime": "detached",
        # It waits nearly all of its time: it is not to be in the way of replicas, nor they in its.
        "num_cpus": 0,
        "max_restarts": MAX_RESTARTS,
        "max_concurrency": CONCURRENCY,
    }
    while True:
        try:
            return ray.remote(RolloutActor).options(**options).remote(start)
        except ValueError:  # there is one of this name
            other = running(start.name)
            if other is not None and other[1] == start.rollout_id:
                return other[0]
            if other is not None and patience < HISTORY_SECONDS and _has_ended(context, other[1]):
                patience = HISTORY_SECONDS
                context.progress.stage("wait", f"rollout {other[1]} has ended, its actor archives it")
            if time.monotonic() - began > patience:
                told = other[1] if other else "one that does not answer"
                then = "; the same command begins this one when it has ended" if patience == HISTORY_SECONDS else ""
                raise ConflictError(
                    f"the actor {start.name} runs {told}", hint=f"`sluiceway rollout status` tells where it is{then}"
                ) from None
            time.sleep(0.5)


def _has_ended(context: Context, rollout_id: str) -> bool:
    rollouts = context.stores.rollouts
    return rollouts.get(rollout_id) is not None and Journal.open(rollouts, rollout_id).state.terminal


def running(name: str) -> tuple[Any, str] | None:
    """The living actor of a name, and whose rollout it runs; None where there is none, or it does not answer."""
    with suppress(ValueError, RayActorError, GetTimeoutError):
        handle = ray.get_actor(name, namespace=NAMESPACE)
        return handle, str(ray.get(handle.rollout.remote(), timeout=FREE_SECONDS))
    return None


def wait_until_begun(handle: Any, *, seconds: float) -> str:
    """The phase of an actor's rollout, once its journal has begun; ``starting`` where that takes longer.

    Args:
        handle: from :func:`begin_detached`.
        seconds: to wait for the journal.

    Raises:
        SluicewayError: it could not begin.
    """
    try:
        return str(ray.get(handle.begun.remote(seconds), timeout=seconds + PROCESS_SECONDS))
    except RayTaskError as error:
        if isinstance(error.cause, SluicewayError):
            raise error.cause from None
        raise
    except (RayActorError, GetTimeoutError) as error:
        raise BackendError(
            f"the rollout's actor does not answer: {type(error).__name__}",
            hint="`sluiceway rollout status` tells whether it runs; Ray's log of the actor, why not",
        ) from error


class RolloutActor:
    """Runs one rollout, from its first look or from where another one was killed; a class for Ray.

    Args:
        start: what to do.
    """

    def __init__(self, start: Start) -> None:
        if ray.get_runtime_context().was_current_actor_reconstructed:
            time.sleep(RESTART_SECONDS)
        with suppress(OSError):
            os.chdir(start.folder)
        self._start = start
        self._settings = Settings.model_validate(start.settings)
        self._failure: SluicewayError | None = None
        # What has an answer to give cannot be what works: a method that nobody waits for is not repeated by Ray.
        threading.Thread(target=self._work, name="rollout", daemon=True).start()

    def rollout(self) -> str:
        """Whose rollout it runs."""
        return self._start.rollout_id

    def begun(self, seconds: float) -> str:
        """See :func:`wait_until_begun`."""
        rollouts = build_stores(self._settings.platform).rollouts
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            if self._failure is not None:
                raise self._failure
            if rollouts.lengths().get(self._start.rollout_id):
                return str(Journal.open(rollouts, self._start.rollout_id).state.phase)
            time.sleep(0.2)
        return "starting"

    def _work(self) -> None:
        try:
            self._run()
        except Exception as error:
            logger.exception("rollout %s is not gone on with", self._start.rollout_id)
            known = isinstance(error, SluicewayError)
            self._failure = error if known else BackendError(f"{type(error).__name__}: {error}")  # type: ignore[assignment]
        time.sleep(LINGER_SECONDS)
        # One that is asked to end waits until nobody refers to what it owns: this one was still there after 40 s.
        # There is nothing left that it would have to put away.
        with suppress(RayError, ValueError):
            ray.kill(ray.get_actor(self._start.name, namespace=NAMESPACE), no_restart=True)

    def _run(self) -> None:
        done = persistently(self._go_on, clock=SystemClock())
        if self._start.environments[1:] and done.status == "promoted":
            persistently(self._begin_next, clock=SystemClock())

    def _go_on(self) -> Started:
        start, platform = self._start, self._settings.platform
        connect_ray(platform.ray, catalog=catalog_url(platform))
        return go_on(
            build_context(self._settings),
            start.version,
            start.environments[0],
            rollout_id=start.rollout_id,
            supersede=start.supersede,
            stays=True,
        )

    def _begin_next(self) -> None:
        """Let another actor roll the version out to the next environment."""
        start, rest = self._start, self._start.environments[1:]
        context = build_context(self._settings)
        name = name_rollout(context, start.version, rest[0], supersede=start.supersede)
        if start.supersede:
            end_others(context, start.version, rest[0], but=name)
        begin_detached(replace(start, environments=rest, rollout_id=name), context)
