"""Small, real training reports of every kind of model, made with XGBoost alone."""

from __future__ import annotations

import numpy as np
import xgboost

from sluiceway.features.schema import Feature, FeatureSchema
from sluiceway.training.report import FoldReport, ScoredRows, TrainReport

SCHEMA = FeatureSchema(
    (
        Feature("distance", "numeric"),
        Feature("dep_delay", "numeric"),
        Feature("carrier", "category", ("AA", "B6", "UA")),
        Feature("price_$", "numeric"),
    )
)
KINDS = {
    "binary": ("binary:logistic", "auc", ("on time", "late")),
    "multiclass": ("multi:softprob", "mlogloss", ("early", "on time", "late")),
    "regression": ("reg:squarederror", "rmse", ()),
}


def rows(n: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Encoded rows, shape (n, 4) float32 with missing values, and a noisy signal, shape (n,)."""
    random = np.random.default_rng(seed)
    x = np.column_stack(
        [random.gamma(4, 200, n), random.normal(10, 20, n), random.integers(0, 3, n), random.random(n)]
    ).astype(np.float32)
    signal = x[:, 0] / 400 + x[:, 1] / 15 + (x[:, 2] == 1) * 1.5 + random.normal(size=n)
    x[random.random(n) < 0.05, 0] = np.nan
    return x, signal


def a_report(kind: str, *, n: int = 1600, folds: int = 3, rounds: int = 20, depth: int = 4) -> TrainReport:
    """A report of a run on ``n`` rows, a quarter of them validation rows."""
    objective, metric, classes = KINDS[kind]
    x, signal = rows(n, seed=1)
    edges = {"binary": [4.0], "multiclass": [2.0, 4.0]}.get(kind)
    y = (signal if edges is None else np.digitize(signal, edges)).astype(np.float32)
    params = {"objective": objective, "eval_metric": metric, "max_depth": depth, "nthread": 1, "eta": 0.1}
    params |= {"num_class": 3} if kind == "multiclass" else {}
    train, held = slice(n // 4, None), slice(n // 4)
    of_fold = np.arange(n - n // 4) % folds
    reports = []
    for fold in range(folds):
        own = of_fold == fold
        history: dict = {}
        booster = xgboost.train(
            params,
            matrix(x[train][~own], y[train][~own]),
            rounds,
            evals=[(matrix(x[train][own], y[train][own]), "fold")],
            evals_result=history,
            callbacks=[xgboost.callback.EarlyStopping(rounds=8)],
            verbose_eval=False,
        )
        values = tuple(history["fold"][metric])
        best = booster.best_iteration
        reports.append(FoldReport(fold, best, len(values), values[best], int(own.sum()), 0.1, values))
    final = int(np.median([report.best_iteration + 1 for report in reports]))
    model = xgboost.train(params, matrix(x[train], y[train]), final)
    scores = model.predict(matrix(x[held]))
    return TrainReport(
        model=bytes(model.save_raw("ubj")),
        schema=SCHEMA,
        kind=kind,
        classes=classes,
        rounds=final,
        folds=tuple(reports),
        metric_name=metric,
        validation=ScoredRows(y[held], scores, x[held][:1000]),
        oof_uri="",
        rows={"train": n - n // 4, "validation": n // 4},
        seconds={"total": 1.0},
        engine="task",
        why="made here",
    )


def matrix(x: np.ndarray, y: np.ndarray | None = None) -> xgboost.DMatrix:
    """Rows as XGBoost takes them."""
    return xgboost.DMatrix(x, y, feature_names=list(SCHEMA.names), feature_types=SCHEMA.xgboost_types)
