"""Which values a metric can have at all: a limit outside of them is met by every model, or by none."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from sluiceway.core.verdict import Direction
from sluiceway.gates.metric_kinds import Metric, ScoredMetric, SummedMetric
from sluiceway.gates.metrics import is_known, metric

Range = tuple[float, float]
SHARE: Range = (0.0, 1.0)
# Of scikit-learn's scorers that are no share; errors are negative there.
_OF_SCORERS: tuple[tuple[str, Range], ...] = (
    ("neg_.*", (-math.inf, 0.0)),
    ("r2|explained_variance|d2_.*", (-math.inf, 1.0)),
    ("matthews_corrcoef", (-1.0, 1.0)),
    ("positive_likelihood_ratio", (0.0, math.inf)),
)


def value_range(chosen: Metric) -> Range:
    """(smallest, largest) value that a metric can have on any rows."""
    if chosen.name == "brier":  # a loss, and the mean of squares of shares
        return SHARE
    if isinstance(chosen, SummedMetric):
        return {"share": SHARE, "loss": (0.0, math.inf), "explained": (-math.inf, 1.0)}[chosen.bounds]
    if isinstance(chosen, ScoredMetric):
        return next((found for name, found in _OF_SCORERS if re.fullmatch(name, chosen.name)), SHARE)
    return SHARE


def limit_problems(key: str, limits: Mapping[str, float]) -> list[str]:
    """Limits that no value of their metric can miss, or meet.

    Args:
        key: that they stand under.
        limits: of each metric, by its name; names that do not exist are left to others.

    Returns:
        One line each, beginning with the key.
    """
    found = []
    for name, limit in limits.items():
        if not is_known(name):
            continue
        chosen = metric(name)
        low, high = value_range(chosen)
        if not low <= limit <= high:
            never = (limit < low) == (chosen.direction is Direction.AT_LEAST)
            what = "every model meets it" if never else "no model can meet it"
            found.append(f"{key}.{name}: {limit:g} is outside of what {name} can be, {_told(low, high)}; {what}")
    return found


def width_problems(key: str, differences: Mapping[str, float]) -> list[str]:
    """Limits of a difference of two models that no two values of their metric can be beyond.

    Args:
        key: that they stand under.
        differences: largest difference of each metric, by its name; names that do not exist are left to others.

    Returns:
        One line each, beginning with the key.
    """
    found = []
    for name, limit in differences.items():
        if not is_known(name):
            continue
        low, high = value_range(metric(name))
        if limit >= high - low:
            found.append(f"{key}.{name}: {limit:g} is no limit: {name} is {_told(low, high)}; every model meets it")
    return found


def _told(low: float, high: float) -> str:
    if math.isinf(low):
        return f"{high:g} at most"
    return f"{low:g} or more" if math.isinf(high) else f"from {low:g} to {high:g}"
