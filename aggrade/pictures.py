"""Pictures of what lies in a store: one window, one light curve. PNG, drawn without a display.

Each picture carries a mark of what it shows, so whoever keeps it can tell whether it is still current.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from aggrade.errors import BadInput, Problem

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

__all__ = ["light_curve_picture", "picture_mark", "window_picture"]

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_GREY = "#667077"
_MOST_CHANNELS = 8
_SECONDS_PER_DAY = 86400.0
_DETECTED, _LIMIT, _FLAGGED = 1, 2, 3
_MARK = "Source"


def _figure(rows: int, height: float) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, height), dpi=100, layout="constrained")
    axes = figure.subplots(rows, 1, squeeze=False)[:, 0]
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(colors=_GREY)
    return figure, list(axes)


def _png(figure: Figure, mark: str) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={_MARK: mark, "Software": None})
    return buffer.getvalue()


def picture_mark(png: bytes) -> str | None:
    """Return the mark that a picture was drawn with, or None if it bears none or is no whole picture.

    Parameters
    ----------
    png
        The bytes of a PNG file.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(png)) as image:
            image.load()
            mark: str | None = image.info.get(_MARK)
    except (UnidentifiedImageError, OSError):
        return None
    return mark


def _one_of(dataset: xr.Dataset, dims: tuple[str, ...], what: str) -> xr.Dataset:
    """Drop dimensions of length 1; refuse longer ones."""
    for dim in dims:
        if dataset.sizes.get(dim, 1) != 1:
            found = f"{dataset.sizes[dim]} of them along {dim}"
            raise BadInput(Problem(what, found, "one", f"choose one with .isel({dim}=…)", f"one-{dim}"))
    return dataset.isel(dict.fromkeys(dataset.sizes.keys() & set(dims), 0)).compute()


def window_picture(window: xr.Dataset, *, mark: str = "") -> bytes:
    """Draw one window: the traces of each modality, one above the other, gaps where samples are missing.

    Parameters
    ----------
    window
        One window of one session of what `open_windows` returns: ``eeg`` (eeg_channel, eeg_sample), ``fnirs``
        (fnirs_channel, fnirs_sample) or both. At most eight channels of each are drawn.
    mark
        What the picture shall say it was drawn from; see `picture_mark`.

    Returns
    -------
    bytes
        A PNG file.

    Raises
    ------
    BadInput
        If there is more than one window, or neither EEG nor fNIRS.
    """
    window = _one_of(window, ("session", "window"), "window")
    modalities = [name for name in ("eeg", "fnirs") if name in window]
    if not modalities:
        raise BadInput(Problem("window", "no samples", "eeg or fnirs", "choose a window", "no-samples"))
    figure, axes = _figure(len(modalities), 0.6 + 2.2 * len(modalities))
    for ax, modality, colour in zip(axes, modalities, _COLOURS, strict=False):
        _draw_traces(ax, window, modality, colour)
    axes[0].set_title(_window_title(window), loc="left")
    return _png(figure, mark)


def _draw_traces(ax: Axes, window: xr.Dataset, modality: str, colour: str) -> None:
    channel, sample = f"{modality}_channel", f"{modality}_sample"
    traces = window[modality].transpose(channel, sample).isel({channel: slice(_MOST_CHANNELS)})
    values = np.asarray(traces.values, dtype=np.float64)
    seen = np.isfinite(values)
    middles = np.array(
        [np.median(row[ok]) if ok.any() else 0.0 for row, ok in zip(values, seen, strict=True)]
    )
    centred = values - middles[:, None]
    spacing = 2.5 * float(np.quantile(np.abs(centred[seen]), 0.98)) if seen.any() else 0.0
    heights = (spacing or 1.0) * np.arange(len(values))[::-1]
    ax.plot(_seconds(window, modality), (centred + heights[:, None]).T, color=colour, lw=0.9)
    names = traces[channel].values if channel in traces.coords else np.arange(len(values))
    ax.set_yticks(heights, [str(name) for name in names], fontsize="small")
    ax.set_xlabel(
        "s from the window's start" if f"{modality}_window_s" in window.attrs else "sample", color=_GREY
    )
    ax.set_ylabel(
        f"{modality}, lines {spacing:.3g} {_unit(window, modality)} apart", color=_GREY, fontsize="small"
    )
    ax.margins(x=0.0)


def _seconds(window: xr.Dataset, modality: str) -> NDArray[np.float64]:
    """Return the time of each sample from the window's start, s; its number where the length is not known."""
    samples = window.sizes[f"{modality}_sample"]
    length = float(window.attrs.get(f"{modality}_window_s", samples))
    offset = float(window.attrs.get(f"{modality}_offset_s", 0.0))
    return np.linspace(offset, offset + length, samples, endpoint=False, dtype=np.float64)


def _unit(window: xr.Dataset, modality: str) -> str:
    name = f"{modality}_channel_unit"
    different = sorted({str(unit) for unit in np.atleast_1d(window[name].values)}) if name in window else []
    return different[0] if len(different) == 1 else "(units differ)" if different else ""


def _window_title(window: xr.Dataset) -> str:
    parts = [f"session {window['session'].item()}" if "session" in window else "window"]
    if "window_start" in window:
        parts.append(f"window from {float(window['window_start']):.3f} s")
    if "label" in window and int(window["label"]) >= 0:
        label = int(window["label"])
        names = [name for name, number in window.attrs.get("mapping", {}).items() if number == label]
        parts.append(", ".join(names) or f"label {label}")
    return ", ".join(parts)


def _times(curve: xr.Dataset, measurement: int) -> NDArray[np.float64]:
    times = np.asarray(curve["epoch_time"].values, dtype=np.float64)
    if "time_offset" in curve:
        offset = curve["time_offset"].transpose("measurement", "epoch").values[measurement]
        times = times + np.nan_to_num(offset) / _SECONDS_PER_DAY
    return times


def _draw_measurement(ax: Axes, curve: xr.Dataset, index: int) -> None:
    values, errors = curve["lightcurves"].transpose("measurement", "value", "epoch").values[index]
    status = curve["status"].transpose("measurement", "epoch").values[index]
    times, colour = _times(curve, index), _COLOURS[index % len(_COLOURS)]
    name = str(curve["measurement"].values[index])
    for kind, face, label in ((_DETECTED, colour, name), (_FLAGGED, "white", f"{name}, flagged")):
        if (chosen := status == kind).any():
            bars = np.nan_to_num(errors[chosen])
            ax.errorbar(
                times[chosen],
                values[chosen],
                bars,
                fmt="o",
                ms=4.5,
                mfc=face,
                color=colour,
                elinewidth=0.8,
                label=label,
            )
    if (limits := status == _LIMIT).any():
        ax.plot(
            times[limits], values[limits], "v", color=colour, mfc="none", alpha=0.6, label=f"{name}, limit"
        )


def _label_times(ax: Axes, curve: xr.Dataset) -> None:
    scale = str(curve["epoch_time"].attrs.get("time_scale", "")).upper()
    ax.set_xlabel(f"MJD ({scale})" if scale else "MJD", color=_GREY)


def light_curve_picture(curve: xr.Dataset, *, mark: str = "") -> bytes:
    """Draw the light curve of one object: every measurement, with errors, flags and upper limits told apart.

    Parameters
    ----------
    curve
        What `LightCurves.lightcurve` returns: ``lightcurves`` (measurement, value, epoch), ``status``
        (measurement, epoch), ``epoch_time`` (epoch) in days, and ``time_offset`` (measurement, epoch) in
        seconds where there is one. Magnitudes are drawn brightest on top.
    mark
        What the picture shall say it was drawn from; see `picture_mark`.

    Returns
    -------
    bytes
        A PNG file.

    Raises
    ------
    BadInput
        If there is more than one object.
    """
    curve = _one_of(curve, ("object",), "light curve")
    figure, (ax,) = _figure(1, 4.0)
    magnitudes = str(curve["lightcurves"].attrs.get("value", curve["value"].values[0])) == "mag"
    for index in range(curve.sizes["measurement"]):
        _draw_measurement(ax, curve, index)
    _label_times(ax, curve)
    ax.set_ylabel(_value_label(curve), color=_GREY)
    ax.set_title(f"object {curve['object'].item()}", loc="left")
    if magnitudes:
        ax.invert_yaxis()
    if ax.get_legend_handles_labels()[1]:
        figure.legend(loc="outside right upper", frameon=False, fontsize="small")
    return _png(figure, mark)


def _value_label(curve: xr.Dataset) -> str:
    units = sorted({str(unit) for unit in np.atleast_1d(curve["measurement_unit"].values)} - {""})
    name = str(curve["value"].values[0])
    return f"{name} [{', '.join(units)}]" if units and units != [name] else name
