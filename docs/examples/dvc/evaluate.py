"""What the model is worth on the test rows, with the intervals that the gates use."""

import json
from pathlib import Path

import numpy as np
import xgboost

from sluiceway.gates.metrics import measure

x, y = np.load("features/test_x.npy"), np.load("features/test_y.npy")
scores = xgboost.Booster(model_file="model.ubj").inplace_predict(x)

measured = [measure(name, y, scores) for name in ("auc_roc", "log_loss")]
document = {one.name: {"value": one.value, "low": one.low, "high": one.high, "rows": one.n} for one in measured}
Path("metrics.json").write_text(json.dumps(document, indent=2) + "\n")
