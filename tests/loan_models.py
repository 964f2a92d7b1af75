"""Loans of which the truth is known, and real models of them, for the tests of the gates."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import xgboost

from sluiceway.config.evaluation import ThresholdChoiceSection
from sluiceway.features.encode import encode_table
from sluiceway.features.schema import FeatureSchema, derive
from sluiceway.gates.column_facts import ColumnFacts, column_facts
from sluiceway.registry.bundle import Bundle
from sluiceway.training.threshold import choose

KINDS = {
    "income": "numeric",
    "debt_ratio": "numeric",
    "utilisation": "numeric",
    "months_employed": "numeric",
    "inquiries": "numeric",
    "purpose": "category",
    "region": "category",
}
KEY, TIME = "__key__", "applied_at"
TARGETS = {"binary": "defaulted", "multiclass": "grade", "regression": "loss"}
TARGET = TARGETS["binary"]
OBJECTIVES = {"binary": "binary:logistic", "multiclass": "multi:softprob", "regression": "reg:squarederror"}
GRADES = ("good", "late", "lost")
PURPOSES = {"bike": -0.4, "car": 0.0, "holiday": 0.3, "house": -0.6, "school": 0.1, "shop": 0.5}
REGIONS = {"east": 0.1, "north": 0.0, "south": 0.2, "west": -0.2}
AGES = ("18-29", "30-49", "50-99")
NOW, DAY, YEAR = 1_750_000_000.0, 86_400, 365
ROWS = {"train": 5_000, "validation": 1_000, "test": 5_000}
MISSING = 0.01  # of each number
OLDER = 500  # training rows of the champion that are gone since


def loans(n: int, random: np.random.Generator) -> pa.Table:
    """Clean rows of one year, in no order.

    Args:
        n: rows.
        random: draws them.

    Returns:
        the features; a target for each kind of model; the protected ``age_group``, which is no feature; time and key.
        The best that a model can do is an AUC of about 0.81.
    """
    income = random.lognormal(3.3, 0.5, n).round(1)
    debt, used = random.beta(2, 4, n).round(4), random.beta(2, 3, n).round(4)
    months, inquiries = random.gamma(2, 30, n).astype(np.int64), random.poisson(1.5, n)
    purpose, region = (random.choice(list(names), n) for names in (PURPOSES, REGIONS))
    logit = 1.0 * (debt - 1 / 3) / 0.178 + 0.5 * (used - 0.4) / 0.2 - 0.6 * (np.log(income) - 3.3) / 0.5
    logit += -0.4 * (np.log1p(months) - 3.9) / 0.8 + 0.35 * (inquiries - 1.5) - 1.2
    for values, names in ((purpose, PURPOSES), (region, REGIONS)):
        logit += np.array([names[value] for value in values])
    trouble = logit + random.logistic(size=n)
    seconds = NOW - random.random(n) * YEAR * DAY
    numbers = {
        "income": income,
        "debt_ratio": debt,
        "utilisation": used,
        "months_employed": months,
        "inquiries": inquiries,
    }
    return pa.table(
        {name: pa.array(values, mask=random.random(n) < MISSING) for name, values in numbers.items()}
        | {
            "purpose": pa.array(purpose).dictionary_encode(),
            "region": pa.array(region).dictionary_encode(),
            "defaulted": (trouble > 0).astype(np.int8),
            "grade": np.array(GRADES)[np.digitize(trouble, [-1, 1])],
            "loss": (logit + random.standard_normal(n)).round(3),
            "age_group": pa.array(random.choice(AGES, n)).dictionary_encode(),
            TIME: pa.array((seconds * 1e6).astype(np.int64), pa.timestamp("us", "UTC")),
            KEY: random.integers(0, 2**63, n).astype(np.uint64),
        }
    )


@dataclass(frozen=True)
class Parts:
    """The rows of one version of the table.

    Attributes:
        train: what models learn.
        validation: what the decision threshold is chosen on.
        test: what the gates judge.
    """

    train: pa.Table
    validation: pa.Table
    test: pa.Table

    @classmethod
    def drawn(cls, seed: int, rows: Mapping[str, int] = ROWS) -> Parts:
        """Clean ones, so many of each."""
        table, starts = loans(sum(rows.values()), np.random.default_rng(seed)), np.cumsum([0, *rows.values()])
        return cls(*(table.slice(start, n) for start, n in zip(starts, rows.values(), strict=False)))

    def changed(self, change: Callable[[pa.Table], pa.Table], *names: str) -> Parts:
        """The same change to some of the parts; without names to all."""
        return replace(self, **{name: change(getattr(self, name)) for name in names or ROWS})


@dataclass(frozen=True)
class Case:
    """What the gates judge.

    Attributes:
        parts: the rows.
        candidate: the model.
        champion: the model that serves.
        facts: of the columns that the champion was trained on.
        kinds: of the candidate's features.
        now: UTC epoch seconds of the judging.
    """

    parts: Parts
    candidate: Bundle
    champion: Bundle
    facts: tuple[ColumnFacts, ...]
    kinds: Mapping[str, str]
    now: float = NOW


def trained(
    parts: Parts, *, kinds: Mapping[str, str] = KINDS, task: str = "binary", rounds: int = 60, **params: Any
) -> Bundle:
    """A real model of the training rows; its threshold is chosen on the validation rows.

    Args:
        parts: the rows.
        kinds: of the features.
        task: kind of the model.
        rounds: of boosting.
        params: of XGBoost, beside the usual ones of this module.
    """
    categories = {name: parts.train[name].unique().to_pylist() for name, kind in kinds.items() if kind == "category"}
    schema = derive(parts.train.schema, categories=categories, features=tuple(kinds))
    options = {"objective": OBJECTIVES[task], "max_depth": 3, "eta": 0.15, "nthread": 1, "seed": 0} | params
    if task == "multiclass":
        options["num_class"] = len(GRADES)
    booster = xgboost.train(options, _matrix(parts.train, schema, task), rounds)
    decision: dict[str, Any] = {"kind": task, "threshold": None, "target": TARGETS[task]}
    if task == "multiclass":
        decision["classes"] = list(GRADES)
    if task == "binary":
        scores, labels = booster.predict(_matrix(parts.validation, schema, task)), parts.validation[TARGET].to_numpy()
        decision |= {"threshold": choose(labels, scores, ThresholdChoiceSection(strategy="best_accuracy"))}
    return Bundle(bytes(booster.save_raw("ubj")), schema.to_dict(), decision, {})


def facts_of(rows: pa.Table, task: str = "binary") -> tuple[ColumnFacts, ...]:
    """What is remembered of a champion's training rows."""
    return column_facts(rows, tuple(KINDS), TARGETS[task], classes=GRADES if task == "multiclass" else ())


@functools.cache
def clean(seed: int, task: str = "binary") -> Case:
    """No fault: the champion is of an earlier version of the table, of which a tenth is gone and a fifth was not there.

    Args:
        seed: of everything.
        task: kind of the models.
    """
    parts = Parts.drawn(seed)
    older, n = loans(OLDER, np.random.default_rng([seed, 1])), ROWS["train"]
    earlier = replace(parts, train=pa.concat_tables([older, parts.train.slice(0, n - 2 * OLDER)]))
    champion = trained(earlier, task=task, eta=0.17, seed=1)
    return Case(parts, trained(parts, task=task), champion, facts_of(earlier.train, task), KINDS)


def with_column(rows: pa.Table, name: str, values: Any) -> pa.Table:
    """Rows with a column added or replaced."""
    column, place = pa.chunked_array([pa.array(values)]), rows.schema.get_field_index(name)
    return rows.append_column(name, column) if place < 0 else rows.set_column(place, name, column)


def _matrix(rows: pa.Table, schema: FeatureSchema, task: str) -> xgboost.DMatrix:
    column = rows[TARGETS[task]]
    labels = [GRADES.index(grade) for grade in column.to_pylist()] if task == "multiclass" else column.to_numpy()
    options = {"feature_types": schema.xgboost_types, "enable_categorical": True, "nthread": 1}
    return xgboost.DMatrix(encode_table(rows, schema)[0], label=labels, **options)
