"""What a model has to show: the section ``evaluation``."""

from __future__ import annotations

from datetime import date
from typing import Literal

from pydantic import Field

from sluiceway.config.base import Section

GateName = Literal["performance", "fairness", "robustness", "data_quality"]


class FairnessSection(Section):
    """Groups that must be served alike."""

    protected_attributes: tuple[str, ...] = ()
    """Columns that define the groups; they need not be features."""
    max_disparity: float = Field(default=0.1, gt=0, le=1)
    """Largest difference of AUC between two groups of one attribute; of accuracy where there are several classes."""
    min_group_rows: int = Field(default=100, ge=1)
    """Smaller groups are listed and not judged."""
    min_group_positives: int = Field(default=30, ge=1)
    """Groups with fewer positive (or negative) rows are listed and not judged; of several classes it is not asked."""


class RobustnessSection(Section):
    """Small changes of the input that must not matter."""

    noise_stds: tuple[float, ...] = (0.001, 0.01, 0.1)
    """Noise added to every numeric feature, in standard deviations of that feature."""
    missing_share: float = Field(default=0.01, ge=0, le=1)
    """Share of values of each feature that go missing in the missing-value test."""
    max_metric_loss: float = Field(default=0.05, gt=0, le=1)
    """Largest loss of the main metric, relative to the undisturbed one."""


class DataQualitySection(Section):
    """What the training rows must be like."""

    max_null_share: float = Field(default=0.05, ge=0, le=1)
    """Largest share of missing values of a feature."""
    allow_null: tuple[str, ...] = ()
    """Features that are missing more often by nature; an all-null column fails all the same."""
    min_variance: float = Field(default=1e-6, ge=0)
    """Smallest variance of a numeric feature."""
    min_class_rows: int = Field(default=100, ge=1)
    """Fewest rows of a class."""
    class_balance: tuple[float, float] | None = None
    """Opt-in band of the positive share, e.g. [0.2, 0.8]; of every class's share where there are several."""
    max_drift: float = Field(default=0.25, gt=0)
    """Largest population stability index of a feature against the champion's training version."""
    max_association_loss: float = Field(default=0.05, gt=0, le=1)
    """Largest fall of a feature's own AUC for the target against the champion's training version: a column whose
    values no longer belong to their rows keeps its distribution and loses this."""


class WaiverSection(Section):
    """Lets a failed gate pass, by name, for a time."""

    gates: tuple[GateName, ...] = Field(min_length=1)
    """Which gates."""
    owner: str = Field(min_length=1)
    """Who answers for it."""
    reason: str = Field(min_length=1)
    """Why."""
    expires: date
    """The last day on which it counts; an expired waiver blocks."""


class ThresholdChoiceSection(Section):
    """How the decision threshold is chosen, on validation rows."""

    strategy: Literal["fixed", "best_f1", "best_accuracy"] = "best_f1"
    """``fixed`` takes ``value``."""
    value: float = Field(default=0.5, gt=0, lt=1)
    """The threshold of ``fixed``."""


class EvaluationSection(Section):
    """The gates and their limits."""

    metrics: tuple[str, ...] = ("auc_roc", "precision", "recall", "f1_score", "accuracy", "log_loss")
    """Reported on the test rows. Of several classes and of numbers all that there are, with or without this."""
    thresholds: dict[str, float] = Field(default_factory=dict)
    """Limit of each metric: at least for scores, at most for losses and errors."""
    decision: ThresholdChoiceSection = ThresholdChoiceSection()
    """From a probability to a decision."""
    fairness: FairnessSection = FairnessSection()
    """Gate: fairness."""
    robustness: RobustnessSection = RobustnessSection()
    """Gate: robustness."""
    data_quality: DataQualitySection = DataQualitySection()
    """Gate: data quality."""
    waivers: tuple[WaiverSection, ...] = ()
    """Failed gates that may pass all the same."""
    timeout_seconds: float = Field(default=600, gt=0)
    """A gate that takes longer is an ERROR."""
