"""What a model's columns are: their order, their kind and, for text, the categories that it knows."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import pyarrow as pa

from sluiceway.core.errors import DataError, ModelError, SchemaMismatchError

Kind = Literal["numeric", "category"]
FORMAT = 1  # of the dictionary that to_dict writes


@dataclass(frozen=True)
class Feature:
    """One column that a model sees.

    Attributes:
        name: the column's name.
        kind: ``numeric``, or ``category`` for text.
        categories: the values of a category, sorted; the position is the code that the model sees.
    """

    name: str
    kind: Kind
    categories: tuple[str, ...] = ()


@dataclass(frozen=True)
class FeatureSchema:
    """The columns that a model sees, in order; missing values are NaN, whatever the kind.

    Attributes:
        features: the columns.
        version: of the written form.
    """

    features: tuple[Feature, ...]
    version: int = FORMAT

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The columns' names, in order."""
        return tuple(feature.name for feature in self.features)

    @property
    def xgboost_types(self) -> list[str]:
        """XGBoost's ``feature_types``: ``q`` for numbers, ``c`` for categories."""
        return ["c" if feature.kind == "category" else "q" for feature in self.features]

    @cached_property
    def codes(self) -> tuple[dict[str, float] | None, ...]:
        """For each column the code of each category, or None for a numeric one."""
        return tuple(
            {value: float(code) for code, value in enumerate(feature.categories)}
            if feature.kind == "category"
            else None
            for feature in self.features
        )

    def to_dict(self) -> dict[str, Any]:
        """The written form, JSON-ready."""
        columns = [
            {"name": f.name, "kind": f.kind} | ({"categories": list(f.categories)} if f.kind == "category" else {})
            for f in self.features
        ]
        return {"version": self.version, "missing": "NaN", "features": columns}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> FeatureSchema:
        """Read the written form.

        Raises:
            ModelError: it was written by a newer release, or is not such a document.
        """
        version = document.get("version")
        if version != FORMAT:
            raise ModelError(
                f"the feature schema has version {version!r}; this release reads {FORMAT}",
                hint="use the release that registered the model, or train it again",
            )
        try:
            return cls(tuple(_feature(entry) for entry in document["features"]), FORMAT)
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"the feature schema is damaged: {error!r}", hint="register the model again") from error


def _feature(entry: Mapping[str, Any]) -> Feature:
    if entry["kind"] not in ("numeric", "category"):
        raise ValueError(f"unknown kind {entry['kind']!r}")
    return Feature(str(entry["name"]), entry["kind"], tuple(entry.get("categories", ())))


def near(name: str, known: Iterable[str]) -> str:
    """``; did you mean 'x'?`` for the known name that is most like this one, or an empty text."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {found[0]!r}?" if found else ""


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type is a category: text, or a dictionary of text."""
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(value) or pa.types.is_large_string(value) or pa.types.is_string_view(value))


def is_number(kind: pa.DataType) -> bool:
    """Whether a column of this type is numeric: ints, floats, decimals, bools, or nulls only."""
    types = pa.types
    return bool(
        types.is_integer(kind)
        or types.is_floating(kind)
        or types.is_decimal(kind)
        or types.is_boolean(kind)
        or types.is_null(kind)
    )


def derive(schema: pa.Schema, *, categories: Mapping[str, Sequence[str]], features: Sequence[str]) -> FeatureSchema:
    """Say how each feature of a table is encoded.

    Args:
        schema: of the table.
        categories: for each text feature its values in the training rows, in any order.
        features: the columns that the model sees, in this order.

    Returns:
        numeric features for ints, floats, decimals and bools, categories (sorted) for text.

    Raises:
        SchemaMismatchError: a feature is not in the table.
        DataError: a feature has a type that no model can see, or is text whose values are not given.
    """
    return FeatureSchema(tuple(_derive_one(schema, name, categories) for name in features))


def _derive_one(schema: pa.Schema, name: str, categories: Mapping[str, Sequence[str]]) -> Feature:
    if name not in schema.names:
        raise SchemaMismatchError(
            f"the table has no column {name!r}{near(name, schema.names)}",
            hint=f"data.features may name: {', '.join(schema.names)}",
            column=name,
        )
    kind = schema.field(name).type
    if is_number(kind):
        return Feature(name, "numeric")
    if is_text(kind):
        if name not in categories:
            raise DataError(f"the categories of the text column {name!r} are not known", column=name)
        return Feature(name, "category", tuple(sorted({value for value in categories[name] if value is not None})))
    hint = "leave it out of data.features"
    if pa.types.is_temporal(kind):
        hint = "derive numbers from it (hour, weekday, seconds since ...) and name those in data.features"
    raise DataError(f"column {name!r} has type {kind}, which no model can see", hint=hint, column=name)
