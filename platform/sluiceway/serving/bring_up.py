"""Brings endpoints up with what their traffic names beside them, on a Serve that may have begun anew."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException

from sluiceway.catalog.traffic import TrafficStore
from sluiceway.core.errors import BackendError, SluicewayError
from sluiceway.core.traffic import Arm, TrafficDocument
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
        BackendError: an endpoint does not come up, without its challengers either.
    """
    rising, notes = [_Rising(spec, store) for spec in specs], list[str]()
    for each in rising:
        notes += each.endpoint()
    for each in rising:
        notes += each.others()
    return notes


class _Rising:
    """One endpoint that comes up; its traffic may be moved meanwhile."""

    def __init__(self, spec: EndpointSpec, store: TrafficStore) -> None:
        self._spec, self._store = spec, store
        self._found = set(JoinedServe().read().get("applications", {}))
        self._tried, self._deployed = set[str](), list[str]()

    def endpoint(self) -> list[str]:
        """Its challengers with requests, whose share would fail from its first request on, and then the endpoint."""
        document = self._store.newest(self._spec.name)
        notes = self._come_up(document, [arm for arm in document.challengers if arm.weight]) if document else []
        try:
            deploy_endpoint(self._spec)
        except BackendError:
            if not self._deployed:
                raise
            _log.warning("%s does not come up beside its challengers: they go, and it is tried again", self._spec.name)
            notes += self._make_room()
            deploy_endpoint(self._spec)
        return notes

    def others(self) -> list[str]:
        """What nobody waits for: shadows, and challengers without requests."""
        document = self._store.newest(self._spec.name)
        return self._come_up(document, document.arms) if document else []

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
            self._remove(name)
            raise
        if not self._is_named(name):  # who gave the traffic back meanwhile has found nothing to take away
            self._remove(name)
        elif name not in self._found:
            self._deployed.append(name)
        return name

    def _is_named(self, application: str) -> bool:
        newest = self._store.newest(self._spec.name)
        return newest is not None and application in applications(newest)

    def _make_room(self) -> list[str]:
        """Take away what this has deployed beside the endpoint."""
        for name in self._deployed:
            self._remove(name)
        newest = self._store.newest(self._spec.name)
        there = applications(newest) - set(self._deployed) if newest else set()
        because = "it went so that the endpoint comes up; `serve up` again deploys it"
        return list(absent_beside(newest, there, because=because)) if newest else []

    def _remove(self, application: str) -> None:
        try:
            remove_challenger(application)
        except (SluicewayError, RayError, RayServeException, TimeoutError, RuntimeError) as error:
            _log.warning("%s could not be taken away: %s", application, error)
