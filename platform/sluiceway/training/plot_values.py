"""Plots of what every kind of model has, or a regressor alone: learning curves, predicted values, residuals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sluiceway.training.plot_canvas import COLOURS, GREY, LIGHT, canvas, png, short
from sluiceway.training.report import FoldReport

DENSE = 2_000  # more points than this lie on top of each other: their density is drawn
MOST_LABELS = 8


def learning_curves(folds: Sequence[FoldReport], *, metric: str, rounds: int) -> bytes:
    """The watched metric of each fold over the rounds, with their mean and its band, as PNG.

    Args:
        folds: with their histories.
        metric: its name.
        rounds: of the final model.
    """
    sizes = sorted(fold.rows for fold in folds)
    rows = f"{sizes[0]:,}" if sizes[0] == sizes[-1] else f"{sizes[0]:,} to {sizes[-1]:,}"
    title = f"Learning curves: {metric} on rows that a fold has not seen\n{len(folds)} folds of {rows} rows"
    figure, axes = canvas(width=8.0, title=title)
    for fold, colour in zip(folds, COLOURS * 2, strict=False):
        x = np.arange(1, len(fold.history) + 1)
        label = f"fold {fold.fold + 1}, best round {fold.best_iteration + 1}" if len(folds) <= MOST_LABELS else None
        axes.plot(x, fold.history, color=colour, linewidth=1, alpha=0.8, label=label)
        axes.plot(fold.best_iteration + 1, fold.history[fold.best_iteration], marker="o", markersize=4, color=colour)
    together = min(len(fold.history) for fold in folds)
    values = np.array([fold.history[:together] for fold in folds])
    mean, spread = values.mean(axis=0), values.std(axis=0, ddof=1)
    x = np.arange(1, together + 1)
    axes.fill_between(x, mean - spread, mean + spread, color=LIGHT, alpha=0.7, linewidth=0, label="mean ± 1 std")
    axes.plot(x, mean, color="black", linewidth=1.8, label="mean, while all folds run")
    axes.axvline(rounds, color=GREY, linestyle="--", linewidth=1, label=f"final model, {rounds} rounds")
    axes.set_xlabel("boosting round")
    axes.set_ylabel(metric)
    axes.legend(fontsize=8, frameon=False, loc="best")
    return png(figure)


def predicted_actual(labels: np.ndarray, predictions: np.ndarray, *, target: str) -> bytes:
    """Predicted over actual values as PNG; both of shape (n,)."""
    residual = labels - predictions
    rmse, mae = float(np.sqrt(np.mean(residual**2))), float(np.mean(np.abs(residual)))
    spread = float(np.sum((labels - labels.mean()) ** 2))
    fit = f"R² {1 - float(np.sum(residual**2)) / spread:.4f}, " if spread else ""
    told = f"n = {len(labels):,}; {fit}RMSE {rmse:.4g}, MAE {mae:.4g}"
    title = f"Predicted and actual {short(target)}, validation rows\n{told}"
    figure, axes = canvas(width=6.8, height=6.0, title=title)
    _points(figure, axes, labels, predictions)
    low, high = float(min(labels.min(), predictions.min())), float(max(labels.max(), predictions.max()))
    axes.plot([low, high], [low, high], color=COLOURS[1], linestyle="--", linewidth=1.2, label="predicted = actual")
    axes.set_xlabel(f"actual {short(target)}")
    axes.set_ylabel(f"predicted {short(target)}")
    axes.legend(fontsize=8, frameon=False, loc="upper left")
    return png(figure)


def residuals(labels: np.ndarray, predictions: np.ndarray, *, target: str) -> bytes:
    """Actual minus predicted over predicted values as PNG, with medians and the middle 80 % of tenths of the rows."""
    left = labels - predictions
    told = f"n = {len(labels):,}; mean {left.mean():.4g}, std {left.std():.4g}"
    title = f"Residuals of {short(target)}, validation rows\n{told}"
    figure, axes = canvas(width=7.6, title=title)
    _points(figure, axes, predictions, left)
    axes.axhline(0, color=GREY, linewidth=1)
    tenths = [rows for rows in np.array_split(np.argsort(predictions, kind="stable"), 10) if len(rows) >= 10]
    if tenths:
        x = [float(predictions[rows].mean()) for rows in tenths]
        low, middle, high = np.array([np.quantile(left[rows], (0.1, 0.5, 0.9)) for rows in tenths]).T
        reach = np.maximum([middle - low, high - middle], 0)
        axes.errorbar(
            x,
            middle,
            yerr=reach,
            color=COLOURS[1],
            marker="o",
            markersize=4,
            linewidth=2,
            capsize=3,
            label="tenths of the rows: median, middle 80 %",
        )
        axes.legend(fontsize=8, frameon=False, loc="best")
    axes.set_xlabel(f"predicted {short(target)}")
    axes.set_ylabel("actual - predicted")
    return png(figure)


def _points(figure: Any, axes: Any, x: np.ndarray, y: np.ndarray) -> None:
    if len(x) <= DENSE:
        axes.scatter(x, y, s=10, alpha=0.5, color=COLOURS[0], linewidths=0)
        return
    cells = axes.hexbin(x, y, gridsize=40, bins="log", mincnt=1, cmap="viridis_r", linewidths=0)
    figure.colorbar(cells, ax=axes, label="rows a cell", shrink=0.8)
