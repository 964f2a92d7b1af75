"""The stages of a rollout, one after the other: what the sections of the strategies give."""

from __future__ import annotations

import math
from typing import Literal, Self, TypeAlias

from pydantic import Field, model_validator

from sluiceway.config.base import Section


class StageSection(Section):
    """How long a stage takes, and what ends it."""

    min_requests: int = Field(default=0, ge=0)
    """Requests that the version has to be asked before the stage may end well, beyond what the evidence needs."""
    min_seconds: float = Field(default=0, ge=0)
    """The stage takes so long at least."""
    max_seconds: float = Field(default=600, gt=0)
    """A stage that has not gathered its evidence by then is decided by ``on_inconclusive``."""
    manual: bool = False
    """True: when its evidence is there it waits for a person, ``sluiceway rollout promote``."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.min_seconds > self.max_seconds:
            raise ValueError(f"min_seconds {self.min_seconds:g} is more than max_seconds {self.max_seconds:g}")
        return self


class StepSection(StageSection):
    """A stage in which the version answers a share of the requests."""

    weight: float = Field(gt=0, le=1)
    """The version's share of the requests."""

    @property
    def name(self) -> str:
        """For a person, e.g. ``25%``."""
        return f"{self.weight:.0%}"


class ShadowSection(StageSection):
    """A stage in which the version answers nobody, and sees a copy of a share of the requests."""

    share: float = Field(default=1.0, ge=0, le=1)
    """Of the requests; 0: it is loaded and kept warm, and only who names it (``X-Model-Version``) is answered by it."""

    @property
    def weight(self) -> float:
        """It answers nothing."""
        return 0.0

    @property
    def name(self) -> str:
        """For a person, e.g. ``shadow 20%``."""
        return f"shadow {self.share:.0%}" if self.share else "warm"


class AbSection(StageSection):
    """A test of versions with fixed weights: ``min_seconds`` and ``min_requests`` of each, then the best one wins."""

    weight: float = Field(default=0.1, gt=0, lt=1)
    """Each version's share of the requests; the champion has what is left."""
    others: tuple[str, ...] = ()
    """Further registered versions beside the one that is rolled out, each by its number or an alias."""
    metric: Literal["accuracy", "error_rate"] = "accuracy"
    """What a version has to be better in than the champion; in the others it may be no worse."""

    @property
    def name(self) -> str:
        """For a person."""
        return f"A/B {self.weight:.0%}"


Stage: TypeAlias = StepSection | ShadowSection | AbSection


class LinearSection(Section):
    """Steps of one size: ``start``, ``start + increment`` ... 1, each ``interval_seconds`` long at least."""

    start: float = Field(default=0.1, gt=0, lt=1)
    """The challenger's share in the first step."""
    increment: float = Field(default=0.1, gt=0, le=1)
    """What each further step adds; the last one is cut to end at 1."""
    interval_seconds: float = Field(default=300, gt=0)
    """The shortest time of a step."""
    max_seconds: float | None = Field(default=None, gt=0)
    """The longest; left out, three intervals."""
    max_failures: int | None = Field(default=None, ge=0)
    """Instead of ``max_seconds``: steps go on at the end of an interval only, and so many intervals of the whole
    rollout may end without their evidence; one more is decided by ``on_inconclusive``."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.max_seconds is not None and self.max_failures is not None:
            raise ValueError("a linear rollout has max_seconds, for each step, or max_failures, for all of them")
        if self.max_seconds is not None and self.max_seconds < self.interval_seconds:
            raise ValueError(
                f"max_seconds {self.max_seconds:g} is less than interval_seconds {self.interval_seconds:g}"
            )
        return self

    @property
    def steps(self) -> tuple[StepSection, ...]:
        """The steps, as ``deployment.steps`` would have them."""
        count = math.ceil(round((1 - self.start) / self.increment, 9))
        weights = [round(self.start + i * self.increment, 12) for i in range(count)]
        longest = 3 * self.interval_seconds if self.max_seconds is None else self.max_seconds
        if self.max_failures is not None:
            longest = (self.max_failures + 1) * self.interval_seconds
        return tuple(
            StepSection(weight=weight, min_seconds=self.interval_seconds, max_seconds=longest)
            for weight in (*weights, 1.0)
        )
