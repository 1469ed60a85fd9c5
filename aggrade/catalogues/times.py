"""Times as catalogues write them → MJD in float64, in the scale they are given in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.time import Time

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aggrade.catalogues.tables import Column

__all__ = ["mjd_of", "mjd_of_column"]

_JD_OF_MJD_0 = 2400000.5
_LIKELY_JD = 2_000_000.0
_LIKELY_MJD = 1_000_000.0


def mjd_of(value: Any, written: str, scale: str) -> float:
    """Return one time of a header in MJD.

    Raises
    ------
    ValueError
        If it isn't written as said.
    """
    if written == "isot":
        return float(Time(str(value).strip().replace(" ", "T"), format="isot", scale=scale).mjd)
    return float(_mjd(np.array([float(value)]), written)[0])


def mjd_of_column(column: Column, written: str, scale: str) -> NDArray[np.float64]:
    """Return a column of times in MJD, NaN where it is missing.

    Raises
    ------
    ValueError
        If it isn't written as said, or is kept in float32, whose steps are minutes long.
    """
    times = np.full(len(column.missing), np.nan)
    there = ~column.missing
    if written == "isot":
        texts = np.strings.replace(column.values[there], " ", "T")
        times[there] = Time(texts, format="isot", scale=scale).mjd if len(texts) else 0.0
    else:
        if column.values.dtype.itemsize < 8 and (column.values[there] % 1 != 0).any():
            raise ValueError(f"times in {column.values.dtype}, which have lost minutes")
        times[there] = _mjd(column.values[there].astype(np.float64), written)
    return times


def _mjd(times: NDArray[np.float64], written: str) -> NDArray[np.float64]:
    if not np.isfinite(times).all():
        raise ValueError("a time that is not finite")
    if written == "mjd":
        if (times > _LIKELY_JD).any():
            raise ValueError(f"{times.max()!r} is no MJD of our age; if it is a JD, set time_format to 'jd'")
        return times
    if (times < _LIKELY_MJD).any():
        raise ValueError(f"{times.min()!r} is no JD of our age; if it is an MJD, set time_format to 'mjd'")
    return times - _JD_OF_MJD_0
