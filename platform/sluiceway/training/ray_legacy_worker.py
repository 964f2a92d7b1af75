"""What runs inside xgboost-ray's own environment: numpy 1 and xgboost 2.0.

It is imported in both environments, so it takes nothing from this project, and arrays travel as bytes: a pickled array
of numpy 2 cannot be read by numpy 1.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import ray
import xgboost

LABEL, WEIGHT = "label", "weight"
RESULT = {"result": True}  # the summary, the out-of-fold scores and the validation scores follow it


@ray.remote(num_cpus=0, num_returns="streaming", max_retries=0)
def boost_legacy(request: dict[str, Any], columns: dict[str, bytes], x: bytes, validation: bytes) -> Iterator[Any]:
    """Cross-validate and fit all rows, in actors of xgboost-ray.

    Args:
        request: as ``legacy_request`` makes it.
        columns: ``y`` and ``weight`` (float32, the latter may be empty), ``fold`` and ``since`` (uint8), of n rows.
        x: float32, (n, k), C order.
        validation: float32, (m, k), C order.

    Yields:
        progress events; then ``RESULT``, a summary, and scores of the n and of the m rows as bytes of float32.
    """
    width = len(request["types"])
    rows = np.frombuffer(x, np.float32).reshape(-1, width)
    narrow = {
        name: np.frombuffer(columns[name], kind)
        for name, kind in (("y", "f4"), ("weight", "f4"), ("fold", "u1"), ("since", "u1"))
    }
    categories = _categories(rows, np.frombuffer(validation, np.float32).reshape(-1, width), request["types"])
    legacy = _Legacy(request, rows, narrow, categories)
    oof: np.ndarray | None = None
    folds = []
    began = time.perf_counter()
    for number in range(request["folds"]):
        yield {"fold": number, "of": request["folds"], "rounds": request["rounds"]}
        report, own, scores = legacy.fold(number)
        if oof is None:
            oof = np.full((len(rows), *scores.shape[1:]), np.nan, np.float32)
        oof[own] = scores
        folds.append(report)
        yield {
            "fold": number,
            "of": request["folds"],
            "round": report["rounds"],
            "value": report["metric"],
            "done": True,
        }
    halfway = time.perf_counter()
    rounds = int(statistics.median(report["best_iteration"] + 1 for report in folds) + 0.5)
    yield {"final": rounds, "of": request["folds"]}
    model = legacy.final(rounds)
    scored = model.inplace_predict(np.frombuffer(validation, np.float32).reshape(-1, width), validate_features=False)
    seconds = {"folds": halfway - began, "final": time.perf_counter() - halfway}
    yield RESULT
    yield {"model": bytes(model.save_raw("ubj")), "rounds": rounds, "folds": folds, "seconds": seconds}
    yield b"" if oof is None else oof.tobytes()
    yield np.asarray(scored, np.float32).tobytes()


def _categories(rows: np.ndarray, validation: np.ndarray, types: list[str]) -> dict[int, int]:
    """How many values each categorical feature has, by its place; codes are whole numbers, NaN is missing."""
    found = {}
    for place, kind in enumerate(types):
        if kind == "c":
            codes = np.concatenate([rows[:, place], validation[:, place], np.zeros(1, np.float32)])
            found[place] = int(np.nanmax(codes)) + 1
    return found


class _Legacy:
    """The rows, and xgboost-ray to boost them."""

    def __init__(
        self,
        request: Mapping[str, Any],
        rows: np.ndarray,
        narrow: Mapping[str, np.ndarray],
        categories: Mapping[int, int],
    ) -> None:
        self._request, self._rows, self._narrow, self._categories = request, rows, narrow, categories

    def fold(self, number: int) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
        """Train a fold: its report, which rows are its own (bool), and their scores."""
        began = time.perf_counter()
        fold, since = self._narrow["fold"], self._narrow["since"]
        own = fold == number
        model, history = self._train((~own) & (since <= number), own, self._request["rounds"])
        stops = self._request["early_stopping"]
        best = int(model.best_iteration) if stops else len(history) - 1
        scores = model.inplace_predict(self._rows[own], iteration_range=(0, best + 1), validate_features=False)
        report = {
            "fold": number,
            "best_iteration": best,
            "rounds": len(history),
            "metric": float(history[best]),
            "rows": int(own.sum()),
            "seconds": time.perf_counter() - began,
            "history": tuple(map(float, history)),
        }
        return report, own, np.asarray(scores, np.float32)

    def final(self, rounds: int) -> xgboost.Booster:
        """Fit all rows; the model names its features as ours do, not as a frame does."""
        model, _ = self._train(np.ones(len(self._rows), bool), None, rounds)
        model.feature_names = self._request["names"]
        model.feature_types = self._request["types"]
        return model

    def _train(
        self, chosen: np.ndarray, watched: np.ndarray | None, rounds: int
    ) -> tuple[xgboost.Booster, list[float]]:
        # Installed in the other environment only.
        import xgboost_ray  # noqa: PLC0415

        request = self._request
        stopping: dict[str, Any] = {}
        evals = []
        if watched is not None:
            evals.append((self._matrix(watched), "fold"))
            if request["early_stopping"]:
                stopping = {"early_stopping_rounds": request["early_stopping"], "maximize": request["maximise"]}
        history: dict[str, dict[str, list[float]]] = {}
        model = xgboost_ray.train(
            dict(request["params"]),
            self._matrix(chosen),
            rounds,
            evals=evals,
            evals_result=history,
            verbose_eval=False,
            ray_params=xgboost_ray.RayParams(
                num_actors=request["actors"], cpus_per_actor=request["params"]["nthread"], verbose=False
            ),
            **stopping,
        )
        return model, history["fold"][request["metric"]] if evals else []

    def _matrix(self, chosen: np.ndarray) -> Any:
        import xgboost_ray  # noqa: PLC0415

        frame = pd.DataFrame(self._rows[chosen]).add_prefix("f")
        for place, count in self._categories.items():
            codes = self._rows[chosen, place]
            whole = np.where(np.isnan(codes), -1, codes).astype(np.int64)
            frame[f"f{place}"] = pd.Categorical.from_codes(whole, categories=range(count))
        frame[LABEL] = self._narrow["y"][chosen]
        weight = self._narrow["weight"]
        if len(weight):
            frame[WEIGHT] = weight[chosen]
        return xgboost_ray.RayDMatrix(
            frame,
            label=LABEL,
            weight=WEIGHT if len(weight) else None,
            enable_categorical=bool(self._categories),
        )
