"""Brings endpoints up with what their traffic names beside them, on a Serve that may have begun anew."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException

from sluiceway.catalog.traffic import TrafficStore
from sluiceway.core.errors import BackendError, SluicewayError
from sluiceway.core.traffic import Arm, TrafficDocument
from sluiceway.serving import state
from sluiceway.serving.beside import absent_beside, redeploy_beside
from sluiceway.serving.deploy import deploy_challenger, deploy_endpoint, remove_challenger
from sluiceway.serving.doors import JoinedServe
from sluiceway.serving.rearrange import applications
from sluiceway.serving.specs import ChallengerSpec, EndpointSpec

_log = logging.getLogger(__name__)


def bring_up(specs: Sequence[EndpointSpec], store: TrafficStore) -> list[str]:
    """Deploy endpoints; challengers that get requests before their endpoint, all else that the traffic names at last.

    Args:
        specs: of the endpoints.
        store: the catalog's traffic documents.

    Returns:
        What is to be said of each challenger or shadow that is not there, one line.

    Raises:
        ConfigError: an application of an endpoint's name is no endpoint.
        BackendError: an endpoint does not come up, without the challengers that this has deployed either.
    """
    rising, notes = [_Rising(spec, store) for spec in specs], list[str]()
    for each in rising:
        notes += each.challengers()
        try:
            each.endpoint()
        except BackendError:
            if not any(other.has_deployed for other in rising):
                raise
            for other in rising:
                notes += other.make_room()
            each.endpoint()
    for each in rising:
        notes += each.others()
    return notes


class _Rising:
    """One endpoint that comes up; its traffic may be moved meanwhile."""

    def __init__(self, spec: EndpointSpec, store: TrafficStore) -> None:
        self._spec, self._store = spec, store
        found = state.applications(JoinedServe().read()).values()
        self._ran = {app.name for app in found if app.status == state.RUNNING}
        self._tried, self._deployed = set[str](), list[str]()

    @property
    def has_deployed(self) -> bool:
        """Whether there is something to take away."""
        return bool(self._deployed)

    def challengers(self) -> list[str]:
        """Those with requests, whose share would fail from the endpoint's first request on."""
        document = self._store.newest(self._spec.name)
        return self._come_up(document, [arm for arm in document.challengers if arm.weight]) if document else []

    def endpoint(self) -> None:
        """The endpoint itself."""
        deploy_endpoint(self._spec)

    def others(self) -> list[str]:
        """What nobody waits for: shadows, and challengers without requests."""
        document = self._store.newest(self._spec.name)
        return self._come_up(document, document.arms) if document else []

    def make_room(self) -> list[str]:
        """Take away what this has deployed beside the endpoint, for an endpoint that does not come up."""
        for name in self._deployed:
            _log.warning("%s goes, so that an endpoint comes up", name)
            self._remove(name)
        newest = self._store.newest(self._spec.name)
        there = applications(newest) - set(self._deployed) if newest else set()
        self._deployed.clear()
        because = "it went so that an endpoint comes up; `serve up` again deploys it"
        return list(absent_beside(newest, there, because=because)) if newest else []

    def _come_up(self, document: TrafficDocument, arms: Sequence[Arm]) -> list[str]:
        fresh = [arm for arm in arms if arm.application not in self._tried]
        return list(redeploy_beside(document, self._spec.serving, deploy=self._deploy, only=fresh))

    def _deploy(self, spec: ChallengerSpec) -> str:
        """One that does not come up must not hold CPUs that others need; nor one that nobody asks any more."""
        name = spec.application
        self._tried.add(name)
        if not self._is_named(name):
            return name
        try:
            deploy_challenger(spec)
        except SluicewayError:
            if name not in self._ran:  # one that ran answers on: Serve may only not have answered for a moment
                self._remove(name)
            raise
        if not self._is_named(name):  # who gave the traffic back meanwhile has found nothing to take away
            self._remove(name)
        elif name not in self._ran:
            self._deployed.append(name)
        return name

    def _is_named(self, application: str) -> bool:
        newest = self._store.newest(self._spec.name)
        return newest is not None and application in applications(newest)

    def _remove(self, application: str) -> None:
        try:
            remove_challenger(application)
        except (SluicewayError, RayError, RayServeException, TimeoutError, RuntimeError) as error:
            _log.warning("%s could not be taken away: %s", application, error)
