"""A handle that works from a driver, whichever flags Serve read when it was imported."""

from __future__ import annotations

from typing import Any

from ray import serve


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
    handle = serve.get_deployment_handle(deployment, app_name=application)
    if not handle.is_initialized:
        handle._init(_run_router_in_separate_loop=True)
    return handle
