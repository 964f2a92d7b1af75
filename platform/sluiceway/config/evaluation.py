"""What a model has to show: the section ``evaluation``."""

from __future__ import annotations

from datetime import date
from typing import Literal

from pydantic import Field, field_validator, model_validator

from sluiceway.config.base import Section
from sluiceway.config.gates import (
    CalibrationSection,
    ChampionSection,
    DataQualitySection,
    FairnessSection,
    GateSection,
    LeakageSection,
    OwnGateSection,
    PerformanceSection,
    RobustnessSection,
    ServingSection,
    SlicesSection,
)

# The gates that come with the package, in the order in which they are told.
GATES = (
    "performance",
    "champion",
    "fairness",
    "robustness",
    "data_quality",
    "leakage",
    "calibration",
    "slices",
    "serving",
)


class WaiverSection(Section):
    """Lets a failed gate pass, by name, for a time."""

    gates: tuple[str, ...] = Field(min_length=1)
    """Which gates."""
    checks: tuple[str, ...] = Field(("*",), min_length=1)
    """Which of their checks, by patterns of their names such as ``carrier AUC gap`` or ``loss under *``."""
    owner: str = Field(min_length=1)
    """Who answers for it."""
    reason: str = Field(min_length=1)
    """Why."""
    expires: date
    """The last day on which it counts; an expired waiver blocks."""

    @field_validator("checks")
    @classmethod
    def _patterns_that_fit(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(pattern.strip() for pattern in value):
            raise ValueError("a blank pattern fits no check; '*' fits all")
        return value

    @field_validator("owner", "reason")
    @classmethod
    def _said(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("it is blank: say who answers for it, and why")
        return value


class ThresholdChoiceSection(Section):
    """How the decision threshold is chosen, on validation rows."""

    strategy: Literal["fixed", "best_f1", "best_fbeta", "best_accuracy", "precision_at_recall", "lowest_cost"] = (
        "best_f1"
    )
    """``fixed`` takes ``value``; ``precision_at_recall`` the highest precision whose recall is at least ``recall``;
    ``lowest_cost`` the least of ``false_positive_cost`` and ``false_negative_cost``."""
    value: float = Field(default=0.5, gt=0, lt=1)
    """The threshold of ``fixed``."""
    beta: float = Field(default=1.0, gt=0)
    """Of ``best_fbeta``: recall counts so many times as much as precision."""
    recall: float = Field(default=0.8, gt=0, le=1)
    """Of ``precision_at_recall``."""
    false_positive_cost: float = Field(default=1.0, ge=0)
    """Of ``lowest_cost``: what a wrong alarm costs."""
    false_negative_cost: float = Field(default=1.0, ge=0)
    """Of ``lowest_cost``: what a missed case costs."""

    @model_validator(mode="after")
    def _something_costs(self) -> ThresholdChoiceSection:
        if self.strategy == "lowest_cost" and not self.false_positive_cost + self.false_negative_cost:
            raise ValueError("lowest_cost needs a false_positive_cost or a false_negative_cost above 0")
        return self


class EvaluationSection(Section):
    """The gates and their limits."""

    metrics: tuple[str, ...] = ("auc_roc", "precision", "recall", "f1_score", "accuracy", "log_loss")
    """Reported on the test rows. Of several classes and of numbers all that there are, with or without this."""
    thresholds: dict[str, float] = Field(default_factory=dict)
    """Limit of each metric: at least for scores, at most for losses and errors."""
    decision: ThresholdChoiceSection = ThresholdChoiceSection()
    """From a probability to a decision."""
    performance: PerformanceSection = PerformanceSection()
    """Gate: performance."""
    champion: ChampionSection = ChampionSection()
    """Gate: champion."""
    fairness: FairnessSection = FairnessSection()
    """Gate: fairness."""
    robustness: RobustnessSection = RobustnessSection()
    """Gate: robustness."""
    data_quality: DataQualitySection = DataQualitySection()
    """Gate: data quality."""
    leakage: LeakageSection = LeakageSection()
    """Gate: leakage."""
    calibration: CalibrationSection = CalibrationSection()
    """Gate: calibration."""
    slices: SlicesSection = SlicesSection()
    """Gate: slices."""
    serving: ServingSection = ServingSection()
    """Gate: serving."""
    own: dict[str, OwnGateSection] = Field(default_factory=dict)
    """Gates of your own, by name."""
    waivers: tuple[WaiverSection, ...] = ()
    """Failed gates that may pass all the same."""
    timeout_seconds: float = Field(default=600, gt=0)
    """All gates together; what is not done by then is an ERROR."""

    @model_validator(mode="after")
    def _own_names(self) -> EvaluationSection:
        taken = sorted(set(self.own) & set(GATES))
        if taken:
            raise ValueError(f"own.{taken[0]}: a gate of that name comes with the package")
        return self

    @property
    def gate_names(self) -> tuple[str, ...]:
        """All gates, in the order in which they are told."""
        return (*GATES, *self.own)

    def gate(self, name: str) -> GateSection:
        """The section of a gate."""
        section: GateSection = self.own[name] if name in self.own else getattr(self, name)
        return section
