"""Times as catalogues write them → MJD in float64, in the scale they are given in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from astropy import units
from astropy.time import Time

from aggrade.catalogues.spec import TIME_SCALES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aggrade.catalogues.tables import Column, TimeSystem

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


def mjd_of_column(column: Column, written: str, scale: str, place: str | None = None) -> NDArray[np.float64]:
    """Return a column of times in MJD, NaN where it is missing.

    Where the file says itself which day is 0, that is taken, whatever is said of the format.

    Raises
    ------
    ValueError
        If it isn't written as said, if the file says another scale or place than the specification, or if it
        is kept in float32, whose steps are minutes long.
    """
    if column.time is not None:
        _agree(column.time, scale, place)
    there = ~column.missing
    values = column.values[there]
    times = np.full(len(there), np.nan)
    if column.kind != "text" and values.dtype.itemsize < 8 and (values % 1 != 0).any():
        raise ValueError(f"times in {values.dtype}, which have lost minutes")
    if column.time is not None and column.time.origin is not None:
        days = _days(values.astype(np.float64), column.unit)
        times[there] = days + (column.time.origin - _JD_OF_MJD_0)
    elif written == "isot":
        texts = np.strings.replace(values, " ", "T")
        times[there] = Time(texts, format="isot", scale=scale).mjd if len(texts) else 0.0
    else:
        _demand_days(column.unit)
        times[there] = _mjd(values.astype(np.float64), written)
    return times


def _demand_days(unit: str | None) -> None:
    """Raise `ValueError` if a unit is known and none of days; ``MJD`` and the like are no units."""
    known = units.Unit((unit or "d").replace("D", "d"), parse_strict="silent")
    if not isinstance(known, units.UnrecognizedUnit) and known != units.day:
        raise ValueError(f"times in {unit!r}, not in days; convert them")


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


def _agree(told: TimeSystem, scale: str, place: str | None) -> None:
    """Raise `ValueError` if a file says another scale or place than the specification."""
    if told.scale in TIME_SCALES and told.scale != scale:
        raise ValueError(f"times in {told.scale} by the file itself, not in {scale}")
    corrected = [kind for kind in ("heliocent", "barycent") if (told.place or "").startswith(kind)]
    if corrected and not (place or "").startswith(corrected[0]):
        raise ValueError(f"times at the {told.place} by the file itself, not as {place or 'observed'}")


def _days(times: NDArray[np.float64], unit: str | None) -> NDArray[np.float64]:
    if unit in (None, "d", "day"):
        return times
    factor = units.Unit(unit, parse_strict="silent")
    if not factor.is_equivalent(units.day):
        raise ValueError(f"times in {unit!r}, which is no unit of time")
    return times * float(factor.to(units.day))
