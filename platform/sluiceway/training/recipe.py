"""What is trained and how: the sections of a configuration, and what was learnt of the table's columns."""

from __future__ import annotations

from dataclasses import dataclass, field

from sluiceway.config.experiment import DataSection, ModelSection, TrainingSection
from sluiceway.features.schema import FeatureSchema
from sluiceway.training.encoded import Target
from sluiceway.training.loop import LoopSpec
from sluiceway.training.params import booster_params, kind_of, maximised, place_constraints


@dataclass(frozen=True)
class Recipe:
    """What is trained and how.

    Attributes:
        data: features, target, weight, key and split.
        model: the estimator.
        training: folds, stopping, workers.
        seed: of membership and boosting.
        schema: of the features, with the categories of the version.
        classes: of the target, in the order of the model's; none for a regressor.
        base: a booster as UBJSON that all folds and the model go on from, or None.
        later_than: tick of ``data.time``; only later rows are trained on and choose the threshold. None: all.
    """

    data: DataSection
    model: ModelSection
    training: TrainingSection
    seed: int
    schema: FeatureSchema
    classes: tuple[int | str, ...]
    base: bytes | None = field(default=None, repr=False)
    later_than: int | None = None

    @property
    def target(self) -> Target:
        """What is predicted."""
        return Target(self.data.target, kind_of(self.model, len(self.classes)), self.classes, self.data.weight)

    def loop_spec(self, *, threads: int) -> LoopSpec:
        """What to boost, with so many threads a worker.

        Raises:
            ConfigError: parameters or metric do not fit the model; a constraint names no feature.
        """
        training, names = self.training, self.schema.names
        params, rounds = booster_params(
            self.model, training, seed=self.seed, nthread=threads, classes=len(self.classes)
        )
        categories = [feature.name for feature in self.schema.features if feature.kind == "category"]
        readable = all(not set("[]<") & set(name) for name in names)  # XGBoost refuses these in names
        return LoopSpec(
            params=place_constraints(params, names, categories=categories),
            rounds=rounds,
            early_stopping=training.early_stopping_rounds,
            maximise=maximised(str(params["eval_metric"])),
            folds=training.folds,
            kind=self.target.kind,
            classes=len(self.classes),
            names=names if readable else None,
            types=tuple(self.schema.xgboost_types),
            every=int(training.verbose),
            final=training.final,
            checkpoint_rounds=training.checkpoint_rounds,
            base=self.base,
        )
