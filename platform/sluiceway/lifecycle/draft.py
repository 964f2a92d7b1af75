"""Drafts a configuration for a table that somebody brings."""

from __future__ import annotations

import re
from typing import Any

import pyarrow.compute as pc

from sluiceway.config.experiment import DataSection
from sluiceway.core.errors import DataError
from sluiceway.core.references import TableReference, TableVersion
from sluiceway.data.profile import ColumnProfile, check_columns, check_trainable
from sluiceway.data.ray_files import data_files
from sluiceway.data.ray_profile import profile
from sluiceway.data.ray_read import read_version
from sluiceway.data.tables import files, open_table, schema

LOSS = 0.05
_LONGEST_NAME = 100
IDENTIFIER = re.compile(r"(^|_)(id|uuid|guid|key)$", re.IGNORECASE)


def draft(version: TableVersion, *, target: str, table: TableReference) -> tuple[dict[str, Any], dict[str, str]]:
    """A configuration document for a table, and why columns were left out.

    Args:
        version: the pinned table.
        target: the column to predict.
        table: as the user named it.

    Returns:
        (document, {column: reason}).

    Raises:
        DataError: there is no such column, nothing is left that a model could learn from, or the target is none that
            one can learn.
    """
    names = schema(version.uri, version.version).names
    check_columns(
        names, DataSection(path=table.table, features=("-",), target=target).model_copy(update={"features": ()})
    )
    found = profile(version, tuple(names))
    columns = found.columns
    left_out = {name: why for name in names if name != target and (why := _why_not(columns[name]))}
    features = [name for name in names if name != target and name not in left_out]
    if not features:
        raise DataError(
            f"no column of {table} can be a feature", hint="; ".join(f"{c}: {w}" for c, w in left_out.items())
        )
    classifier = columns[target].kind == "text" or (set(columns[target].values) <= {0, 1} and not columns[target].many)
    data = DataSection(path=table.table, features=tuple(features), target=target)
    several = len(check_trainable(found, data, kind="classes" if classifier else "number")) > 2
    keys = [name for name in left_out if IDENTIFIER.search(name) and _may_be_a_key(version, name)]
    document: dict[str, Any] = {
        "experiment": {"name": experiment_name(table.table, target), "seed": 42},
        "data": {
            "path": table.table,
            **({"version": table.ref} if table.ref else {}),
            **({"key": keys[:1]} if keys else {}),
            "features": features,
            "target": target,
            "split": {"train": 0.7, "validation": 0.15, "test": 0.15},
        },
        "model": {
            "type": "XGBClassifier" if classifier else "XGBRegressor",
            "params": {"n_estimators": 300, "max_depth": 6, "learning_rate": 0.1, "subsample": 0.8},
        },
        "training": {"folds": 5, "early_stopping_rounds": 20, "eval_metric": "auc" if classifier else "rmse"},
        "evaluation": {
            "metrics": _metrics(classifier, several),
            "thresholds": {"auc_roc": 0.6} if classifier else {"r2": 0.1},
            "data_quality": {"allow_null": [n for n in features if 0 < columns[n].nulls < columns[n].n]},
        },
        "deployment": {"environments": ["production"]},
    }
    if not classifier:
        document["deployment"]["margins"] = _margins(version, target)
    return document, left_out


def experiment_name(table: str, target: str) -> str:
    """A name that the configuration takes: of letters and digits without accents, with at most 100 characters.

    Args:
        table: as the user named it.
        target: the column to predict.

    Returns:
        the table's own name and the target's; ``model`` where both have no such letter.
    """
    wanted = f"{table.rstrip('/').rpartition('/')[2]}_{target}"
    return re.sub(r"[^A-Za-z0-9_.-]", "_", wanted).strip("_.-")[:_LONGEST_NAME] or "model"


def _metrics(classifier: bool, several: bool) -> list[str]:
    if several:
        return ["auc_roc", "accuracy", "log_loss", "f1_macro"]
    return ["auc_roc", "precision", "recall", "f1_score"] if classifier else ["rmse", "mae", "r2"]


def _may_be_a_key(version: TableVersion, name: str) -> bool:
    """Whether no value comes twice among the first rows: a shop's id in a table of sales does."""
    table = open_table(version.uri, version=version.version)
    first, schema = data_files(table, files(table)["path"].to_pylist()[:1])
    batch = next(first[0].batches(schema, [name]))
    return int(pc.count_distinct(batch[name], mode="all").as_py()) == len(batch)


def _margins(version: TableVersion, target: str) -> dict[str, float]:
    """What a regression's next version is judged by: its error, in spreads of what it predicts."""
    spread = float(read_version(version, columns=[target]).std(target) or 0.0)
    return {"loss": LOSS, **({"scale": float(f"{spread:.3g}")} if spread > 0 else {})}


def _why_not(column: ColumnProfile) -> str:
    if column.kind in ("time", "other"):
        return "neither a number nor text; make numbers of it (an hour, an age in days)"
    if column.kind == "text" and column.many:
        return "text with more than 1,000 values"
    if IDENTIFIER.search(column.name):
        return "its name says that it identifies rows"
    if column.all_null:
        return "it has no values"
    if column.infinite:
        return f"it has {column.infinite:,} infinite values"
    if len(column.values) == 1 and not column.nulls:
        return "it has one value"
    return ""
