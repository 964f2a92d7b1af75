"""Fits a calibrator to the validation rows: a rising table from raw scores to chances."""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy.optimize import isotonic_regression
from scipy.special import expit, logit

from sluiceway.core.calibrator import Calibrator
from sluiceway.core.errors import DataError
from sluiceway.gates.statistics.reliability import logistic_line

MOST_POINTS = 200
# Neighbours of one cell are averaged before the isotonic regression, or the single row with the highest score would
# decide what the highest score means.
CELL_ROWS = 20
MOST_CELLS = 2_000
CLOSE_ENOUGH = 2e-5  # the table is not made finer than this
DIGITS = 10  # significant ones of the table: last bits that differ between machines do not make another bundle
# Logits of the scores that a sigmoid is written down for. XGBoost's 32-bit probabilities end at 1 - 2^-24, which is
# 16.6, but go on far below 2^-24 on the other side.
LOWEST_LOGIT, HIGHEST_LOGIT, GRID = -40.0, 17.0, 20_001


def fit_calibrator(labels: np.ndarray, scores: np.ndarray, method: Literal["isotonic", "sigmoid"]) -> Calibrator:
    """Fit a calibrator of at most 200 points.

    ``isotonic``: the rising step function with the least squared error (scipy's pool adjacent violators, over averages
    of about 20 neighbouring rows), as straight lines between the centres of its steps so that different scores mostly
    stay different; points are left out where the lines between the others come within 0.00002 of them, or as near as
    200 points can. Its ends keep off 0 and 1 by half a row: no score is certain.

    ``sigmoid``: ``expit(a + b logit(score))`` with Platt's smoothed targets (J. Platt, "Probabilistic Outputs for
    Support Vector Machines", Advances in Large Margin Classifiers, 1999), written down to 0.0001.

    A model whose scores fall where chances rise gets a constant: the share of positives.

    Args:
        labels: shape (n,), 0 or 1.
        scores: shape (n,), raw scores, 0 to 1.
        method: which of the two.

    Raises:
        DataError: there are rows of one class only, or none.
    """
    hits = (np.asarray(labels) > 0).astype(np.float64)
    raw = np.asarray(scores, dtype=np.float64)
    positives = int(hits.sum())
    if positives in (0, len(hits)):
        raise DataError(
            f"the {len(hits)} validation rows hold {positives} positive ones; a calibrator cannot be fitted",
            hint="give data.split.validation a larger share, or set evaluation.calibration.calibrator: none",
        )
    x, y = _isotonic(hits, raw) if method == "isotonic" else _sigmoid(hits, raw)
    return _table(*_thinned(x, y))


def _isotonic(hits: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centre and value of each step, both strictly rising."""
    order = np.argsort(scores, kind="stable")
    scores, hits = scores[order], hits[order]
    n = len(scores)
    cells = max(1, min(MOST_CELLS, n // CELL_ROWS))
    firsts = scores[np.arange(cells) * n // cells]
    starts = np.unique(np.searchsorted(scores, firsts, side="left"))  # a cell never parts equal scores
    rows = np.diff(np.append(starts, n)).astype(np.float64)
    fitted = isotonic_regression(np.add.reduceat(hits, starts) / rows, weights=rows)
    steps = fitted.blocks[:-1]
    of_step = np.add.reduceat(rows, steps)
    centres = np.add.reduceat(np.add.reduceat(scores, starts), steps) / of_step
    values = np.asarray(fitted.x, dtype=np.float64)[steps]
    slack = 0.5 / (of_step + 1)
    lowest, highest = slack[0], 1 - slack[-1]
    if len(values) > 1:
        lowest, highest = min(lowest, values[1]), max(highest, values[-2])
    values[0], values[-1] = max(values[0], lowest), min(values[-1], highest)
    return centres, np.maximum.accumulate(values)


def _sigmoid(hits: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores and chances, closest where the curve bends most."""
    positives = float(hits.sum())
    negatives = len(hits) - positives
    targets = np.where(hits > 0, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    line = logistic_line(np.clip(_logits(scores), LOWEST_LOGIT, HIGHEST_LOGIT), targets)
    grid = np.linspace(LOWEST_LOGIT, HIGHEST_LOGIT, GRID)
    if line is None or line.slope <= 0:
        return expit(grid[[0, -1]]), np.full(2, float(targets.mean()))
    return _bends(expit(grid), expit(line.intercept + line.slope * grid))


def _logits(scores: np.ndarray) -> np.ndarray:
    return np.asarray(logit(np.clip(scores, 0.0, 1.0)), dtype=np.float64)


def _bends(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points of a smooth curve between which straight lines are all about as far from it.

    A line over a stretch of length h is off by h^2 / 8 times the second derivative: points belong at equal steps of the
    integral of its root (C. de Boor, "A Practical Guide to Splines", chapter III).
    """
    steps = np.diff(x)
    bent = np.sqrt(np.abs(np.diff(np.diff(y) / steps)) * (steps[1:] + steps[:-1]) / 2)
    reached = np.concatenate([[0.0], np.cumsum(bent)])
    chosen = np.searchsorted(reached, np.linspace(0.0, reached[-1], MOST_POINTS - 1)[1:-1])
    kept = np.unique(np.concatenate([[0], chosen, [len(x) - 1]]))
    return x[kept], y[kept]


def _thinned(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The points that matter: beginning with the ends, always the one that the lines are furthest from."""
    kept = np.zeros(len(x), dtype=bool)
    kept[[0, -1]] = True
    while kept.sum() < MOST_POINTS:
        apart = np.abs(np.interp(x, x[kept], y[kept]) - y)
        furthest = int(apart.argmax())
        if apart[furthest] <= CLOSE_ENOUGH:
            break
        kept[furthest] = True
    return x[kept], y[kept]


def _table(x: np.ndarray, y: np.ndarray) -> Calibrator:
    """Rounded, and still rising."""
    x, y = _rounded(x), np.maximum.accumulate(np.clip(_rounded(y), 0.0, 1.0))
    rising = np.append(True, np.diff(x) > 0)
    return Calibrator(x[rising].tolist(), y[rising].tolist())


def _rounded(values: np.ndarray) -> np.ndarray:
    return np.array([float(f"{value:.{DIGITS}g}") for value in values.tolist()])
