"""The figure of the sky: where objects lie, and in how many of the epochs each was observed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from aggrade.errors import BadInput, Problem
from aggrade.figures.style import GREY, new_figure, titled

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.collections import Collection
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

__all__ = ["draw_sky", "in_one_piece", "is_placed"]

_MOST_DOTS = 20_000
_CELLS = 120
_TURN = 360.0


def draw_sky(objects: pd.DataFrame, epochs: int) -> Figure:
    """Draw where objects lie, and in which part of the epochs each was observed.

    Parameters
    ----------
    objects
        What `aggrade.observations.count_observations` counts of objects: ``ra`` and ``dec`` in degrees, ``epochs``.
        Of more than 20,000 the mean of neighbours is drawn.
    epochs
        How many epochs there are.

    Returns
    -------
    matplotlib.figure.Figure
        North is up and east is left. A field across RA 0° is drawn in one piece, its right ascensions then run on
        beyond 360° or below 0°.

    Raises
    ------
    BadInput
        If there are no objects, no positions or no epochs.
    """
    if not epochs or not is_placed(objects):
        found = "no objects with positions" if epochs else "no epochs"
        fix = "populate the store from catalogues that have positions"
        raise BadInput(Problem("light curves", found, "something to draw", fix, "no-sky"))
    ra, dec = in_one_piece(objects["ra"].to_numpy("f8")), objects["dec"].to_numpy("f8")
    part = objects["epochs"].to_numpy("f8") / epochs
    figure, (ax,) = new_figure([4.6])
    _draw(figure, ax, ra, dec, part)
    middle = np.cos(np.radians(np.nanmean(dec)))
    ax.set_aspect(1 / max(middle, 0.05), adjustable="datalim")
    ax.invert_xaxis()
    ax.set_xlabel("right ascension / °", fontsize=8)
    ax.set_ylabel("declination / °", fontsize=8)
    never = int((objects["epochs"] == 0).sum())
    note = f"{never:,} never observed" if never else f"each at least {int(objects['epochs'].min())} times"
    titled(ax, f"{len(objects):,} objects, {epochs:,} epochs", note)
    return figure


def is_placed(objects: pd.DataFrame) -> bool:
    """Tell whether any object has a position.

    Parameters
    ----------
    objects
        As `draw_sky` takes them.
    """
    if not {"ra", "dec"} <= set(objects.columns):
        return False
    return bool((np.isfinite(objects["ra"]) & np.isfinite(objects["dec"])).any())


def in_one_piece(ra: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return right ascensions such that the widest gap between them lies at their ends, in degrees.

    Parameters
    ----------
    ra
        (object,) degrees; NaN stays what it is.

    Returns
    -------
    numpy.ndarray
        The same directions, from above -180° to 540°.
    """
    turned = np.sort(ra[np.isfinite(ra)] % _TURN)
    if not len(turned):
        return ra
    gaps = np.diff(turned, append=turned[0] + _TURN)
    first = turned[(int(np.argmax(gaps)) + 1) % len(turned)]
    along = (ra - first) % _TURN
    return np.asarray(first - _TURN * (first + along[np.isfinite(along)].max() > 1.5 * _TURN) + along)


def _draw(
    figure: Figure,
    ax: Axes,
    ra: NDArray[np.float64],
    dec: NDArray[np.float64],
    part: NDArray[np.float64],
) -> None:
    known = np.isfinite(ra) & np.isfinite(dec)
    look: dict[str, Any] = {"vmin": 0.0, "vmax": 1.0, "cmap": "cividis"}
    if known.sum() > _MOST_DOTS:
        drawn: Collection = ax.hexbin(
            ra[known], dec[known], part[known], gridsize=_CELLS, linewidths=0.2, **look
        )
    else:
        size = float(np.clip(4000 / max(int(known.sum()), 1), 2, 40))
        drawn = ax.scatter(ra[known], dec[known], size, part[known], linewidths=0, **look)
    bar = figure.colorbar(drawn, ax=ax, pad=0.02)
    bar.set_label("part of the epochs in which it was observed", fontsize=8, color=GREY)
    bar.ax.tick_params(labelsize=8, color=GREY)
