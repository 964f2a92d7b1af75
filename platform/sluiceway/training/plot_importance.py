"""Plots of what a model looks at: gain of its splits, and SHAP values of validation rows."""

from __future__ import annotations

import numpy as np
import xgboost

from sluiceway.features.schema import FeatureSchema
from sluiceway.training.plot_canvas import COLOURS, GREY, canvas, png, short

MOST_FEATURES = 20
SHAP_WORK = 2e9  # rows x leaves x squared depth: 1.5 s on 2 cores


def importance_gain(booster: xgboost.Booster, schema: FeatureSchema) -> bytes:
    """Mean gain of the splits by feature as PNG, with the number of splits; the largest first.

    Args:
        booster: the model.
        schema: names its features.
    """
    gains, splits = (_by_feature(booster, schema, kind) for kind in ("gain", "weight"))
    ranked = sorted(gains, key=lambda name: -gains[name])[:MOST_FEATURES]
    title = f"Importance by gain: {_shown(len(ranked), len(schema.names))}\n{int(sum(splits.values())):,} splits"
    figure, axes = canvas(width=8.0, height=1.4 + 0.3 * max(len(ranked), 4), title=title)
    places = np.arange(len(ranked))[::-1]
    bars = axes.barh(places, [gains[name] for name in ranked], color=COLOURS[0], height=0.7)
    axes.bar_label(bars, [f"{int(splits[name]):,} splits" for name in ranked], padding=3, fontsize=8, color=GREY)
    axes.set_yticks(places, [short(name) for name in ranked], fontsize=9)
    axes.grid(axis="y", visible=False)
    axes.margins(x=0.15)
    axes.set_xlabel("mean gain of a split (fall of the loss)")
    return png(figure)


def importance_shap(
    booster: xgboost.Booster, schema: FeatureSchema, sample: np.ndarray, *, classes: tuple[str, ...]
) -> bytes:
    """SHAP values of validation rows as PNG: a point a row and feature; of several classes the mean sizes, stacked.

    Args:
        booster: the model.
        schema: names its features.
        sample: shape (m, k), float32: encoded rows; fewer are taken where the trees are many and deep.
        classes: names of the classes of a multiclass model, else empty.
    """
    sample = sample[: shap_rows(booster, len(sample))]
    data = xgboost.DMatrix(sample, feature_names=booster.feature_names, feature_types=schema.xgboost_types)
    values = booster.predict(data, pred_contribs=True, validate_features=False)[..., :-1]  # the last one is the bias
    return _shap_stacked(values, schema, classes) if values.ndim == 3 else _shap_points(values, sample, schema)


def shap_rows(booster: xgboost.Booster, most: int) -> int:
    """How many rows can be explained within a few seconds.

    Args:
        booster: the model.
        most: rows there are.
    """
    trees = booster.get_dump(dump_format="text")
    depths = [max(line.count("\t") for line in tree.splitlines()) for tree in trees]
    work = sum(tree.count("leaf=") * (depth + 1) ** 2 for tree, depth in zip(trees, depths, strict=True))
    return max(1, min(most, int(SHAP_WORK / max(work, 1))))


def _shap_points(values: np.ndarray, sample: np.ndarray, schema: FeatureSchema) -> bytes:
    size = np.abs(values).mean(axis=0)
    ranked = np.argsort(-size, kind="stable")[:MOST_FEATURES]
    title = f"SHAP values: {_shown(len(ranked), len(size))}\n{len(values):,} validation rows"
    figure, axes = canvas(width=8.0, height=1.6 + 0.38 * max(len(ranked), 4), title=title)
    for place, feature in zip(np.arange(len(ranked))[::-1], ranked, strict=True):
        shade = _ranks(sample[:, feature])
        missing = np.isnan(shade)
        height = place + 0.38 * _spread(values[:, feature])
        axes.scatter(values[missing, feature], height[missing], s=6, color="#BBBBBB", linewidths=0)
        points = axes.scatter(
            values[~missing, feature],
            height[~missing],
            c=shade[~missing],
            cmap="coolwarm",
            s=6,
            vmin=0,
            vmax=1,
            linewidths=0,
        )
    axes.axvline(0, color=GREY, linewidth=1)
    names = [f"{short(schema.names[f])}  {size[f]:.3g}" for f in ranked]
    axes.set_yticks(np.arange(len(ranked))[::-1], names, fontsize=9)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("contribution to the raw score of a row; beside the name: mean size")
    bar = figure.colorbar(points, ax=axes, ticks=[0, 1], shrink=0.8, label="value (grey: missing)")
    bar.ax.set_yticklabels(["low", "high"])
    return png(figure)


def _shap_stacked(values: np.ndarray, schema: FeatureSchema, classes: tuple[str, ...]) -> bytes:
    size = np.abs(values).mean(axis=0)  # class, feature
    ranked = np.argsort(-size.sum(axis=0), kind="stable")[:MOST_FEATURES]
    title = f"SHAP values: {_shown(len(ranked), size.shape[1])}\n{len(values):,} validation rows"
    figure, axes = canvas(width=8.0, height=1.6 + 0.34 * max(len(ranked), 4), title=title)
    places, start = np.arange(len(ranked))[::-1], np.zeros(len(ranked))
    shown = np.argsort(-size.sum(axis=1), kind="stable")
    named = len(COLOURS) - 1 if len(shown) > len(COLOURS) else len(shown)
    for number, label in enumerate(shown[:named]):
        axes.barh(
            places, size[label, ranked], left=start, height=0.7, color=COLOURS[number], label=short(classes[label], 20)
        )
        start = start + size[label, ranked]
    rest = size[shown[named:]].sum(axis=0)[ranked]
    if rest.any():
        axes.barh(places, rest, left=start, height=0.7, color=COLOURS[-1], label=f"{len(shown) - named} other classes")
    axes.set_yticks(places, [short(schema.names[f]) for f in ranked], fontsize=9)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("mean size of the contribution to a class's raw score, summed over the classes")
    axes.legend(fontsize=8, frameon=False, loc="lower right")
    return png(figure)


def _by_feature(booster: xgboost.Booster, schema: FeatureSchema, kind: str) -> dict[str, float]:
    """Scores by the schema's names; XGBoost calls features f0, f1 ... where it has no names."""
    found = booster.get_score(importance_type=kind)
    if booster.feature_names is not None:
        return {name: float(value) for name, value in found.items()}
    return {schema.names[int(name[1:])]: float(value) for name, value in found.items()}


def _ranks(column: np.ndarray) -> np.ndarray:
    """Ranks from 0 to 1, so that one far value does not make all others one colour; missing stays missing."""
    known = column[~np.isnan(column)]
    ranks = np.searchsorted(np.sort(known), column, side="left") / max(len(known) - 1, 1)
    return np.where(np.isnan(column), np.nan, np.clip(ranks, 0, 1))


def _spread(values: np.ndarray) -> np.ndarray:
    """Heights from -1 to 1 that lay rows of about the same value beside each other, the more the wider."""
    if not np.ptp(values):
        return np.linspace(-1, 1, len(values))
    cells = np.minimum((values - values.min()) / np.ptp(values) * 60, 59).astype(int)
    counts = np.bincount(cells, minlength=60)
    order = np.argsort(cells, kind="stable")
    turn = np.empty(len(values), dtype=int)
    turn[order] = np.arange(len(values)) - np.repeat(np.cumsum(counts) - counts, counts)
    side = np.where(turn % 2 == 0, 1, -1) * ((turn + 1) // 2)
    heights: np.ndarray = 2 * side / counts.max()
    return heights


def _shown(shown: int, of: int) -> str:
    return f"{shown} features" if shown == of else f"{shown} of {of} features"
