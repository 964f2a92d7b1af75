"""A handle that works from a driver, whichever flags Serve read when it was imported."""

from __future__ import annotations

from typing import Any

import ray
from ray import serve
from ray.exceptions import ActorDiedError, GetTimeoutError

ALIVE_SECONDS = 5.0


def driver_handle(deployment: str, *, application: str) -> Any:
    """A handle for code without an event loop.

    Args:
        deployment: name of the deployment.
        application: of this Serve application.

    Returns:
        A ``DeploymentHandle``. Throughput mode puts a handle's router into the caller's event loop, which a driver
        has not got; this one's runs in a loop of its own.

    Raises:
        RayServeException: there is no such deployment.
    """
    _forget_dead_controller()
    handle = serve.get_deployment_handle(deployment, app_name=application)
    if not handle.is_initialized:
        handle._init(_run_router_in_separate_loop=True)
    return handle


def _forget_dead_controller() -> None:
    """Let go of a Serve that has been shut down: a process that has asked it once asks it for ever.

    Ray's workers live longer than a Serve does. One that does not answer in time is busy, and is kept.
    """
    known = serve.context._global_client
    if known is None:
        return
    try:
        ray.get(known._controller.check_alive.remote(), timeout=ALIVE_SECONDS)
    except ActorDiedError:
        serve.context._disconnect()
    except GetTimeoutError:
        return
