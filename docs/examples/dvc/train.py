"""A booster on the training rows, its rounds chosen on the validation rows; the same features give the same bytes."""

import json
from pathlib import Path

import numpy as np
import xgboost
import yaml

from sluiceway.features.schema import FeatureSchema

params = yaml.safe_load(Path("params.yaml").read_text())["train"]
schema = FeatureSchema.from_dict(json.loads(Path("features/schema.json").read_text()))


def matrix(part: str) -> xgboost.DMatrix:
    """One part's rows with the names and kinds of their columns."""
    x, y = np.load(f"features/{part}_x.npy"), np.load(f"features/{part}_y.npy")
    types = {"feature_names": list(schema.names), "feature_types": schema.xgboost_types}
    return xgboost.DMatrix(x, y, enable_categorical=True, **types)


booster = xgboost.train(
    {"objective": "binary:logistic", "tree_method": "hist", "eval_metric": "auc", "nthread": 2}
    | {name: params[name] for name in ("max_depth", "learning_rate", "seed")},
    matrix("train"),
    params["rounds"],
    evals=[(matrix("validation"), "validation")],
    early_stopping_rounds=15,
    verbose_eval=False,
)
booster[: booster.best_iteration + 1].save_model("model.ubj")
