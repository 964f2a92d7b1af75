"""Cross-validate and train a version of a table on the Ray cluster."""

from __future__ import annotations

import functools

from sluiceway.config.experiment import DataSection, ModelSection, TrainingSection
from sluiceway.core.doors import Progress
from sluiceway.core.references import TableVersion
from sluiceway.data.ray_read import labelled_dataset
from sluiceway.features.schema import FeatureSchema
from sluiceway.training.ray_run import train_dataset
from sluiceway.training.report import TrainReport


def train(
    version: TableVersion,
    *,
    data: DataSection,
    model: ModelSection,
    training: TrainingSection,
    seed: int,
    oof_uri: str,
    schema: FeatureSchema,
    progress: Progress,
) -> TrainReport:
    """Cross-validate on the training part of a version, then fit all of it.

    Args:
        version: the table.
        data: features, target, key and split.
        model: the estimator.
        training: folds, stopping, workers.
        seed: of membership and boosting.
        oof_uri: Delta table that the out-of-fold predictions become the newest version of; empty keeps none.
        schema: of the features, with the categories of the version.
        progress: told of folds and rounds.

    Raises:
        ConfigError: parameters or metric do not fit the model.
        DataError: labels or folds that nothing can be learnt from.
        BackendError: no GPU where one is asked for; a worker that died.
    """
    return train_dataset(
        functools.partial(labelled_dataset, version, data=data, seed=seed, n_folds=training.folds),
        data=data,
        model=model,
        training=training,
        seed=seed,
        oof_uri=oof_uri,
        schema=schema,
        progress=progress,
    )
