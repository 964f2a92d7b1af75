"""Categories that were sent as numbers: their positions, from 0, among those of one model."""

from __future__ import annotations

from typing import Any

from sluiceway.features.encoder import Columns
from sluiceway.features.schema import Feature, FeatureSchema

_TEXTS = frozenset((str, type(None)))


def with_categories(columns: Columns, schema: FeatureSchema) -> Columns:
    """The same columns with a category's text in the place of its position, so that every model sees the same one.

    Args:
        columns: lists of JSON values by name; the same object comes back where there is nothing to put.
        schema: of the model whose positions they are; a number that is none of them stays as it is.
    """
    found: dict[str, Any] = {}
    for feature in schema.features:
        values = columns.get(feature.name) if feature.kind == "category" else None
        if values is not None and not _TEXTS.issuperset(map(type, values)):
            found[feature.name] = _named(values, feature)
    return {**columns, **found} if found else columns


def _named(values: Any, feature: Feature) -> list[Any]:
    by_position = dict(enumerate(feature.categories))
    found = []
    for value in values:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        found.append(by_position.get(value, value) if number else value)
    return found
