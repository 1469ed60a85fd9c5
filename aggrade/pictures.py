"""Pictures of what lies in a store: quality, one window, one light curve, the sky. PNG, drawn without a display.

Each picture carries a mark of what it shows, so whoever keeps it can tell whether it is still current. A character that
no font of this machine has is drawn as a box.
"""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING

from aggrade.figures import draw_lightcurve, draw_session, draw_sky, draw_store, draw_window

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    import xarray as xr
    from matplotlib.figure import Figure

__all__ = [
    "draw_lightcurve",
    "draw_session",
    "draw_sky",
    "draw_store",
    "draw_window",
    "light_curve_picture",
    "picture_mark",
    "session_picture",
    "sky_picture",
    "store_picture",
    "window_picture",
]

_MARK = "Source"


def _png(figure: Figure, mark: str) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph .* missing from font", UserWarning)
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


def window_picture(
    dataset: xr.Dataset, session: str | int | None = None, window: int | None = None, *, mark: str = ""
) -> bytes:
    """Draw one window: the traces of each modality, one above the other, gaps where samples are missing.

    Parameters
    ----------
    dataset, session, window
        As `draw_window` takes them.
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
    return _png(draw_window(dataset, session, window), mark)


def store_picture(dataset: xr.Dataset | Mapping[str, xr.Dataset], *, mark: str = "") -> bytes:
    """Draw the quality of every window of every session.

    Parameters
    ----------
    dataset
        As `draw_store` takes it.
    mark
        What the picture shall say it was drawn from; see `picture_mark`.

    Returns
    -------
    bytes
        A PNG file.

    Raises
    ------
    BadInput
        If there is no number to draw.
    """
    return _png(draw_store(dataset), mark)


def session_picture(dataset: xr.Dataset, session: str | int | None = None, *, mark: str = "") -> bytes:
    """Draw the quality of every window of one session.

    Parameters
    ----------
    dataset, session
        As `draw_session` takes them.
    mark
        What the picture shall say it was drawn from; see `picture_mark`.

    Returns
    -------
    bytes
        A PNG file.

    Raises
    ------
    BadInput
        If the session is not there, or there is no number to draw.
    """
    return _png(draw_session(dataset, session), mark)


def sky_picture(objects: pd.DataFrame, epochs: int, *, mark: str = "") -> bytes:
    """Draw where objects lie, and in which part of the epochs each was observed.

    Parameters
    ----------
    objects, epochs
        As `draw_sky` takes them.
    mark
        What the picture shall say it was drawn from; see `picture_mark`.

    Returns
    -------
    bytes
        A PNG file.

    Raises
    ------
    BadInput
        If there are no objects, no positions or no epochs.
    """
    return _png(draw_sky(objects, epochs), mark)


def light_curve_picture(curve: xr.Dataset, *, period: float | None = None, mark: str = "") -> bytes:
    """Draw the light curve of one object: every measurement, with errors, flags and upper limits told apart.

    Parameters
    ----------
    curve, period
        As `draw_lightcurve` takes them.
    mark
        What the picture shall say it was drawn from; see `picture_mark`.

    Returns
    -------
    bytes
        A PNG file.

    Raises
    ------
    BadInput
        If there is more than one object, or the period is not above 0.
    """
    return _png(draw_lightcurve(curve, period=period), mark)
