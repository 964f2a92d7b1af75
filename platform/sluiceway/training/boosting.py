"""One booster, round by round, which can be given up after any round and taken up again with the same result."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xgboost

from sluiceway.training.checkpoints import Checkpoints

WATCHED = "fold"


@dataclass(frozen=True)
class Boosting:
    """What one booster is to become.

    Attributes:
        name: of its checkpoints.
        params: of ``xgboost.train``.
        rounds: most rounds.
        metric: XGBoost's name of the metric that is watched.
        maximise: whether more of it is better.
        patience: rounds without an improvement after which it stops, or None.
        every: rounds between two checkpoints.
        base: a booster as UBJSON that this one goes on from, or None.
    """

    name: str
    params: Mapping[str, Any]
    rounds: int
    metric: str
    maximise: bool
    patience: int | None
    every: int
    base: bytes | None = None


@dataclass(frozen=True)
class Boosted:
    """A booster so far.

    Attributes:
        booster: all its rounds; those of a base come first.
        history: the metric on the watched rows after each round of its own; empty where none were watched.
        rounds: of its own.
    """

    booster: xgboost.Booster
    history: tuple[float, ...]
    rounds: int


def best_round(history: tuple[float, ...], *, maximise: bool) -> int:
    """The round with the best metric, from 0; the first of equals."""
    return int(np.argmax(history) if maximise else np.argmin(history))


def run_rounds(
    plan: Boosting,
    build: Callable[[], xgboost.DMatrix],
    watched: xgboost.DMatrix | None,
    *,
    checkpoints: Checkpoints,
    after_round: Callable[[int, float | None], None],
) -> Boosted:
    """Boost until the rounds are over, or the metric has not improved for long enough.

    Every ``plan.every`` rounds the booster is kept, and its random state is begun anew from the seed and the round.
    XGBoost does not keep that state with a booster; so a run that is taken up there draws what the undisturbed run
    drew, and both give the same trees.

    Args:
        plan: what to boost.
        build: makes the matrix of the rows to train on; not called where a checkpoint has all rounds.
        watched: rows to judge by, or None.
        checkpoints: where the booster is kept; all ranks of a group see rank 0's.
        after_round: told the number of rounds done and the metric; what it raises ends the work.
    """
    raw, history, done = _unpacked(_agreed(checkpoints.load(plan.name)), plan)
    ended = done == plan.rounds or _over(plan, history)
    cache = [each for each in (None if ended else build(), watched) if each is not None]
    booster = xgboost.Booster(dict(plan.params), cache)
    if raw:
        booster.load_model(bytearray(raw))
        booster.set_param(dict(plan.params))
    before = booster.num_boosted_rounds() - done if raw else 0
    while not ended:
        if done and done % plan.every == 0:
            _begin_anew(booster, plan.params, done)
        booster.update(cache[0], before + done)
        done += 1
        if watched is not None:
            history.append(_metric(booster, watched, plan.metric, before + done - 1))
        ended = done == plan.rounds or _over(plan, history)
        if ended or done % plan.every == 0:
            _keep(checkpoints, plan.name, booster, history, done)
        after_round(done, history[-1] if history else None)
    return Boosted(booster, tuple(history), done)


def _over(plan: Boosting, history: list[float]) -> bool:
    if plan.patience is None or not history:
        return False
    return len(history) - 1 - best_round(tuple(history), maximise=plan.maximise) >= plan.patience


def _begin_anew(booster: xgboost.Booster, params: Mapping[str, Any], done: int) -> None:
    """Drop the state of all samplers: a tree method that is changed and changed back makes them anew.

    ``num_features`` makes the booster take its parameters at once and not with the next round.
    """
    booster.set_param({"tree_method": "approx"})
    booster.num_features()
    booster.set_param({"tree_method": "hist", "seed": params.get("seed", 0) + done})
    booster.num_features()


def _metric(booster: xgboost.Booster, watched: xgboost.DMatrix, metric: str, number: int) -> float:
    """XGBoost gives metrics as text: ``[7]\\tfold-auc:0.9``."""
    told = booster.eval_set([(watched, WATCHED)], number)
    values = dict(entry.rsplit(":", 1) for entry in told.split("\t")[1:])
    return float(values[f"{WATCHED}-{metric}"])


def _keep(checkpoints: Checkpoints, name: str, booster: xgboost.Booster, history: list[float], done: int) -> None:
    if xgboost.collective.get_rank() == 0:
        checkpoints.save(name, _packed(bytes(booster.save_raw("ubj")), history, done))


def _packed(raw: bytes, history: list[float], done: int) -> bytes:
    out = io.BytesIO()
    np.savez(out, booster=np.frombuffer(raw, np.uint8), history=np.array(history, np.float64), done=np.int64(done))
    return out.getvalue()


def _unpacked(kept: bytes | None, plan: Boosting) -> tuple[bytes, list[float], int]:
    """Booster, history and rounds of a checkpoint; without one, the base that the rounds come after.

    A checkpoint with more rounds than are wanted is none: the folds before it have been boosted anew, to another end.
    """
    if kept is not None:
        with np.load(io.BytesIO(kept)) as found:
            if int(found["done"]) <= plan.rounds:
                return found["booster"].tobytes(), found["history"].tolist(), int(found["done"])
    return plan.base or b"", [], 0


def _agreed(kept: bytes | None) -> bytes | None:
    """What rank 0 has; ranks that went on from different rounds would wait for each other for ever."""
    if not xgboost.collective.is_distributed():
        return kept
    found: bytes = xgboost.collective.broadcast(kept or b"", 0)
    return found or None
