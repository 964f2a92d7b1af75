"""A booster that was trained elsewhere: what it is, what it sees, and how it scores."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import PurePath
from typing import Any

import numpy as np
import xgboost

from sluiceway.core.errors import ModelError
from sluiceway.training.params import OBJECTIVES
from sluiceway.training.report import Kind

# The call that endpoints score with adds the trees of a dart booster up otherwise than its predict.
FORM = "gbtree"
SAMPLED_ROWS = 500
_MISSING_SHARE = 0.1
_LARGEST = np.finfo(np.float32).max
_PICKLED = (".pkl", ".pickle", ".joblib", ".dill", ".cloudpickle")
_HINT = "save the booster where it was trained, with save_model('model.ubj') or save_model('model.json')"


class ForeignBooster:
    """A booster of XGBoost in UBJSON or JSON; nothing else is given to any loader.

    An estimator that stopped early answers with the rounds to its best one, a bare booster with all of its rounds: so
    does this.

    Args:
        content: of the file.
        where: the file or address, for messages.

    Attributes:
        names: of its features, in order; empty where it was trained without names.
        types: XGBoost's type of each feature; empty where it was trained without.
        features: how many it sees.
        rounds: of boosting, that are used.
        left_out: rounds behind the best one.

    Raises:
        ModelError: it is a pickle, no booster, or of a form that cannot be served.
    """

    def __init__(self, content: bytes, *, where: str) -> None:
        _check_form(content, where)
        try:
            self._given = xgboost.Booster(model_file=bytearray(content))
            self._document: dict[str, Any] = json.loads(bytes(self._given.save_raw("json")))
            form = self._document["learner"]["gradient_booster"]["name"]
            targets = int(self._learner["num_target"])
        except (xgboost.core.XGBoostError, KeyError, ValueError) as error:
            raise ModelError(f"{where} is no booster: {str(error).splitlines()[0]}", hint=_HINT) from error
        if form != FORM:
            raise ModelError(f"{where} is a booster of the form {form}", hint=f"only {FORM} can be served")
        if targets > 1:
            raise ModelError(f"{where} predicts {targets} targets at once", hint="a model here has one target")
        self._where = where
        self.names = tuple(self._given.feature_names or ())
        self.types = tuple(self._given.feature_types or ())
        self.features = int(self._given.num_features())
        self.rounds, self.left_out = _rounds(self._given)

    @property
    def objective(self) -> str:
        """XGBoost's name of what it was trained for."""
        return str(self._document["learner"]["objective"]["name"])

    @property
    def kind(self) -> Kind:
        """What it predicts.

        Raises:
            ModelError: its objective gives scores that mean nothing here.
        """
        for kind, known in OBJECTIVES.items():
            if self.objective in known:
                return kind
        there = ", ".join(name for names in OBJECTIVES.values() for name in names)
        raise ModelError(
            f"{self._where} was trained for {self.objective}, whose scores mean nothing to gates and endpoints",
            hint=f"objectives that can be imported: {there}",
        )

    @property
    def classes(self) -> int:
        """Of a model of several classes; 0 of any other."""
        return int(self._learner["num_class"])

    @cached_property
    def categories(self) -> dict[int, tuple[str, ...]]:
        """The categories that it carries since XGBoost 3.1, as text in the order of their numbers, by position."""
        kept = self._given.get_categories(export_to_arrow=True).to_arrow()
        return {
            place: tuple(str(value) for value in values.to_pylist())
            for place, (_, values) in enumerate(kept)
            if values is not None
        }

    @cached_property
    def largest_category(self) -> dict[int, int]:
        """The largest number of a category that a split names, by the position of the feature."""
        found: dict[int, int] = {}
        for tree in self._trees:
            parts = (tree["categories_nodes"], tree["categories_segments"], tree["categories_sizes"])
            for node, start, size in zip(*parts, strict=True):
                place = tree["split_indices"][node]
                found[place] = max(found.get(place, 0), *tree["categories"][start : start + size])
        return found

    def ubjson(self) -> bytes:
        """The booster as a bundle has it, without the rounds that are left out."""
        used = self._given[: self.rounds] if self.left_out else self._given
        return bytes(used.save_raw("ubj"))

    def sample(self, *, seed: int = 0, rows: int = SAMPLED_ROWS) -> np.ndarray:
        """Rows for every branch: on, before and behind the values of the splits, every category, and missing ones.

        Args:
            seed: of the draws.
            rows: how many.

        Returns:
            shape (rows, features), float32; NaN is missing.
        """
        random = np.random.default_rng(seed)
        matrix = np.empty((rows, self.features), dtype=np.float32)
        edges = self._edges()
        for place in range(self.features):
            if place in self.largest_category or self.types[place : place + 1] == ("c",):
                matrix[:, place] = random.integers(0, self.largest_category.get(place, 0) + 1, rows)
                continue
            drawn = random.choice(np.array(edges.get(place, [0.0]), dtype=np.float32), rows)
            side = random.choice(np.array([-1, 0, 1], dtype=np.float32), rows)
            with np.errstate(over="ignore"):
                around = drawn + side * np.maximum(np.abs(drawn), 1) * np.float32(1e-3)
            matrix[:, place] = np.clip(around, -_LARGEST, _LARGEST)
        matrix[random.random(matrix.shape) < _MISSING_SHARE] = np.nan
        return matrix

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        """``Booster.predict`` of the model as it came, with the rounds that are used.

        Args:
            matrix: shape (n, features), float32.

        Returns:
            shape (n,) or (n, classes), float64.
        """
        names, types = list(self.names) or None, list(self.types) or None
        rows = xgboost.DMatrix(matrix, feature_names=names, feature_types=types, enable_categorical=True)
        return np.asarray(self._given.predict(rows, iteration_range=(0, self.rounds)), dtype=np.float64)

    @property
    def _learner(self) -> dict[str, Any]:
        found: dict[str, Any] = self._document["learner"]["learner_model_param"]
        return found

    @property
    def _trees(self) -> list[dict[str, Any]]:
        form = self._document["learner"]["gradient_booster"]
        found: list[dict[str, Any]] = form["model"]["trees"]
        return found

    def _edges(self) -> dict[int, list[float]]:
        """The values of the splits by the position of the feature."""
        found: dict[int, list[float]] = {}
        for tree in self._trees:
            nodes = zip(tree["left_children"], tree["split_indices"], tree["split_conditions"], strict=True)
            for left, place, value in nodes:
                if left != -1:
                    found.setdefault(place, []).append(value)
        return found


def size_of(model: bytes) -> tuple[int, int]:
    """Rounds and trees of a booster in UBJSON."""
    booster = xgboost.Booster(model_file=bytearray(model))
    return int(booster.num_boosted_rounds()), len(booster.get_dump())


def _check_form(content: bytes, where: str) -> None:
    # A pickle of protocol 2 or later begins with 0x80; what joblib has compressed is no booster, either.
    if content[:1] == b"\x80" or PurePath(where).suffix.lower() in _PICKLED:
        raise ModelError(f"{where} is a pickle, which is never opened: it would run whatever code it holds", hint=_HINT)
    if content[:2] != b"{L" and content.lstrip()[:1] != b"{":
        raise ModelError(f"{where} is no booster: it begins with {content[:8]!r}", hint=_HINT)


def _rounds(booster: Any) -> tuple[int, int]:
    """The rounds that are used, and those behind the best one of an estimator."""
    attributes, rounds = booster.attributes(), int(booster.num_boosted_rounds())
    best = attributes.get("best_iteration") if "scikit_learn" in attributes else None
    used = rounds if best is None else min(rounds, int(best) + 1)
    return used, rounds - used
