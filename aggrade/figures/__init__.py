"""Figures of windows, of their quality and of light curves, drawn without a display."""

from __future__ import annotations

from aggrade.figures.lightcurves import draw_lightcurve
from aggrade.figures.quality import draw_session, draw_store
from aggrade.figures.windows import draw_window

__all__ = ["draw_lightcurve", "draw_session", "draw_store", "draw_window"]
