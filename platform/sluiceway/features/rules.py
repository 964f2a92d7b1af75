"""What a request may hold beyond what the features of a model say: further fields, ranges, unknown categories."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np

from sluiceway.features.problems import short

LARGEST = float(np.finfo(np.float32).max)
_LISTED_CATEGORIES = 20

Range = tuple[float | None, float | None]


@dataclass(frozen=True)
class InputRules:
    """What a request may hold, beyond what the features of a model say.

    Attributes:
        extra: further fields that a row may hold and that no model sees.
        ranges: smallest and largest value by feature, None leaves a side open.
        refuse_unknown: whether a category that the model does not know is a problem; else it is missing, and counted.
    """

    extra: frozenset[str] = frozenset()
    ranges: Mapping[str, Range] = field(default_factory=dict)
    refuse_unknown: bool = False


def bound(limits: Range | None, side: int) -> float:
    """The smallest (side 0) or largest (side 1) value that is allowed, infinite where none is set."""
    value = limits[side] if limits else None
    return (-math.inf, math.inf)[side] if value is None else float(np.clip(value, -LARGEST, LARGEST))


def allowed(limits: Range) -> str:
    """A range in words."""
    low, high = limits
    if low is None or high is None:
        return f"at most {high:g} is allowed" if low is None else f"at least {low:g} is allowed"
    return f"{low:g} to {high:g} is allowed"


def known(categories: Collection[str]) -> str:
    """The categories that a model knows, in words; the first 20 of many."""
    shown = ", ".join(short(value) for value in list(categories)[:_LISTED_CATEGORIES])
    more = f" and {len(categories) - _LISTED_CATEGORIES} more" if len(categories) > _LISTED_CATEGORIES else ""
    return f"the model knows {shown}{more}"
