"""Builds the endpoint's application from a Serve config file (``serve deploy``, KubeRay's RayService)."""

from __future__ import annotations

import logging
from typing import Any

from pydantic import Field
from ray import serve

from sluiceway.config.base import Section
from sluiceway.config.serving import ServingSection
from sluiceway.serving.applications import endpoint_application
from sluiceway.serving.prediction_log import log_uri
from sluiceway.serving.specs import EndpointSpec

logger = logging.getLogger(__name__)


class EndpointArguments(Section):
    """The ``args`` of an application in a Serve config."""

    endpoint: str = Field(min_length=1)
    """Name of the endpoint, as the rollout knows it; also the name of the application."""
    catalog: str = Field(min_length=1)
    """SQLAlchemy URL of the catalog, reachable from every replica."""
    predictions: str | None = None
    """Folder or URI below which the prediction log lies, as ``<endpoint>``; ``serving.log.table`` names it whole."""
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
    log = arguments.serving.log
    table = log_uri(log, root=arguments.predictions, endpoint=arguments.endpoint)
    if table is None and log.enabled and log.sample > 0:
        logger.warning(
            "endpoint %s has no prediction log: neither `predictions` nor `serving.log.table` says where it lies",
            arguments.endpoint,
        )
    # The route prefix stands in the Serve config, beside these arguments, and wins there.
    return endpoint_application(
        EndpointSpec(arguments.endpoint, f"/{arguments.endpoint}", arguments.catalog, arguments.serving, table)
    )
