"""Which parameters ``sluiceway train --search`` tries, and for how long: the section ``search``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from sluiceway.config.base import Section


class DrawSection(Section):
    """Where one parameter is drawn from: exactly one of ``whole``, ``real`` and ``choice``."""

    whole: tuple[int, int] | None = None
    """Whole numbers from the first to the second, both included: ``{whole: [3, 10]}``."""
    real: tuple[float, float] | None = None
    """Numbers from the first to the second: ``{real: [0.01, 0.3], log: true}``."""
    choice: tuple[bool | int | float | str, ...] | None = Field(default=None, min_length=1)
    """One of these: ``{choice: [depthwise, lossguide]}``."""
    log: bool = False
    """Drawn evenly over orders of magnitude; the smallest has to be above 0."""

    @model_validator(mode="after")
    def _one_kind(self) -> DrawSection:
        given = [kind for kind in (self.whole, self.real, self.choice) if kind is not None]
        if len(given) != 1:
            raise ValueError("exactly one of whole, real and choice is needed")
        if self.choice is not None and self.log:
            raise ValueError("log belongs to whole or real")
        return self

    @model_validator(mode="after")
    def _ends_in_order(self) -> DrawSection:
        ends = self.ends
        if self.choice is None and ends and not ends[0] < ends[1]:
            raise ValueError(f"two numbers are needed, the smaller one first, not {list(ends)}")
        if self.log and ends and ends[0] <= 0:
            raise ValueError(f"log needs numbers above 0, not {ends[0]}")
        return self

    @property
    def ends(self) -> tuple[int, int] | tuple[float, float] | None:
        """Smallest and largest value of a range; None for a choice."""
        return self.whole or self.real


class SearchSection(Section):
    """A search for parameters of the model; declared where ``space`` has an entry."""

    space: dict[str, DrawSection] = Field(default_factory=dict)
    """What is tried, by scikit-learn's names as in ``model.params``: ``max_depth: {whole: [3, 10]}``."""
    trials: int | None = Field(default=None, ge=1)
    """Sets of parameters that are tried, the configured one among them; this or ``minutes`` is needed, or both."""
    minutes: float | None = Field(default=None, gt=0)
    """Time of searching, the tries of an interrupted search added up."""
    concurrent: int | Literal["auto"] = "auto"
    """Trials side by side; ``auto``: as many as the cluster has room for, each with the CPUs of a training worker."""
    reduction: float = Field(default=2, gt=1)
    """ASHA: at each rung only the best one in so many goes on; a larger one stops more trials."""
    grace_folds: int = Field(default=1, ge=1)
    """Folds that every trial trains before it may be stopped, the first rung."""

    @field_validator("concurrent")
    @classmethod
    def _at_least_one(cls, value: int | str) -> int | str:
        if isinstance(value, int) and value < 1:
            raise ValueError("at least 1, or auto")
        return value

    @model_validator(mode="after")
    def _ends_some_day(self) -> SearchSection:
        if self.space and self.trials is None and self.minutes is None:
            raise ValueError("search.trials or search.minutes is needed, or the search would not end")
        return self
