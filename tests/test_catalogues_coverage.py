"""Which positions exposures cover equals a brute-force answer, across RA 0 and over the poles."""

from __future__ import annotations

from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aggrade.catalogues.coverage import Places, covered, own_extents
from aggrade.catalogues.epochs import EpochCatalogue
from aggrade.catalogues.footprint import Exposure
from aggrade.catalogues.objects import object_table
from aggrade.errors import BadInput
from aggrade.sky import hull

RNG = np.random.default_rng(16)
HAIR = 1e-11
LONGITUDE = st.one_of(st.sampled_from([0.0, 360.0, -180.0, 359.9, 0.1]), st.floats(-180, 360))
LATITUDE = st.one_of(st.sampled_from([90.0, -90.0, 89.9, -89.9, 0.0]), st.floats(-90, 90))


def vectors(ra, dec):
    """Return (place, 3) unit vectors in extended precision."""
    lon, lat = (np.radians(np.atleast_1d(np.asarray(angle, np.longdouble))) for angle in (ra, dec))
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1)


def degrees(places):
    """Return RA, from -180 to 180, and Dec of (place, 3) vectors."""
    x, y, z = np.asarray(places, np.float64).T
    return np.degrees(np.arctan2(y, x)), np.degrees(np.arctan2(z, np.hypot(x, y)))


def around(ra, dec, apart, turns):
    """Return RA and Dec of places at so many degrees from a centre, each in its direction (turns of the circle)."""
    centre = vectors(ra, dec)[0]
    aside = np.cross(centre, [0, 0, 1] if abs(centre[2]) < 0.9 else [1, 0, 0])
    aside /= np.linalg.norm(aside)
    angle = 2 * np.pi * np.asarray(turns)[:, None]
    outward = np.cos(angle) * aside + np.sin(angle) * np.cross(centre, aside)
    return degrees(np.cos(np.radians(apart)) * centre + np.sin(np.radians(apart)) * outward)


def places_near(ra, dec, width):
    """Return places all over the sky and many around a centre, as an object table; some of them lie nowhere."""
    near = [around(ra, dec, apart, RNG.uniform(size=1)) for apart in RNG.uniform(0, min(width, 180), 200)]
    lon, lat = (np.concatenate([pair[axis] for pair in near]) for axis in (0, 1))
    lon = np.concatenate([lon, RNG.uniform(-180, 360, 200), [0.0, 0.0, np.nan]])
    lat = np.concatenate([lat, np.degrees(np.arcsin(RNG.uniform(-1, 1, 200))), [90.0, -90.0, np.nan]])
    return object_table(np.arange(len(lon)), lon, lat, "places")


def check(exposure, table, inside, sure):
    """Compare what an exposure covers with the truth, wherever that is sure."""
    found = np.zeros(len(table), bool)
    found[Places.of(table).within(exposure)] = True
    sure = sure & np.isfinite(table.ra)
    assert np.array_equal(found[sure], inside[sure])
    assert not found[np.isnan(table.ra)].any()


@settings(max_examples=25, deadline=None)
@given(ra=LONGITUDE, dec=LATITUDE, radius=st.one_of(st.floats(1e-4, 180), st.floats(0.01, 5)))
@example(ra=0.0, dec=90.0, radius=0.5)
@example(ra=359.9, dec=-0.1, radius=1.0)
@example(ra=12.0, dec=-89.9, radius=170.0)
def test_a_circle_covers_whatever_is_near(ra, dec, radius):
    """Membership equals that by chords in extended precision, but for a hair's breadth at the edge."""
    table = places_near(ra, dec, 2 * radius)
    half = np.linalg.norm(vectors(table.ra, table.dec) - vectors(ra, dec), axis=1) / 2
    edge = np.sin(np.radians(np.longdouble(radius) / 2))
    check(Exposure(ra=ra, dec=dec, radius=radius), table, half < edge, np.abs(half - edge) > HAIR)


@settings(max_examples=25, deadline=None)
@given(
    ra=LONGITUDE,
    dec=LATITUDE,
    apart=st.floats(0.05, 85),
    turns=st.lists(st.integers(0, 359), min_size=3, max_size=7, unique=True),
)
@example(ra=0.0, dec=90.0, apart=1.0, turns=[0, 90, 180, 270])
@example(ra=0.0, dec=0.0, apart=0.7, turns=[45, 135, 225, 315])
@example(ra=359.9, dec=-89.9, apart=80.0, turns=[0, 120, 240])
def test_a_polygon_covers_what_lies_left_of_every_side(ra, dec, apart, turns):
    """Corners on a circle make a convex polygon: within are the places on the inner side of each great circle."""
    lon, lat = around(ra, dec, apart, np.sort(turns) / 360)
    table = places_near(ra, dec, 2 * apart)
    corners = vectors(lon, lat)
    if not (corners @ corners.sum(axis=0) > 1e-6).all():
        return
    heights = vectors(table.ra, table.dec) @ np.cross(corners, np.roll(corners, -1, axis=0)).T
    inside = (
        (heights > 0).all(axis=1)
        if np.linalg.det(corners[:3].astype(float)) > 0
        else (heights < 0).all(axis=1)
    )
    check(
        Exposure(corners=tuple(zip(lon.tolist(), lat.tolist(), strict=True))),
        table,
        inside,
        (np.abs(heights) > HAIR).all(axis=1),
    )


@settings(max_examples=12, deadline=None)
@given(ra=LONGITUDE, dec=LATITUDE, width=st.floats(0.05, 60), seed=st.integers(0, 2**32 - 1))
@example(ra=0.0, dec=90.0, width=1.0, seed=1)
@example(ra=360.0, dec=0.0, width=1.0, seed=2)
def test_a_hull_covers_what_lies_in_a_triangle_of_its_rows(ra, dec, width, seed):
    """A place lies in the hull of some rows where it lies in the triangle of three of them (Carathéodory)."""
    rng = np.random.default_rng(seed)
    apart = width * np.sqrt(rng.uniform(size=8))
    rows = [around(ra, dec, each, rng.uniform(size=1)) for each in apart]
    lon, lat = (np.concatenate([pair[axis] for pair in rows]) for axis in (0, 1))
    table = places_near(ra, dec, width)
    places, corners = vectors(table.ra, table.dec), vectors(lon, lat)
    inside, sure = np.zeros(len(places), bool), np.ones(len(places), bool)
    for three in combinations(range(8), 3):
        one, two, last = corners[list(three)]
        heights = places @ np.stack([np.cross(one, two), np.cross(two, last), np.cross(last, one)], axis=1)
        inside |= (heights > 0).all(axis=1) | (heights < 0).all(axis=1)
        sure &= (np.abs(heights) > HAIR).all(axis=1)
    polygon = hull(np.mod(lon, 360), lat)
    # antipodes of a triangle are on the inner side of none of its sides, seen from outside: leave them out
    inside &= places @ vectors(ra, dec)[0] > 0
    check(Exposure(corners=tuple(map(tuple, polygon.tolist()))), table, inside, sure)


@pytest.mark.parametrize(
    ("ra", "dec"),
    [
        ([], []),
        ([10.0], [1.0]),
        ([10.0, 11.0], [1.0, 1.0]),
        ([5.0] * 4, [1.0] * 4),
        ([1.0, 2.0, 3.0], [0.0] * 3),
    ],
)
def test_rows_without_an_area_have_no_hull(ra, dec):
    """Fewer than three rows, rows in one place, and rows on one great circle bound nothing."""
    assert len(hull(np.array(ra), np.array(dec))) == 0


def test_rows_all_around_the_sky_have_no_hull():
    """What has no outside is refused."""
    with pytest.raises(BadInput):
        hull(np.array([0.0, 120, 240, 0]), np.array([0.0, 0, 0, 90]))


def catalogue(status, ra, dec):
    """Return rows of two bands."""
    status = np.array(status, np.uint8)
    nothing = np.full(status.shape, np.nan)
    cells = nothing.astype("f4")
    return EpochCatalogue(
        "1", ("g", "r"), ("mag", "mag"), cells, cells, status, nothing, ra=np.array(ra), dec=np.array(dec)
    )


def test_each_file_and_measurement_has_its_own_extent():
    """Rows that say nothing of a band widen its extent as little as rows of another file, or without a place."""
    ra, dec = [0.0, 4.0, 4.0, 0.0, np.nan], [0.0, 0.0, 4.0, 4.0, 1.0]
    one = catalogue([[1, 1], [1, 1], [2, 1], [0, 3], [1, 1]], ra, dec)
    two = catalogue([[0, 1]] * 5, np.array(ra) + 50, dec)
    found = [(each.measurement, {*each.corners}) for each in own_extents([one, two])]
    square = {(0.0, 0.0), (4.0, 0.0), (4.0, 4.0), (0.0, 4.0)}
    assert found == [
        ("g", square - {(0.0, 4.0)}),
        ("r", square),
        ("r", {(lon + 50, lat) for lon, lat in square}),
    ]


@pytest.mark.parametrize(("value", "deep"), [("mag", 22.0), ("flux", 20.0)])
def test_the_deepest_exposure_counts(value, deep):
    """Of several limits the deepest is taken, one that isn't known counts least; other measurements are passed over."""
    table = object_table(np.arange(2), np.array([0.0, 50.0]), np.zeros(2), "objects")
    here = {"ra": 0.0, "dec": 0.0, "radius": 1.0}
    exposures = [
        Exposure(**here, measurement="g", limit=20.0, time=5.0),
        Exposure(**here, measurement="g", time=1.0),
        Exposure(**here, measurement="g", limit=22.0, time=4.0),
        Exposure(**here, limit=21.0, measurement="i"),
        Exposure(**here, measurement=None),
    ]
    places = Places.at(table.ra, table.dec)
    found = covered(exposures, places, ["g", "r", "z"], ["r"], value)
    at = table.ids.tolist().index(0)
    assert found.cells[at].tolist() == [True, True, False]
    assert found.limit[at, 0] == deep
    assert found.time[at, 0] == (4.0 if value == "mag" else 5.0)
    assert np.isnan(found.time[at, 1:]).all()
    assert np.isnan(found.limit[at, 1:]).all()
    assert not found.cells[1 - at].any()


def test_of_equally_deep_exposures_the_first_counts():
    """Whatever their order in the table, the earliest known time is taken; without any time there is none."""
    places = Places.at(np.zeros(1), np.zeros(1))
    here = {"ra": 0.0, "dec": 0.0, "radius": 1.0, "limit": 21.0}
    exposures = [Exposure(**here, time=time) for time in (7.0, None, 3.0, 5.0)]
    for order in permutations(exposures):
        assert covered(order, places, ["g"], ["g"], "mag").time.tolist() == [[3.0]]
    assert covered(exposures[1:2], places, ["g"], ["g"], "mag").time is None


def test_where_nothing_lies_nothing_is_covered():
    """A table of objects without positions is covered by nothing."""
    table = object_table(np.arange(3), np.full(3, np.nan), np.full(3, np.nan), "objects")
    everything = Exposure(ra=0.0, dec=0.0, radius=180.0)
    assert not covered([everything], Places.of(table), ["g"], ["g"], "mag").cells.any()
