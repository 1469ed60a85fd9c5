"""Figures of windows, of their quality, of light curves and of the sky, drawn without a display."""

from __future__ import annotations

from aggrade.figures.lightcurves import draw_lightcurve
from aggrade.figures.quality import draw_session, draw_store
from aggrade.figures.sky import draw_sky
from aggrade.figures.windows import draw_window

__all__ = ["draw_lightcurve", "draw_session", "draw_sky", "draw_store", "draw_window"]
