"""The whole configuration."""

from __future__ import annotations

from pydantic import Field

from sluiceway.config.base import Section
from sluiceway.config.deployment import DeploymentSection
from sluiceway.config.evaluation import EvaluationSection
from sluiceway.config.experiment import DataSection, ExperimentSection, ModelSection, TrainingSection
from sluiceway.config.lifecycle import LifecycleStep
from sluiceway.config.platform import PlatformSection
from sluiceway.config.search import SearchSection


class Settings(Section):
    """Every key of a configuration file."""

    experiment: ExperimentSection
    """Who this is."""
    data: DataSection
    """The table and its columns."""
    model: ModelSection = ModelSection()
    """The estimator."""
    training: TrainingSection = TrainingSection()
    """How it is trained."""
    search: SearchSection = SearchSection()
    """Which parameters ``sluiceway train --search`` tries (docs/training/search.md)."""
    evaluation: EvaluationSection = EvaluationSection()
    """What it has to show."""
    deployment: DeploymentSection = DeploymentSection()
    """How it reaches its users."""
    platform: PlatformSection = PlatformSection()
    """Where things live."""
    lifecycle: tuple[LifecycleStep, ...] = Field(default=())
    """What ``sluiceway run`` does; one release of ``data.version`` when left out."""
