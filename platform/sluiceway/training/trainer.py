"""Cross-validate and train a version of a table on the Ray cluster."""

from __future__ import annotations

import functools
from collections.abc import Callable

import ray.data

from sluiceway.core.doors import Progress
from sluiceway.core.references import TableVersion
from sluiceway.data.labelled_rows import LabelledRows
from sluiceway.data.ray_read import labelled_dataset, labelled_rows
from sluiceway.training.ray_run import train_dataset
from sluiceway.training.recipe import Recipe
from sluiceway.training.report import TrainReport


def train(
    version: TableVersion, recipe: Recipe, *, oof_uri: str, progress: Progress, checkpoints: str = ""
) -> TrainReport:
    """Cross-validate on the training part of a version, then make the final model.

    Args:
        version: the table.
        recipe: what is trained and how.
        oof_uri: Delta table that the out-of-fold predictions become the newest version of; empty keeps none.
        progress: told of folds and rounds.
        checkpoints: folder that all nodes see, of these rows alone; a run that was cut off goes on from there. Empty
            keeps none.

    Raises:
        ConfigError: parameters, metric or folds do not fit the model.
        DataError: labels or folds that nothing can be learnt from.
        BackendError: no GPU where one is asked for; workers that died too often, or ran out of memory.
    """
    return train_dataset(
        rows_of(version, recipe),
        recipe,
        oof_uri=oof_uri,
        progress=progress,
        checkpoints=checkpoints,
        alone=functools.partial(_rows, version, recipe),
    )


def rows_of(version: TableVersion, recipe: Recipe) -> Callable[[], ray.data.Dataset]:
    """What reads the rows of a version, labelled and placed, when it is called."""
    return lambda: labelled_dataset(_rows(version, recipe))


def _rows(version: TableVersion, recipe: Recipe) -> LabelledRows:
    training = recipe.training
    return labelled_rows(
        version,
        data=recipe.data,
        seed=recipe.seed,
        n_folds=training.folds,
        fold_column=training.fold_column,
        later_than=recipe.later_than,
    )
