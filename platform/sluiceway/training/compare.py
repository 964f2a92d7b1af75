"""Whether two trainings gave the same, and where they first did not."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import xgboost

from sluiceway.training.environment import Difference


def fold_differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Difference]:
    """What differs between two cross-validations, in the order of the folds.

    Args:
        then: ``rounds``, ``metric``, ``folds`` (a mapping each) and ``histories`` as a run records them.
        now: the same of another.
    """
    for name in ("metric", "rounds"):
        if then[name] != now[name]:
            yield Difference(name, str(then[name]), str(now[name]))
    if len(then["folds"]) != len(now["folds"]):
        yield Difference("folds", str(len(then["folds"])), str(len(now["folds"])))
        return
    for before, after in zip(then["folds"], now["folds"], strict=True):
        for name in ("rows", "rounds", "best_iteration", "metric"):
            if not _same(before[name], after[name]):
                label = then["metric"] if name == "metric" else name
                yield Difference(f"fold {before['fold'] + 1} {label}", repr(before[name]), repr(after[name]))
    for number, (before, after) in enumerate(zip(then["histories"], now["histories"], strict=True), start=1):
        yield from _first_round(f"fold {number} {then['metric']}", before, after)


def prediction_difference(one: bytes, other: bytes, sample: np.ndarray) -> float:
    """Largest difference of the predictions of two boosters.

    Args:
        one: UBJSON.
        other: UBJSON of a booster with the same features.
        sample: shape (m, k), float32: encoded rows.

    Returns:
        in units of the prediction; NaN without rows, or where one of them gives other numbers of classes.
    """
    if not len(sample):
        return math.nan
    first, second = (_predictions(model, sample) for model in (one, other))
    return float(np.max(np.abs(first - second))) if first.shape == second.shape else math.nan


def _first_round(
    name: str, before: Mapping[str, Sequence[Any]], after: Mapping[str, Sequence[Any]]
) -> Iterator[Difference]:
    old, new = (dict(zip(one["round"], one["value"], strict=True)) for one in (before, after))
    for step in sorted({*old} & {*new}):
        if not _same(old[step], new[step]):
            yield Difference(f"{name} at round {step}, the first that differs", repr(old[step]), repr(new[step]))
            return


def _predictions(model: bytes, sample: np.ndarray) -> np.ndarray:
    booster = xgboost.Booster()
    booster.load_model(bytearray(model))
    return np.asarray(booster.inplace_predict(sample, missing=np.nan, validate_features=False), dtype=np.float64)


def _same(one: float, other: float) -> bool:
    return one == other or (math.isnan(one) and math.isnan(other))
