"""What is trained, on which rows: the sections ``experiment``, ``data``, ``model`` and ``training``."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from sluiceway.config.base import Section


class ExperimentSection(Section):
    """Who this is."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")
    """Name of the experiment, the registered model and the endpoint."""
    seed: int = 42
    """Seeds membership in folds and parts, boosting, and perturbations."""
    framework: Literal["xgboost"] = "xgboost"
    """The only engine at present."""


class SplitSection(Section):
    """Shares of the rows; membership is decided by a hash of the key and the seed (docs/decisions/0011)."""

    train: float = Field(default=0.7, gt=0, lt=1)
    """Share that folds and the final fit see."""
    validation: float = Field(default=0.15, gt=0, lt=1)
    """Share that chooses the decision threshold."""
    test: float = Field(default=0.15, gt=0, lt=1)
    """Share that only gates read."""

    @model_validator(mode="after")
    def _sums_to_one(self) -> SplitSection:
        total = self.train + self.validation + self.test
        if not math.isclose(total, 1, abs_tol=1e-6):
            raise ValueError(f"train + validation + test is {total:g}; it has to be 1")
        return self


class DataSection(Section):
    """The table and its columns."""

    path: str
    """Folder or URI of the Delta table, or a name that ``platform.aliases`` maps to one."""
    version: str | int | None = None
    """Tag, version number, branch or ISO time; the newest version when left out."""
    features: tuple[str, ...] = Field(min_length=1)
    """Columns that the model sees, in this order."""
    target: str
    """Column that the model predicts; 0 and 1 for a classifier."""
    key: tuple[str, ...] = ()
    """Columns that identify a row; its content does where this is left out."""
    split: SplitSection = SplitSection()
    """Shares of train, validation and test."""

    @field_validator("features", "key")
    @classmethod
    def _no_duplicates(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        twice = sorted({name for name in value if value.count(name) > 1})
        if twice:
            raise ValueError(f"named twice: {', '.join(twice)}")
        return value

    @model_validator(mode="after")
    def _target_is_no_feature(self) -> DataSection:
        if self.target in self.features:
            raise ValueError(f"the target {self.target!r} is among the features")
        return self


class ModelSection(Section):
    """The estimator, under scikit-learn's names."""

    type: Literal["XGBClassifier", "XGBRegressor"] = "XGBClassifier"
    """Binary classification or regression."""
    params: dict[str, Any] = Field(default_factory=dict)
    """Parameters of that class: ``n_estimators``, ``learning_rate``, ``reg_lambda`` ...; unknown ones are refused."""


class TrainingSection(Section):
    """How it is trained."""

    folds: int = Field(default=5, ge=2, le=20)
    """Folds of the cross-validation, stratified for classifiers."""
    early_stopping_rounds: int | None = Field(default=50, ge=1)
    """A fold stops when its validation metric has not improved for so many rounds; None never stops."""
    eval_metric: str = "auc"
    """XGBoost's name of the metric that early stopping watches."""
    verbose: int | bool = 0
    """Progress is logged every so many rounds; 0 or false: only folds."""
    workers: int | Literal["auto"] = "auto"
    """Ray Train workers; ``auto`` takes one Ray task where the data fits one worker."""
    cpus_per_worker: float | None = Field(default=None, gt=0)
    """CPUs of a worker, also its threads; None takes what the cluster has, divided by the workers."""
    device: Literal["cpu", "cuda"] = "cpu"
    """``cuda`` asks for one GPU a worker."""
    max_bin: int = Field(default=256, ge=2)
    """Bins of the quantile sketch, shared by all folds."""

    @field_validator("workers")
    @classmethod
    def _at_least_one(cls, value: int | str) -> int | str:
        if isinstance(value, int) and value < 1:
            raise ValueError("at least 1, or auto")
        return value
