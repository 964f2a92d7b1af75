"""What a model from elsewhere sees and decides: what people and MLflow say of it, held against the booster itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sluiceway.config.model_schema import FeatureEntry, ModelSchema
from sluiceway.core.errors import ModelError
from sluiceway.features.schema import Feature, FeatureSchema
from sluiceway.training.foreign_booster import ForeignBooster

DEFAULT_THRESHOLD = 0.5
# MLflow's names of types that a model can see.
_NUMBERS = ("boolean", "integer", "long", "float", "double")
_TEXT = "string"
_HINT = "say it in a file, --schema FILE: docs/training/models.md"


def schema_of_signature(columns: Mapping[str, str], booster: ForeignBooster, *, target: str | None) -> ModelSchema:
    """The schema of a model whose signature MLflow keeps; the categories are those that the booster carries.

    Args:
        columns: MLflow's type by name, in order.
        booster: the model.
        target: column that it predicts, which no signature names.

    Raises:
        ModelError: signature and booster do not say all that is needed.
    """
    if not columns:
        raise ModelError("the logged model has no signature that names its columns", hint=_HINT)
    if not target:
        raise ModelError("no signature says which column the model predicts", hint="name it with --target, or " + _HINT)
    if target in columns:
        raise ModelError(f"the target {target!r} is among the features of the signature", hint="name another --target")
    if booster.kind == "multiclass":
        raise ModelError("no signature says which classes the model's scores are of", hint=_HINT)
    return ModelSchema(
        target=target,
        features=tuple(
            _entry(name, kind, booster.categories.get(place), booster.types[place : place + 1] == ("c",))
            for place, (name, kind) in enumerate(columns.items())
        ),
    )


def _entry(name: str, kind: str, categories: tuple[str, ...] | None, is_category: bool) -> FeatureEntry:
    if is_category or kind == _TEXT:
        if categories is None:
            raise ModelError(f"nobody says which categories the column {name!r} has, in which order", hint=_HINT)
        return FeatureEntry(name=name, kind="category", categories=categories)
    if kind not in _NUMBERS:
        raise ModelError(f"the signature's column {name!r} has type {kind}, which no model here can see", hint=_HINT)
    return FeatureEntry(name=name)


def check_fits(schema: ModelSchema, booster: ForeignBooster) -> None:
    """Hold a schema against the booster.

    Raises:
        ModelError: they are not of the same model; says how.
    """
    problems = [
        *_objective(schema, booster),
        *_names([feature.name for feature in schema.features], booster),
        *(
            problem
            for place, feature in enumerate(schema.features[: booster.features])
            for problem in _kind(place, feature, booster)
        ),
    ]
    if problems:
        raise ModelError(f"schema and booster do not fit: {'; '.join(problems)}", hint="see what it was trained on")


def decision_of(schema: ModelSchema, booster: ForeignBooster) -> dict[str, Any]:
    """The bundle's ``decision.json``."""
    binary = booster.kind == "binary"
    threshold = schema.threshold if schema.threshold is not None else DEFAULT_THRESHOLD
    return {
        "kind": booster.kind,
        "threshold": threshold if binary else None,
        "target": schema.target,
        **({"classes": list(schema.classes)} if booster.kind == "multiclass" else {}),
    }


def features_of(schema: ModelSchema) -> FeatureSchema:
    """The bundle's ``schema.json``."""
    return FeatureSchema(tuple(Feature(one.name, one.kind, one.categories) for one in schema.features))


def _objective(schema: ModelSchema, booster: ForeignBooster) -> list[str]:
    problems = []
    if schema.objective not in (None, booster.objective):
        problems.append(f"the schema says {schema.objective}, and the booster was trained for {booster.objective}")
    kind, named = booster.kind, len(schema.classes)
    if kind == "multiclass" and named != booster.classes:
        problems.append(f"the booster scores {booster.classes} classes, the schema names {named}")
    if kind != "multiclass" and named:
        problems.append(f"classes are of a model of several ones, and this one is {kind}")
    if kind != "binary" and schema.threshold is not None:
        problems.append(f"a threshold is of a model of two classes, and this one is {kind}")
    return problems


def _names(given: Sequence[str], booster: ForeignBooster) -> list[str]:
    if len(given) != booster.features:
        return [f"the booster has {booster.features} features, the schema names {len(given)}"]
    if not booster.names or list(booster.names) == list(given):
        return []
    absent = [name for name in booster.names if name not in given]
    strange = [name for name in given if name not in booster.names]
    if not absent:
        return [f"the booster has its features in the order {', '.join(booster.names)}"]
    return [f"the booster's {', '.join(absent)} are not in the schema, which has {', '.join(strange)}"]


def _kind(place: int, feature: FeatureEntry, booster: ForeignBooster) -> list[str]:
    is_category = booster.types[place : place + 1] == ("c",) or place in booster.largest_category
    if is_category and feature.kind != "category":
        return [f"{feature.name} is a category of the booster, and a number of the schema"]
    if feature.kind == "category" and not feature.categories:
        return [f"the schema does not say which categories {feature.name} has"]
    known = booster.categories.get(place)
    if known is not None and feature.categories != known:
        return [f"the booster knows {feature.name} as {', '.join(known)}, in this order"]
    largest = booster.largest_category.get(place, -1)
    if feature.kind == "category" and largest >= len(feature.categories):
        named = len(feature.categories)
        return [f"a split asks for category {largest}, from 0, of {feature.name}, and the schema names {named}"]
    return []
