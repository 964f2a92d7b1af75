"""What Serve says of its applications, whichever way it was asked."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from sluiceway.serving.specs import ENDPOINT_DEPLOYMENT, ENDPOINT_IMPORT_PATH, ServeAddress

RUNNING, DEPLOY_FAILED, DELETING = "RUNNING", "DEPLOY_FAILED", "DELETING"


@dataclass(frozen=True)
class DeploymentState:
    """One deployment of an application.

    Attributes:
        status: Serve's word, e.g. ``HEALTHY``.
        message: what Serve adds to it.
        target: replicas that there are meant to be.
        replicas: how many there are, by Serve's word for their state, e.g. ``RUNNING``.
    """

    status: str
    message: str
    target: int
    replicas: Mapping[str, int]


@dataclass(frozen=True)
class ApplicationState:
    """One application.

    Attributes:
        name: of it.
        route: path prefix under which it answers; None where handles only call it, or Serve does not know yet.
        status: Serve's word, e.g. ``RUNNING``.
        message: what Serve adds to it.
        declared: it stands in the Serve config (``serve deploy``, the REST API, KubeRay), and goes when it does not.
        config: its entry there, exactly as it was sent; None where Serve does not tell.
        deployments: by name.
    """

    name: str
    route: str | None
    status: str
    message: str
    declared: bool
    config: dict[str, Any] | None
    deployments: Mapping[str, DeploymentState]

    @property
    def is_endpoint(self) -> bool:
        """Whether it is one of ours; one that is still built is known by its entry in the Serve config."""
        built_by_us = (self.config or {}).get("import_path") == ENDPOINT_IMPORT_PATH
        return ENDPOINT_DEPLOYMENT in self.deployments or (self.declared and built_by_us)

    @property
    def failure(self) -> str:
        """The longest of the messages: it holds the cause."""
        return max([self.message, *(one.message for one in self.deployments.values())], key=len)


def applications(details: Mapping[str, Any]) -> dict[str, ApplicationState]:
    """The applications by name.

    Args:
        details: as ``GET /api/serve/applications/`` answers.
    """
    return {name: _application(name, told) for name, told in details.get("applications", {}).items()}


def http_address(details: Mapping[str, Any]) -> ServeAddress | None:
    """Where HTTP listens; None where Serve does not run, or has no HTTP."""
    options = details.get("http_options") or {}
    return ServeAddress(str(options["host"]), int(options["port"])) if options.get("host") else None


def is_challenger_of(application: str, endpoint: str) -> bool:
    """Whether the name of an application is that of a challenger of an endpoint."""
    return re.fullmatch(rf"{re.escape(endpoint)}-challenger-v.+-[0-9a-f]{{8}}(-fault\d+)?", application) is not None


def _application(name: str, told: Mapping[str, Any]) -> ApplicationState:
    return ApplicationState(
        name=name,
        route=told.get("route_prefix"),
        status=_word(told["status"]),
        message=told.get("message") or "",
        declared=told.get("source") == "declarative",
        config=told.get("deployed_app_config"),
        deployments={key: _deployment(one) for key, one in told.get("deployments", {}).items()},
    )


def _deployment(told: Mapping[str, Any]) -> DeploymentState:
    return DeploymentState(
        status=_word(told["status"]),
        message=told.get("message") or "",
        target=int(told.get("target_num_replicas") or 0),
        replicas=Counter(_word(replica["state"]) for replica in told.get("replicas", ())),
    )


def _word(value: Any) -> str:
    # Over HTTP it is text; in process one of Serve's enumerations, whose text has the enumeration's name before it.
    return str(value.value if isinstance(value, Enum) else value)
