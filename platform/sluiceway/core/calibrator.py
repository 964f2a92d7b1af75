"""From a model's raw score to the chance that it comes true: a rising table that a bundle carries."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from sluiceway.core.errors import ModelError


class Calibrator:
    """A table of scores and their calibrated values, linear between its points, constant beyond its ends.

    Args:
        scores: raw scores, strictly rising, at least one.
        values: calibrated, as many, never falling, 0 to 1.

    Raises:
        ModelError: the table is not like that; says where.
    """

    def __init__(self, scores: Sequence[float], values: Sequence[float]) -> None:
        problem = _problem(scores, values)
        if problem:
            raise ModelError(f"decision.calibrator: {problem}", hint="it is a rising table of scores and values")
        self._scores = np.array(scores, dtype=np.float64)
        self._values = np.array(values, dtype=np.float64)

    @classmethod
    def of(cls, decision: Mapping[str, Any]) -> Calibrator | None:
        """The calibrator of a bundle's ``decision.json``, or None where it has none.

        Raises:
            ModelError: the table is not well formed, or the model is not binary.
        """
        table = decision.get("calibrator")
        if table is None:
            return None
        if decision.get("kind") != "binary":
            raise ModelError(f"decision.calibrator: a {decision.get('kind')} model has none; only a binary one may")
        if not isinstance(table, Mapping) or set(table) != {"scores", "values"}:
            raise ModelError("decision.calibrator is not an object of `scores` and `values`")
        return cls(table["scores"], table["values"])

    def to_dict(self) -> dict[str, list[float]]:
        """JSON-ready form, as a bundle's ``decision.json`` has it."""
        return {"scores": self._scores.tolist(), "values": self._values.tolist()}

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """Calibrate scores; each by itself, so that a batch gives what its rows give one by one.

        Args:
            scores: shape (n,), raw.

        Returns:
            shape (n,), float64; NaN stays NaN.
        """
        return np.interp(np.asarray(scores, dtype=np.float64), self._scores, self._values)


def _problem(scores: Any, values: Any) -> str:
    """What is wrong with a table, or ""."""
    for name, column in (("scores", scores), ("values", values)):
        if not isinstance(column, Sequence) or isinstance(column, str) or not column:
            return f"{name} is not a list of numbers"
        for i, number in enumerate(column):
            if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
                return f"{name}[{i}] is {number!r}, not a finite number"
    if len(scores) != len(values):
        return f"{len(scores)} scores and {len(values)} values"
    for i, (low, high) in enumerate(pairwise(scores)):
        if not low < high:
            return f"scores[{i + 1}] is {high!r}, not above {low!r} before it"
    for i, (low, high) in enumerate(pairwise(values)):
        if high < low:
            return f"values[{i + 1}] is {high!r}, below {low!r} before it"
    if values[0] < 0 or values[-1] > 1:
        return f"values from {values[0]!r} to {values[-1]!r} are not within 0 and 1"
    return ""
