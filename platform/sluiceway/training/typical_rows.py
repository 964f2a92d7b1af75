"""Rows that show what a model takes: typical values of each column, so that no person's row leaves the table."""

from __future__ import annotations

from typing import Any

import numpy as np

from sluiceway.features.schema import Feature, FeatureSchema


def typical_rows(sample: np.ndarray, schema: FeatureSchema) -> list[dict[str, Any]]:
    """Two rows as a person sends them.

    Args:
        sample: shape (m, k), float32: encoded rows.
        schema: of the features.

    Returns:
        the median of each number and the commonest category; then the upper quartile and the second commonest
        category, and None where the sample has missing values. Whole columns have whole numbers. No rows where the
        sample has none.
    """
    if not len(sample):
        return []
    return [
        {
            feature.name: _value(sample[:, place], feature, second=second)
            for place, feature in enumerate(schema.features)
        }
        for second in (False, True)
    ]


def _value(column: np.ndarray, feature: Feature, *, second: bool) -> Any:
    known = column[~np.isnan(column)]
    if not len(known) or (second and len(known) < len(column)):
        return None
    if feature.kind == "category":
        counts = np.bincount(known.astype(int), minlength=len(feature.categories))
        ranked = np.argsort(-counts, kind="stable")
        place = 1 if second and len(ranked) > 1 and counts[ranked[1]] else 0
        return feature.categories[ranked[place]]
    found = np.quantile(known, 0.75 if second else 0.5, method="lower")
    # The shortest text of the 32-bit number: 0.1, and not 0.10000000149.
    return int(found) if (known == np.round(known)).all() else float(str(np.float32(found)))
