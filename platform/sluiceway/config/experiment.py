"""What is trained, on which rows: the sections ``experiment``, ``data``, ``model`` and ``training``."""

from __future__ import annotations

import math
import re
from typing import Any, Literal

from pydantic import ByteSize, Field, field_validator, model_validator

from sluiceway.config.base import Section


class ExperimentSection(Section):
    """Who this is."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")
    """Name of the experiment, the registered model and the endpoint."""
    seed: int = Field(default=42, ge=0, le=2**32 - 1)
    """Seeds membership in folds and parts, boosting, and perturbations."""
    framework: Literal["xgboost"] = "xgboost"
    """The only engine at present."""


_GAP = re.compile(r"\d+(\.\d+)?[smhd]")


class SplitSection(Section):
    """Shares of the rows; membership is decided by a hash and the seed, or by time (docs/training/folds.md)."""

    by: Literal["row", "group", "time"] = "row"
    """By a hash of the row's key, by a hash of ``data.group``, or by ``data.time``: the newest rows are the test."""
    gap: str | int = 0
    """Of ``by: time``: what lies so shortly before a border is left out: ``7d``, ``12h``, or a number of the column."""
    train: float = Field(default=0.7, gt=0, lt=1)
    """Share that folds and the final fit see."""
    validation: float = Field(default=0.15, gt=0, lt=1)
    """Share that chooses the decision threshold."""
    test: float = Field(default=0.15, gt=0, lt=1)
    """Share that only gates read."""

    @field_validator("gap")
    @classmethod
    def _gap_is_time(cls, value: str | int) -> str | int:
        fits = _GAP.fullmatch(value) if isinstance(value, str) else value >= 0
        if not fits:
            raise ValueError("a time such as 7d, 12h, 30m or 10s is needed, or a whole number of at least 0")
        return value

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
    """Column that the model predicts: two classes, several (whole numbers or text), or a number for a regressor."""
    weight: str | None = None
    """Column of the rows' weights, at least 0; every row counts the same where left out."""
    key: tuple[str, ...] = ()
    """Columns that identify a row; its content does where this is left out."""
    group: tuple[str, ...] = ()
    """Columns that name the entity of a row, for ``split.by: group``: all its rows are in one part and one fold."""
    time: str | None = None
    """Column of a row's time (timestamp, date or whole number), for ``split.by: time``."""
    split: SplitSection = SplitSection()
    """Shares of train, validation and test."""

    @field_validator("features", "key", "group")
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

    @model_validator(mode="after")
    def _split_has_its_column(self) -> DataSection:
        by = self.split.by
        if by != "row" and not getattr(self, by):
            raise ValueError(f"data.split.by is {by}, so data.{by} has to be given")
        if by != "time" and self.split.gap:
            raise ValueError("data.split.gap belongs to data.split.by: time")
        return self


class ModelSection(Section):
    """The estimator, under scikit-learn's names."""

    type: Literal["XGBClassifier", "XGBRegressor"] = "XGBClassifier"
    """Classification, of two classes or of several, or regression."""
    params: dict[str, Any] = Field(default_factory=dict)
    """Parameters of that class: ``n_estimators``, ``learning_rate``, ``reg_lambda`` ...; unknown ones are refused."""


class IncrementalSection(Section):
    """A model that goes on from one that is there (docs/training/incremental.md)."""

    base: str = "champion"
    """Version or alias of the experiment's model whose trees are kept; while there is no champion, none are."""
    window: str | int = "new"
    """Rows to learn from, by ``data.time``: ``new``, later than all that the base had; or the last ``30d`` or 5000."""

    @field_validator("window")
    @classmethod
    def _window_is_time(cls, value: str | int) -> str | int:
        if value != "new" and not (_GAP.fullmatch(value) if isinstance(value, str) else value > 0):
            raise ValueError("new is needed, or a time such as 30d or 12h, or a whole number above 0")
        return value


class TrainingSection(Section):
    """How it is trained."""

    engine: Literal["xgboost", "xgboost_ray"] = "xgboost"
    """``xgboost_ray``: the unmaintained library of that name, in an environment of its own: docs/training/legacy.md."""
    folds: int = Field(default=5, ge=2, le=20)
    """Folds of the cross-validation."""
    fold_by: Literal["split", "stratified", "column"] = "split"
    """``split``: as ``data.split.by``; ``stratified``: each class exactly even; ``column``: as ``fold_column`` says."""
    fold_column: str | None = None
    """Column of each row's fold, from 0; -1 or null is trained on in every fold and validated in none."""
    parallel_folds: int | Literal["auto"] = 1
    """Folds that run side by side, each in a task of its own, where the rows fit one worker and there is room."""
    early_stopping_rounds: int | None = Field(default=50, ge=1)
    """A fold stops when its validation metric has not improved for so many rounds; None never stops."""
    eval_metric: str = "auc"
    """XGBoost's name of the metric that early stopping watches."""
    incremental: IncrementalSection | None = None
    """Go on boosting a model that is there, on a window of rows; None trains from the beginning."""
    final: Literal["refit", "best_fold", "average"] = "refit"
    """The model: all training rows anew, rounds from the folds; the best fold's; or all folds' as one booster."""
    verbose: int | bool = 0
    """Progress is logged every so many rounds; 0 or false: only folds."""
    workers: int | Literal["auto"] = "auto"
    """Ray Train workers; ``auto`` takes one Ray task where the data fits one worker."""
    cpus_per_worker: float | None = Field(default=None, gt=0)
    """CPUs of a worker, also its threads; None takes what the cluster has, divided by the workers."""
    memory_per_worker: ByteSize | None = None
    """What a worker may hold (``4GB``); rows that need more are trained from disk. None: half of a node's memory."""
    device: Literal["cpu", "cuda"] = "cpu"
    """``cuda`` asks for one GPU a worker."""
    max_bin: int = Field(default=256, ge=2)
    """Bins of the quantile sketch, shared by all folds."""
    checkpoint_rounds: int = Field(default=50, ge=1)
    """A booster is kept every so many rounds: what a lost worker costs at most. It is part of the model's identity."""
    retries: int = Field(default=2, ge=0)
    """How often a run goes on from its checkpoints after it lost a worker."""

    @field_validator("workers", "parallel_folds")
    @classmethod
    def _at_least_one(cls, value: int | str) -> int | str:
        if isinstance(value, int) and value < 1:
            raise ValueError("at least 1, or auto")
        return value

    @model_validator(mode="after")
    def _keys_fit_each_other(self) -> TrainingSection:
        if (self.fold_by == "column") != (self.fold_column is not None):
            raise ValueError("training.fold_by: column and training.fold_column belong together")
        if self.incremental is not None and self.final == "average":
            raise ValueError("training.final: average would keep the base's trees once a fold; take refit or best_fold")
        return self
