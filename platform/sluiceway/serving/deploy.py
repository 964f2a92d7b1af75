"""The driver's side of Serve: deploy an endpoint and its challengers, take them away again."""

from __future__ import annotations

import time

from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.schema import ApplicationStatus

from sluiceway.core.errors import BackendError
from sluiceway.serving.challenger import challenger_application
from sluiceway.serving.endpoint import endpoint_application
from sluiceway.serving.handles import driver_handle
from sluiceway.serving.instance import last_line
from sluiceway.serving.specs import (
    ENDPOINT_DEPLOYMENT,
    ChallengerSpec,
    EndpointSpec,
)

DEPLOY_SECONDS = 90.0
POLL_SECONDS = 0.1


def deploy_endpoint(spec: EndpointSpec) -> None:
    """Deploy an endpoint and wait until it answers; leaves one alone that already runs from the same spec.

    Other applications stay as they are.

    Raises:
        BackendError: it does not come up.
    """
    if _runs(spec):
        return
    deploy_application(endpoint_application(spec), name=spec.name, route_prefix=spec.route_prefix)


def deploy_challenger(spec: ChallengerSpec) -> str:
    """Deploy a challenger without a route and wait until its model is loaded.

    Returns:
        Name of its application, for the traffic document.

    Raises:
        BackendError: it does not come up, e.g. because its bundle is damaged.
    """
    if _status(spec.application) is not ApplicationStatus.RUNNING:
        deploy_application(challenger_application(spec), name=spec.application, route_prefix=None)
    return spec.application


def remove_challenger(application: str) -> None:
    """Take a challenger away, without waiting; nothing happens where there is none.

    Its traffic has to be moved before, or its requests go to the champion as failures of the challenger.
    """
    if _status(application) is not None:
        serve.delete(application, _blocking=False)


def deploy_application(
    application: serve.Application, *, name: str, route_prefix: str | None, seconds: float = DEPLOY_SECONDS
) -> None:
    """Deploy an application beside the others and wait until it runs.

    Args:
        application: what to deploy.
        name: of it; one of the same name is replaced.
        route_prefix: path under which it answers HTTP; None where handles only call it.
        seconds: how long it may take.

    Raises:
        BackendError: it does not come up; it is still there, with what is wrong with it.
    """
    try:
        serve.run_many(
            [serve.RunTarget(application, name=name, route_prefix=route_prefix)], wait_for_applications_running=False
        )
        _wait_running(name, seconds)
    except (RayError, RayServeException, TimeoutError, RuntimeError) as error:
        raise BackendError(
            f"the Serve application {name} does not come up: {last_line(error)}",
            hint="see its log below /tmp/ray/session_latest/logs/serve",
            application=name,
        ) from error


def _wait_running(name: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        overview = serve.status().applications.get(name)
        if overview is not None and overview.status is ApplicationStatus.RUNNING:
            return
        if overview is not None and overview.status is ApplicationStatus.DEPLOY_FAILED:
            messages = [overview.message, *(d.message for d in overview.deployments.values())]
            raise RuntimeError(max(messages, key=len))
        time.sleep(POLL_SECONDS)
    raise TimeoutError(f"not running after {seconds:g} s; are there CPUs left?")


def _runs(spec: EndpointSpec) -> bool:
    if _status(spec.name) is not ApplicationStatus.RUNNING:
        return False
    handle = driver_handle(ENDPOINT_DEPLOYMENT, application=spec.name)
    try:
        return bool(handle.describe.remote().result(timeout_s=10)["digest"] == spec.digest)
    except (RayError, RayServeException, TimeoutError):
        return False


def _status(name: str) -> ApplicationStatus | None:
    overview = serve.status().applications.get(name)
    return None if overview is None else overview.status
