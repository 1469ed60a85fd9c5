"""The figure of one window: traces of each modality, and the coverage of its session."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from aggrade.errors import BadInput, Problem
from aggrade.figures.style import COLOURS, GREY, new_figure, nice, number, titled

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

__all__ = ["choose", "draw_window"]

_MOST_CHANNELS = 16
_FEW_SAMPLES = 60
_MODALITIES = {"eeg": "EEG", "fnirs": "fNIRS"}
_PREFIXES = ((1.0, ""), (1e3, "m"), (1e6, "µ"), (1e9, "n"))
_PREFIXED = ("V", "M", "mol/L", "A", "T")


@dataclass(frozen=True)
class _Traces:
    """One modality of one window: t (sample,) s, x (channel, sample) in `unit`, offsets removed."""

    modality: str
    t: NDArray[np.float64]
    x: NDArray[np.float64]
    names: list[str]
    unit: str
    axis: str
    left_out: int

    @property
    def span(self) -> tuple[float, float]:
        """Begin and end of the window on the axis."""
        step = self.t[1] - self.t[0] if len(self.t) > 1 else 1.0
        return round(float(self.t[0]), 6), round(float(self.t[-1] + step), 6)


def _common_unit(window: xr.Dataset, modality: str) -> str:
    name = f"{modality}_channel_unit"
    units = {str(unit) for unit in np.atleast_1d(window[name].values)} if name in window.variables else set()
    return units.pop() if len(units) == 1 else ""


def _seconds(window: xr.Dataset, modality: str, count: int) -> tuple[NDArray[np.float64], str]:
    """Return the time of each slot since the session's start, or its number where the dataset does not say."""
    length = window.attrs.get(f"{modality}_window_s")
    rate = window.attrs.get(f"{modality}_nominal_rate")
    step = length / count if length else 1 / rate if rate else None
    if step is None:
        return np.arange(count, dtype="f8"), "sample"
    start = float(window["window_start"]) if "window_start" in window.variables else 0.0
    return start + float(window.attrs.get(f"{modality}_offset_s", 0)) + step * np.arange(
        count
    ), "s since the session's start"


def _traces(window: xr.Dataset, modality: str) -> _Traces:
    channel = f"{modality}_channel"
    values = window[modality].transpose(channel, f"{modality}_sample")
    names = values[channel].values if channel in values.coords else np.arange(values.sizes[channel])
    x = np.asarray(values.values[:_MOST_CHANNELS], "f8")
    middles = np.array([np.median(row[np.isfinite(row)]) if np.isfinite(row).any() else 0.0 for row in x])
    x, unit = x - middles[:, None], _common_unit(window, modality)
    size = float(np.quantile(np.abs(x[np.isfinite(x)]), 0.98)) if np.isfinite(x).any() else 0.0
    if unit in _PREFIXED and size > 0:
        factor, prefix = next((pair for pair in _PREFIXES if size * pair[0] >= 1), _PREFIXES[-1])
        x, unit = x * factor, prefix + unit
    t, axis = _seconds(window, modality, x.shape[1])
    return _Traces(
        modality, t, x, [str(name) for name in names[:_MOST_CHANNELS]], unit, axis, len(names) - len(x)
    )


def _draw_traces(ax: Axes, traces: _Traces, colour: str) -> None:
    seen = np.isfinite(traces.x)
    size = float(np.quantile(np.abs(traces.x[seen]), 0.98)) if seen.any() else 0.0
    spacing = 2.4 * size or 1.0
    heights = spacing * np.arange(len(traces.x))[::-1]
    dots: dict[str, Any] = {"marker": "o", "ms": 2.2} if traces.x.shape[1] <= _FEW_SAMPLES else {}
    ax.plot(traces.t, (traces.x + heights[:, None]).T, color=colour, lw=1.0, solid_joinstyle="round", **dots)
    _shade_missing(ax, traces.t, ~seen.any(axis=0))
    ax.set_yticks(heights, traces.names)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set_ylim(-0.75 * spacing, heights[0] + 0.75 * spacing if len(heights) else spacing)
    ax.set_xlim(*traces.span)
    if size > 0:
        _scale_bar(ax, nice(spacing), traces.unit)


def _scale_bar(ax: Axes, length: float, unit: str) -> None:
    low = ax.get_ylim()[0]
    middle = low + (ax.get_ylim()[1] - low) / 2
    transform = ax.get_yaxis_transform()
    ends = [middle - length / 2, middle + length / 2]
    ax.plot(
        [1.012, 1.012], ends, transform=transform, color="black", lw=1.6, clip_on=False, solid_capstyle="butt"
    )
    label = f"{number(length)} {unit}".strip()
    ax.text(1.022, middle, label, transform=transform, rotation=90, va="center", ha="left", fontsize=8)


def _shade_missing(ax: Axes, t: NDArray[np.float64], missing: NDArray[np.bool_]) -> None:
    """Shade the slots in which no channel has a sample."""
    step = t[1] - t[0] if len(t) > 1 else 1.0
    edges = np.flatnonzero(np.diff(np.concatenate([[False], missing, [False]]).astype(int)))
    for first, last in edges.reshape(-1, 2):
        ax.axvspan(t[first], t[last - 1] + step, color=GREY, alpha=0.12, lw=0, zorder=0)
        ax.text(
            (t[first] + t[last - 1] + step) / 2,
            0.5,
            "missing",
            transform=ax.get_xaxis_transform(),
            rotation=90,
            ha="center",
            va="center",
            fontsize=7,
            color=GREY,
            clip_on=True,
        )


def _draw_coverage(ax: Axes, session: xr.Dataset, shown: float) -> None:
    """Draw the part of the expected samples of every window of a session, and mark the window that is shown."""
    starts = np.asarray(session["window_start"].values, "f8")
    present = np.isfinite(starts)
    rows = [name for name in _MODALITIES if f"{name}_coverage" in session.variables]
    length = float(session.attrs.get("window_size_s", 0)) or float(np.diff(starts[present]).min(initial=1.0))
    for height, modality in zip(reversed(range(len(rows))), rows, strict=True):
        coverage = np.nan_to_num(np.asarray(session[f"{modality}_coverage"].values, "f8"))[present]
        edges, top = (
            np.append(starts[present], starts[present][-1] + length),
            np.append(coverage, coverage[-1]),
        )
        colour = COLOURS[list(_MODALITIES).index(modality)]
        ax.fill_between(edges, height, height + 0.8 * top, step="post", color=colour, alpha=0.75, lw=0)
        ax.axhline(height, color=GREY, lw=0.6)
    ax.axvspan(shown, shown + length, fc="none", ec="black", lw=1.2, zorder=3)
    ax.set_ylim(-0.1, len(rows))
    ax.set_yticks(
        [height + 0.4 for height in reversed(range(len(rows)))], [_MODALITIES[name] for name in rows]
    )
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.margins(x=0)
    ax.set_ylabel("coverage", fontsize=9)


def _label_of(window: xr.Dataset) -> str:
    if "label" not in window.variables or int(window["label"]) < 0:
        return ""
    mapping = window["label"].attrs.get("mapping") or window.attrs.get("mapping") or {}
    names = [name for name, value in mapping.items() if value == int(window["label"])]
    return f"label {int(window['label'])}" + (f" ({', '.join(names)})" if names else "")


def choose(dataset: xr.Dataset, dim: str, wanted: str | int | None) -> xr.Dataset:
    """Return the part of a dataset at one label or index along a dimension, which it may lack.

    Parameters
    ----------
    dataset
        Any.
    dim
        The dimension.
    wanted
        Label or index; None where there is only one.

    Raises
    ------
    BadInput
        If there are several and none is named, or none such.
    """
    if dim not in dataset.dims:
        return dataset
    size = dataset.sizes[dim]
    if wanted is None and size == 1:
        return dataset.isel({dim: 0})
    if wanted is None:
        found = f"{size} of them along {dim}"
        raise BadInput(Problem("window", found, "one", f"choose one with .isel({dim}=…)", f"one-{dim}"))
    if isinstance(wanted, str) and dim in dataset.indexes and wanted in dataset.indexes[dim]:
        return dataset.sel({dim: wanted})
    if isinstance(wanted, (int, np.integer)) and -size <= wanted < size:
        return dataset.isel({dim: int(wanted)})
    expected = f"a label along {dim} or an index below {size}"
    raise BadInput(
        Problem(dim, repr(wanted), expected, f"see dataset.indexes or .sizes[{dim!r}]", f"unknown-{dim}")
    )


def draw_window(dataset: xr.Dataset, session: str | int | None = None, window: int | None = None) -> Figure:
    """Draw one window: EEG and fNIRS traces stacked by channel, and the coverage of the whole session.

    Parameters
    ----------
    dataset
        What `open_windows` returns, or one window of it: ``eeg`` (eeg_channel, eeg_sample), ``fnirs``
        (fnirs_channel, fnirs_sample) or both. At most 16 channels of each are drawn, each about its median.
    session
        The session's id or index; not needed where there is only one.
    window
        The window's index; not needed where there is only one.

    Returns
    -------
    matplotlib.figure.Figure
        To be saved by the caller. Slots without a sample are shaded. Coverage is drawn if the dataset has the
        session's other windows.

    Raises
    ------
    BadInput
        If the session or window is not said or not there, or has neither EEG nor fNIRS.
    """
    whole = choose(dataset, "session", session)
    one = choose(whole, "window", window).load()
    modalities = [name for name in _MODALITIES if name in one.variables]
    if not modalities:
        raise BadInput(Problem("window", "no samples", "eeg or fnirs", "choose a window", "no-samples"))
    traces = [_traces(one, modality) for modality in modalities]
    strip = "window" in whole.dims and whole.sizes["window"] > 1 and "window_start" in whole.variables
    figure, axes = new_figure([0.7 + 0.2 * max(len(each.x), 4) for each in traces] + [1.0] * strip)
    for ax, each in zip(axes, traces, strict=False):
        _draw_traces(ax, each, COLOURS[list(_MODALITIES).index(each.modality)])
        more = f" (first {len(each.x)} of {len(each.x) + each.left_out} channels)" if each.left_out else ""
        ax.set_ylabel(_MODALITIES[each.modality] + more, fontsize=9)
        if each is traces[-1] or traces[0].axis != traces[-1].axis or traces[0].span != traces[-1].span:
            ax.set_xlabel(each.axis, fontsize=8)
    if strip:
        _draw_coverage(axes[-1], whole, float(one["window_start"]))
        axes[-1].set_xlabel("s since the session's start", fontsize=8)
    titled(axes[0], _window_title(one), _label_of(one))
    return figure


def _window_title(window: xr.Dataset) -> str:
    parts = [f"Session {window['session'].item()}" if "session" in window.coords else "Window"]
    if "window_start" in window.variables:
        parts.append(f"window from {number(float(window['window_start']))} s")
    return ", ".join(parts)
