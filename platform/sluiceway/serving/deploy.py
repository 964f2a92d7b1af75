"""The driver's side of Serve: deploy an endpoint and its challengers, take them away again."""

from __future__ import annotations

import time
from collections.abc import Collection

from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.schema import ApplicationStatus

from sluiceway.catalog.leases import LeaseStore
from sluiceway.core.errors import BackendError, ConfigError
from sluiceway.serving.applications import challenger_application, endpoint_application
from sluiceway.serving.doors import JoinedServe, ServeDoor, wait_until_gone
from sluiceway.serving.handles import driver_handle
from sluiceway.serving.instance import last_line
from sluiceway.serving.rest_config import withdraw
from sluiceway.serving.specs import (
    ENDPOINT_DEPLOYMENT,
    ChallengerSpec,
    EndpointSpec,
)
from sluiceway.serving.state import DELETING, applications, is_challenger_of

DEPLOY_SECONDS = 90.0
POLL_SECONDS = 0.1


def deploy_endpoint(spec: EndpointSpec) -> None:
    """Deploy an endpoint and wait until it answers; leaves one alone that already runs from the same spec.

    One that stands in the cluster's Serve config belongs to whoever wrote that: it is waited for and not changed. Other
    applications stay as they are.

    Raises:
        ConfigError: an application of that name is no endpoint.
        BackendError: it does not come up.
    """
    found = applications(JoinedServe().read()).get(spec.name)
    if found is not None and found.status != DELETING:
        if not found.is_endpoint:
            raise ConfigError(
                f"an application {spec.name} is there that is no endpoint of ours",
                hint="rename the experiment or its environment, or remove that application",
            )
        if found.declared:
            _come_up(spec.name, DEPLOY_SECONDS)
            return
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


def remove_unasked(endpoint: str, *, asked: Collection[str]) -> None:
    """Take away the challengers of an endpoint that nobody asks, whoever has deployed them, without waiting.

    Whoever calls it holds the endpoint's traffic: what somebody else is about to move there is asked by nobody yet.

    Args:
        endpoint: its name.
        asked: names of the applications that stay.

    Raises:
        BackendError: Serve does not answer.
    """
    door = JoinedServe()
    try:
        found = applications(door.read()).values()
        ours = [app.name for app in found if is_challenger_of(app.name, endpoint) and app.status != DELETING]
        door.delete(sorted(set(ours) - set(asked)))
    except (RayError, RayServeException, OSError, RuntimeError) as error:
        raise BackendError(
            f"Serve does not take the challengers of {endpoint} away: {last_line(error)}",
            hint="see `sluiceway serve status`",
        ) from error


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
    target = serve.RunTarget(application, name=name, route_prefix=route_prefix)
    try:
        serve.run_many([target], wait_for_applications_running=False)
    except (RayError, RayServeException, TimeoutError, RuntimeError) as error:
        raise _down(name, error) from error
    _come_up(name, seconds)


def remove_endpoint(door: ServeDoor, endpoint: str, *, leases: LeaseStore) -> list[str]:
    """Take an endpoint and its challengers away and wait until they are gone; all other applications stay.

    Args:
        door: the cluster's Serve.
        endpoint: its name.
        leases: of the catalog; two processes of ours change a Serve config one after the other.

    Returns:
        Names of the applications that were taken away; none where nothing was there.

    Raises:
        ConfigError: the application of that name is no endpoint, or the door cannot take it away.
        BackendError: Serve does not answer, or one does not go.
    """
    found = applications(door.read())
    if endpoint in found and not found[endpoint].is_endpoint:
        raise ConfigError(f"the application {endpoint} is no endpoint of ours", hint="see `sluiceway serve status`")
    ours = [app for app in found.values() if app.name == endpoint or is_challenger_of(app.name, endpoint)]
    imperative = [app.name for app in ours if not app.declared]
    if imperative:
        door.refuse_delete(imperative)
    # One that is only deleted comes back when Serve's controller starts again and reads the config.
    withdraw(door, [app.name for app in ours if app.declared], leases=leases)
    if imperative:
        door.delete(imperative)
    names = sorted(app.name for app in ours)
    wait_until_gone(door, names)
    return names


def _come_up(name: str, seconds: float) -> None:
    try:
        _wait_running(name, seconds)
    except (RayError, RayServeException, TimeoutError, RuntimeError) as error:
        raise _down(name, error) from error


def _down(name: str, error: Exception) -> BackendError:
    return BackendError(
        f"the Serve application {name} does not come up: {last_line(error)}",
        hint="see its log below /tmp/ray/session_latest/logs/serve",
        application=name,
    )


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
    try:
        overview = serve.status().applications.get(name)
    except (RayError, RayServeException, TimeoutError) as error:
        raise BackendError(f"Serve does not answer: {last_line(error)}", hint="see `sluiceway serve status`") from error
    return None if overview is None else overview.status
