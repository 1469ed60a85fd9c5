"""Figures of one window and of one light curve, drawn without a display."""

from __future__ import annotations

from aggrade.figures.lightcurves import draw_lightcurve
from aggrade.figures.windows import draw_window

__all__ = ["draw_lightcurve", "draw_window"]
