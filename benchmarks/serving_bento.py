"""The peer BentoML: its service, which runs in an environment where nothing of this project is installed."""

from __future__ import annotations

import os

import bentoml
import numpy as np
import xgboost


@bentoml.service(workers=int(os.environ["WORKERS"]), traffic={"timeout": 10}, metrics={"enabled": True})
class Late:
    """The model, as BentoML's own example of XGBoost has it."""

    def __init__(self) -> None:
        self.booster = xgboost.Booster({"nthread": 1})
        self.booster.load_model(os.environ["MODEL"])
        self.booster.set_param({"nthread": 1})

    @bentoml.api
    def predict(self, rows: np.ndarray) -> np.ndarray:
        """Score rows."""
        return self.booster.inplace_predict(rows.astype(np.float32))
