"""What all figures share: size, colours, fonts, titles. Figures are made without matplotlib's global state."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["COLOURS", "GREY", "fonts", "new_figure", "nice", "number", "titled"]

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
GREY = "#5c6670"
_WIDTH = 8.0
_FONT = "DejaVu Sans"
_EASTERN = (
    "Noto Sans CJK",
    "Source Han Sans",
    "WenQuanYi",
    "Droid Sans Fallback",
    "Hiragino Sans",
    "PingFang",
    "Microsoft YaHei",
    "Malgun Gothic",
    "Yu Gothic",
    "IPA",
    "Arial Unicode MS",
)


def fonts(installed: Collection[str]) -> list[str]:
    """Return the fonts for text, the first that has a glyph draws it: matplotlib's own, and a Chinese or Japanese one.

    Parameters
    ----------
    installed
        Names of the fonts of this machine.
    """
    found = (name for start in _EASTERN for name in sorted(installed) if name.startswith(start))
    return [_FONT, *list(found)[:1]]


@cache
def _fonts() -> list[str]:
    from matplotlib.font_manager import fontManager

    return fonts({font.name for font in fontManager.ttflist})


def new_figure(heights: Sequence[float]) -> tuple[Figure, list[Axes]]:
    """Return a figure with one panel below the other, of these heights in inches."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, sum(heights) + 0.6), dpi=100, layout="constrained")
    axes = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.spines[["left", "bottom"]].set_color(GREY)
        ax.tick_params(color=GREY, labelsize=8, labelfontfamily=_fonts())
    return figure, list(axes)


def titled(ax: Axes, text: str, note: str = "") -> None:
    """Set a panel's title on the left and a remark on the right."""
    ax.set_title(text, loc="left", fontsize=10, fontweight="bold", fontfamily=_fonts())
    ax.set_title(note, loc="right", fontsize=8, color=GREY, fontfamily=_fonts())


def nice(value: float) -> float:
    """Return the largest of 1, 2 and 5 times a power of ten that is not above `value`."""
    power = 10.0 ** np.floor(np.log10(value))
    return float(max(step * power for step in (1, 2, 5) if step * power <= value * (1 + 1e-9)))


def number(value: float) -> str:
    """Return a number as people write it, to six digits."""
    return f"{value:.6g}"
