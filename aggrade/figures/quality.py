"""Figures of quality: all windows of a store, session by session, and all windows of a session, channel by channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from aggrade.errors import BadInput, Problem
from aggrade.figures.style import COLOURS, GREY, new_figure, number, titled
from aggrade.figures.windows import choose

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

__all__ = ["draw_session", "draw_store"]

_MOST_ROWS, _MOST_COLUMNS, _MOST_NAMES = 400, 800, 14
_MOST_BYTES = 64 << 20
_LABEL = "label"


@dataclass(frozen=True)
class _Quantity:
    """What a panel shows: its colours run from `low` to `high`, None: to what there is; the end `bad` is the worse."""

    name: str
    title: str
    low: float | None = None
    high: float | None = None
    bad: str = "high"
    is_log: bool = False

    @property
    def worst(self) -> Any:
        """The function that keeps the worse of two numbers."""
        return np.fmin if self.bad == "low" else np.fmax

    @property
    def colours(self) -> str:
        """Name of the colour map; dark is worse."""
        return "cividis" if self.bad == "low" else "cividis_r"


_QUANTITIES = (
    _Quantity("eeg_coverage", "EEG coverage", 0, 1, "low"),
    _Quantity("fnirs_coverage", "fNIRS coverage", 0, 1, "low"),
    _Quantity("bad_fraction", "annotated as bad", 0, 1),
    _Quantity("eeg_flat", "EEG flat", 0, 1),
    _Quantity("eeg_rail", "EEG on the rail", 0, 1),
    _Quantity("eeg_line_noise", "EEG line noise", 1, None, is_log=True),
    _Quantity("eeg_peak_to_peak", "EEG peak to peak", is_log=True),
    _Quantity("fnirs_flat", "fNIRS flat", 0, 1),
    _Quantity("fnirs_rail", "fNIRS on the rail", 0, 1),
    _Quantity("fnirs_scalp_coupling", "fNIRS scalp coupling", 0, 1, "low"),
    _Quantity("fnirs_peak_to_peak", "fNIRS peak to peak", is_log=True),
)


def draw_store(dataset: xr.Dataset | Mapping[str, xr.Dataset]) -> Figure:
    """Draw the quality of every window of every session, a panel for each number that the store has.

    Parameters
    ----------
    dataset
        What `open_windows` or `aggrade.opening.open_stores` returns; stores need not fit together. Numbers per channel
        are drawn as their mean over channels; those of more than 64 MB are left out, which the figure says. Where
        sessions or windows are more than can be told apart, the worst of neighbours is drawn.

    Returns
    -------
    matplotlib.figure.Figure
        Sessions from top to bottom, windows from left to right, white where a session has none.

    Raises
    ------
    BadInput
        If there is no number to draw.
    """
    parts = [dataset] if isinstance(dataset, xr.Dataset) else list(dataset.values())
    sessions = [str(name) for part in parts for name in np.atleast_1d(part["session"].values)]
    there = [each for each in _QUANTITIES if any(each.name in part.variables for part in parts)]
    shown = [each for each in there if _bytes_of(parts, each.name) <= _MOST_BYTES]
    if not shown or not sessions:
        expected, fix = "coverage or other quality of windows", "choose a store that aggrade ingest made"
        raise BadInput(Problem("dataset", "nothing to draw", expected, fix, "no-quality"))
    height = min(3.0, max(0.5, 0.14 * len(sessions)))
    figure, axes = new_figure([height + 0.3] * len(shown))
    own = _stacked([_own_windows(part).astype(np.float64) for part in parts]) == 1
    for ax, quantity in zip(axes, shown, strict=True):
        values = _stacked([_per_window(part, quantity) for part in parts])
        _draw_map(ax, np.where(own, values, np.nan), quantity, sessions)
    axes[-1].set_xlabel("window", fontsize=8)
    left_out = [each.title for each in there if each not in shown]
    note = f"too large to draw: {', '.join(left_out)}" if left_out else ""
    first = axes[0].get_title(loc="left")
    titled(axes[0], f"{len(sessions)} sessions, {int(own.sum())} windows: {first}", note)
    return figure


def _bytes_of(parts: Sequence[xr.Dataset], name: str) -> int:
    return sum(part.variables[name].nbytes for part in parts if name in part.variables)


def _stacked(parts: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Put rows of windows below each other, (session, window); NaN where one has fewer windows."""
    whole = np.full((sum(len(part) for part in parts), max(part.shape[1] for part in parts)), np.nan)
    first = 0
    for part in parts:
        whole[first : first + len(part), : part.shape[1]] = part
        first += len(part)
    return whole


def draw_session(dataset: xr.Dataset, session: str | int | None = None) -> Figure:
    """Draw the quality of every window of one session: coverage and labels, and each channel below.

    Parameters
    ----------
    dataset
        What `open_windows` returns.
    session
        The session's id or index; not needed where there is only one.

    Returns
    -------
    matplotlib.figure.Figure
        Windows from left to right, by their indices.

    Raises
    ------
    BadInput
        If the session is not said or not there, or there is no number to draw.
    """
    whole = choose(dataset, "session", session)
    windows = int(_own_windows(whole.expand_dims("session")).sum())
    own = whole.isel(window=slice(0, windows))
    shown = [each for each in _QUANTITIES if each.name in own.variables and _is_told(own, each.name)]
    if not shown:
        expected, fix = "coverage or other quality of windows", "choose a session that aggrade ingest made"
        raise BadInput(Problem("session", "nothing to draw", expected, fix, "no-quality"))
    labelled = _LABEL in own.variables
    rows = [np.atleast_2d(_values(own, each.name).T) for each in shown]
    heights = [0.3 + min(2.4, max(0.35, 0.12 * len(values))) for values in rows]
    figure, axes = new_figure([0.6] * labelled + heights)
    if labelled:
        _draw_labels(axes[0], own)
    for ax, quantity, values in zip(axes[labelled:], shown, rows, strict=True):
        _draw_map(ax, values, quantity, _channels(own, quantity.name))
    axes[-1].set_xlabel("window", fontsize=8)
    first = axes[0].get_title(loc="left")
    titled(axes[0], f"{_title(own)}: {first}", axes[0].get_title(loc="right"))
    return figure


def _title(own: xr.Dataset) -> str:
    name = f"Session {own['session'].item()}" if "session" in own.coords else "Session"
    windows = f"{own.sizes['window']} windows"
    if "window_start" not in own.variables:
        return f"{name}, {windows}"
    starts = own["window_start"].values
    return f"{name}, {windows} from {number(float(starts[0]))} to {number(float(starts[-1]))} s"


def _own_windows(dataset: xr.Dataset) -> NDArray[np.bool_]:
    """Return which windows are a session's own, (session, window)."""
    indices = np.arange(dataset.sizes["window"])
    if "n_windows" in dataset.variables:
        return np.asarray(indices < np.atleast_1d(dataset["n_windows"].values)[:, None])
    return np.ones((dataset.sizes["session"], len(indices)), bool)


def _values(dataset: xr.Dataset, name: str) -> NDArray[np.float64]:
    return np.asarray(dataset[name].values, np.float64)


def _is_told(dataset: xr.Dataset, name: str) -> bool:
    return bool(np.isfinite(_values(dataset, name)).any())


def _per_window(dataset: xr.Dataset, quantity: _Quantity) -> NDArray[np.float64]:
    """Return (session, window), the mean over channels that have a number; NaN where the store has none."""
    if quantity.name not in dataset.variables:
        return np.full((dataset.sizes["session"], dataset.sizes["window"]), np.nan)
    values = _values(dataset, quantity.name)
    if values.ndim == 2:
        return values
    told = np.isfinite(values)
    count = told.sum(axis=2)
    total = np.where(told, values, 0).sum(axis=2)
    return np.asarray(np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0))


def _channels(dataset: xr.Dataset, name: str) -> list[str]:
    dims = dataset[name].dims
    return [str(label) for label in dataset[dims[-1]].values] if dims[-1] in dataset.coords else []


def _thinned(values: NDArray[np.float64], quantity: _Quantity) -> NDArray[np.float64]:
    """Return at most as many rows and columns as can be told apart, each the worst of those that it stands for."""
    for axis, most in ((0, _MOST_ROWS), (1, _MOST_COLUMNS)):
        each = -(-values.shape[axis] // most)
        if each > 1:
            values = quantity.worst.reduceat(values, np.arange(0, values.shape[axis], each), axis=axis)
    return values


def _draw_map(ax: Axes, values: NDArray[np.float64], quantity: _Quantity, names: list[str]) -> None:
    """Draw rows of windows as colours, with the names of the rows where there is room."""
    from matplotlib.colors import LogNorm, Normalize

    told = values[np.isfinite(values) & ((values > 0) | (not quantity.is_log))]
    low = quantity.low if quantity.low is not None else float(told.min(initial=np.inf))
    high = quantity.high if quantity.high is not None else float(told.max(initial=-np.inf))
    if not low < high < np.inf:
        low, high = (1.0, 10.0) if quantity.is_log else (0.0, 1.0)
    norm = (LogNorm if quantity.is_log else Normalize)(low, high, clip=True)
    rows, columns = values.shape
    extent = (-0.5, columns - 0.5, rows - 0.5, -0.5)
    image = ax.imshow(
        _thinned(values, quantity),
        aspect="auto",
        interpolation="nearest",
        extent=extent,
        cmap=quantity.colours,
        norm=norm,
    )
    bar = ax.figure.colorbar(image, ax=ax, pad=0.01, fraction=0.03)
    bar.ax.tick_params(labelsize=7, color=GREY)
    every = -(-len(names) // _MOST_NAMES) if names else 1
    ax.set_yticks(range(0, len(names), every), names[::every])
    if not names:
        ax.set_yticks([])
    ax.tick_params(axis="y", length=0)
    titled(ax, quantity.title)


def _draw_labels(ax: Axes, own: xr.Dataset) -> None:
    """Draw each label as a row of its own, with a mark for each window that has it."""
    labels = np.asarray(own[_LABEL].values)
    mapping = own[_LABEL].attrs.get("mapping") or own.attrs.get("mapping") or {}
    known = sorted(set(labels[labels >= 0].tolist()))
    names = {value: name for name, value in mapping.items()}
    for height, label in enumerate(known):
        at = np.flatnonzero(labels == label)
        colour = COLOURS[height % len(COLOURS)]
        ax.vlines(at, height - 0.4, height + 0.4, color=colour, lw=1.5)
    ax.set_xlim(-0.5, len(labels) - 0.5)
    ax.set_ylim(max(len(known), 1) - 0.5, -0.5)
    ax.set_yticks(range(len(known)), [str(names.get(label, label)) for label in known])
    ax.tick_params(axis="y", length=0)
    titled(ax, "labels", "" if known else "none")
