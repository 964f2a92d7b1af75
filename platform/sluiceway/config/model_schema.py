"""The file that says what a model from elsewhere sees and decides: ``sluiceway models import --schema``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from sluiceway.config.base import Section
from sluiceway.config.explain import explain
from sluiceway.config.strict_yaml import StrictLoader, one_line
from sluiceway.core.errors import ConfigError


class FeatureEntry(Section):
    """One column that the model sees."""

    name: str = Field(min_length=1)
    """The column's name, as requests have it."""
    kind: Literal["numeric", "category"] = "numeric"
    """A number, or a text of which the model knows some values."""
    categories: tuple[str, ...] = ()
    """The values of a category; the position, from 0, is the number that the model was trained on."""

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _categories_are_of_a_category(self) -> FeatureEntry:
        if self.categories and self.kind != "category":
            raise ValueError("categories belong to kind: category")
        if len(set(self.categories)) < len(self.categories):
            raise ValueError("a category stands twice")
        return self


class ModelSchema(Section):
    """What a model from elsewhere sees and decides."""

    target: str = Field(min_length=1)
    """Column that the model predicts."""
    features: tuple[FeatureEntry, ...] = Field(min_length=1)
    """The columns, in the model's order: a name alone is a number."""
    objective: str | None = None
    """XGBoost's objective; where it is given, the model has to have been trained for it."""
    threshold: float | None = Field(default=None, ge=0, le=1)
    """Of a model of two classes: it decides 1 from this score on; 0.5 where left out."""
    classes: tuple[str | int, ...] = ()
    """Of a model of several classes: the target's values in the order of the scores."""

    @field_validator("features")
    @classmethod
    def _no_name_twice(cls, value: tuple[FeatureEntry, ...]) -> tuple[FeatureEntry, ...]:
        names = [feature.name for feature in value]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"named twice: {', '.join(twice)}")
        return value

    @model_validator(mode="after")
    def _classes_are_of_one_kind(self) -> ModelSchema:
        if len({type(value) for value in self.classes}) > 1 or len(set(self.classes)) < len(self.classes):
            raise ValueError("classes are all texts or all whole numbers, none of them twice")
        if self.target in [feature.name for feature in self.features]:
            raise ValueError(f"the target {self.target!r} is among the features")
        return self


def read_model_schema(path: str | Path) -> ModelSchema:
    """Read the file, YAML or JSON.

    Raises:
        ConfigError: it cannot be read, or does not say what is needed; all problems at once.
    """
    try:
        document = yaml.load(Path(path).read_text(encoding="utf-8"), Loader=StrictLoader)
    except OSError as error:
        raise ConfigError(f"the schema {path} cannot be read: {error.strerror}", hint=_HINT) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"the schema {path} is not UTF-8 text", hint=_HINT) from error
    except yaml.YAMLError as error:
        raise ConfigError(f"the schema {path} is not YAML: {one_line(error)}", hint=_HINT) from error
    if not isinstance(document, dict):
        raise ConfigError(f"the schema {path} holds no mapping", hint=_HINT)
    try:
        return ModelSchema.model_validate(document)
    except ValidationError as error:
        problems = tuple(explain(error.errors(), root=ModelSchema, path=str(path), origins={}))
        raise ConfigError(f"the schema {path} cannot be used", problems=problems, hint=_HINT) from error


_HINT = "it has target and features, and where they apply threshold or classes: docs/training/models.md"
