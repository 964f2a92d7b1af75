"""How a model reaches its users: the section ``deployment``."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator

from sluiceway.config.base import Section

TRIGGER = re.compile(r"^\s*(accuracy_drop)\s*>\s*([0-9.]+)\s*%\s*$")


class StepSection(Section):
    """One step of a canary."""

    weight: float = Field(gt=0, le=1)
    """The challenger's share of the requests."""
    max_seconds: float = Field(default=600, gt=0)
    """A step that has not gathered its evidence by then is decided by ``on_inconclusive``."""


class MarginsSection(Section):
    """How much worse a challenger may be and still be promoted, and at which certainty that is judged."""

    error_rate: float = Field(default=0.02, gt=0, le=1)
    """Difference of the error rates, absolute."""
    latency_p99_ratio: float = Field(default=1.5, ge=1)
    """The challenger's p99 may be so many times the champion's ..."""
    latency_p99_seconds: float = Field(default=0.05, ge=0)
    """... plus so much: the hop to its own deployment is part of it."""
    accuracy: float = Field(default=0.02, gt=0, le=1)
    """Difference of the accuracy on pairs, absolute."""
    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    """One-sided error of the non-inferiority test that promotion needs."""
    rollback_alpha: float = Field(default=0.01, gt=0, lt=0.5)
    """Chance that the anytime-valid test rolls back a challenger that is no worse, over the whole rollout."""
    min_pairs: int = Field(default=100, ge=2)
    """Fewest pairs with an outcome that a step is judged on, whatever their spread."""


class RollbackSection(Section):
    """When the champion takes over again."""

    enabled: bool = True
    """False only reports."""
    trigger: str = "accuracy_drop > 5%"
    """A fall of the challenger's accuracy below the champion's on the same requests, relative to the champion's."""

    @field_validator("trigger")
    @classmethod
    def _known_form(cls, value: str) -> str:
        if not TRIGGER.match(value):
            raise ValueError(f"{value!r} is not of the form 'accuracy_drop > 5%'")
        return value

    @property
    def accuracy_drop(self) -> float:
        """The trigger's fraction, e.g. 0.05."""
        match = TRIGGER.match(self.trigger)
        assert match is not None  # the validator has seen to it
        return float(match[2]) / 100


class ReplaySection(Section):
    """Requests for an environment without users: rows of a table replayed over HTTP, their outcomes sent back."""

    path: str | None = None
    """Table whose rows are sent; the training table's test rows when left out."""
    version: str | int | None = None
    """Its version; the newest when left out."""
    where: dict[str, int | str] = Field(default_factory=dict)
    """Only rows with these values, e.g. ``{month: 10}``."""
    connections: int = Field(default=8, ge=1, le=64)
    """Requests under way at once."""
    max_requests: int = Field(default=200_000, ge=1)
    """The replay starts again from the first row when rows run out, and ends after so many requests."""


class DeploymentSection(Section):
    """From the registry to all users."""

    strategy: Literal["canary"] = "canary"
    """Weighted steps, judged."""
    environments: tuple[str, ...] = Field(default=("production",), min_length=1)
    """In this order; the next one begins when the one before ended well."""
    steps: tuple[StepSection, ...] = Field(
        default=tuple(StepSection(weight=w) for w in (0.05, 0.25, 0.5, 1.0)), min_length=1
    )
    """Weights of the canary; the last one is 1."""
    margins: MarginsSection = MarginsSection()
    """What is still good enough."""
    rollback: RollbackSection = RollbackSection()
    """When to go back."""
    on_inconclusive: Literal["rollback", "pause"] = "rollback"
    """What a step's deadline without enough evidence leads to."""
    replay: ReplaySection | None = None
    """Traffic for environments that have no users, such as a laptop."""

    @field_validator("steps")
    @classmethod
    def _rising_to_one(cls, value: tuple[StepSection, ...]) -> tuple[StepSection, ...]:
        weights = [step.weight for step in value]
        if weights != sorted(set(weights)) or weights[-1] != 1:
            raise ValueError(f"the weights {weights} have to rise and end with 1")
        if weights[0] == 1:
            raise ValueError("a canary that begins with 1 leaves the champion no requests to compare with: begin lower")
        return value
