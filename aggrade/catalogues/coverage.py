"""Which positions an epoch's exposures cover, of which measurement, and how deep they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
from scipy.spatial import cKDTree

from aggrade.catalogues.checking import same_unit
from aggrade.catalogues.epochs import NOT_OBSERVED
from aggrade.catalogues.footprint import Exposure
from aggrade.catalogues.positions import chord, degrees_of, separation, unit_vectors
from aggrade.errors import BadInput, Problem
from aggrade.sky import hull, in_cone, in_polygon

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from aggrade.catalogues.epochs import EpochCatalogue
    from aggrade.catalogues.loading import Epoch
    from aggrade.catalogues.objects import ObjectTable

__all__ = ["Covered", "Places", "covered", "exposures_of_epoch", "footprint_problems", "own_extents"]

_HAIR = 1e-9
_HEMISPHERE = 90 * 3600.0


class Places(NamedTuple):
    """Positions on the sky, in a tree.

    Parameters
    ----------
    ra, dec
        (place,) degrees; NaN lies nowhere.
    placed
        (placed,) indices of those that lie somewhere.
    tree
        Of the unit vectors of these.
    """

    ra: NDArray[np.float64]
    dec: NDArray[np.float64]
    placed: NDArray[np.intp]
    tree: cKDTree

    @classmethod
    def of(cls, objects: ObjectTable) -> Self:
        """Return those of an object table."""
        return cls(objects.ra, objects.dec, objects.placed, objects.tree)

    @classmethod
    def at(cls, ra: NDArray[np.float64], dec: NDArray[np.float64]) -> Self:
        """Return those of (place,) degrees."""
        placed = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
        return cls(ra, dec, placed, cKDTree(unit_vectors(ra[placed], dec[placed])))

    def within(self, exposure: Exposure) -> NDArray[np.intp]:
        """Return the indices of those that an exposure covers, the edge of a circle included."""
        if not len(self.placed):
            return self.placed
        centre, arcsec = _circle_around(exposure)
        near = self.placed[self.tree.query_ball_point(centre, chord(arcsec) + _HAIR)]
        ra, dec = self.ra[near], self.dec[near]
        if exposure.corners:
            return np.asarray(near[in_polygon(ra, dec, exposure.corners)])
        assert exposure.ra is not None, "what has no corners is a circle"
        assert exposure.dec is not None, "what has no corners is a circle"
        assert exposure.radius is not None, "what has no corners is a circle"
        return np.asarray(near[in_cone(ra, dec, (exposure.ra, exposure.dec), exposure.radius)])


def _circle_around(exposure: Exposure) -> tuple[NDArray[np.float64], float]:
    """Return the unit vector and the arcseconds of a circle that holds an exposure."""
    if not exposure.corners:
        assert exposure.radius is not None, "what has no corners is a circle"
        place = np.array([exposure.ra], np.float64), np.array([exposure.dec], np.float64)
        return unit_vectors(*place)[0], exposure.radius * 3600
    corners = unit_vectors(*np.array(exposure.corners).T)
    ra, dec = degrees_of(corners.sum(axis=0)[None])
    centre = unit_vectors(ra, dec)[0]
    widest = float(separation(centre, corners).max())
    return centre, widest if widest < _HEMISPHERE else 2 * _HEMISPHERE


class Covered(NamedTuple):
    """Which places were looked at, and how deep.

    Parameters
    ----------
    cells
        (place, measurement) bool.
    limit
        (place, measurement) float32: of the deepest exposure, NaN where none of them says it.
    time
        (place, measurement) float64: of that exposure, MJD, NaN where it is the epoch's; None if all are.
    """

    cells: NDArray[np.bool_]
    limit: NDArray[np.float32]
    time: NDArray[np.float64] | None = None


def covered(
    exposures: Iterable[Exposure],
    places: Places,
    measurements: Sequence[str],
    here: Sequence[str],
    value: str,
) -> Covered:
    """Return which places some exposures cover. Of several, the deepest counts; of these, the first.

    Parameters
    ----------
    exposures
        Of one epoch.
    places
        The positions.
    measurements
        Names of the measurements to tell of; exposures of others are passed over.
    here
        Those that are meant by exposures which name none.
    value
        ``"mag"``, of which the deepest limit is the largest number, or ``"flux"``, of which it is the smallest.
    """
    shape, ordered = (len(places.ra), len(measurements)), _shallow_first(exposures, value)
    cells, limit = np.zeros(shape, bool), np.full(shape, np.nan, np.float32)
    has_times = any(exposure.time is not None for exposure in ordered)
    time = np.full(shape, np.nan) if has_times else None
    for exposure in ordered:
        found = places.within(exposure)
        names = here if exposure.measurement is None else (exposure.measurement,)
        for column in (measurements.index(name) for name in names if name in measurements):
            cells[found, column] = True
            limit[found, column] = np.nan if exposure.limit is None else exposure.limit
            if time is not None:
                time[found, column] = np.nan if exposure.time is None else exposure.time
    return Covered(cells, limit, time)


def _shallow_first(exposures: Iterable[Exposure], value: str) -> list[Exposure]:
    """Return exposures so that each may overwrite those before it: unknown limits, shallow ones, deep ones."""
    sign = 1 if value == "mag" else -1

    def depth(exposure: Exposure) -> tuple[bool, float, bool, float]:
        limit, time = exposure.limit, exposure.time
        return limit is not None, sign * (limit or 0.0), time is not None, -(time or 0.0)

    return sorted(exposures, key=depth)


def exposures_of_epoch(epoch: Epoch, exposures: Sequence[Exposure] | None) -> Sequence[Exposure]:
    """Return where the telescope looked in one epoch: by a table, else by the extent of its files' rows if that is said.

    Parameters
    ----------
    epoch
        The epoch.
    exposures
        Those of the table, None if there is no table.

    Raises
    ------
    BadInput
        If the rows lie all around the sky, so that they have no extent.
    """
    if exposures is not None:
        return exposures
    looked = epoch.how.spec.footprint
    return list(own_extents(epoch.parts)) if looked is not None and looked.extent else ()


def own_extents(parts: Iterable[EpochCatalogue]) -> Iterator[Exposure]:
    """Yield the smallest convex region around the rows of each file that speak of each measurement.

    Parameters
    ----------
    parts
        What each file says of one epoch.

    Raises
    ------
    BadInput
        If rows of one file lie all around the sky.
    """
    for part in parts:
        assert part.ra is not None, "rows whose extent counts have positions"
        assert part.dec is not None, "rows whose extent counts have positions"
        for column, name in enumerate(part.measurements):
            rows = part.status[:, column] != NOT_OBSERVED
            corners = hull(part.ra[rows], part.dec[rows])
            if len(corners):
                yield Exposure(corners=tuple(map(tuple, corners.tolist())), measurement=name)


def footprint_problems(epoch: Epoch, exposures: Sequence[Exposure] | None, where: str) -> Iterator[Problem]:
    """Yield what is wrong with where the telescope is said to have looked in one epoch.

    Parameters
    ----------
    epoch
        The epoch.
    exposures
        Those of the table, None if there is no table.
    where
        The epoch's files, for people.
    """
    key, footprint = epoch.catalogue.key, epoch.how.spec.footprint
    try:
        looked = exposures_of_epoch(epoch, exposures)
    except BadInput:
        fix = "give a table of exposures instead"
        found = f"rows of epoch {key} all around the sky"
        yield Problem(where, found, "rows within a hemisphere, whose extent can be told", fix, "extent")
        return
    if exposures is None or footprint is None:
        return
    if not looked:
        fix = "add it to the table, or leave the file out"
        expected = f"one in {footprint.exposures}, column {footprint.epoch}"
        yield Problem(where, f"no exposure of epoch {key}", expected, fix, "exposure-missing")
        return
    yield from _limit_problems(epoch.catalogue, looked, where)
    yield from _outside(epoch, looked, where)


def _limit_problems(
    catalogue: EpochCatalogue, exposures: Sequence[Exposure], where: str
) -> Iterator[Problem]:
    """Yield a problem for each unit of limits that isn't that of the measurement."""
    units = dict(zip(catalogue.measurements, catalogue.units, strict=True))
    told = {(each.measurement, each.unit) for each in exposures if each.unit and each.limit is not None}
    pairs = {(name, unit) for named, unit in told for name in (units if named is None else [named]) if unit}
    for name, unit in sorted(pairs):
        expected = units.get(name)
        if expected and not same_unit(unit, expected):
            fix = "give limits in the measurement's unit; nothing is converted"
            yield Problem(where, f"exposures with limits of {name} in {unit!r}", repr(expected), fix, "unit")


def _outside(epoch: Epoch, exposures: Sequence[Exposure], where: str) -> Iterator[Problem]:
    """Yield a problem if most of the rows lie where nobody looked: columns or units are mistaken, then."""
    rows = epoch.catalogue
    if rows.ra is None or rows.dec is None:
        return
    places = Places.at(rows.ra, rows.dec)
    beyond = (rows.status != NOT_OBSERVED).any(axis=1) & np.isfinite(rows.ra) & np.isfinite(rows.dec)
    says = np.count_nonzero(beyond)
    for exposure in exposures:
        beyond[places.within(exposure)] = False
    if 2 * np.count_nonzero(beyond) > says:
        row = int(np.flatnonzero(beyond)[0])
        where_is = f"such as at {rows.ra[row]:g}, {rows.dec[row]:g}"
        found = f"{np.count_nonzero(beyond)} of {says} rows of epoch {rows.key} outside of all exposures, {where_is}"
        fix = "correct the exposures' columns or units"
        yield Problem(where, found, "most of them within", fix, "exposure-elsewhere")
