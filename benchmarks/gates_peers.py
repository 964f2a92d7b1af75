"""The peer of the gates: a plain script on pandas, scikit-learn and fairlearn, one thing after the other.

It takes the numbers that the gates take, on the same rows with the same models, as an engineer would write it down. It
has no interval but those of its bootstrap, and no verdicts.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from fairlearn.metrics import MetricFrame, false_positive_rate, selection_rate, true_positive_rate
from gates_rows import (
    CANDIDATE,
    CHAMPION,
    FAR,
    FAR_FROM,
    FEATURES,
    NUMBERS,
    PROTECTED,
    SEED,
    TARGET,
    TEST,
    TEXTS,
    THRESHOLD,
    TIME,
    TRAIN,
    cpu_seconds,
    read_facts,
    read_job,
    read_rows,
)
from sklearn import metrics
from sklearn.calibration import calibration_curve
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from sluiceway.registry import bundle
from sluiceway.serving.scorer import BundleScorer

NOISE = (0.001, 0.01, 0.1)
MISSING = 0.01
ALONE_ROWS, SMALL_ROWS, TREE_ROWS = 10_000, 50_000, 100_000  # as the gates have them
LONGEST, FEWEST = 600.0, 25  # seconds of drawing, after which the rest is reckoned at what a draw has taken; draws
MOST_CODES = 254  # of a category that scikit-learn's boosting knows
KEY = "__key__"
PARTS = ("score", "performance", "bootstrap", "fairness", "robustness", "data_quality", "leakage", "calibration")


class Script:
    """What the parts of the script have in common.

    Args:
        folder: with the rows and the models.
    """

    def __init__(self, folder: Path) -> None:
        self.job, self.facts = read_job(folder), read_facts(folder)
        self.models = [
            BundleScorer(bundle.read(folder / name), threads=self.job.threads) for name in (CANDIDATE, CHAMPION)
        ]
        self.test, self.train = (read_rows(folder, name).to_pandas() for name in (TEST, TRAIN))
        self.labels = self.test[TARGET].to_numpy()
        self.random = np.random.default_rng(SEED)
        self.scores: list[np.ndarray] = []
        self.values: dict[str, float] = {}
        self.draws: dict[str, float] = {}
        self.ends = {name: (self.test[name].min(), self.test[name].max()) for name in NUMBERS}

    def score(self) -> None:
        """Both models on the test rows."""
        self.scores = [self.scored(model, self.test) for model in self.models]

    def scored(self, model: BundleScorer, rows: pd.DataFrame) -> np.ndarray:
        """A model on rows."""
        return model.score(pa.Table.from_pandas(rows[list(FEATURES)], preserve_index=False))

    def performance(self) -> None:
        """Metrics and curves of both models."""
        for scores, name in zip(self.scores, ("performance", "champion"), strict=True):
            false, true, _ = metrics.roc_curve(self.labels, scores)
            metrics.precision_recall_curve(self.labels, scores)
            decided = scores >= THRESHOLD
            found = {
                "auc_roc": metrics.roc_auc_score(self.labels, scores),
                "average_precision": metrics.average_precision_score(self.labels, scores),
                "ks": (true - false).max(),
                "precision": metrics.precision_score(self.labels, decided),
                "recall": metrics.recall_score(self.labels, decided),
                "f1_score": metrics.f1_score(self.labels, decided),
                "accuracy": metrics.accuracy_score(self.labels, decided),
                "log_loss": metrics.log_loss(self.labels, scores),
                "brier": metrics.brier_score_loss(self.labels, scores),
            }
            self.values |= {f"{name} {metric}": float(value) for metric, value in found.items()}

    def bootstrap(self) -> None:
        """Paired draws: the AUC of both models on the same drawn rows."""
        began, taken = time.perf_counter(), 0
        while taken < self.job.resamples and (taken < FEWEST or time.perf_counter() - began < LONGEST):
            for labels, scores in self._drawn():
                metrics.roc_auc_score(labels, scores)
            taken += 1
        took = time.perf_counter() - began
        self.draws = {"taken": taken, "took": took, "all": took * self.job.resamples / taken}

    def further_draws(self) -> float:
        """Seconds that average precision and KS would take, too, on as many draws; a few are taken."""
        took = 0.0
        for _ in range(FEWEST):
            drawn = self._drawn()
            began = time.perf_counter()
            for labels, scores in drawn:
                metrics.average_precision_score(labels, scores)
                _ks(labels, scores)
            took += time.perf_counter() - began
        return took * self.job.resamples / FEWEST

    def _drawn(self) -> list[tuple[np.ndarray, np.ndarray]]:
        rows = self.random.integers(0, len(self.labels), len(self.labels))
        labels = self.labels[rows]
        return [(labels, scores[rows]) for scores in self.scores]

    def fairness(self) -> None:
        """Groups of each protected column, of both models."""
        rates = {
            "selection rate": selection_rate,
            "true positive rate": true_positive_rate,
            "false positive rate": false_positive_rate,
            "precision": metrics.precision_score,
        }
        for column in PROTECTED:
            for scores in self.scores:
                given = {"y_true": self.labels, "sensitive_features": self.test[column]}
                frame = MetricFrame(metrics={"auc": metrics.roc_auc_score}, y_pred=scores, **given)
                decided = MetricFrame(metrics=rates, y_pred=scores >= THRESHOLD, **given)
                gaps = {**frame.difference().to_dict(), **decided.difference().to_dict()}
                if scores is self.scores[0]:
                    self.values |= {f"fairness {column} {name}": float(value) for name, value in gaps.items()}

    def robustness(self) -> None:
        """All features at once on as many rows as the gate disturbs, each alone on fewer."""
        rows = self.test.sample(min(self.job.disturbed, len(self.test)), random_state=SEED)
        few = rows.iloc[:ALONE_ROWS]
        for size in NOISE:
            self._disturbed(f"noise of {size:g} std", rows, {name: partial(self._noise, size) for name in NUMBERS})
        self._disturbed("missing values", rows, dict.fromkeys(FEATURES, self._missing), both=True)
        alone: list[tuple[str, tuple[str, ...], Callable[[pd.Series], pd.Series]]] = [
            *((f"noise of {size:g} std", NUMBERS, partial(self._noise, size)) for size in NOISE),
            ("missing values", FEATURES, self._missing),
            ("unseen", tuple(TEXTS), lambda column: pd.Series("never seen", index=column.index)),
            ("above", NUMBERS, partial(self._beyond, 1)),
            ("below", NUMBERS, partial(self._beyond, -1)),
            ("unit", NUMBERS, lambda column: column * 1000.0),
        ]
        for kind, names, change in alone:
            for name in names:
                self._disturbed(f"{kind} in {name}", few, {name: change}, both=False)

    def _noise(self, size: float, column: pd.Series) -> pd.Series:
        return column + size * column.std() * self.random.standard_normal(len(column))

    def _beyond(self, side: int, column: pd.Series) -> pd.Series:
        low, high = self.ends[column.name]
        return column * 0.0 + (2 * high - low if side > 0 else 2 * low - high)

    def _missing(self, column: pd.Series) -> pd.Series:
        return column.mask(self.random.random(len(column)) < MISSING)

    def _disturbed(
        self, name: str, rows: pd.DataFrame, changes: dict[str, Callable[..., pd.Series]], *, both: bool = True
    ) -> None:
        changed = rows.assign(**{column: change(rows[column]) for column, change in changes.items()})
        labels = self.labels[rows.index]
        for model, scores in list(zip(self.models, self.scores, strict=True))[: 2 if both else 1]:
            before, after = scores[rows.index], self.scored(model, changed)
            loss = 1 - metrics.roc_auc_score(labels, after) / metrics.roc_auc_score(labels, before)
            flips = ((before >= THRESHOLD) != (after >= THRESHOLD)).mean()
            if model is self.models[0]:
                self.values |= {f"robustness {name}": float(loss), f"robustness {name} flips": float(flips)}

    def data_quality(self) -> None:
        """The training rows by themselves, against the test rows and against the champion's."""
        train, found = self.train, self.values
        found["null share"] = float(train[list(FEATURES)].isna().mean().max())
        found["variance"] = float(train[list(NUMBERS)].var().min())
        found["smallest class"] = float(train[TARGET].value_counts().min())
        found["duplicates"] = float(train[KEY].duplicated().mean())
        found["overlap"] = float(self.test[KEY].isin(train[KEY]).mean())
        found["newest"] = max(frame[TIME].max() for frame in (self.test, train)).timestamp()
        drifts, own = [], []
        for facts in self.facts:
            column = train[facts.name]
            if facts.kind == "numeric":
                edges = np.concatenate([[-np.inf], facts.edges, [np.inf]])
                now, before = np.histogram(column.dropna(), edges)[0], np.array(facts.counts[:-1])
                bins = pd.qcut(column, 20, labels=False, duplicates="drop").fillna(-1)
            else:
                now, bins = column.value_counts(), column
                before = pd.Series(dict(facts.categories)).reindex(now.index).fillna(0)
                now = now.to_numpy()
            drifts.append(_psi(np.asarray(before, dtype=float), now))
            own.append(metrics.roc_auc_score(train[TARGET], train[TARGET].groupby(bins).transform("mean")))
        found["largest drift"], found["largest own auc"] = float(max(drifts)), float(max(own))

    def leakage(self) -> None:
        """Single features, meaningless labels, identifiers, and what it is worth to have seen the time."""
        known = self.train.sample(min(SMALL_ROWS, len(self.train)), random_state=SEED)
        asked = self.test.sample(min(SMALL_ROWS, len(self.test)), random_state=SEED)
        self.values["single feature"] = max(self._alone(name, known) for name in FEATURES)
        for by in ([*FEATURES, TARGET], [KEY]):
            coins = [pd.util.hash_pandas_object(rows[by], index=False) % 2 for rows in (known, asked)]
            forest = ExtraTreesClassifier(10, max_features=1, random_state=0, n_jobs=self.job.threads)
            forest.fit(self._coded(known).fillna(-1), coins[0])
            guessed = forest.predict_proba(self._coded(asked).fillna(-1))[:, 1]
            self.values[f"meaningless labels by {len(by)}"] = float(metrics.roc_auc_score(coins[1], guessed))
        shares = self.train[[*TEXTS, "f12", "f13"]].nunique() / len(self.train)
        follows = known[list(NUMBERS)].corrwith(known[TIME].astype("int64"), method="spearman").abs()
        self.values |= {"distinct": float(shares.max()), "follows the time": float(follows.max())}
        cut = self.train[TIME].quantile(0.7)
        later = self.test[self.test[TIME] >= cut]
        later = later.sample(min(SMALL_ROWS, len(later)), random_state=SEED)
        gains = []
        for pool in (self.train[self.train[TIME] < cut], self.train):
            rows = pool.sample(min(SMALL_ROWS, int(0.8 * len(pool))), random_state=SEED)
            categories = [name in TEXTS for name in FEATURES]
            model = HistGradientBoostingClassifier(
                max_iter=50, early_stopping=False, categorical_features=categories, random_state=0
            )
            model.fit(self._coded(rows), rows[TARGET])
            gains.append(metrics.roc_auc_score(later[TARGET], model.predict_proba(self._coded(later))[:, 1]))
        self.values["time gain"] = float(gains[1] - gains[0])

    def _alone(self, name: str, known: pd.DataFrame) -> float:
        if name in TEXTS:
            shares = known.groupby(name)[TARGET].mean()
            return float(metrics.roc_auc_score(self.labels, self.test[name].map(shares).fillna(known[TARGET].mean())))
        tree = DecisionTreeClassifier(max_leaf_nodes=64, min_samples_leaf=max(5, len(known) // 2000), random_state=0)
        tree.fit(known[[name]], known[TARGET])
        return float(metrics.roc_auc_score(self.labels, tree.predict_proba(self.test[[name]])[:, 1]))

    def _coded(self, rows: pd.DataFrame) -> pd.DataFrame:
        codes = {name: pd.factorize(rows[name], sort=True)[0].astype(float) for name in TEXTS}
        return rows[list(FEATURES)].assign(**{name: np.minimum(code, MOST_CODES) for name, code in codes.items()})

    def calibration(self) -> None:
        """Of the candidate."""
        scores = self.scores[0]
        observed, predicted = calibration_curve(self.labels, scores, n_bins=15, strategy="quantile")
        self.values["calibration error"] = float(np.abs(observed - predicted).mean())
        clipped = np.clip(scores, 1e-7, 1 - 1e-7)
        line = LogisticRegression(C=np.inf).fit(np.log(clipped / (1 - clipped)).reshape(-1, 1), self.labels)
        self.values |= {"slope": float(line.coef_[0, 0]), "intercept": float(line.intercept_[0])}
        metrics.brier_score_loss(self.labels, scores)

    def slices(self) -> None:
        """One that somebody has declared, and those that a small tree finds on some rows, measured on the others."""
        scores, labels = self.scores[0], self.labels
        inside = (self.test[FAR] >= FAR_FROM).to_numpy()
        whole = metrics.roc_auc_score(labels, scores)
        self.values["slices far"] = float(whole - metrics.roc_auc_score(labels[inside], scores[inside]))
        order = self.random.permutation(len(labels))
        half = len(order) // 2
        first, second = order[: min(TREE_ROWS, half)], order[half:]
        loss = -np.where(labels == 1, np.log(scores), np.log1p(-scores))
        tree = DecisionTreeRegressor(max_depth=3, min_samples_leaf=max(250, len(first) // 100))
        tree.fit(self._coded(self.test.iloc[first]), loss[first])
        leaves = tree.apply(self._coded(self.test.iloc[second]))
        for leaf in np.unique(leaves):
            own = second[leaves == leaf]
            metrics.roc_auc_score(labels[own], scores[own])


def plain(folder: Path) -> None:
    """The whole script; reading the rows and loading the models is not counted."""
    script = Script(folder)
    seconds: dict[str, float] = {}
    used = cpu_seconds()
    for part in (*PARTS, "slices"):
        began = time.perf_counter()
        getattr(script, part)()
        seconds[part] = time.perf_counter() - began
    used = cpu_seconds() - used + script.draws["all"] - script.draws["took"]
    seconds["bootstrap"] = script.draws["all"]
    told = {"whole": sum(seconds.values()), "cpu": used, "seconds": seconds, "draws": script.draws}
    print(json.dumps(told | {"further_draws": script.further_draws(), "values": script.values}))


def _ks(labels: np.ndarray, scores: np.ndarray) -> float:
    false, true, _ = metrics.roc_curve(labels, scores)
    return float((true - false).max())


def _psi(before: np.ndarray, now: np.ndarray) -> float:
    before, now = (np.maximum(counts / counts.sum(), 1e-6) for counts in (before, now))
    return float(((now - before) * np.log(now / before)).sum())
