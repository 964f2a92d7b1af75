"""The environments that a person names on the command line."""

from __future__ import annotations

from collections.abc import Sequence

from sluiceway.config.deployment import DeploymentSection
from sluiceway.core.errors import InputError


def refuse_unknown(deployment: DeploymentSection, names: Sequence[str], *, config: str) -> None:
    """Refuse an environment that a configuration does not have.

    Args:
        deployment: of the configuration.
        names: what was named.
        config: the configuration's file, for the error.

    Raises:
        InputError: one of them is none of ``deployment.environments``.
    """
    unknown = [name for name in names if name not in deployment.environments]
    if unknown:
        there = ", ".join(deployment.environments)
        raise InputError(f"{config} has no environment {unknown[0]}", hint=f"deployment.environments: {there}")
