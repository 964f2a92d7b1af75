"""The final model out of the folds' boosters."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import xgboost

from sluiceway.core.errors import ConfigError

_IDENTITY = {
    "reg:squarederror",
    "reg:squaredlogerror",
    "reg:pseudohubererror",
    "reg:absoluteerror",
    "reg:quantileerror",
}
_LOGIT = {"binary:logistic", "reg:logistic"}
_LOG = {"count:poisson", "reg:gamma", "reg:tweedie"}


def objective_of(model: bytes) -> str:
    """XGBoost's name of the objective that a booster in UBJSON was trained for."""
    config = json.loads(xgboost.Booster(model_file=bytearray(model)).save_config())
    return str(config["learner"]["objective"]["name"])


def first_rounds(booster: xgboost.Booster, rounds: int) -> xgboost.Booster:
    """The booster's first rounds; itself where it has no more."""
    return booster if rounds >= booster.num_boosted_rounds() else booster[:rounds]


def average(models: Sequence[bytes]) -> xgboost.Booster:
    """One booster whose raw score (margin) is the mean of the models' raw scores.

    It holds the trees of all models, with every leaf divided by their number. The mean is taken before the link: for a
    classifier it is the mean of the log-odds, not of the probabilities.

    Args:
        models: boosters of the same parameters, as UBJSON.

    Raises:
        ConfigError: the objective has a link that is not known here.
    """
    documents = [_document(model) for model in models]
    merged = documents[0]
    learner = merged["learner"]
    share = 1.0 / len(documents)
    trees: list[dict[str, Any]] = []
    info: list[int] = []
    edges = [0]
    for document in documents:
        model = document["learner"]["gradient_booster"]["model"]
        offset = len(trees)
        for tree in model["trees"]:
            trees.append(_scaled(tree, share, len(trees)))
        info += model["tree_info"]
        edges += [offset + edge for edge in model["iteration_indptr"][1:]]
    target = learner["gradient_booster"]["model"]
    target["trees"], target["tree_info"], target["iteration_indptr"] = trees, info, edges
    target["gbtree_model_param"]["num_trees"] = str(len(trees))
    learner["learner_model_param"]["base_score"] = _mean_base([document["learner"] for document in documents])
    for name in ("best_iteration", "best_score"):
        learner.get("attributes", {}).pop(name, None)
    booster = xgboost.Booster()
    booster.load_model(bytearray(json.dumps(merged).encode()))
    return booster


def _document(model: bytes) -> dict[str, Any]:
    booster = xgboost.Booster(model_file=bytearray(model))
    found: dict[str, Any] = json.loads(bytes(booster.save_raw("json")))
    return found


def _scaled(tree: dict[str, Any], share: float, number: int) -> dict[str, Any]:
    """A leaf's value stands where an inner node has its split's condition; a leaf has no children (-1)."""
    is_leaf = np.array(tree["left_children"]) == -1
    conditions = np.array(tree["split_conditions"], np.float32)
    weights = np.array(tree["base_weights"], np.float32)
    conditions[is_leaf] *= np.float32(share)
    weights *= np.float32(share)
    return tree | {
        "id": number,
        "split_conditions": [float(value) for value in conditions],
        "base_weights": [float(value) for value in weights],
    }


def _mean_base(learners: Sequence[dict[str, Any]]) -> str:
    """The base scores' mean before the link, written behind the link as XGBoost keeps it."""
    objective = learners[0]["objective"]["name"]
    bases = [_numbers(learner["learner_model_param"]["base_score"]) for learner in learners]
    if objective in _IDENTITY or objective.startswith("multi:"):
        mean = np.mean(bases, axis=0)
    elif objective in _LOGIT:
        odds = np.mean([[math.log(base / (1 - base)) for base in row] for row in bases], axis=0)
        mean = 1 / (1 + np.exp(-odds))
    elif objective in _LOG:
        mean = np.exp(np.mean(np.log(bases), axis=0))
    else:
        raise ConfigError(f"models of the objective {objective} cannot be averaged", hint="set training.final: refit")
    text = ",".join(f"{value:.9E}" for value in np.atleast_1d(mean))
    return f"[{text}]" if str(learners[0]["learner_model_param"]["base_score"]).startswith("[") else text


def _numbers(text: str) -> list[float]:
    return [float(part) for part in str(text).strip("[]").split(",")]
