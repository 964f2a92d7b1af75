"""Models as people log them with MLflow and XGBoost alone; run as a program, without this package.

    python plain_mlflow.py FOLDER

makes ``FOLDER/mlflow.db`` with models of several kinds, and prints their addresses, rows, and what their own
``predict`` says of the rows.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

CARRIERS = ("UA", "AA", "B6")  # in no order, as a table has them


def logged(folder: Path) -> dict[str, Any]:
    """Run this program in a process of its own; gives what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", __file__, str(folder)],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1", "HOME": str(folder), "GIT_PYTHON_REFRESH": "quiet"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main(folder: Path) -> None:
    """Log everything."""
    import mlflow  # noqa: PLC0415 (whoever only calls `logged` needs none of these)
    import numpy as np  # noqa: PLC0415
    import pandas as pd  # noqa: PLC0415
    import xgboost  # noqa: PLC0415
    from mlflow.models import infer_signature  # noqa: PLC0415
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415

    assert "sluiceway" not in sys.modules
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = mlflow.create_experiment("elsewhere", artifact_location=(folder / "elsewhere").as_uri())
    random = np.random.default_rng(3)
    frame = pd.DataFrame(
        {
            "delay": random.normal(10, 20, 600).round(1),
            "distance": random.integers(100, 3000, 600),
            "carrier": pd.Categorical(random.choice(CARRIERS, 600)),
        }
    )
    chance = 1 / (1 + np.exp(-(frame.delay - 10) / 10 - (frame.carrier == "AA")))
    late = (random.random(600) < chance).astype(int)
    frame.loc[::9, "delay"] = np.nan
    numbers = frame[["delay", "distance"]].astype(float)
    minutes = 3 * numbers.delay.fillna(0) + numbers.distance / 1000
    grades = np.digitize(numbers.delay.fillna(0), [0, 20])

    def log(model: Any, signature: Any, *, name: str | None = None, how: Any = mlflow.xgboost, **options: Any) -> str:
        with mlflow.start_run(experiment_id=experiment) as run:
            how.log_model(
                model, name="model", signature=signature, registered_model_name=name, pip_requirements=[], **options
            )
        return f"runs:/{run.info.run_id}/model"

    params = {"max_depth": 3, "nthread": 1}
    estimator = xgboost.XGBClassifier(
        n_estimators=60, max_depth=3, learning_rate=0.5, enable_categorical=True, n_jobs=1, early_stopping_rounds=3
    )
    estimator.fit(frame[:400], late[:400], eval_set=[(frame[400:], late[400:])], verbose=False)
    bare = xgboost.train({**params, "objective": "reg:squarederror"}, xgboost.DMatrix(numbers, minutes), 8)
    several = xgboost.train(
        {**params, "objective": "multi:softprob", "num_class": 3}, xgboost.DMatrix(numbers, grades), 5
    )
    logistic = LogisticRegression().fit(numbers.fillna(0), late)
    runs = {
        "estimator": log(estimator, infer_signature(frame, late.to_numpy()), name="plain_late"),
        "bare": log(bare, infer_signature(numbers, minutes)),
        "several": log(several, infer_signature(numbers, several.predict(xgboost.DMatrix(numbers)))),
        "unsigned": log(bare, None),
        "pickled": log(logistic, None, how=mlflow.sklearn, serialization_format="pickle"),
    }
    client = mlflow.MlflowClient()
    client.set_registered_model_alias("plain_late", "live", "1")
    rows = frame[:50]
    told = {
        **runs,
        "rounds": estimator.best_iteration + 1,
        "all_rounds": estimator.get_booster().num_boosted_rounds(),
        "rows": json.loads(rows.to_json(orient="records")),
        "late": estimator.predict_proba(rows)[:, 1].astype(float).tolist(),
        "minutes": bare.predict(xgboost.DMatrix(numbers[:50])).astype(float).tolist(),
        "grades": several.predict(xgboost.DMatrix(numbers[:50])).astype(float).tolist(),
    }
    print(json.dumps(told))  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]))
