"""The paper that plots are drawn on: one look, and PNG bytes that depend on the numbers only.

matplotlib's objects are used directly: its ``pyplot`` keeps figures in the state of the whole process.
"""

from __future__ import annotations

import io
import warnings
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

# Okabe and Ito's colours: distinct for colour-blind readers, and in print.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D31", "#555555", "#A6761D", "#B2ABD2")
GREY, LIGHT = "#666666", "#D9D9D9"
_DPI = 120


def canvas(*, width: float = 7.0, height: float = 5.0, title: str) -> tuple[Figure, Any]:
    """A figure with one pair of axes.

    Args:
        width: inches.
        height: inches.
        title: what it shows, and of how many rows.
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    tidy(axes)
    axes.set_title(title, fontsize=11, loc="left")
    return figure, axes


def tidy(axes: Any) -> None:
    """The look of every pair of axes: no box, a light grid behind the data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=LIGHT, linewidth=0.6)
    axes.set_axisbelow(True)


def unit_square(axes: Any) -> None:
    """Limits of two shares, with the same scale for both."""
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_aspect("equal")


def png(figure: Figure) -> bytes:
    """The figure as PNG; the same numbers give the same bytes."""
    out = io.BytesIO()
    with warnings.catch_warnings():
        # matplotlib's own font has no Chinese, Japanese or Korean; a box stands in the label then.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font", category=UserWarning)
        figure.savefig(out, format="png", dpi=_DPI, metadata={"Software": None})
    return out.getvalue()


def short(text: object, longest: int = 32) -> str:
    """A label that fits: long names are cut in the middle, because many differ at their ends.

    Args:
        text: what it names; mathematics of matplotlib's own (``$``) is written as it stands.
        longest: characters.
    """
    label = str(text)
    if len(label) > longest:
        end = longest // 2
        label = f"{label[: longest - end - 1]}…{label[-end:]}"
    return label.replace("$", r"\$")
