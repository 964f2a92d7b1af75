"""Plots of a classifier's scores: ROC, precision and recall, calibration, confusion."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sluiceway.gates.report.curves import curves, roc_curve
from sluiceway.gates.statistics.auc import auc
from sluiceway.training.plot_canvas import COLOURS, GREY, canvas, png, short, tidy, unit_square

MOST_CLASSES = 8  # one-vs-rest curves in one picture, of the most frequent ones
MOST_CELLS = 20  # classes of a confusion matrix with labels
MOST_POINTS = 2_000


@dataclass(frozen=True)
class OneVsRest:
    """One curve: the rows of a class against all others.

    Attributes:
        name: of the class.
        labels: shape (n,), bool.
        scores: shape (n,): probability of that class.
    """

    name: str
    labels: np.ndarray
    scores: np.ndarray

    @property
    def positives(self) -> int:
        """Rows of the class."""
        return int(self.labels.sum())


def one_vs_rest(labels: np.ndarray, scores: np.ndarray, classes: Sequence[Any]) -> list[OneVsRest]:
    """The curves that can be drawn: of classes that some rows have and some have not; the most frequent first.

    Args:
        labels: shape (n,): places among the classes.
        scores: shape (n,) of a binary classifier, which gives one curve; else shape (n, classes).
        classes: their names.
    """
    if scores.ndim == 1:
        found = [OneVsRest(str(classes[1] if len(classes) == 2 else 1), labels > 0, scores)]
    else:
        found = [OneVsRest(str(name), labels == place, scores[:, place]) for place, name in enumerate(classes)]
        found.sort(key=lambda one: -one.positives)
    return [one for one in found if 0 < one.positives < len(labels)][:MOST_CLASSES]


def roc(curve: Sequence[OneVsRest], *, target: str) -> bytes:
    """ROC curves as PNG."""
    figure, axes = canvas(width=6.4, height=6.0, title=f"ROC of {short(target)}, validation rows\n{_size(curve)}")
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--", label="no skill, AUC 0.5")
    for one, colour in zip(curve, COLOURS, strict=False):
        x, y = roc_curve(one.labels, one.scores).T
        area = auc(one.labels.astype(np.float64), one.scores.astype(np.float64))
        axes.plot(x, y, color=colour, linewidth=1.8, label=f"{_name(one, curve)}AUC {area:.4f}")
    return _curves(figure, axes, "false positive rate", "true positive rate", place="lower right")


def precision_recall(curve: Sequence[OneVsRest], *, target: str) -> bytes:
    """Precision over recall as PNG, with each class's share of the rows: what a guess has for precision."""
    title = f"Precision and recall of {short(target)}, validation rows\n{_size(curve)}"
    figure, axes = canvas(width=6.4, height=6.0, title=title)
    for one, colour in zip(curve, COLOURS, strict=False):
        recall, precision = precision_recall_points(one.labels, one.scores)
        average = float(np.sum(np.diff(recall, prepend=0.0) * precision))
        kept = _thinned(len(recall))
        axes.step(
            recall[kept],
            precision[kept],
            where="pre",
            color=colour,
            linewidth=1.8,
            label=(f"{_name(one, curve)}average precision {average:.4f}"),
        )
        axes.axhline(one.positives / len(one.labels), color=colour, linewidth=1, linestyle="--", alpha=0.6)
    axes.plot([], [], color=GREY, linewidth=1, linestyle="--", label="no skill: share of the rows")
    return _curves(figure, axes, "recall", "precision", place="best")


def precision_recall_points(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Recall (rising) and precision at every cut between two different scores.

    Args:
        labels: shape (n,), bool, with at least one True.
        scores: shape (n,).
    """
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    hits = np.cumsum(labels[order])[ends]
    return hits / hits[-1], hits / (ends + 1)


def calibration(curve: Sequence[OneVsRest], *, target: str) -> bytes:
    """Observed shares over predicted ones as PNG, and how many rows have which score; rare events fill the picture."""
    title = f"Calibration of {short(target)}, validation rows\n{_size(curve)}; tenths, 95 % intervals"
    figure, axes = canvas(width=6.8, height=7.2, title=title)
    below = figure.add_subplot()
    grid = figure.add_gridspec(2, 1, height_ratios=(4, 1))
    axes.set_subplotspec(grid[0])
    below.set_subplotspec(grid[1])
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--", label="perfect")
    largest = 0.0
    style: dict[str, Any] = {"marker": "o", "markersize": 4, "linewidth": 1.2, "elinewidth": 1, "capsize": 2}
    for one, colour in zip(curve, COLOURS, strict=False):
        bins = curves(one.labels, one.scores).calibration
        x, y = [b.predicted for b in bins], [b.observed for b in bins]
        reach = np.maximum([[b.observed - b.low for b in bins], [b.high - b.observed for b in bins]], 0)
        axes.errorbar(x, y, yerr=reach, color=colour, label=f"{_name(one, curve)}observed", **style)
        below.hist(one.scores, bins=50, range=(0, 1), color=colour, histtype="step", linewidth=1.2)
        largest = max(largest, *x, *(b.high for b in bins))
    limit = 1.02 if largest > 0.5 else 1.05 * largest
    axes.set_xlim(-0.02 * limit, limit)
    axes.set_ylim(-0.02 * limit, limit)
    axes.set_xlabel("predicted probability, mean of a tenth")
    axes.set_ylabel("observed share")
    axes.legend(fontsize=8, frameon=False, loc="upper left")
    tidy(below)
    below.set_xlim(-0.02, 1.02)
    below.set_yscale("symlog", linthresh=10)
    below.set_xlabel("predicted probability")
    below.set_ylabel("rows")
    return png(figure)


def confusion(labels: np.ndarray, scores: np.ndarray, classes: Sequence[Any], *, target: str) -> bytes:
    """Classes as they are and as they are predicted, as PNG; colours are shares of a row, numbers are rows.

    Args:
        labels: shape (n,): places among the classes.
        scores: shape (n, classes).
        classes: their names.
        target: for the title.
    """
    n = len(classes)
    cells = np.zeros((n, n), dtype=np.int64)
    np.add.at(cells, (labels.astype(np.int64), scores.argmax(axis=1)), 1)
    shares = cells / np.maximum(cells.sum(axis=1, keepdims=True), 1)
    right = np.trace(cells) / len(labels)
    side = min(10.0, 4.5 + 0.35 * n)
    title = f"Confusion of {short(target)}, validation rows\nn = {len(labels):,}; {right:.1%} right"
    figure, axes = canvas(width=side + 0.8, height=side, title=title)
    axes.grid(visible=False)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    if n <= MOST_CELLS:
        names = [short(name, 16) for name in classes]
        axes.set_xticks(range(n), names, rotation=45, ha="right", fontsize=8)
        axes.set_yticks(range(n), names, fontsize=8)
        for row, column in _cells(n):
            shade = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, f"{cells[row, column]:,}", ha="center", va="center", fontsize=7, color=shade)
    return png(figure)


def _cells(n: int) -> Iterator[tuple[int, int]]:
    return ((row, column) for row in range(n) for column in range(n))


def _size(curve: Sequence[OneVsRest]) -> str:
    n = len(curve[0].labels)
    if len(curve) == 1:
        return f"n = {n:,}; {curve[0].positives:,} of them {short(curve[0].name)}"
    return f"n = {n:,}; each class against all others"


def _name(one: OneVsRest, curve: Sequence[OneVsRest]) -> str:
    return f"{short(one.name, 20)} ({one.positives:,}): " if len(curve) > 1 else ""


def _thinned(n: int) -> np.ndarray:
    return np.unique(np.linspace(0, n - 1, min(n, MOST_POINTS)).round().astype(int))


def _curves(figure: Any, axes: Any, x: str, y: str, *, place: str) -> bytes:
    unit_square(axes)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.legend(fontsize=8, frameon=False, loc=place)
    return png(figure)
