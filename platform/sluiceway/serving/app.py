"""Builds the endpoint's application from a Serve config file (``serve deploy``, KubeRay's RayService)."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from ray import serve

from sluiceway.config.base import Section
from sluiceway.config.platform import ServingSection
from sluiceway.serving.endpoint import endpoint_application
from sluiceway.serving.specs import EndpointSpec


class EndpointArguments(Section):
    """The ``args`` of an application in a Serve config."""

    endpoint: str = Field(min_length=1)
    """Name of the endpoint, as the rollout knows it; also the name of the application."""
    catalog: str = Field(min_length=1)
    """SQLAlchemy URL of the catalog, reachable from every replica."""
    serving: ServingSection = ServingSection()
    """Sizes and limits; host and port of HTTP stand in ``http_options`` of the Serve config."""


def build(args: dict[str, Any]) -> serve.Application:
    """The endpoint's application.

    Args:
        args: as :class:`EndpointArguments` describes them.

    Raises:
        ValidationError: an unknown key or a wrong type, with its place; Serve shows it as the deployment's message.
    """
    arguments = EndpointArguments.model_validate(args)
    # The route prefix stands in the Serve config, beside these arguments, and wins there.
    return endpoint_application(
        EndpointSpec(arguments.endpoint, f"/{arguments.endpoint}", arguments.catalog, arguments.serving)
    )
