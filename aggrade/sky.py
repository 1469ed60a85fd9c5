"""Which positions lie in a region of the sky. Degrees throughout; right ascension wraps at 360."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.coordinates import angular_separation

from aggrade.errors import BadInput, Problem, raise_all

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["in_box", "in_cone"]


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _outside(name: str, value: Any, low: float, high: float) -> Iterator[Problem]:
    if not low <= _number(value) <= high:
        expected = f"degrees between {low:g} and {high:g}"
        yield Problem(name, repr(value), expected, "give plain numbers in degrees", "sky-region")


def _pair(name: str, value: Any) -> tuple[tuple[Any, Any], list[Problem]]:
    if isinstance(value, (tuple, list, np.ndarray)) and len(value) == 2:
        return (value[0], value[1]), []
    return (0.0, 0.0), [
        Problem(name, repr(value), "a pair (from, to) in degrees", "give both ends", "sky-region")
    ]


def in_cone(
    ra: NDArray[np.float64], dec: NDArray[np.float64], centre: tuple[float, float], radius: float
) -> NDArray[np.bool_]:
    """Whether each position lies within `radius` of `centre`, its edge included.

    Parameters
    ----------
    ra, dec
        (object,) degrees; NaN lies nowhere.
    centre
        Right ascension and declination in degrees.
    radius
        Degrees on the sky.

    Raises
    ------
    BadInput
        If the region is not made of numbers in their ranges; every reason at once.
    """
    problems = [*_outside("ra", centre[0], -360, 720), *_outside("dec", centre[1], -90, 90)]
    raise_all([*problems, *_outside("radius", radius, 0, 180)], BadInput)
    lon, lat = np.radians(_number(centre[0])), np.radians(_number(centre[1]))
    separation = angular_separation(lon, lat, np.radians(ra), np.radians(dec))
    return np.asarray(np.degrees(separation) <= _number(radius))


def in_box(
    ra: NDArray[np.float64],
    dec: NDArray[np.float64],
    box_ra: tuple[float, float],
    box_dec: tuple[float, float],
) -> NDArray[np.bool_]:
    """Whether each position lies between two meridians and two parallels, edges included.

    Parameters
    ----------
    ra, dec
        (object,) degrees; NaN lies nowhere.
    box_ra
        From west to east in degrees: ``(355, 5)`` crosses right ascension 0, ``(0, 360)`` is the whole circle.
    box_dec
        From south to north in degrees.

    Raises
    ------
    BadInput
        If the region is not made of numbers in their ranges; every reason at once.
    """
    (west, east), problems = _pair("ra", box_ra)
    (south, north), more = _pair("dec", box_dec)
    problems += more
    for name, value, low, high in (("ra", west, -360, 720), ("ra", east, -360, 720), ("dec", south, -90, 90)):
        problems += _outside(name, value, low, high)
    problems += _outside("dec", north, max(_number(south), -90.0), 90)
    raise_all(problems, BadInput)
    inside = (dec >= _number(south)) & (dec <= _number(north))
    if _number(east) - _number(west) >= 360:
        return np.asarray(inside & np.isfinite(ra))
    first, last, around = _number(west) % 360, _number(east) % 360, ra % 360
    beyond, before = around >= first, around <= last
    return np.asarray(inside & (beyond & before if first <= last else beyond | before))
