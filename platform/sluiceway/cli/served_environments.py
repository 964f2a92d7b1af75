"""Which of a configuration's environments have a model to serve."""

from __future__ import annotations

from sluiceway.config.settings import Settings
from sluiceway.core.traffic import endpoint_name
from sluiceway.wiring.stores import read_stores


def served_environments(settings: Settings) -> list[str]:
    """The environments whose endpoint has a model, in the order of the configuration; nothing is made by asking."""
    traffic, name = read_stores(settings.platform).traffic, settings.experiment.name
    return [one for one in settings.deployment.environments if traffic.newest(endpoint_name(name, one)) is not None]
