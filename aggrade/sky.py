"""Which positions lie in a region of the sky. Degrees throughout; right ascension wraps at 360."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from astropy.coordinates import angular_separation
from scipy.spatial import ConvexHull, QhullError

from aggrade.errors import BadInput, Problem, raise_all

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

__all__ = ["CoverageMap", "hull", "in_box", "in_cone", "in_coverage", "in_polygon"]

_LEANINGS = 1000


class CoverageMap(Protocol):
    """What a ``mocpy.MOC`` has: it tells which positions it covers."""

    def contains_lonlat(self, lon: Any, lat: Any) -> Any:
        """Return (position,) bool for longitudes and latitudes that are astropy quantities."""
        ...


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


def in_polygon(
    ra: NDArray[np.float64], dec: NDArray[np.float64], vertices: Iterable[tuple[float, float]]
) -> NDArray[np.bool_]:
    """Whether each position lies within a polygon whose sides are great circles.

    The polygon is looked at from the Earth's centre on the plane that touches the sky amid its vertices, where great
    circles are straight lines (the gnomonic projection). A position just on a side may count or not.

    Parameters
    ----------
    ra, dec
        (object,) degrees; NaN lies nowhere.
    vertices
        Right ascension and declination of each corner in degrees, in order, three or more. The last is joined to the
        first. They must lie within a hemisphere.

    Raises
    ------
    BadInput
        If the polygon is not made of three or more positions within a hemisphere; every reason at once.
    """
    corners = _corners(vertices)
    places = _vectors(ra, dec)
    axes = _plane(_centre(corners))
    with np.errstate(divide="ignore", invalid="ignore"):
        x, y = (places @ axes[:2].T / (places @ axes[2])[:, None]).T
    sides = corners @ axes[:2].T / (corners @ axes[2])[:, None]
    return np.asarray(_within_sides(x, y, sides) & (places @ axes[2] > 0))


def hull(ra: NDArray[np.float64], dec: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the corners of the smallest convex polygon that holds all positions, whose sides are great circles.

    Parameters
    ----------
    ra, dec
        (position,) degrees; NaN lies nowhere. They must lie within a hemisphere.

    Returns
    -------
    ndarray
        (corner, 2) float64 degrees, in order; none if the positions have no area: fewer than three, or on one line.

    Raises
    ------
    BadInput
        If the positions lie all around the sky.
    """
    placed = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
    if len(placed) < 3:
        return np.zeros((0, 2))
    places = _vectors(ra[placed], dec[placed])
    axes = _plane(_centre(places))
    try:
        corners = ConvexHull(places @ axes[:2].T / (places @ axes[2])[:, None]).vertices
    except QhullError:
        return np.zeros((0, 2))
    return np.stack([ra[placed[corners]], dec[placed[corners]]], axis=1)


def _vectors(ra: Any, dec: Any) -> NDArray[np.float64]:
    lon, lat = np.radians(ra), np.radians(dec)
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)


def _corners(vertices: Any) -> NDArray[np.float64]:
    """Return (corner, 3) unit vectors, or raise with everything that is wrong."""
    try:
        given = list(vertices)
    except TypeError:
        given = []
    if len(given) < 3:
        fix = "give its corners in order: [(ra, dec), (ra, dec), (ra, dec)]"
        raise BadInput(Problem("vertices", repr(vertices), "three corners or more", fix, "sky-region"))
    problems: list[Problem] = []
    for place, corner in enumerate(given):
        pair, wrong = _pair(f"vertices[{place}]", corner)
        problems += wrong or [
            *_outside(f"vertices[{place}], ra", pair[0], -360, 720),
            *_outside(f"vertices[{place}], dec", pair[1], -90, 90),
        ]
    raise_all(problems, BadInput)
    ra, dec = np.array(given, np.float64).T
    return _vectors(ra, dec)


def _centre(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the middle of a hemisphere that holds all corners, found by leaning towards the one that is farthest."""
    centre = corners.sum(axis=0)
    for _ in range(_LEANINGS):
        heights = corners @ centre
        if heights.min() > 1e-9 * np.linalg.norm(centre):
            return np.asarray(centre / np.linalg.norm(centre))
        centre = centre + corners[int(heights.argmin())]
    fix, found = "cut it into parts, each within a hemisphere", "corners all around the sky"
    raise BadInput(Problem("vertices", found, "a polygon within a hemisphere", fix, "sky-region"))


def _plane(centre: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (3, 3): two axes across a unit vector, and itself."""
    other = np.eye(3)[int(np.argmin(np.abs(centre)))]
    first = np.cross(centre, other)
    first /= np.linalg.norm(first)
    return np.stack([first, np.cross(centre, first), centre])


def _within_sides(
    x: NDArray[np.float64], y: NDArray[np.float64], sides: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Whether a line from each point to the right crosses an odd number of sides of a plane polygon."""
    inside = np.zeros(len(x), bool)
    for (x1, y1), (x2, y2) in zip(sides, np.roll(sides, -1, axis=0), strict=True):
        if y1 != y2:
            crosses = (y1 > y) != (y2 > y)
            inside ^= crosses & (x < x1 + (y - y1) * ((x2 - x1) / (y2 - y1)))
    return inside


def in_coverage(
    ra: NDArray[np.float64], dec: NDArray[np.float64], coverage: CoverageMap
) -> NDArray[np.bool_]:
    """Whether each position lies in a coverage map, such as a ``mocpy.MOC``.

    Parameters
    ----------
    ra, dec
        (object,) degrees; NaN lies nowhere.
    coverage
        The map.

    Raises
    ------
    BadInput
        If it is no coverage map.
    """
    from astropy import units

    if not hasattr(coverage, "contains_lonlat"):
        fix = "make one with mocpy: mocpy.MOC.from_fits(path)"
        raise BadInput(Problem("coverage", repr(coverage), "a mocpy.MOC", fix, "sky-region"))
    inside = np.zeros(len(ra), bool)
    placed = np.isfinite(ra) & np.isfinite(dec)
    if placed.any():
        inside[placed] = coverage.contains_lonlat(ra[placed] * units.deg, dec[placed] * units.deg)
    return inside
