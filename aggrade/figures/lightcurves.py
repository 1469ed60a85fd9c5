"""The figure of one light curve: measurements by colour, limits as arrows, flagged cells hollow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from aggrade.errors import BadInput, Problem
from aggrade.figures.style import COLOURS, GREY, new_figure, titled
from aggrade.lightcurve_dataset import LightCurveDataset

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

__all__ = ["draw_lightcurve"]

_DETECTED, _LIMIT, _FLAGGED = 1, 2, 3


def _arrow() -> Any:
    """Return a marker: a bar from which an arrow points down."""
    from matplotlib.path import Path

    vertices = [(-0.4, 0), (0.4, 0), (0, 0), (0, -1), (-0.25, -0.65), (0, -1), (0.25, -0.65)]
    move, line = Path.MOVETO, Path.LINETO
    return Path(vertices, [move, line, move, line, move, line, line])


@dataclass(frozen=True)
class _Band:
    """The observed cells of one measurement, (cell,) each."""

    name: str
    unit: str
    colour: str
    time: NDArray[np.float64]
    value: NDArray[np.float64]
    error: NDArray[np.float64]
    status: NDArray[np.uint8]


def _bands(curve: xr.Dataset) -> list[_Band]:
    arrays = LightCurveDataset.of(curve.transpose(..., "measurement", "value", "epoch")).arrays()
    units: Any = (
        np.atleast_1d(curve["measurement_unit"].values) if "measurement_unit" in curve.variables else []
    )
    bands = []
    for index, name in enumerate(curve["measurement"].values):
        seen = arrays["status"][index] > 0
        unit = str(units[index]) if len(units) else str(curve["lightcurves"].attrs.get("units", ""))
        time, value, error = (
            np.asarray(arrays[key][index][seen], "f8") for key in ("time", "value", "error")
        )
        colour, status = COLOURS[index % len(COLOURS)], arrays["status"][index][seen]
        bands.append(_Band(str(name), unit, colour, time, value, error, status))
    return bands


def _draw_band(ax: Axes, band: _Band, x: NDArray[np.float64]) -> None:
    for status, face in ((_DETECTED, band.colour), (_FLAGGED, "white")):
        chosen = np.tile(band.status == status, len(x) // max(len(band.time), 1))
        if chosen.any():
            value, error = (np.resize(array, len(x))[chosen] for array in (band.value, band.error))
            ax.errorbar(
                x[chosen],
                value,
                np.nan_to_num(error),
                fmt="o",
                ms=4.2,
                mfc=face,
                mec=band.colour,
                mew=0.9,
                ecolor=band.colour,
                elinewidth=0.8,
                zorder=3,
            )
    limits = np.tile(band.status == _LIMIT, len(x) // max(len(band.time), 1))
    if limits.any():
        value = np.resize(band.value, len(x))[limits]
        ax.plot(
            x[limits],
            value,
            ls="",
            marker=_arrow(),
            ms=17,
            mec=band.colour,
            mfc="none",
            mew=1.0,
            alpha=0.75,
            zorder=2,
        )


def _fit_values(ax: Axes, bands: Sequence[_Band], *, magnitudes: bool) -> None:
    """Show every value, not every error bar; magnitudes run downwards."""
    values = np.concatenate([band.value for band in bands])
    errors = np.concatenate([band.error[band.status == _DETECTED] for band in bands])
    if np.isfinite(values).any():
        low, high = np.nanmin(values), np.nanmax(values)
        typical = float(np.nanmedian(errors)) if np.isfinite(errors).any() else 0.0
        margin = max(0.08 * (high - low), 1.5 * typical) or 0.1 * abs(high) or 1.0
        below = margin * (2.0 if any((band.status == _LIMIT).any() for band in bands) else 1.0)
        ax.set_ylim((high + below, low - margin) if magnitudes else (low - below, high + margin))
    elif magnitudes:
        ax.invert_yaxis()


def _legend(figure: Figure, bands: Sequence[_Band]) -> None:
    from matplotlib.lines import Line2D

    present = {int(status) for band in bands for status in band.status}
    handles = [
        Line2D([], [], ls="", marker="o", ms=5, color=band.colour, label=band.name)
        for band in bands
        if len(band.time)
    ]
    if _LIMIT in present:
        handles.append(
            Line2D([], [], ls="", marker=_arrow(), ms=14, mec=GREY, mfc="none", label="upper limit")
        )
    if _FLAGGED in present:
        handles.append(Line2D([], [], ls="", marker="o", ms=5, mfc="white", mec=GREY, label="flagged"))
    if handles:
        figure.legend(
            handles=handles, loc="outside right upper", frameon=False, fontsize=8, handletextpad=0.3
        )


def _object_title(curve: xr.Dataset) -> tuple[str, str]:
    name = f"Object {curve['object'].item()}" if "object" in curve.coords else "Light curve"
    if not {"ra", "dec"} <= set(curve.variables) or not np.isfinite(float(curve["ra"])):
        return name, ""
    return name, f"RA {float(curve['ra']):.5f}°, Dec {float(curve['dec']):+.5f}°"


def _panel(ax: Axes, bands: Sequence[_Band], quantity: str, period: float | None, zero: float) -> None:
    for band in bands:
        phase = (band.time - zero) / period % 1 if period else band.time
        _draw_band(ax, band, np.concatenate([phase, phase + 1]) if period else phase)
    _fit_values(ax, bands, magnitudes=quantity == "mag")
    unit = bands[0].unit
    ax.set_ylabel(
        {"mag": "magnitude", "flux": "flux"}.get(quantity, quantity) + (f" / {unit}" if unit else ""),
        fontsize=9,
    )
    if period:
        ax.set_xlim(0, 2)
        ax.set_xlabel(f"phase (period {period:.8g} d, zero at MJD {zero:.8g})", fontsize=8)


def draw_lightcurve(dataset: xr.Dataset, *, period: float | None = None) -> Figure:
    """Draw the light curve of one object, every measurement in its colour.

    Detections are dots with error bars, flagged ones hollow, upper limits arrows. Magnitudes are drawn brightest
    on top. Measurements in different units get panels of their own.

    Parameters
    ----------
    dataset
        What `LightCurves.lightcurve` returns: ``lightcurves`` (measurement, value, epoch), ``status`` (measurement,
        epoch) and so on.
    period
        In days: a second panel shows two cycles of the curve folded with it.

    Returns
    -------
    matplotlib.figure.Figure
        To be saved by the caller.

    Raises
    ------
    BadInput
        If there is more than one object, or the period is not above 0.
    """
    if dataset.sizes.get("object", 1) != 1:
        found = f"{dataset.sizes['object']} of them along object"
        raise BadInput(Problem("light curve", found, "one", "choose one with .isel(object=…)", "one-object"))
    if period is not None and not 0 < period < np.inf:
        raise BadInput(Problem("period", repr(period), "days above 0", "give the period in days", "period"))
    curve = dataset.isel(object=0) if "object" in dataset.dims else dataset
    curve = curve.expand_dims([dim for dim in ("measurement", "epoch") if dim not in curve.dims]).load()
    bands = _bands(curve)
    units = list(dict.fromkeys(band.unit for band in bands))
    periods = [None, period] if period else [None]
    quantity = str(curve["lightcurves"].attrs.get("value", curve["value"].values[0]))
    zero = float(np.floor(min((band.time.min() for band in bands if len(band.time)), default=0.0)))
    figure, axes = new_figure([3.4 if len(units) == 1 and not period else 2.4] * (len(units) * len(periods)))
    panels = [(unit, each) for each in periods for unit in units]
    for ax, (unit, each) in zip(axes, panels, strict=True):
        _panel(ax, [band for band in bands if band.unit == unit], quantity, each, zero)
        if each is None:
            ax.ticklabel_format(axis="x", useOffset=False, style="plain")
            ax.set_xlabel(_time_label(curve), fontsize=8)
    titled(axes[0], *_object_title(curve))
    _legend(figure, bands)
    return figure


def _time_label(curve: xr.Dataset) -> str:
    attributes = curve["epoch_time"].attrs
    scale = str(attributes.get("time_scale", "")).upper()
    reference = str(attributes.get("time_ref", ""))
    about = ", ".join(part for part in (scale, reference if reference != "topocentric" else "") if part)
    return f"MJD ({about})" if about else "MJD"
